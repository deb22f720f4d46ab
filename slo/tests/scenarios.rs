//! Tells the stories that the evaluator was built for, with sidecars played by real recorders.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

use weir_slo::{
    Counts, Evaluation, Evaluator, IngestError, Instance, Method, Millis, Objective,
    ObjectiveSample, RETENTION, Ratio, Recorder, RestoreError, SAMPLES_V1, STEP, Samples, Series,
    SliceRule, Slicer, Snapshot, State, Timestamp, Unknown, Verdict,
};

const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_000);
const INTERVAL: Millis = Millis::from_secs(15);
const SLICES: Method = Method::Timeslices {
    window: Millis::from_mins(1),
    min_events: 20,
    quantile: Ratio::from_ppm(950_000).unwrap(),
};

fn percent(text: &str) -> Ratio {
    text.parse().unwrap()
}

fn objective(target: &str, method: Method, window: Millis) -> Objective {
    let min_coverage = percent("90");
    Objective { name: "latency".into(), target: percent(target), method, window, min_coverage }
}

fn evaluator(target: &str, method: Method, window: Millis) -> Evaluator {
    Evaluator::new(objective(target, method, window), INTERVAL).unwrap()
}

/// A sidecar that serves one objective.
struct Sidecar {
    instance: Instance,
    recorder: Recorder,
    counts: Counts,
    now: Timestamp,
}

impl Sidecar {
    fn started(id: &str, now: Timestamp) -> Self {
        let instance = Instance { id: id.into(), started_at: now, version: "0.1.0".into() };
        Self { instance, recorder: Recorder::new(now), counts: Counts::ZERO, now }
    }

    /// Serves `good` and `bad` events in every step for `span`.
    fn serve(&mut self, span: Millis, good: u64, bad: u64) {
        for _ in 0..span.0 / STEP.0 {
            self.counts = self.counts.saturating_add(Counts { good, total: good + bad });
            self.now = self.now.after(STEP);
            self.recorder.observe(self.now, self.counts);
        }
    }

    fn answer(&self, since: Timestamp) -> (Samples, ObjectiveSample) {
        let samples = Samples {
            api_version: SAMPLES_V1.into(),
            instance: self.instance.clone(),
            now: self.now,
            refused: None,
            pipelines: Vec::new(),
        };
        (samples, self.recorder.sample("latency", "latency/50ms", since))
    }

    fn poll(&self, evaluator: &mut Evaluator) {
        let since = evaluator.seen_until(&self.instance.id).unwrap_or_default();
        let (samples, sample) = self.answer(since);
        evaluator.ingest(&samples, &sample, self.now).unwrap();
    }

    /// Serves for `span` while the evaluator polls at its interval.
    fn serve_polled(&mut self, evaluator: &mut Evaluator, span: Millis, good: u64, bad: u64) {
        for _ in 0..span.0 / INTERVAL.0 {
            self.serve(INTERVAL, good, bad);
            self.poll(evaluator);
        }
    }
}

fn rates(evaluation: &Evaluation) -> Vec<(String, String)> {
    let shown = |burn: &weir_slo::BurnRate| (burn.window.to_string(), burn.rate.to_string());
    evaluation.burn_rates.iter().map(shown).collect()
}

