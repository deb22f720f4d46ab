//! The search finds the highest rate that holds.

use proptest::prelude::*;

use crate::search::highest;

proptest! {
    #[test]
    fn it_is_found_to_within_ten_percent(limit in 1_u32..100_000, start in 1_u32..100_000) {
        let found = highest(start, |rate| Ok(rate <= limit)).unwrap();
        prop_assert!(found <= limit);
        prop_assert!(f64::from(found) * 1.1 + 1.0 > f64::from(limit), "{found} of {limit}");
    }
}

#[test]
fn where_none_holds_it_is_zero() {
    assert_eq!(highest(100, |_| Ok(false)).unwrap(), 0);
}

#[test]
fn what_fails_ends_the_search() {
    assert!(highest(100, |_| anyhow::bail!("no server")).is_err());
}
