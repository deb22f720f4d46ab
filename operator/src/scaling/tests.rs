//! Holds the decisions to a naive model that forgets nothing and reckons in floats, over random lives of a
//! gateway, and to their own laws.

use proptest::prelude::*;
use weir_crds::v1alpha1::SelectPolicy;

use super::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn pace() -> impl Strategy<Value = Pace> {
    let step = prop_oneof![(1..8_i32).prop_map(Step::Pods), (1..150_i32).prop_map(Step::Percent)];
    let policy = (step, (1..8_u64).prop_map(|n| n * 10_000));
    let policy = policy.prop_map(|(step, period)| Policy { step, period });
    let select = prop_oneof![
        4 => Just(SelectPolicy::Max),
        2 => Just(SelectPolicy::Min),
        1 => Just(SelectPolicy::Disabled),
    ];
    let window = prop_oneof![Just(0), (0..400_000_u64)];
    (window, select, prop::collection::vec(policy, 1..4))
        .prop_map(|(window, select, policies)| Pace { window, select, policies })
}

fn goal() -> impl Strategy<Value = Goal> {
    (1..5_i32, 0..30_i32, pace(), pace()).prop_map(|(fewest, more, up, down)| Goal {
        fewest,
        most: fewest + more,
        up,
        down,
    })
}

/// What happens until the next decision: time passes, and each replica has so much to do, or is silent.
type Turn = (Millis, Vec<Option<u64>>);

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let value = prop_oneof![5 => (0..400_u64).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((1..60_000_u64, prop::collection::vec(value, 0..12)), 1..40)
}

fn loads(values: &[Option<u64>], current: i32) -> Vec<Load> {
    let known: Vec<u64> = values.iter().copied().flatten().collect();
    let missing = u64::try_from(current).unwrap().saturating_sub(known.len() as u64);
    vec![Load { metric: Metric::Connections, target: 100, values: known, missing }]
}

/// The model: the words of autoscaling/v2 put down one after the other.
#[derive(Default)]
struct Naive {
    recommendations: Vec<(Millis, i32)>,
    changes: Vec<(Millis, i32)>,
}