#[test]
fn a_day_of_good_minutes_with_an_hour_of_bad_ones() {
    let mut evaluator = evaluator("99", SLICES, Millis::from_days(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_hours(23), 10, 0);
    sidecar.serve_polled(&mut evaluator, Millis::from_hours(1), 9, 1);
    sidecar.serve_polled(&mut evaluator, INTERVAL.saturating_mul(2), 9, 1);
    let evaluation = evaluator.evaluate(sidecar.now);
    assert_eq!((evaluation.good, evaluation.total, evaluation.excluded), (1_380, 1_440, 0));
    assert_eq!(evaluation.verdict, Verdict::Missed);
    assert_eq!(evaluation.sli.unwrap().to_string(), "95.83");
    assert_eq!(evaluation.coverage, Ratio::ONE);
    let budget = evaluation.budget.unwrap();
    assert_eq!((budget.total, budget.consumed), (14, 60));
    assert_eq!(budget.remaining_percent.to_string(), "-316.6");
    let expected = [("5m", "100.0"), ("1h", "100.0"), ("6h", "16.7")];
    assert_eq!(rates(&evaluation), expected.map(|(w, r)| (w.to_owned(), r.to_owned())));
}

#[test]
fn one_bad_minute_after_a_gap_is_one_of_sixty() {
    let mut evaluator = evaluator("99", SLICES, Millis::from_days(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(1), 5, 5);
    sidecar.serve_polled(&mut evaluator, INTERVAL.saturating_mul(2), 5, 5);
    let burn = evaluator.burn_rate(Millis::from_hours(1), sidecar.now).unwrap();
    assert_eq!((burn.bad, burn.total), (1, 60));
    let evaluation = evaluator.evaluate(sidecar.now);
    assert_eq!((evaluation.good, evaluation.total), (0, 1));
    assert_eq!(evaluation.verdict, Verdict::Unknown(Unknown::WindowFilling));
    assert_eq!(evaluator.lookback(Millis::from_secs(30), sidecar.now), None);
}

#[test]
fn occurrences_burn_by_the_events_that_were_measured() {
    let mut evaluator = evaluator("99.5", Method::Occurrences, Millis::from_days(28));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(2), 9, 1);
    let burn = evaluator.burn_rate(Millis::from_hours(1), sidecar.now).unwrap();
    assert_eq!((burn.bad, burn.total, burn.rate.to_string().as_str()), (24, 240, "20.0"));
    assert!(burn.rate.exceeds(19_999) && !burn.rate.exceeds(20_000));
    let windows = ["5m", "1h", "6h", "1d", "3d"];
    assert_eq!(rates(&evaluator.evaluate(sidecar.now)).len(), windows.len());
}

#[test]
fn a_target_of_all_has_no_burn_rate_and_every_error_overdraws_its_budget() {
    let mut evaluator = evaluator("100", Method::Occurrences, Millis::from_mins(10));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(10), 1, 0);
    let untouched = evaluator.evaluate(sidecar.now);
    assert_eq!(untouched.verdict, Verdict::Met);
    assert_eq!(untouched.budget.unwrap().remaining_percent.to_string(), "100.0");
    sidecar.serve_polled(&mut evaluator, INTERVAL, 0, 1);
    let overdrawn = evaluator.evaluate(sidecar.now);
    assert_eq!(overdrawn.verdict, Verdict::Missed);
    assert_eq!(overdrawn.budget.unwrap().remaining_percent.to_string(), "-300.0");
    assert_eq!(overdrawn.burn_rates, []);
    assert_ne!(overdrawn.sli.unwrap().to_string(), "100.00");
}

#[test]
fn a_loss_is_missed_at_once_and_no_loss_is_met_once_covered() {
    let method = Method::Strict { max_lost: 0 };
    let mut evaluator = evaluator("0", method, Millis::from_hours(1));
    assert_eq!(evaluator.evaluate(NOON).verdict, Verdict::Unknown(Unknown::NoData));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, INTERVAL, 0, 0);
    let filling = evaluator.evaluate(sidecar.now);
    assert_eq!(filling.verdict, Verdict::Unknown(Unknown::WindowFilling));
    sidecar.serve_polled(&mut evaluator, Millis::from_hours(1), 0, 0);
    let met = evaluator.evaluate(sidecar.now);
    assert_eq!((met.verdict, met.total, met.budget), (Verdict::Met, 0, None));
    let mut other = Sidecar::started("b", sidecar.now);
    other.serve_polled(&mut evaluator, INTERVAL, 999, 1);
    assert_eq!(evaluator.evaluate(other.now).verdict, Verdict::Missed);
    assert_eq!(evaluator.evaluate(other.now).burn_rates, []);
}

#[test]
fn a_loss_counts_for_the_whole_window_and_not_longer() {
    let window = Millis::from_hours(1);
    let mut evaluator = evaluator("0", Method::Strict { max_lost: 0 }, window);
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, INTERVAL, 2, 1);
    sidecar.serve_polled(&mut evaluator, window, 3, 0);
    assert_eq!(evaluator.evaluate(sidecar.now).verdict, Verdict::Missed);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(1), 3, 0);
    assert_eq!(evaluator.evaluate(sidecar.now).verdict, Verdict::Met);
}

