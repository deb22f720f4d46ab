//! Whether a pod that says what it needs as a whole (`spec.resources`) leaves room for the sidecar: the API server
//! refuses one whose containers request more than the pod does.

use serde_json::Value;
use weir_crds::v1alpha1::StreamPipeline;

use super::{beside, inits, is_native, is_sidecar, running};
use crate::injection::granted::granted;
use crate::resources::amount;

/// The kinds of resources that the sidecar requests.
pub(in crate::injection) const KINDS: [&str; 2] = ["cpu", "memory"];

/// The kind of which there is too little, in a sentence. A sidecar that is there already requests nothing more.
pub(super) fn lacking(spec: &Value, pipelines: &[&StreamPipeline]) -> Option<String> {
    let whole = spec.pointer("/resources/requests")?;
    if inits(spec).any(is_sidecar) {
        return None;
    }
    let requests = granted(pipelines).requests?;
    KINDS.into_iter().find_map(|kind| {
        let there = whole.get(kind)?;
        let own = requests.get(kind)?;
        let needed = requested(spec, kind).saturating_add(amount(kind, &own.0)?);
        let there = text(there);
        (amount(kind, &there)? < needed).then(|| words(kind, &there, &own.0))
    })
}

/// What the pod is told.
fn words(kind: &str, there: &str, own: &str) -> String {
    format!("{}{there}{}{own}{}", before(kind), BETWEEN, AFTER)
}

/// What stands before the pod's own request.
pub(in crate::injection) fn before(kind: &str) -> String {
    format!("its spec.resources.requests.{kind} of ")
}

/// What stands between that and the sidecar's.
pub(in crate::injection) const BETWEEN: &str =
    ", which its containers share, leaves no room for the ";
/// What stands behind.
pub(in crate::injection) const AFTER: &str =
    " of the sidecar: raise it, or lower placement.sidecar.resources.requests";

/// What the containers request together. One that ends before others start is counted beside all that run, which
/// is more than the API server counts where other sidecars start after it.
fn requested(spec: &Value, kind: &str) -> u64 {
    let of = |container: &Value| {
        let request = container.pointer("/resources/requests").and_then(|all| all.get(kind));
        request.map(text).and_then(|text| amount(kind, &text)).unwrap_or(0)
    };
    let sum = |all: &mut dyn Iterator<Item = &Value>| all.map(of).fold(0, u64::saturating_add);
    let ending = inits(spec).filter(|container| !is_native(container)).map(of).max().unwrap_or(0);
    let starting = ending.saturating_add(sum(&mut beside(spec)));
    sum(&mut running(spec)).max(starting)
}

/// A quantity may be written as a number.
fn text(quantity: &Value) -> String {
    quantity.as_str().map_or_else(|| quantity.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::sidecar_pipeline;

    fn found(spec: &Value) -> Option<String> {
        lacking(spec, &[&sidecar_pipeline("orders")])
    }

    fn requesting(cpu: &str) -> Value {
        json!({ "name": "app", "resources": { "requests": { "cpu": cpu } } })
    }

    #[test]
    fn a_pod_that_leaves_no_room_for_the_sidecar_is_told_how_much_it_takes() {
        for (whole, fits) in
            [("100m", false), ("0.119", false), ("120m", true), ("0.12", true), ("1", true)]
        {
            let spec = json!({
                "resources": { "requests": { "cpu": whole } }, "containers": [requesting("0.1")],
            });
            let told = found(&spec);
            assert_eq!(told.is_none(), fits, "{whole}: {told:?}");
            let words = format!("requests.cpu of {whole}, which");
            assert!(told.is_none_or(|told| told.contains(&words) && told.contains("20m")));
        }
        let memory = json!({ "resources": { "requests": { "memory": 67_108_863 } } });
        assert!(found(&memory).unwrap().contains("64Mi"));
    }

    #[test]
    fn what_a_pod_leaves_open_has_room() {
        assert_eq!(found(&json!({ "resources": { "limits": { "memory": "1Mi" } } })), None);
        assert_eq!(found(&json!({ "containers": [requesting("100")] })), None);
    }

    #[test]
    fn containers_that_end_and_other_sidecars_are_counted() {
        let with = |inits: Value| {
            json!({
                "resources": { "requests": { "cpu": "500m" } },
                "containers": [requesting("100m")],
                "initContainers": inits,
            })
        };
        let mut native = requesting("381m");
        assert_eq!(found(&with(json!([native]))), None, "it has ended before others start");
        native["restartPolicy"] = json!("Always");
        assert!(found(&with(json!([native]))).is_some());
        assert!(found(&with(json!([requesting("481m")]))).is_some());
    }

    #[test]
    fn a_sidecar_that_is_there_needs_no_more_room() {
        let spec = json!({
            "resources": { "requests": { "cpu": "20m" } },
            "containers": [requesting("20m")],
            "initContainers": [{
                "name": "weir-sidecar", "restartPolicy": "Always",
                "volumeMounts": [{ "name": "weir-run", "mountPath": "/run/weir" }],
            }],
        });
        assert_eq!(found(&spec), None);
    }

    #[test]
    fn a_pipeline_that_asks_for_less_finds_room() {
        let mut pipeline = sidecar_pipeline("orders");
        let less = json!({ "requests": { "cpu": "1m" } });
        pipeline.spec.placement.sidecar.as_mut().unwrap().resources =
            serde_json::from_value(less).unwrap();
        let spec = json!({
            "resources": { "requests": { "cpu": "101m" } }, "containers": [requesting("100m")],
        });
        assert!(found(&spec).is_some());
        assert_eq!(lacking(&spec, &[&pipeline]), None);
    }
}
