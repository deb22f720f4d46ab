//! Holds the crate against the naive model under random instances, restarts, gaps, repetitions and
//! orders, and against its own laws under input that makes no sense at all.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of a test fails it by panicking"
)]

mod naive;

use naive::{Batch, EPOCH, Life, Steps, at};
use proptest::prelude::*;
use proptest::sample::Index;
use weir_slo::{
    Counts, Evaluation, Evaluator, Instance, Method, Millis, Objective, ObjectiveSample, Outcome,
    Ratio, SAMPLES_V1, STEP, Samples, Series, SliceRule, Slicer, Snapshot, State, Timestamp,
    Verdict, WindowCounts,
};

/// Enough to find what random search finds, in seconds.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn counts() -> impl Strategy<Value = Counts> {
    (0u64..20, 0u64..5).prop_map(|(good, bad)| Counts { good, total: good + bad })
}

/// Instances that each live once or, under the same id, twice.
fn lives(steps: usize) -> impl Strategy<Value = Vec<Life>> {
    let events = prop::collection::vec(counts(), steps);
    let life = (events, 0..steps / 2, 0..steps / 2, prop::option::of(1usize..20));
    prop::collection::vec(life, 1..4).prop_map(move |lives| {
        let instances =
            lives.into_iter().enumerate().flat_map(|(index, (events, begin, cut, pause))| {
                let instance = format!("instance-{index}");
                let middle = begin + cut;
                let first = Life {
                    instance: instance.clone(),
                    started: begin,
                    events: events[begin..middle].to_vec(),
                };
                let again = pause.map(|pause| (middle + pause).min(steps)).map(|started| Life {
                    instance,
                    started,
                    events: events[started..].to_vec(),
                });
                std::iter::once(first).chain(again)
            });
        instances.collect()
    })
}

/// How the snapshots of a life arrive: each poll takes up to `take` more of them, goes back over
/// `overlap` old ones, and loses those that `lost` points at.
#[derive(Clone, Debug)]
struct Poll {
    take: usize,
    overlap: usize,
    lost: Vec<Index>,
    reversed: bool,
}

fn polls() -> impl Strategy<Value = Vec<Poll>> {
    let lost = prop::collection::vec(any::<Index>(), 0..3);
    let poll = (1usize..40, 0usize..10, lost, any::<bool>())
        .prop_map(|(take, overlap, lost, reversed)| Poll { take, overlap, lost, reversed });
    prop::collection::vec(poll, 1..12)
}

fn batches_of(life: &Life, polls: &[Poll]) -> Vec<Batch> {
    let snapshots = life.snapshots();
    let mut batches = Vec::new();
    let mut next = 0;
    for poll in polls.iter().cycle() {
        if next == snapshots.len() {
            return batches;
        }
        let first = next.saturating_sub(poll.overlap);
        next = (next + poll.take).min(snapshots.len());
        let mut batch = snapshots[first..next].to_vec();
        for lost in &poll.lost {
            batch.remove(lost.index(batch.len()));
            if batch.is_empty() {
                break;
            }
        }
        if poll.reversed {
            batch.reverse();
        }
        batches.push(Batch {
            instance: life.instance.clone(),
            started: life.started,
            snapshots: batch,
        });
    }
    batches
}

/// All batches in an order in which those of one instance keep theirs.
fn interleaved(lives: &[Life], polls: &[Poll], order: &[Index]) -> Vec<Batch> {
    let mut queues: Vec<(String, std::collections::VecDeque<Batch>)> = Vec::new();
    for life in lives {
        let batches = batches_of(life, polls);
        match queues.iter_mut().find(|(instance, _)| *instance == life.instance) {
            Some((_, queue)) => queue.extend(batches),
            None => queues.push((life.instance.clone(), batches.into())),
        }
    }
    let mut all = Vec::new();
    for pick in order.iter().cycle() {
        queues.retain(|(_, queue)| !queue.is_empty());
        if queues.is_empty() {
            break;
        }
        let picked = pick.index(queues.len());
        all.extend(queues[picked].1.pop_front());
    }
    all
}