#[test]
fn silence_is_neither_good_nor_bad() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_hours(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_hours(1), 1, 0);
    let seen = evaluator.evaluate(sidecar.now);
    assert_eq!((seen.verdict, seen.coverage), (Verdict::Met, Ratio::ONE));
    let later = evaluator.evaluate(sidecar.now.after(Millis::from_mins(30)));
    assert_eq!(later.verdict, Verdict::Unknown(Unknown::WindowFilling));
    assert_eq!(later.coverage, percent("50.8333"));
    assert_eq!(later.good, later.total);
    let much_later = evaluator.evaluate(sidecar.now.after(Millis::from_hours(2)));
    assert_eq!(much_later.verdict, Verdict::Unknown(Unknown::NoData));
    assert_eq!((much_later.sli, much_later.budget), (None, None));
}

#[test]
fn slices_with_too_few_events_are_excluded_and_still_covered() {
    let mut evaluator = evaluator("99", SLICES, Millis::from_hours(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(30), 0, 1);
    sidecar.serve_polled(&mut evaluator, Millis::from_secs(1_830), 2, 0);
    let evaluation = evaluator.evaluate(sidecar.now);
    assert_eq!((evaluation.good, evaluation.total, evaluation.excluded), (30, 30, 30));
    assert_eq!((evaluation.verdict, evaluation.coverage), (Verdict::Met, Ratio::ONE));
}

#[test]
fn an_objective_added_to_a_running_process_begins_unmeasured() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_days(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.instance.started_at = NOON.before(Millis::from_days(10));
    sidecar.serve_polled(&mut evaluator, Millis::from_hours(12), 1, 0);
    let evaluation = evaluator.evaluate(sidecar.now);
    assert_eq!(evaluation.coverage, percent("50"));
    assert_eq!(evaluation.verdict, Verdict::Unknown(Unknown::WindowFilling));
}

#[test]
fn an_evaluator_that_was_away_refills_from_what_the_sidecars_remember() {
    for method in [Method::Occurrences, SLICES] {
        let mut watched = evaluator("99", method.clone(), Millis::from_hours(2));
        let mut sidecar = Sidecar::started("a", NOON);
        sidecar.serve_polled(&mut watched, Millis::from_mins(60), 9, 1);
        let state = watched.save();
        let mut away = Evaluator::restore(watched.objective().clone(), INTERVAL, state).unwrap();
        for (good, bad) in [(10, 0), (2, 8), (10, 0)] {
            sidecar.serve_polled(&mut watched, Millis::from_mins(15), good, bad);
        }
        sidecar.poll(&mut away);
        assert_eq!(away.evaluate(sidecar.now), watched.evaluate(sidecar.now));
    }
}

#[test]
fn a_longer_absence_loses_no_event_but_leaves_slices_unmeasured() {
    let mut sidecar = Sidecar::started("a", NOON);
    let mut events = evaluator("99", Method::Occurrences, Millis::from_days(1));
    let mut slices = evaluator("99", SLICES, Millis::from_days(1));
    sidecar.serve(Millis::from_mins(30), 10, 0);
    [&mut events, &mut slices].into_iter().for_each(|evaluator| sidecar.poll(evaluator));
    sidecar.serve(Millis::from_hours(3), 10, 0);
    [&mut events, &mut slices].into_iter().for_each(|evaluator| sidecar.poll(evaluator));
    let events = events.evaluate(sidecar.now);
    assert_eq!(events.total, sidecar.counts.total);
    assert_eq!(events.coverage, Ratio::of(210, 1_440));
    let slices = slices.evaluate(sidecar.now.after(INTERVAL.saturating_mul(2)));
    // The half hour before, and the hour that the sidecar remembers.
    assert_eq!((slices.good, slices.total), (30 + 60, 30 + 60));
    assert_eq!(slices.coverage, Ratio::of(90, 1_440));
}

#[test]
fn data_of_an_unreachable_instance_revises_its_slices_within_the_hour() {
    let mut evaluator = evaluator("99", SLICES, Millis::from_hours(6));
    let mut reachable = Sidecar::started("a", NOON);
    let mut unreachable = Sidecar::started("b", NOON);
    reachable.serve_polled(&mut evaluator, Millis::from_mins(40), 10, 0);
    unreachable.serve(Millis::from_mins(40), 0, 10);
    let closed = reachable.now.after(INTERVAL.saturating_mul(2));
    assert_eq!(evaluator.evaluate(closed).good, 40);
    unreachable.poll(&mut evaluator);
    assert_eq!((evaluator.evaluate(closed).good, evaluator.evaluate(closed).total), (0, 40));
}

#[test]
fn restarts_and_new_instances_count_from_zero_and_never_below() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_days(1));
    let mut first = Sidecar::started("a", NOON);
    first.serve_polled(&mut evaluator, Millis::from_mins(5), 100, 0);
    let mut second = Sidecar::started("b", first.now);
    second.serve_polled(&mut evaluator, Millis::from_mins(5), 1, 0);
    let total = first.counts.total + second.counts.total;
    assert_eq!(evaluator.evaluate(second.now).total, total);
    // The same id with a smaller count, against the rules: a counter that fell has started again.
    let mut third = Sidecar::started("a", NOON);
    third.now = second.now;
    third.serve_polled(&mut evaluator, INTERVAL, 1, 0);
    assert_eq!(evaluator.evaluate(third.now).total, total + third.counts.total);
}

