//! The parts of the controller that need no server.

use kube::runtime::reflector;
use kube::runtime::watcher::Event;

use super::testing::{pipeline, slo};
use super::*;

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
