//! Remembers who has lately changed what the operator keeps for a pipeline, and had it put right: the condition
//! Contested, and Events, tell of it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::apply::{Change, Undone};
use crate::context::Notice;

/// Longer than a tool takes that puts its own back time and again, and than a person takes to wonder.
pub(super) const LATELY: Duration = Duration::from_mins(10);
/// How many are remembered of a pipeline.
const MOST: usize = 16;

/// What was undone of late, by the uid of the pipeline.
#[derive(Debug, Default)]
pub(super) struct Contested(Mutex<HashMap<String, Vec<Memory>>>);

#[derive(Debug)]
struct Memory {
    contest: Contest,
    last: Instant,
    /// Whether an Event has told of the last time.
    is_told: bool,
}

/// A change that was undone, once or more often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contest {
    /// What was changed.
    pub(super) undone: Undone,
    /// How often.
    pub(super) times: u32,
}

impl Contested {
    /// Takes note of a change that was undone.
    pub(super) fn note(&self, uid: &str, undone: Undone) {
        let last = Instant::now();
        tracing::info!(
            kind = undone.kind,
            name = undone.name,
            change = undone.change.told(),
            "put right"
        );
        let mut all = self.0.lock();
        let of_pipeline = all.entry(uid.to_owned()).or_default();
        if let Some(known) = of_pipeline.iter_mut().find(|known| known.contest.undone == undone) {
            known.contest.times = known.contest.times.saturating_add(1);
            (known.last, known.is_told) = (last, false);
        } else if of_pipeline.len() < MOST {
            let contest = Contest { undone, times: 1 };
            of_pipeline.push(Memory { contest, last, is_told: false });
        }
    }

    /// What was undone of late.
    pub(super) fn of(&self, uid: &str) -> Vec<Contest> {
        let mut all = self.0.lock();
        let Some(of_pipeline) = all.get_mut(uid) else { return Vec::new() };
        of_pipeline.retain(|memory| memory.last.elapsed() < LATELY);
        let contests = of_pipeline.iter().map(|memory| memory.contest.clone()).collect::<Vec<_>>();
        if contests.is_empty() {
            all.remove(uid);
        }
        contests
    }

    /// The Events about what was undone since the last call.
    pub(super) fn news(&self, uid: &str) -> Vec<Notice> {
        let mut all = self.0.lock();
        let of_pipeline = all.get_mut(uid).into_iter().flatten();
        let untold = of_pipeline.filter(|memory| !memory.is_told);
        let tell = |memory: &mut Memory| {
            memory.is_told = true;
            let undone = &memory.contest.undone;
            let note = format!("{}, which was put right: {}", told(undone), remedy(undone));
            Notice { warning: true, reason: "ChangeUndone".to_owned(), note }
        };
        untold.map(tell).collect()
    }

    /// Forgets all other pipelines.
    pub(super) fn keep_only(&self, is_living: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| is_living(uid));
    }
}

/// What was done to what.
pub(super) fn told(Undone { kind, name, change }: &Undone) -> String {
    format!("{kind} {name}: {}", change.told())
}

/// What to do instead.
pub(super) fn remedy(Undone { kind, name: _, change }: &Undone) -> String {
    let field = field(kind);
    match change {
        Change::Fields { .. } | Change::Unnoted => {
            format!("change {field} of the StreamPipeline instead")
        }
        Change::Deletion => {
            format!("change {field} of the StreamPipeline instead, or delete the pipeline")
        }
    }
}

/// The field of a pipeline from which an object of a kind is made.
fn field(kind: &str) -> &'static str {
    match kind {
        "NetworkPolicy" => "spec.exposure.networkPolicy",
        "Ingress" => "spec.exposure.ingress",
        "HTTPRoute" => "spec.exposure.httpRoute",
        "Deployment" | "StatefulSet" | "PodDisruptionBudget" => "spec.placement.gateway",
        "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding" => "spec.placement.sidecar",
        _ => "the spec",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pipeline) fn edited(kind: &str) -> Undone {
        Undone {
            kind: kind.to_owned(),
            name: "orders".to_owned(),
            change: Change::Fields {
                manager: "kubectl-edit".to_owned(),
                fields: vec![".spec.replicas".to_owned()],
            },
        }
    }

    fn notes(contested: &Contested) -> Vec<String> {
        contested.news("a").into_iter().map(|notice| notice.note).collect()
    }

    #[test]
    fn each_time_is_told_once_and_counted() {
        let contested = Contested::default();
        assert!(contested.news("a").is_empty() && contested.of("a").is_empty());
        contested.note("a", edited("Deployment"));
        let note = "Deployment orders: kubectl-edit changed .spec.replicas, which was put right: change \
                    spec.placement.gateway of the StreamPipeline instead";
        assert_eq!(notes(&contested), [note]);
        assert!(notes(&contested).is_empty());
        contested.note("a", edited("Deployment"));
        contested.note("a", edited("Service"));
        assert_eq!(notes(&contested).len(), 2);
        let times: Vec<_> = contested.of("a").iter().map(|contest| contest.times).collect();
        assert_eq!(times, [2, 1]);
        assert!(contested.of("b").is_empty());
        contested.keep_only(|uid| uid == "b");
        assert!(contested.of("a").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_is_forgotten() {
        let contested = Contested::default();
        contested.note("a", edited("Deployment"));
        tokio::time::advance(LATELY / 2).await;
        contested.note("a", edited("Service"));
        tokio::time::advance(LATELY / 2).await;
        let left = contested.of("a");
        assert_eq!(left, [Contest { undone: edited("Service"), times: 1 }]);
        tokio::time::advance(LATELY / 2).await;
        assert!(contested.of("a").is_empty() && contested.0.lock().is_empty());
    }

    #[test]
    fn no_more_than_some_are_remembered() {
        let contested = Contested::default();
        for at in 0..2 * MOST {
            contested.note("a", edited(&at.to_string()));
        }
        assert_eq!(contested.of("a").len(), MOST);
    }

    #[test]
    fn an_object_that_was_deleted_is_told_with_what_it_follows_from() {
        let contested = Contested::default();
        let change = Change::Deletion;
        contested.note("a", Undone { change, ..edited("Ingress") });
        let note = "Ingress orders: somebody deleted it, which was put right: change spec.exposure.ingress of the \
                    StreamPipeline instead, or delete the pipeline";
        assert_eq!(notes(&contested), [note]);
    }
}