/// What a series has counted of one instance after readings of (started, read, good, total), in
/// seconds after noon.
fn counted(readings: &[(u64, u64, u64, u64)]) -> Counts {
    let mut series = Series::new();
    let at = |secs| NOON.after(Millis::from_secs(secs));
    for (started, read, good, total) in readings {
        let snapshot = Snapshot { at: at(*read), counts: Counts { good: *good, total: *total } };
        series.ingest("a", at(*started), &[snapshot], at(*read)).unwrap();
    }
    series.window(at(3_600), Millis::from_hours(2)).counts
}

#[test]
fn a_counter_that_outgrew_its_old_value_before_it_was_seen_again_has_still_started_again() {
    assert_eq!(counted(&[(0, 10, 3, 5), (12, 20, 9, 9)]), Counts { good: 12, total: 14 });
}

#[test]
fn a_start_that_wanders_is_no_restart() {
    assert_eq!(counted(&[(0, 10, 3, 5), (7, 20, 9, 9)]).total, 9);
    assert_eq!(counted(&[(30, 10, 3, 5), (30, 20, 9, 9), (30, 40, 9, 10)]).total, 10);
}

#[test]
fn what_a_counter_of_another_clock_held_at_its_start_is_counted() {
    assert_eq!(counted(&[(30, 10, 3, 5)]), Counts { good: 3, total: 5 });
    assert_eq!(counted(&[(10, 10, 3, 5)]), Counts { good: 3, total: 5 });
}

#[test]
fn a_torn_reading_never_counts_more_events_than_there_were() {
    let torn = counted(&[(0, 10, 3, 10), (0, 20, 9, 11), (0, 30, 9, 20)]);
    assert_eq!(torn, Counts { good: 9, total: 20 });
}

#[test]
fn an_instance_that_was_forgotten_is_not_counted_again() {
    let mut series = Series::new();
    let day = Millis::from_days(1);
    let count = |total| Counts { good: total, total };
    let mut ingest = |id: &str, started_at, at, total| {
        let snapshots = [Snapshot { at, counts: count(total) }];
        series.ingest(id, started_at, &snapshots, at).unwrap();
        series.window(at, Millis::from_days(30)).counts.total
    };
    assert_eq!(ingest("gone", NOON, NOON.after(STEP), 1_000), 1_000);
    // A second instance carries time on, in steps too small to look like the reader was away.
    let mut total = 1_000;
    let mut now = NOON;
    for minute in 1..=1_450 {
        now = NOON.after(Millis::from_mins(minute));
        total = ingest("stays", NOON, now, minute);
    }
    assert_eq!(total, 2_450);
    let returned = now.after(STEP);
    assert_eq!(ingest("gone", NOON, returned, 1_500), 2_450);
    assert_eq!(ingest("gone", NOON, returned.after(STEP), 1_502), 2_452);
    assert_eq!(ingest("new", returned, returned.after(STEP), 7), 2_459);
    assert_eq!(ingest("stays", NOON, returned.after(day), 1_451), 2_460);
}

#[test]
fn instances_that_were_not_asked_yet_survive_the_absence_of_the_reader() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_days(28));
    let mut sidecars = ["a", "b", "c"].map(|id| Sidecar::started(id, NOON));
    for days in [0, 3, 5] {
        for sidecar in &mut sidecars {
            sidecar.now = sidecar.now.after(Millis::from_days(days));
            sidecar.serve(Millis::from_mins(1), 10, 0);
            sidecar.poll(&mut evaluator);
        }
    }
    let counted = evaluator.evaluate(sidecars[0].now).total;
    let served: u64 = sidecars.iter().map(|sidecar| sidecar.counts.total).sum();
    assert_eq!(counted, served);
}