fn arrivals(steps: usize) -> impl Strategy<Value = Vec<Batch>> {
    let order = prop::collection::vec(any::<Index>(), 1..20);
    (lives(steps), polls(), order)
        .prop_map(|(lives, polls, order)| interleaved(&lives, &polls, &order))
}

fn series_of(batches: &[Batch], now: Timestamp) -> Series {
    let mut series = Series::new();
    for Batch { instance, started, snapshots } in batches {
        series.ingest(instance, at(*started), snapshots, now).unwrap();
    }
    series
}

/// The window between two steps.
fn between(series: &Series, from: usize, to: usize) -> WindowCounts {
    series.window(at(to), Millis((to - from) as u64 * STEP.0))
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn recent_windows_equal_the_sum_of_their_steps(
        batches in arrivals(170),
        windows in prop::collection::vec((0usize..=170, 0usize..=170), 8),
    ) {
        let series = series_of(&batches, at(170));
        let known = Steps::read(&batches, 170, usize::MAX);
        for (one, other) in windows {
            let (from, to) = (one.min(other), one.max(other));
            let window = between(&series, from, to);
            prop_assert_eq!(window.counts, known.counts(from, to), "{}..{}", from, to);
            prop_assert_eq!(window.measured.0, known.measured(from, to) * STEP.0);
        }
    }

    #[test]
    fn what_arrives_twice_counts_once(batches in arrivals(170)) {
        let once = series_of(&batches, at(170));
        let mut twice = once.clone();
        for Batch { instance, started, snapshots } in &batches {
            let newest = twice.seen_until(instance);
            // A repetition of the life before a restart is older than what was seen since.
            if snapshots.iter().all(|snapshot| Some(snapshot.at) <= newest) {
                twice.ingest(instance, at(*started), snapshots, at(170)).unwrap();
            }
        }
        for from in (0..170).step_by(13) {
            prop_assert_eq!(between(&once, from, 170), between(&twice, from, 170));
        }
    }
}

/// A long, cheap life: constant counts for each stretch of time, seen at every step.
fn long_life() -> impl Strategy<Value = Life> {
    let stretch = (counts(), 1usize..4_000);
    (prop::collection::vec(stretch, 1..16), 0usize..2_000).prop_map(|(stretches, started)| {
        let steps = stretches.into_iter().flat_map(|(events, steps)| vec![events; steps]);
        Life { instance: "one".into(), started, events: steps.collect() }
    })
}

fn read_in_polls(life: &Life, poll: usize) -> (Series, Steps) {
    let batches: Vec<Batch> = life
        .snapshots()
        .chunks(poll)
        .map(|part| Batch {
            instance: life.instance.clone(),
            started: life.started,
            snapshots: part.to_vec(),
        })
        .collect();
    let end = life.end();
    (series_of(&batches, at(end)), Steps::read(&batches, end, usize::MAX))
}

