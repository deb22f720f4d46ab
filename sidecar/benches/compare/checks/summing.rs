//! Figures are summed up rightly, and a missed bar is told.

use std::time::Duration;

use crate::{
    payload::Stamp,
    readings::Used,
    sequence::Faults,
    summary::{Measurement, Row, Spread, complete, cost},
    tally::{Tally, latencies},
};

const NO_FAULTS: Faults = Faults { lost: 0, duplicated: 0, out_of_order: 0 };

/// The server waited for half as long as it ran.
fn used(ran: Duration) -> Used {
    Used { ran, waited: ran / 2 }
}

/// A thousand subscribers, with this much CPU time and memory each for one event.
fn measurement(micros: u64, kib: i128, faults: Faults) -> Measurement {
    let mut latency = latencies().unwrap();
    latency.record_n(1_000_000, 990).unwrap();
    latency.record_n(8_000_000, 10).unwrap();
    let cpu = used(Duration::from_millis(micros));
    Measurement::new(1_000, cpu, 1_000, kib * 1_024_000, latency, faults, 0)
}

fn row(figures: &[(u64, i128)], floor: &[u64], faults: Faults) -> Row {
    let rounds: Vec<_> = figures.iter().map(|&(cpu, kib)| measurement(cpu, kib, faults)).collect();
    let floor: Vec<_> = floor.iter().map(|&cpu| measurement(cpu, 0, NO_FAULTS)).collect();
    Row::of(&rounds, &floor).unwrap()
}

fn verdicts(sidecar: &Row, floor: &Row) -> Vec<bool> {
    let [of_the_sidecar, of_the_floor] = complete("SSE", floor, sidecar);
    let judged = [cost("SSE", sidecar, 2.0), of_the_sidecar, of_the_floor];
    judged.map(|verdict| verdict.passed).to_vec()
}

#[test]
fn a_median_is_the_one_in_the_middle_or_between_the_two() {
    let of = |values: &[f64]| Spread::of(values.iter().copied()).unwrap();
    assert_eq!(of(&[3.0, 1.0, 9.0]), Spread { least: 1.0, median: 3.0, most: 9.0 });
    assert_eq!(of(&[4.0, 1.0, 9.0, 2.0]).median, 3.0);
    assert_eq!(of(&[5.0]).median, 5.0);
    assert!(Spread::of(std::iter::empty()).is_err());

    let middle = |values: &[f64]| Spread::of_middle_half(values.iter().copied()).unwrap();
    let all = [8.0, 2.0, 90.0, 4.0, 0.1, 6.0, 70.0, 0.2];
    assert_eq!(middle(&all), Spread { least: 2.0, median: 5.0, most: 8.0 });
    assert_eq!(middle(&[3.0]), of(&[3.0]));
    assert!(Spread::of_middle_half(std::iter::empty()).is_err());
}

#[test]
fn each_round_is_compared_with_the_floor_of_that_round() {
    // The machine is three times as slow in the second round. It doesn't show.
    let row = row(&[(9, 6), (30, 7), (11, 8)], &[6, 20, 10], NO_FAULTS);
    assert_eq!(row.ratio, Spread { least: 1.1, median: 1.5, most: 1.5 });
    assert_eq!((row.micros, row.kib, row.deliveries), (11.0, 7.0, 3_000));
    assert_eq!(row.waited, 0.5);
}

#[test]
fn percentiles_are_in_milliseconds() {
    let row = row(&[(9, 6), (9, 6)], &[6, 6], NO_FAULTS);
    assert!((row.p50.median - 1.0).abs() < 0.01, "{:?}", row.p50);
    assert!((row.p99.median - 1.0).abs() < 0.01, "{:?}", row.p99);
}

#[test]
fn only_what_is_not_warming_up_is_counted_and_timed_from_when_it_was_due() {
    let mut tally = Tally::from(2).unwrap();
    for number in 0..5 {
        tally.count(Stamp { number, due: 1_000_000 }, 6_000_000);
    }
    let (deliveries, latency) = tally.into_parts();
    assert_eq!((deliveries, latency.len()), (3, 3));
    assert!(latency.equivalent(latency.value_at_quantile(0.5), 5_000_000));
}

#[test]
fn what_is_on_the_bar_passes_and_what_is_above_fails() {
    let floor = row(&[(5, 0)], &[5], NO_FAULTS);
    assert_eq!(verdicts(&row(&[(10, 24)], &[5], NO_FAULTS), &floor), [true; 3]);
    let slow = row(&[(11, 24)], &[5], NO_FAULTS);
    assert_eq!(verdicts(&slow, &floor), [false, true, true]);
}

#[test]
fn any_fault_of_either_server_fails() {
    for faults in [
        Faults { lost: 1, ..NO_FAULTS },
        Faults { duplicated: 1, ..NO_FAULTS },
        Faults { out_of_order: 1, ..NO_FAULTS },
    ] {
        let (good, bad) = (row(&[(5, 1)], &[5], NO_FAULTS), row(&[(5, 1)], &[5], faults));
        assert_eq!(verdicts(&bad, &good), [true, false, true], "{faults:?}");
        assert_eq!(verdicts(&good, &bad), [true, true, false], "{faults:?}");
    }
}

#[test]
fn a_run_without_deliveries_passes_nothing_that_is_divided_by_them() {
    let nothing =
        || Measurement::new(1_000, Used::default(), 0, 0, latencies().unwrap(), NO_FAULTS, 0);
    let row = Row::of(&[nothing()], &[nothing()]).unwrap();
    assert_eq!(verdicts(&row, &row), [false, false, false]);
}
