//! Says whether the counts are complete: which sidecars were read, and which are missing and why.

use super::evaluators::Problem;
use super::replicas::{Missing, Replicas};

/// Whether the counts are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Data {
    /// What stands in the way; nothing where every sidecar was read.
    pub(super) flaw: Option<Flaw>,
    /// How many sidecars were read of how many, and what is wrong with the others.
    pub(super) message: String,
}

/// What stands in the way of complete counts, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    /// There is no sidecar.
    NoTargets,
    /// A sidecar that is ready does not answer.
    ScrapeFailing,
    /// The clock of a sidecar's node is ahead, so its counts can't be put into their time.
    ClockSkew,
    /// A sidecar has yet to take up the newest configuration.
    ConfigurationOutdated,
    /// A sidecar that should be there is not there, or not ready.
    ReplicaMissing,
}

impl Flaw {
    /// The reason of the condition.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoTargets => "NoTargets",
            Self::ScrapeFailing => "ScrapeFailing",
            Self::ClockSkew => "ClockSkew",
            Self::ConfigurationOutdated => "ConfigurationOutdated",
            Self::ReplicaMissing => "ReplicaMissing",
        }
    }
}

/// What is wrong with each replica is told of so many; the others are only counted.
const TOLD: usize = 5;

/// Judges what came of sampling the running replicas: `problems` are theirs, in their order.
pub(super) fn assess(replicas: &Replicas, problems: &[Option<Problem>]) -> Data {
    let Replicas { expected, running, missing } = replicas;
    if running.is_empty() && *expected == 0 {
        let message = "no pod carries the sidecar: create a pod that the pipeline's selector matches, \
                       or restart one that is older than the pipeline";
        return Data { flaw: Some(Flaw::NoTargets), message: message.to_owned() };
    }
    let sampled = running.iter().zip(problems).filter(|(replica, _)| replica.must_answer);
    let read = sampled.clone().filter(|(_, problem)| problem.is_none()).count();
    let failed = sampled.filter_map(|(replica, problem)| {
        problem.as_ref().map(|problem| of_problem(&replica.target.pod, problem))
    });
    let mut flaws: Vec<_> = failed.chain(missing.iter().map(of_missing)).collect();
    flaws.sort();
    let mut message = format!("{read}/{expected} sidecars");
    for (_, told) in flaws.iter().take(TOLD) {
        message.push_str("; ");
        message.push_str(told);
    }
    if let Some(more) = flaws.len().checked_sub(TOLD).filter(|&more| more > 0) {
        message.push_str(&format!("; and {more} more"));
    }
    Data { flaw: flaws.first().map(|&(flaw, _)| flaw), message }
}

fn of_problem(pod: &str, problem: &Problem) -> (Flaw, String) {
    match problem {
        Problem::Silent(why) => (Flaw::ScrapeFailing, format!("{pod}: {why}")),
        Problem::ClockAhead => {
            let told = format!("the clock of {pod} is more than a minute ahead: synchronise it");
            (Flaw::ClockSkew, told)
        }
        Problem::Outdated => (
            Flaw::ConfigurationOutdated,
            format!("{pod} has yet to take up the newest configuration"),
        ),
    }
}

fn of_missing(missing: &Missing) -> (Flaw, String) {
    let told = match missing {
        Missing::Bare { pod } => format!("{pod} has no sidecar: restart it"),
        Missing::Unready { pod } => format!("{pod} is not ready"),
        Missing::Absent { count: 1 } => "1 pod is not created".to_owned(),
        Missing::Absent { count } => format!("{count} pods are not created"),
    };
    (Flaw::ReplicaMissing, told)
}

#[cfg(test)]
mod tests {
    use super::super::replicas::Replica;
    use super::*;
    use crate::samples::Target;

    fn replica(pod: &str, must_answer: bool) -> Replica {
        let address = "10.0.0.1:7071".parse().unwrap();
        Replica {
            target: Target { uid: pod.to_owned(), pod: pod.to_owned(), address },
            must_answer,
        }
    }

    fn running(pods: &[&str]) -> Replicas {
        Replicas {
            expected: pods.len(),
            running: pods.iter().map(|pod| replica(pod, true)).collect(),
            missing: Vec::new(),
        }
    }

    #[test]
    fn all_sidecars_read_is_complete() {
        let data = assess(&running(&["a", "b", "c"]), &[None, None, None]);
        assert_eq!(data, Data { flaw: None, message: "3/3 sidecars".to_owned() });
    }

    #[test]
    fn no_sidecar_at_all_names_the_remedy() {
        let data = assess(&Replicas::default(), &[]);
        assert_eq!(data.flaw, Some(Flaw::NoTargets));
        assert!(data.message.contains("restart one that is older"), "{}", data.message);
    }

    #[test]
    fn the_gravest_flaw_is_the_reason_and_all_are_told() {
        let mut replicas = running(&["a", "b"]);
        replicas.expected = 4;
        replicas.missing =
            vec![Missing::Unready { pod: "c".to_owned() }, Missing::Bare { pod: "d".to_owned() }];
        let silent = Problem::Silent("no answer within 2000 ms".to_owned());
        let data = assess(&replicas, &[Some(Problem::Outdated), Some(silent)]);
        assert_eq!(data.flaw, Some(Flaw::ScrapeFailing));
        assert_eq!(
            data.message,
            "0/4 sidecars; b: no answer within 2000 ms; a has yet to take up the newest configuration; \
             c is not ready; d has no sidecar: restart it"
        );
    }

    #[test]
    fn one_that_is_leaving_may_be_silent() {
        let mut replicas = running(&["a"]);
        replicas.running.push(replica("leaving", false));
        let silent = Problem::Silent("the connection broke".to_owned());
        let data = assess(&replicas, &[None, Some(silent)]);
        assert_eq!(data, Data { flaw: None, message: "1/1 sidecars".to_owned() });
    }

    #[test]
    fn of_many_flaws_a_few_are_told() {
        let pods: Vec<_> = (0..9).map(|n| format!("pod-{n}")).collect();
        let pods: Vec<_> = pods.iter().map(String::as_str).collect();
        let data = assess(&running(&pods), &vec![Some(Problem::ClockAhead); 9]);
        assert_eq!(data.flaw, Some(Flaw::ClockSkew));
        assert!(data.message.ends_with("; and 4 more"), "{}", data.message);
    }
}