/// The widest cell at an age in steps, in steps.
fn widest_cell(age: usize) -> usize {
    match age {
        0..=180 => 1,
        181..=4_320 => 12,
        4_321..=51_840 => 60,
        _ => 720,
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn thinned_windows_are_exact_on_the_edges_of_cells_and_bracketed_between_them(
        life in long_life(),
        poll in 1usize..720,
        froms in prop::collection::vec(any::<Index>(), 12),
    ) {
        let (series, known) = read_in_polls(&life, poll);
        let end = life.end();
        for from in froms.into_iter().map(|from| from.index(end)) {
            let window = between(&series, from, end);
            // A cell on the seam of two levels may already be the wider one.
            let cell = widest_cell(end - from + 720);
            let (inner, outer) = (from.next_multiple_of(cell).min(end), from - from % cell);
            let most = known.counts(outer, end);
            let least = known.counts(inner, end);
            prop_assert!(window.counts.good >= least.good && window.counts.good <= most.good);
            prop_assert!(window.counts.total >= least.total && window.counts.total <= most.total);
            prop_assert!(window.counts.good <= window.counts.total);
            prop_assert_eq!(window.measured.0, known.measured(from, end) * STEP.0);
            let hour = from - from % 720;
            prop_assert_eq!(between(&series, hour, end).counts, known.counts(hour, end));
        }
    }

    #[test]
    fn windows_that_lie_end_to_end_add_up(
        life in long_life(),
        cuts in prop::collection::vec(any::<Index>(), 1..12),
    ) {
        let (series, known) = read_in_polls(&life, 100);
        let end = life.end();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(end)).collect();
        cuts.extend([0, end]);
        cuts.sort_unstable();
        let sum = cuts
            .windows(2)
            .map(|pair| between(&series, pair[0], pair[1]).counts)
            .fold(Counts::ZERO, Counts::saturating_add);
        prop_assert_eq!(sum, known.counts(0, end));
    }
}

const SLICES: usize = 5_000;

/// One and two instances over seven hours, whose data may arrive up to 50 minutes late.
fn sliced() -> impl Strategy<Value = (Vec<(usize, Batch)>, usize)> {
    let stretch =
        (prop_oneof![Just(Counts::ZERO), counts()], 1usize..150, prop::bool::weighted(0.1));
    let life = (prop::collection::vec(stretch, 60), 0usize..50, 1usize..600);
    (prop::collection::vec(life, 1..3), 1usize..6).prop_map(|(lives, minutes)| {
        let mut arrivals = Vec::new();
        for (index, (stretches, started, late)) in lives.into_iter().enumerate() {
            let seen: Vec<bool> = stretches.iter().flat_map(|s| vec![!s.2; s.1]).collect();
            let events = stretches.iter().flat_map(|s| vec![s.0; s.1]).take(SLICES).collect();
            let life = Life { instance: format!("instance-{index}"), started, events };
            let visible: Vec<Snapshot> = life
                .snapshots()
                .into_iter()
                .enumerate()
                .filter(|(index, _)| seen.get(*index).copied().unwrap_or(true))
                .map(|(_, snapshot)| snapshot)
                .collect();
            let together = |one: &Snapshot, other: &Snapshot| {
                naive::step(one.at) / late == naive::step(other.at) / late
            };
            for part in visible.chunk_by(together) {
                let snapshots = part.to_vec();
                let arrived = part.last().map_or(0, |last| naive::step(last.at));
                let batch = Batch { instance: life.instance.clone(), started, snapshots };
                arrivals.push((arrived, batch));
            }
        }
        arrivals.sort_by_key(|(arrived, _)| *arrived);
        (arrivals, minutes)
    })
}

/// Outcomes of the slices between two steps, found one by one: good, bad and excluded.
fn naive_outcomes(
    known: &Steps,
    slice: usize,
    rule: &SliceRule,
    from: usize,
    to: usize,
) -> [u64; 3] {
    let mut outcomes = [0; 3];
    for start in (from..to).step_by(slice) {
        let counts = known.counts(start, start + slice);
        if known.measured(start, start + slice) * 2 < slice as u64 {
            continue;
        }
        let outcome = if counts.total < rule.min_events || counts.total == 0 {
            2
        } else if counts.good as u128 * 1_000_000
            >= u128::from(rule.quantile.ppm()) * counts.total as u128
        {
            0
        } else {
            1
        };
        outcomes[outcome] += 1;
    }
    outcomes
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn slices_equal_those_cut_one_by_one(
        (arrivals, minutes) in sliced(),
        min_events in 0u64..60,
        quantile in 700_000u32..=1_000_000,
        hours in 1usize..5,
        grace in 0usize..12,
    ) {
        let slice = minutes * 12;
        let window = Millis(slice as u64 * STEP.0);
        let rule = SliceRule { window, min_events, quantile: Ratio::from_ppm(quantile).unwrap() };
        let mut slicer = Slicer::new(rule, Millis(grace as u64 * STEP.0));
        let mut now = at(0);
        for (arrived, Batch { instance, started, snapshots }) in &arrivals {
            now = now.max(at(*arrived));
            slicer.ingest(instance, at(*started), snapshots, now).unwrap();
        }
        let batches: Vec<Batch> = arrivals.into_iter().map(|(_, batch)| batch).collect();
        let known = Steps::read(&batches, 12_000, slice);
        let closed = (naive::step(now) - grace.min(naive::step(now))) / slice * slice;
        let from = closed.saturating_sub(hours * 720 / slice * slice);
        let [good, bad, excluded] = naive_outcomes(&known, slice, &rule, from, closed);
        let seen = slicer.window(now, Millis::from_hours(hours as u64));
        prop_assert_eq!(slicer.closed_until(now), at(closed));
        prop_assert_eq!(seen.counts, Counts { good, total: good + bad });
        prop_assert_eq!(seen.excluded, excluded);
        prop_assert_eq!(seen.measured.0, (good + bad + excluded) * window.0);
    }
}