#[test]
fn thousands_of_short_lived_instances_use_bounded_memory_and_lose_nothing() {
    let mut series = Series::new();
    for life in 0..5_000 {
        let started_at = NOON.after(Millis::from_secs(life * 5));
        let at = started_at.after(STEP);
        let snapshots = [Snapshot { at, counts: Counts { good: 1, total: 1 } }];
        series.ingest(&format!("instance-{life}"), started_at, &snapshots, at).unwrap();
    }
    let window = series.window(series.head(), Millis::from_days(1));
    assert_eq!(window.counts.total, 5_000);
    assert_eq!(window.measured, Millis::from_secs(25_000));
    assert_eq!(series.seen_until("instance-0"), None);
    assert!(series.seen_until("instance-4999").is_some());
}

#[test]
fn a_saved_month_is_small() {
    for method in [Method::Occurrences, SLICES] {
        let mut evaluator = evaluator("99", method, Millis::from_days(28));
        let mut now = NOON;
        let mut counts = Counts::ZERO;
        let (from, _) = Sidecar::started("a", NOON).answer(NOON);
        for minute in 0..33 * 24 * 60 {
            now = now.after(Millis::from_mins(1));
            counts = counts.saturating_add(Counts { good: 500 + minute % 100, total: 605 });
            let sample = ObjectiveSample { current: counts, ..ObjectiveSample::default() };
            evaluator.ingest(&Samples { now, ..from.clone() }, &sample, now).unwrap();
        }
        let saved = serde_json::to_string(&evaluator.save()).unwrap();
        assert!(saved.len() < 40_000, "{} bytes", saved.len());
        let state: State = serde_json::from_str(&saved).unwrap();
        let restored = Evaluator::restore(evaluator.objective().clone(), INTERVAL, state).unwrap();
        assert_eq!(restored.evaluate(now), evaluator.evaluate(now));
        let remembered = evaluator.window(Millis::from_days(60), now).measured;
        // The oldest cell may be cut by the horizon, and the newest hour of slices is not settled.
        assert!(remembered <= RETENTION.saturating_add(Millis::from_hours(2)), "{remembered}");
    }
}

#[test]
fn settled_slices_keep_their_outcome() {
    let rule = SliceRule { window: Millis::from_mins(1), min_events: 1, quantile: percent("95") };
    let mut slicer = Slicer::new(rule, INTERVAL);
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve(Millis::from_mins(55), 10, 0);
    let early = sidecar.recorder.since(NOON);
    slicer.ingest("a", NOON, &early, sidecar.now).unwrap();
    sidecar.serve(Millis::from_mins(55), 10, 0);
    let late = sidecar.recorder.since(sidecar.now.before(Millis::from_mins(55)));
    slicer.ingest("a", NOON, &late, sidecar.now).unwrap();
    let before = slicer.window(sidecar.now, Millis::from_hours(2));
    let mut unreachable = Sidecar::started("b", NOON);
    unreachable.serve(Millis::from_mins(40), 0, 10);
    let stale = unreachable.recorder.since(NOON);
    slicer.ingest("b", NOON, &stale, sidecar.now).unwrap();
    assert_eq!(slicer.window(sidecar.now, Millis::from_hours(2)), before);
}

#[test]
fn an_evaluator_whose_clock_is_ahead_settles_nothing_that_is_still_to_come() {
    let mut evaluator = evaluator("99", SLICES, Millis::from_hours(6));
    let mut sidecars = ["a", "b"].map(|id| Sidecar::started(id, NOON));
    let ahead = Millis::from_hours(3);
    for _ in 0..4 {
        for sidecar in &mut sidecars {
            sidecar.serve(Millis::from_mins(15), 10, 10);
            let (samples, sample) = sidecar.answer(NOON);
            evaluator.ingest(&samples, &sample, sidecar.now.after(ahead)).unwrap();
        }
    }
    let evaluation = evaluator.evaluate(sidecars[0].now.after(ahead));
    assert_eq!((evaluation.good, evaluation.total), (0, 60));
    let right = evaluator.window(Millis::from_mins(30), sidecars[0].now);
    assert_eq!(right.counts.total, 30);
}

