//! What is shown, for a program: what the operator says on the resources, as it stands there, and what the replicas
//! answered.

use kube::ResourceExt;
use serde_json::{Value, json};
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};

use super::overview::placement;
use super::replica::{Replica, Report};
use crate::watching::LeftOut;

/// The pipelines and SLOs of a namespace; of a pipeline that was asked for by name, its replicas.
pub(super) fn render(
    namespace: &str,
    pipelines: &[StreamPipeline],
    replicas: Option<&[Replica]>,
    slos: &[StreamSLO],
    left_out: Option<&LeftOut>,
) -> Value {
    let pipelines = pipelines.iter().map(|pipeline| {
        let own = json!({
            "name": pipeline.name_any(),
            "generation": pipeline.metadata.generation,
            "placement": placement(pipeline),
            "status": pipeline.status,
        });
        let replicas = replicas.map(|replicas| replicas.iter().map(replica).collect());
        with(own, "replicas", replicas)
    });
    let slos = slos.iter().map(|slo| {
        json!({
            "name": slo.name_any(),
            "generation": slo.metadata.generation,
            "pipeline": slo.spec.pipeline_ref.name,
            "status": slo.status,
        })
    });
    let document = json!({
        "namespace": namespace,
        "pipelines": pipelines.collect::<Value>(),
        "slos": slos.collect::<Value>(),
    });
    let unwatched =
        left_out.map(|LeftOut { message, remedy }| json!({ "message": message, "remedy": remedy }));
    with(document, "unwatched", unwatched)
}

/// An object with one more member, where there is something in it.
fn with(mut object: Value, name: &str, member: Option<Value>) -> Value {
    if let (Value::Object(members), Some(member)) = (&mut object, member) {
        members.insert(name.to_owned(), member);
    }
    object
}

fn replica(Replica { pod, ready, report }: &Replica) -> Value {
    match report {
        Report::Serving { version, sample } => {
            json!({ "pod": pod, "ready": ready, "version": version, "sample": sample })
        }
        Report::NotServing { version } => {
            json!({ "pod": pod, "ready": ready, "version": version })
        }
        Report::Silent(error) => json!({ "pod": pod, "ready": ready, "error": error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::overview::tests::{condition, pipeline};

    #[test]
    fn a_program_reads_what_stands_on_the_resources_and_what_replicas_say() {
        let status = json!({ "conditions": [condition("Ready", "True", "it serves")] });
        let orders = [pipeline("orders", &status)];
        let document = render("shop", &orders, None, &[], None);
        assert_eq!(document["pipelines"][0]["status"]["conditions"][0]["type"], "Ready");
        assert!(document["pipelines"][0].get("replicas").is_none());
        assert!(document.get("unwatched").is_none());
        let sample = json!({ "namespace": "shop", "name": "orders", "generation": 3 });
        let sample = Box::new(serde_json::from_value(sample).unwrap());
        let replica = |pod: &str, report| Replica { pod: pod.to_owned(), ready: true, report };
        let replicas = [
            replica("a", Report::Serving { version: "0.1.0".to_owned(), sample }),
            replica("b", Report::Silent("no answer".to_owned())),
        ];
        let left_out = LeftOut { message: "nobody".to_owned(), remedy: "do".to_owned() };
        let document = render("shop", &orders, Some(&replicas), &[], Some(&left_out));
        assert_eq!(document["pipelines"][0]["replicas"][0]["sample"]["generation"], 3);
        assert_eq!(document["pipelines"][0]["replicas"][1]["error"], "no answer");
        assert_eq!(document["unwatched"]["remedy"], "do");
    }
}