fn ratio() -> impl Strategy<Value = Ratio> {
    prop_oneof![Just(0u32), Just(1_000_000), Just(995_000), 0u32..=1_000_000]
        .prop_map(|ppm| Ratio::from_ppm(ppm).unwrap())
}

fn method() -> impl Strategy<Value = Method> {
    let slices = (1u64..200, any::<u64>(), ratio()).prop_map(|(steps, min_events, quantile)| {
        Method::Timeslices { window: Millis(steps * STEP.0), min_events, quantile }
    });
    let strict = any::<u64>().prop_map(|max_lost| Method::Strict { max_lost });
    prop_oneof![Just(Method::Occurrences), slices, strict]
}

fn objective() -> impl Strategy<Value = Objective> {
    (ratio(), method(), 1_000u64..100_000, ratio()).prop_map(|(target, method, secs, coverage)| {
        Objective {
            name: "any".into(),
            target,
            method,
            window: Millis::from_secs(secs),
            min_coverage: coverage,
        }
    })
}

fn document(instance: &str, started_at: Timestamp, now: Timestamp) -> Samples {
    Samples {
        api_version: SAMPLES_V1.into(),
        instance: Instance { id: instance.into(), started_at, version: String::new() },
        now,
        refused: None,
        pipelines: Vec::new(),
    }
}

fn sample(current: Counts, recent: Vec<Snapshot>) -> ObjectiveSample {
    ObjectiveSample { current, recent, ..ObjectiveSample::default() }
}

/// Any instant within two hours.
fn nearby() -> BoxedStrategy<Timestamp> {
    (0u64..7_200_000).prop_map(|millis| Timestamp::from_millis(EPOCH + millis)).boxed()
}

/// Any instant, most of them near each other and some at the ends of time.
fn anytime() -> BoxedStrategy<Timestamp> {
    let far = prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)].prop_map(Timestamp::from_millis);
    prop_oneof![2 => nearby(), 1 => far].boxed()
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let count = || prop_oneof![Just(0), 0u64..100, any::<u64>(), Just(u64::MAX)];
    (count(), count()).prop_map(|(good, total)| Counts { good, total })
}

fn nonsense(
    anytime: fn() -> BoxedStrategy<Timestamp>,
) -> impl Strategy<Value = Vec<(Samples, ObjectiveSample, Timestamp)>> {
    let snapshot = (anytime(), any_counts()).prop_map(|(at, counts)| Snapshot { at, counts });
    let recent = prop::collection::vec(snapshot, 0..12);
    let call = (0..4u8, anytime(), anytime(), any_counts(), recent, anytime());
    let call = call.prop_map(|(instance, started_at, now, current, recent, read_at)| {
        let from = document(&format!("instance-{instance}"), started_at, now);
        (from, sample(current, recent), read_at)
    });
    prop::collection::vec(call, 1..12)
}

