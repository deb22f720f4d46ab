//! The controller without an API server: fake sidecars are real HTTP servers on loopback.

use kube::runtime::reflector;
use kube::runtime::watcher::Event;

use weir_slo::{Counts, Samples};

use super::data::{Data, Flaw};
use super::replicas::{Missing, Replica};
use super::testing::{Counter, pipeline, slo};
use super::*;
use crate::samples::fake::{Behaviour, FakeSidecar};

#[test]
fn a_pipeline_concerns_the_slos_of_its_namespace_that_name_it() {
    let (store, mut writer) = reflector::store();
    let mut named = |name: &str, namespace: &str, of: &str| {
        let mut slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
        slo.metadata.name = Some(name.to_owned());
        slo.metadata.namespace = Some(namespace.to_owned());
        slo.spec.pipeline_ref.name = of.to_owned();
        writer.apply_watcher_event(&Event::Apply(slo));
    };
    named("a", "shop", "orders");
    named("b", "shop", "others");
    named("c", "elsewhere", "orders");
    let found = referring(&pipeline("{gateway: {}}"), &store);
    let names: Vec<_> = found.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn an_evaluation_comes_early_only_for_a_generation_that_is_known() {
    let slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
    let due = clock().after(Millis::from_secs(10));
    let mut tracked = Tracked::default();
    assert_eq!(early(&tracked, &slo), None);
    tracked.due = Some((3, due));
    assert!(early(&tracked, &slo).is_some_and(|wait| wait <= Duration::from_secs(10)));
    tracked.due = Some((2, due));
    assert_eq!(early(&tracked, &slo), None);
    tracked.due = Some((3, clock()));
    assert_eq!(early(&tracked, &slo), None);
}

/// An SLO that is judged by sampling fakes.
struct Judge {
    sampler: Sampler,
    farewells: Farewells,
    slo: StreamSLO,
    tracked: Tracked,
}

impl Judge {
    /// A judge whose sampler waits for so long.
    fn new(timeout: Duration) -> Self {
        let mut slo = slo("[{name: errors, target: \"99\", errorRate: {}}]");
        slo.spec.time_window.duration = "1h".parse().unwrap();
        let sampler = Sampler::register(timeout, &mut Registry::default());
        Self { sampler, farewells: Farewells::default(), slo, tracked: Tracked::default() }
    }

    /// Samples the replicas: good and total of the objective, and whether the counts are complete.
    async fn judge(&mut self, replicas: &Replicas) -> (u64, u64, Data) {
        let mut valid = validate::validate("feed", &self.slo.spec).unwrap();
        // So short that no answer is used twice.
        valid.interval = Millis(1);
        let Self { sampler, farewells, slo, tracked } = self;
        let heard = Heard { sampler, farewells, objectives: 1 };
        let outcome = judge(heard, slo, &valid, replicas, tracked).await.unwrap();
        let Outcome::Evaluated { judged, data } = outcome else { panic!("{outcome:?}") };
        (judged[0].evaluation.good, judged[0].evaluation.total, data)
    }

    /// The document of an instance that ran for ten seconds, up to so long ago, and counted these.
    fn samples(&self, instance: &'static str, ended: Millis, counts: Counts) -> Samples {
        let end = clock().before(ended);
        let started_at = end.before(Millis::from_secs(10)).as_millis();
        let readings = vec![(end.as_millis(), counts)];
        Counter { started_at, ..Counter::new(instance, readings) }.samples(&self.slo)
    }
}

fn replicas(sidecars: &[(&str, &FakeSidecar)]) -> Replicas {
    let running = sidecars
        .iter()
        .map(|(pod, sidecar)| Replica { target: sidecar.target(pod), must_answer: true });
    Replicas { expected: sidecars.len(), running: running.collect(), missing: Vec::new() }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn counts_of_a_restarted_sidecar_are_added_to_those_of_its_former_process() {
    let mut judge = Judge::new(PATIENCE);
    let first = judge.samples("first", Millis::from_secs(30), Counts::new(9, 10));
    let sidecar = FakeSidecar::start(Behaviour::Serve(first)).await;
    let replicas = replicas(&[("web-0", &sidecar)]);
    let (good, total, data) = judge.judge(&replicas).await;
    assert_eq!((good, total, data.message.as_str()), (9, 10, "1/1 sidecars"));
    let second = judge.samples("second", Millis::from_secs(1), Counts::new(5, 5));
    sidecar.behave(Behaviour::Serve(second));
    let (good, total, data) = judge.judge(&replicas).await;
    assert_eq!((good, total, data.flaw), (14, 15, None));
}

#[tokio::test]
async fn replicas_that_do_not_answer_well_are_named_and_the_others_are_counted() {
    let mut judge = Judge::new(Duration::from_millis(200));
    let well = judge.samples("well", Millis::from_secs(1), Counts::new(9, 10));
    let well = FakeSidecar::start(Behaviour::Serve(well)).await;
    let slow = FakeSidecar::start(Behaviour::Hang).await;
    let garbled = FakeSidecar::start(Behaviour::Garbage).await;
    let mut replicas = replicas(&[("garbled", &garbled), ("slow", &slow), ("well", &well)]);
    replicas.expected = 4;
    replicas.missing.push(Missing::Absent { count: 1 });
    let (good, total, data) = judge.judge(&replicas).await;
    assert_eq!((good, total), (9, 10));
    assert_eq!(data.flaw, Some(Flaw::ScrapeFailing));
    let expected = "1/4 sidecars; garbled: the answer is no samples document";
    assert!(data.message.starts_with(expected), "{}", data.message);
    let expected = "slow: no answer within 200 ms; 1 pod is not created";
    assert!(data.message.ends_with(expected), "{}", data.message);
}

#[tokio::test]
async fn a_new_process_of_the_operator_counts_what_the_sidecar_remembers_once() {
    let mut judge = Judge::new(PATIENCE);
    let samples = judge.samples("a", Millis::from_secs(1), Counts::new(9, 10));
    let sidecar = FakeSidecar::start(Behaviour::Serve(samples)).await;
    let replicas = replicas(&[("web-0", &sidecar)]);
    judge.judge(&replicas).await;
    // What was kept is gone, and with it what was counted.
    judge.tracked = Tracked::default();
    let (good, total, _) = judge.judge(&replicas).await;
    assert_eq!((good, total), (9, 10));
    assert_eq!(sidecar.requests(), ["/samples?since=0", "/samples?since=0"]);
}

#[tokio::test]
async fn what_a_sidecar_counted_after_it_was_last_asked_is_heard_when_it_ends() {
    let mut judge = Judge::new(PATIENCE);
    let asked = judge.samples("a", Millis::from_secs(30), Counts::new(9, 10));
    let started_at = asked.instance.started_at;
    let sidecar = FakeSidecar::start(Behaviour::Serve(asked)).await;
    judge.judge(&replicas(&[("web-0", &sidecar)])).await;
    let mut ended = judge.samples("a", Millis::from_secs(1), Counts::new(12, 14));
    ended.instance.started_at = started_at;
    let objective = &mut ended.pipelines[0].slos[0].objectives[0];
    objective.started_at = None;
    objective.recent.clear();
    let message = serde_json::to_string(&ended).unwrap();
    judge.farewells.hear(&crate::farewells::tests::ended_pod("shop", &message));
    // However often it is heard.
    for _ in 0..2 {
        let (good, total, _) = judge.judge(&Replicas::default()).await;
        assert_eq!((good, total), (12, 14));
    }
}