#[test]
fn another_target_applies_to_the_counts_that_there_are_and_another_slice_does_not() {
    let mut before = evaluator("99", SLICES, Millis::from_hours(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut before, Millis::from_mins(61), 10, 0);
    let looser = objective("50", SLICES, Millis::from_hours(1));
    let after = Evaluator::restore(looser, INTERVAL, before.save()).unwrap();
    assert_eq!(after.evaluate(sidecar.now).total, 60);
    assert_eq!(after.fingerprint(), Some("latency/50ms"));
    let method = Method::Timeslices {
        window: Millis::from_mins(2),
        min_events: 20,
        quantile: percent("95"),
    };
    for method in [method, Method::Occurrences] {
        let other = objective("99", method, Millis::from_hours(1));
        let refused = Evaluator::restore(other, INTERVAL, before.save());
        assert_eq!(refused.unwrap_err(), RestoreError::Method { name: "latency".into() });
    }
}

#[test]
fn an_instance_with_another_threshold_is_refused_by_name() {
    let mut evaluator =
        evaluator("99", Method::Occurrences, Millis::from_hours(1)).counting("latency/20ms");
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve(INTERVAL, 1, 0);
    let (samples, sample) = sidecar.answer(NOON);
    let refused = evaluator.ingest(&samples, &sample, sidecar.now).unwrap_err();
    let expected = IngestError::Fingerprint {
        instance: "a".into(),
        found: "latency/50ms".into(),
        expected: "latency/20ms".into(),
    };
    assert_eq!(refused, expected);
    assert_eq!(evaluator.evaluate(sidecar.now).total, 0);
}

#[test]
fn a_clock_that_is_ahead_is_named_and_costs_only_its_own_snapshots() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_hours(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve(Millis::from_mins(10), 1, 0);
    let now = NOON.after(Millis::from_mins(5));
    let (samples, sample) = sidecar.answer(NOON);
    let refused = evaluator.ingest(&samples, &sample, now).unwrap_err();
    let by = Millis::from_mins(5);
    assert_eq!(refused, IngestError::ClockAhead { instance: "a".into(), by });
    assert_eq!(evaluator.evaluate(now).total, 60);
    sidecar.poll(&mut evaluator);
    assert_eq!(evaluator.evaluate(sidecar.now).total, 120);
}

#[test]
fn a_clock_that_goes_back_counts_nothing_twice_and_goes_on() {
    let mut evaluator = evaluator("99", Method::Occurrences, Millis::from_days(1));
    let mut sidecar = Sidecar::started("a", NOON);
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(30), 1, 0);
    let back = sidecar.now.before(Millis::from_mins(20));
    // The evaluator's clock alone: it reads old snapshots again.
    let (samples, sample) = sidecar.answer(NOON);
    assert!(evaluator.ingest(&samples, &sample, back).is_err());
    assert_eq!(evaluator.evaluate(sidecar.now).total, 360);
    // Then both clocks.
    sidecar.now = back;
    sidecar.serve_polled(&mut evaluator, Millis::from_mins(5), 1, 0);
    assert_eq!(evaluator.evaluate(sidecar.now.after(Millis::from_mins(30))).total, 420);
}

#[test]
fn an_objective_that_cannot_be_evaluated_says_which_field_and_what_would_do() {
    let refused = |method, window| {
        Evaluator::new(objective("99", method, window), INTERVAL).unwrap_err().to_string()
    };
    let slices = |window| Method::Timeslices { window, min_events: 1, quantile: percent("95") };
    assert_eq!(
        refused(Method::Occurrences, Millis::from_days(90)),
        "objective \"latency\": the time window is 90d; choose one of 5s to 32d"
    );
    let expected = |slice: &str| {
        format!(
            "objective \"latency\": the time slice is {slice}; choose a multiple of 5s that is not \
             longer than the time window of 1h"
        )
    };
    let hour = Millis::from_hours(1);
    assert_eq!(refused(slices(Millis::from_secs(7)), hour), expected("7s"));
    assert_eq!(refused(slices(Millis::ZERO), hour), expected("0s"));
    assert_eq!(refused(slices(Millis::from_hours(2)), hour), expected("2h"));
}