fn check_laws(objective: &Objective, evaluation: &Evaluation) -> Result<(), TestCaseError> {
    prop_assert!(evaluation.good <= evaluation.total);
    prop_assert!(evaluation.coverage <= Ratio::ONE);
    let strict = matches!(objective.method, Method::Strict { .. });
    prop_assert_eq!(evaluation.sli.is_some(), evaluation.total > 0);
    prop_assert_eq!(evaluation.budget.is_some(), evaluation.total > 0 && !strict);
    if let (Some(sli), Some(budget)) = (evaluation.sli, evaluation.budget) {
        let reached = sli.reaches(objective.target);
        prop_assert_eq!(!budget.remaining_percent.is_negative(), reached);
        prop_assert_eq!(budget.consumed <= budget.total, reached);
        prop_assert_eq!(budget.consumed, evaluation.total - evaluation.good);
        prop_assert!(evaluation.verdict != Verdict::Met || reached);
        prop_assert!(evaluation.verdict != Verdict::Missed || !reached);
        prop_assert_eq!(sli.to_string() == "100.00", evaluation.good == evaluation.total);
        prop_assert_eq!(budget.remaining_percent.to_string().starts_with('-'), !reached);
    }
    for burn in &evaluation.burn_rates {
        prop_assert!(burn.window < objective.window && burn.bad <= burn.total);
        let _ = burn.rate.to_string();
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_input_breaks_the_laws_and_none_counts_twice(
        objective in objective(),
        calls in nonsense(anytime),
        asked in prop::collection::vec(anytime(), 1..4),
    ) {
        let mut evaluator = Evaluator::new(objective.clone(), Millis::from_secs(15)).unwrap();
        for (from, sample, now) in &calls {
            let first = evaluator.ingest(from, sample, *now);
            let once = evaluator.save();
            let second = evaluator.ingest(from, sample, *now);
            prop_assert_eq!(first, second);
            prop_assert_eq!(once, evaluator.save());
        }
        for now in asked {
            check_laws(&objective, &evaluator.evaluate(now))?;
        }
    }

    #[test]
    fn a_restored_evaluator_goes_on_as_if_nothing_had_happened(
        objective in objective(),
        before in nonsense(nearby),
        after in nonsense(nearby),
        now in anytime(),
    ) {
        let interval = Millis::from_secs(15);
        let mut kept = Evaluator::new(objective.clone(), interval).unwrap();
        for (from, sample, now) in &before {
            let _ = kept.ingest(from, sample, *now);
        }
        let saved = serde_json::to_string(&kept.save()).unwrap();
        let state: State = serde_json::from_str(&saved).unwrap();
        let mut restored = Evaluator::restore(objective, interval, state).unwrap();
        for (from, sample, now) in &after {
            prop_assert_eq!(kept.ingest(from, sample, *now), restored.ingest(from, sample, *now));
        }
        let written = |evaluator: &Evaluator| serde_json::to_string(&evaluator.save()).unwrap();
        prop_assert_eq!(written(&kept), written(&restored));
        prop_assert_eq!(kept.evaluate(now), restored.evaluate(now));
    }

    #[test]
    fn a_slice_is_judged_by_exactly_one_rule(
        counts in any_counts(),
        measured in 0u64..=60_000,
        min_events in prop_oneof![Just(0u64), 0u64..100, any::<u64>()],
        quantile in ratio(),
    ) {
        let counts = Counts::new(counts.good, counts.total);
        let rule = SliceRule { window: Millis::from_mins(1), min_events, quantile };
        let slice = WindowCounts { counts, excluded: 0, measured: Millis(measured) };
        let expected = match () {
            () if measured < 30_000 => Outcome::Unmeasured,
            () if counts.total < min_events || counts.total == 0 => Outcome::Excluded,
            () if quantile.is_reached_by(counts.good, counts.total) => Outcome::Good,
            () => Outcome::Bad,
        };
        prop_assert_eq!(rule.judge(&slice), expected);
    }
}
