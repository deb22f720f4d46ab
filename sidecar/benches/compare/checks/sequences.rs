//! The checker of sequences finds every fault.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::sequence::{Faults, Sequence};

fn received(numbers: &[u64]) -> Sequence {
    let mut sequence = Sequence::default();
    for &number in numbers {
        sequence.receive(number);
    }
    sequence
}

fn faults(numbers: &[u64], published: u64) -> (u64, u64, u64) {
    let Faults { lost, duplicated, out_of_order } = received(numbers).faults(published);
    (lost, duplicated, out_of_order)
}

#[test]
fn every_event_once_and_in_order_is_no_fault() {
    assert!(received(&[0, 1, 2, 3]).faults(4).is_none());
    assert!(received(&[0, 1, 2, 3]).has_all(4));
}

#[test]
fn a_loss_is_found_at_the_start_in_the_middle_and_at_the_end() {
    for numbers in [&[1, 2, 3], &[0, 2, 3], &[0, 1, 2]] {
        assert_eq!(faults(numbers, 4), (1, 0, 0), "{numbers:?}");
        assert!(!received(numbers).has_all(4), "{numbers:?}");
    }
    assert_eq!(faults(&[], 4), (4, 0, 0));
    assert_eq!(faults(&[0, 5], 6), (4, 0, 0));
}

#[test]
fn a_duplicate_is_found_wherever_it_comes() {
    for numbers in [&[0, 0, 1, 2], &[0, 1, 0, 2], &[0, 1, 2, 2], &[0, 1, 2, 0]] {
        assert_eq!(faults(numbers, 3), (0, 1, 0), "{numbers:?}");
    }
}

#[test]
fn a_swap_is_out_of_order_and_no_loss() {
    assert_eq!(faults(&[0, 2, 1, 3], 4), (0, 0, 1));
    assert!(received(&[0, 2, 1, 3]).has_all(4));
}

#[test]
fn a_late_event_that_comes_again_is_both() {
    assert_eq!(faults(&[0, 2, 1, 1], 3), (0, 1, 1));
}

#[test]
fn faults_of_several_subscribers_add_up() {
    let each = Faults { lost: 1, duplicated: 2, out_of_order: 3 };
    let sum: Faults = [each, each].into_iter().sum();
    assert_eq!(sum, Faults { lost: 2, duplicated: 4, out_of_order: 6 });
    assert!(!sum.is_none());
}

proptest! {
    #[test]
    fn it_agrees_with_a_naive_model(numbers in prop::collection::vec(0_u64..12, 0..40)) {
        let (mut seen, mut duplicated, mut out_of_order) = (BTreeSet::new(), 0, 0);
        for &number in &numbers {
            let after_a_later = seen.last().is_some_and(|&last| last > number);
            match seen.insert(number) {
                true if after_a_later => out_of_order += 1,
                true => {}
                false => duplicated += 1,
            }
        }
        let lost = 12 - seen.len() as u64;
        prop_assert_eq!(faults(&numbers, 12), (lost, duplicated, out_of_order));
        prop_assert_eq!(received(&numbers).has_all(12), lost == 0);
    }
}
