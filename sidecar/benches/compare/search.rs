//! Finds the highest rate that holds. No I/O.

use anyhow::Result;

/// How often the gap between what holds and what doesn't is halved, on a scale of ratios: it ends
/// below ten percent.
const HALVINGS: u32 = 3;

/// The highest rate that `holds`, to within ten percent; 0 where none does. Looks around `start`, at
/// least 1, first.
pub(crate) fn highest(start: u32, mut holds: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    let (mut good, mut bad) = (0, start);
    if holds(start)? {
        (good, bad) = (start, start.saturating_mul(2));
        while holds(bad)? {
            (good, bad) = (bad, bad.saturating_mul(2));
        }
    }
    while good == 0 && bad > 1 {
        let half = bad / 2;
        if holds(half)? { good = half } else { bad = half }
    }
    for _ in 0..HALVINGS {
        let between = (u64::from(good) * u64::from(bad)).isqrt();
        let between = u32::try_from(between).unwrap_or(u32::MAX);
        if between <= good {
            break;
        }
        if holds(between)? { good = between } else { bad = between }
    }
    Ok(good)
}