impl Naive {
    fn decide(&mut self, goal: &Goal, current: i32, load: &Load, now: Millis) -> i32 {
        if self.recommendations.is_empty() && self.changes.is_empty() {
            // What there is at the beginning stands a moment before anything is recommended.
            self.recommendations.push((now, current));
        }
        let desired = if load.values.is_empty() {
            current.clamp(goal.fewest, goal.most)
        } else {
            let wanted = Self::wanted(current, load);
            let desired = if current > goal.most || current < goal.fewest {
                current.clamp(goal.fewest, goal.most)
            } else {
                let stable = self.stabilize(goal, current, wanted, now);
                self.pace(goal, current, stable, now)
            };
            self.recommendations.push((now, wanted));
            desired
        };
        if desired != current {
            self.changes.push((now, desired - current));
        }
        desired
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small numbers"
    )]
    fn wanted(current: i32, load: &Load) -> i32 {
        let target = load.target as f64;
        let mut values: Vec<f64> = load.values.iter().map(|&value| value as f64).collect();
        let ratio = values.iter().sum::<f64>() / (target * values.len() as f64);
        let calm = |ratio: f64| (ratio - 1.0).abs() <= 0.1 + 1e-9;
        if load.missing == 0 && calm(ratio) {
            return current;
        }
        let stand_in = if ratio < 1.0 { target } else { 0.0 };
        values.extend((0..load.missing).map(|_| stand_in));
        let anew = values.iter().sum::<f64>() / (target * values.len() as f64);
        if calm(anew) || (ratio < 1.0) != (anew < 1.0) {
            return current;
        }
        let wanted = (values.iter().sum::<f64>() / target - 1e-9).ceil() as i32;
        if (anew < 1.0 && wanted > current) || (anew > 1.0 && wanted < current) {
            return current;
        }
        wanted
    }

    fn stabilize(&self, goal: &Goal, current: i32, wanted: i32, now: Millis) -> i32 {
        let (mut least, mut most) = (wanted, wanted);
        for &(at, replicas) in &self.recommendations {
            let age = now - at;
            if age < goal.up.window {
                least = least.min(replicas);
            }
            if age < goal.down.window {
                most = most.max(replicas);
            }
        }
        current.max(least).min(most)
    }

    #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
    fn pace(&self, goal: &Goal, current: i32, stable: i32, now: Millis) -> i32 {
        let up = stable > current;
        let pace = if up { &goal.up } else { &goal.down };
        let mut reaches = Vec::new();
        for policy in &pace.policies {
            let recent = self.changes.iter().filter(|&&(at, _)| now - at < policy.period);
            let before = current - recent.map(|&(_, change)| change).sum::<i32>();
            let sign = if up { 1 } else { -1 };
            reaches.push(match policy.step {
                Step::Pods(count) => before + sign * count,
                Step::Percent(percent) => {
                    let factor = 1.0 + f64::from(sign * percent) / 100.0;
                    let reach = f64::from(before) * factor;
                    let reach = if up { (reach - 1e-9).ceil() } else { (reach + 1e-9).floor() };
                    reach as i32
                }
            });
        }
        let (largest, smallest) = (*reaches.iter().max().unwrap(), *reaches.iter().min().unwrap());
        let reach = match (pace.select, up) {
            (SelectPolicy::Max, true) | (SelectPolicy::Min, false) => largest,
            (SelectPolicy::Max, false) | (SelectPolicy::Min, true) => smallest,
            (SelectPolicy::Disabled, _) => current,
        };
        if up {
            stable.min(reach.max(current)).min(goal.most)
        } else {
            stable.max(reach.min(current)).max(goal.fewest)
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn every_decision_is_the_naive_models(goal in goal(), start in 1..20_i32, turns in turns()) {
        let (mut history, mut naive) = (History::default(), Naive::default());
        let (mut current, mut now) = (start, 1_000_000);
        for (pause, values) in turns {
            now += pause;
            let loads = loads(&values, current);
            let decision = decide(&goal, current, &loads, &history, now);
            let model = naive.decide(&goal, current, &loads[0], now);
            prop_assert_eq!(decision.desired, model, "{:?} after {:?}", decision, history);
            history.note(&decision, &goal, now);
            current = decision.desired;
        }
    }

    #[test]
    fn the_bounds_hold_and_a_limit_is_named_where_the_load_asks_for_more_or_less(
        goal in goal(), start in 1..20_i32, turns in turns(),
    ) {
        let mut history = History::default();
        let (mut current, mut now) = (start, 1_000_000);
        for (pause, values) in turns {
            now += pause;
            let decision = decide(&goal, current, &loads(&values, current), &history, now);
            let Decision { desired, recommended, .. } = decision;
            prop_assert!((goal.fewest..=goal.most).contains(&desired), "{:?}", decision);
            let follows = desired == recommended;
            prop_assert!(follows == (decision.limit == Limit::None), "{:?}", decision);
            history.note(&decision, &goal, now);
            current = desired;
        }
    }
}

fn usual() -> Goal {
    let asked =
        serde_json::json!({ "minReplicas": 2, "maxReplicas": 20, "connectionsPerReplica": 100 });
    Goal::of(&serde_json::from_value(asked).unwrap())
}

fn load(metric: Metric, target: u64, values: &[u64]) -> Load {
    Load { metric, target, values: values.to_vec(), missing: 0 }
}

fn connections(values: &[u64]) -> Vec<Load> {
    vec![load(Metric::Connections, 100, values)]
}

#[test]
fn a_load_within_a_tenth_of_its_target_changes_nothing() {
    let history = History::default();
    for values in [[110, 110], [90, 90]] {
        let decision = decide(&usual(), 2, &connections(&values), &history, 0);
        assert_eq!((decision.desired, decision.limit), (2, Limit::None));
    }
    assert_eq!(decide(&usual(), 2, &connections(&[111, 110]), &history, 0).desired, 3);
}

#[test]
fn of_two_targets_the_one_that_asks_for_more_decides() {
    let loads = [load(Metric::Connections, 100, &[150, 150]), load(Metric::Lag, 10, &[20, 20])];
    let decision = decide(&usual(), 2, &loads, &History::default(), 0);
    assert_eq!((decision.desired, decision.by), (4, Some((Metric::Lag, 200))));
}

#[test]
fn a_crowd_is_followed_at_once_and_its_leaving_after_five_minutes() {
    let (goal, mut history) = (usual(), History::default());
    let mut current = 2;
    let mut at = |seconds: u64, values: &[u64], current: &mut i32| {
        let decision = decide(&goal, *current, &connections(values), &history, seconds * 1_000);
        history.note(&decision, &goal, seconds * 1_000);
        *current = decision.desired;
        (decision.desired, decision.limit)
    };
    // Twelve are wanted; within 15 s there are four more at most.
    assert_eq!(at(0, &[600, 600], &mut current), (6, Limit::PaceUp));
    assert_eq!(at(10, &[200; 6], &mut current), (6, Limit::PaceUp));
    assert_eq!(at(15, &[200; 6], &mut current), (12, Limit::None));
    assert_eq!(at(300, &[10; 12], &mut current), (12, Limit::StabilizedDown));
    assert_eq!(at(314, &[10; 12], &mut current), (12, Limit::StabilizedDown));
    assert_eq!(at(315, &[10; 12], &mut current), (2, Limit::None));
}

#[test]
fn a_leader_that_has_just_begun_takes_nothing_away_for_a_window() {
    let (goal, mut history) = (usual(), History::default());
    for seconds in [0, 100, 299] {
        let decision = decide(&goal, 9, &connections(&[1; 9]), &history, seconds * 1_000);
        assert_eq!((decision.desired, decision.limit), (9, Limit::StabilizedDown));
        history.note(&decision, &goal, seconds * 1_000);
    }
    assert_eq!(decide(&goal, 9, &connections(&[1; 9]), &history, 300_000).desired, 2);
}

#[test]
fn replicas_that_do_not_answer_never_lead_to_fewer_and_may_lead_to_more() {
    let silent = |values: &[u64], missing| {
        let load = Load { missing, ..load(Metric::Connections, 100, values) };
        decide(&usual(), 5, &[load], &History::default(), 0)
    };
    assert_eq!(silent(&[], 5).desired, 5);
    assert_eq!(silent(&[], 5).by, None);
    // Three that are idle do not speak for the two that are silent.
    assert_eq!(silent(&[0, 0, 0], 2).recommended, 2);
    assert_eq!(silent(&[300, 300, 300], 2).desired, 9);
    assert_eq!(silent(&[150, 150, 150], 2).desired, 5);
}

#[test]
fn new_bounds_wait_for_nothing() {
    let decision = decide(&usual(), 40, &connections(&[500; 40]), &History::default(), 0);
    assert_eq!((decision.desired, decision.limit), (20, Limit::Most));
    let decision = decide(&usual(), 1, &[], &History::default(), 0);
    assert_eq!((decision.desired, decision.limit), (2, Limit::Fewest));
}
