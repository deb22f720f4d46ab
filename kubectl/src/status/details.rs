//! One pipeline: its conditions, its endpoints, its replicas and its SLOs.

use kube::ResourceExt;
use weir_crds::v1alpha1::{EndpointStatus, StreamPipeline, StreamSLO};
use weir_slo::PipelineSample;

use super::overview::{objectives, placement, tone, unwatched};
use super::replica::{Replica, Report};
use crate::output::{Cell, Paint, Table, Tone, harmless};
use crate::watching::LeftOut;

/// Everything about one pipeline.
pub(super) fn render(
    pipeline: &StreamPipeline,
    replicas: &[Replica],
    slos: &[StreamSLO],
    left_out: Option<&LeftOut>,
    paint: Paint,
) -> String {
    let generation = concerning(pipeline);
    let mut out = heading(pipeline, paint);
    out.extend(left_out.map(|left_out| unwatched(left_out, paint)));
    out.push_str(&conditions(pipeline, paint));
    let mut parts = vec![endpoints(pipeline)];
    if !replicas.is_empty() {
        parts.push(table(replicas, generation).render(paint));
    }
    parts.push(complaints(replicas, paint));
    if !slos.is_empty() {
        parts.push(objectives(slos).render(paint));
    }
    for part in parts.iter().filter(|part| !part.is_empty()) {
        out.push('\n');
        out.push_str(part);
    }
    out
}

/// The newest generation that concerns the replicas: a number of replicas, for one, does not.
fn concerning(pipeline: &StreamPipeline) -> Option<i64> {
    let generation = pipeline.metadata.generation;
    let status = pipeline.status.as_ref().filter(|found| found.observed_generation == generation);
    let replicas = status.and_then(|status| status.replicas.as_ref());
    let current = replicas.filter(|replicas| replicas.outdated == 0);
    let run = current.and_then(|replicas| replicas.generations.first());
    run.map(|run| run.generation).or(generation)
}

fn heading(pipeline: &StreamPipeline, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, &pipeline.name_any());
    let generation = pipeline.metadata.generation.unwrap_or_default();
    let observed = pipeline.status.as_ref().and_then(|status| status.observed_generation);
    let behind = match observed {
        Some(observed) if observed == generation => String::new(),
        Some(observed) => format!(", of which the operator has seen {observed}"),
        None => ", which no operator has seen yet".to_owned(),
    };
    format!("{name}, {}, generation {generation}{behind}\n", placement(pipeline))
}

fn conditions(pipeline: &StreamPipeline, paint: Paint) -> String {
    let conditions = pipeline.status.iter().flat_map(|status| &status.conditions);
    let mut out = String::new();
    for condition in conditions {
        let status = paint.text(tone(&condition.status), &format!("{:<9}", condition.status));
        let (kind, message) = (&condition.type_, harmless(&condition.message));
        out.push_str(&format!("  {kind:<16} {status}{message} ({})\n", condition.reason));
    }
    out
}

fn endpoints(pipeline: &StreamPipeline) -> String {
    let found = pipeline.status.as_ref().and_then(|status| status.endpoints.clone());
    let EndpointStatus { sse, websocket, publish } = found.unwrap_or_default();
    let endpoints = [("sse", sse), ("websocket", websocket), ("publish", publish)];
    let lines = endpoints.into_iter().filter_map(|(name, url)| Some((name, url?)));
    lines.map(|(name, url)| format!("  {name:<16} {url}\n")).collect()
}

fn table(replicas: &[Replica], generation: Option<i64>) -> Table {
    let heading =
        ["POD", "READY", "SIDECAR", "GENERATION", "SSE", "WEBSOCKET", "ACCEPTED", "LAGGING"];
    let mut table = Table::new(heading);
    for Replica { pod, ready, report } in replicas {
        let ready = if *ready { "True" } else { "False" };
        let ready = Cell::new(tone(ready), ready);
        let (version, sample) = match report {
            Report::Serving { version, sample } => (version.as_str(), Some(sample.as_ref())),
            Report::NotServing { version } => (version.as_str(), None),
            Report::Silent(_) => ("", None),
        };
        let number = |of: fn(&PipelineSample) -> u64| {
            Cell::from(sample.map_or_else(String::new, |sample| of(sample).to_string()))
        };
        table.row([
            pod.clone().into(),
            ready,
            version.into(),
            generation_cell(sample, generation),
            number(|sample| sample.subscribers.sse),
            number(|sample| sample.subscribers.websocket),
            number(|sample| sample.deliveries.accepted),
            number(|sample| sample.deliveries.lagging),
        ]);
    }
    table
}

fn generation_cell(sample: Option<&PipelineSample>, wanted: Option<i64>) -> Cell {
    match (sample, wanted) {
        (Some(sample), _) if sample.generation == wanted => {
            Cell::new(Tone::Good, wanted.map_or_else(String::new, |it| it.to_string()))
        }
        (Some(sample), Some(wanted)) => {
            let runs = sample.generation.map_or_else(|| "?".to_owned(), |runs| runs.to_string());
            Cell::new(Tone::Doubtful, format!("{runs} of {wanted}"))
        }
        (Some(_), None) | (None, _) => Cell::from(""),
    }
}

/// What replicas complain about, and those that say nothing.
fn complaints(replicas: &[Replica], paint: Paint) -> String {
    let lines = replicas.iter().flat_map(|Replica { pod, ready: _, report }| {
        let lines = match report {
            Report::Silent(why) => vec![format!("can't be asked: {why}")],
            Report::NotServing { .. } => vec!["does not serve this pipeline yet".to_owned()],
            Report::Serving { sample, .. } => ills(sample),
        };
        lines.into_iter().map(move |line| format!("{pod}: {line}"))
    });
    lines.map(|line| paint.text(Tone::Doubtful, &harmless(&line)) + "\n").collect()
}

fn ills(sample: &PipelineSample) -> Vec<String> {
    let why =
        |message: &Option<String>| message.clone().unwrap_or_else(|| "no reason given".to_owned());
    let log = sample.log.iter().filter(|log| !log.healthy);
    let log = log.map(|log| format!("the log takes no events ({})", why(&log.message)));
    let keys = sample.keys.iter().filter(|keys| !keys.healthy);
    let keys =
        keys.map(|keys| format!("it has no keys to verify tokens by ({})", why(&keys.message)));
    let sources = sample.sources.iter().filter(|source| !source.healthy);
    let sources = sources
        .map(|source| format!("the source {} is ill ({})", source.name, why(&source.message)));
    log.chain(keys).chain(sources).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::overview::tests::{condition, pipeline, plain};

    fn sample(generation: i64) -> Box<PipelineSample> {
        let sample = json!({
            "namespace": "shop", "name": "orders", "generation": generation,
            "subscribers": { "sse": 2, "websocket": 1 }, "deliveries": { "accepted": 40 },
            "sources": [{ "name": "app", "healthy": generation == 3, "message": "refused" }],
            "keys": { "healthy": generation == 3, "message": "no such host" },
        });
        Box::new(serde_json::from_value(sample).unwrap())
    }

    #[test]
    fn each_replica_is_shown_with_the_generation_that_it_runs() {
        let status = json!({
            "observedGeneration": 3,
            "conditions": [condition("Ready", "True", "it serves")],
            "endpoints": { "sse": "http://x/orders/sse" },
        });
        let replica = |pod: &str, report| Replica { pod: pod.to_owned(), ready: true, report };
        let version = || "0.1.0".to_owned();
        let replicas = [
            replica("a", Report::Serving { version: version(), sample: sample(3) }),
            replica("b", Report::Serving { version: version(), sample: sample(2) }),
            replica("c", Report::Silent("no answer".to_owned())),
        ];
        let expected = "\
orders, gateway, generation 3
  Ready            True     it serves (Why)

  sse              http://x/orders/sse

POD   READY   SIDECAR   GENERATION   SSE   WEBSOCKET   ACCEPTED   LAGGING
a     True    0.1.0     3            2     1           40         0
b     True    0.1.0     2 of 3       2     1           40         0
c     True    -         -            -     -           -          -

b: it has no keys to verify tokens by (no such host)
b: the source app is ill (refused)
c: can't be asked: no answer
";
        assert_eq!(render(&pipeline("orders", &status), &replicas, &[], None, plain()), expected);
    }

    #[test]
    fn a_generation_that_does_not_concern_the_replicas_leaves_none_behind() {
        let status = |outdated: i32| {
            json!({ "observedGeneration": 3, "replicas": {
                "desired": 1, "ready": 1, "outdated": outdated, "summary": "1/1",
                "generations": [{ "generation": 2, "replicas": 1 }],
            } })
        };
        let report = Report::Serving { version: "0.1.0".to_owned(), sample: sample(2) };
        let replica = Replica { pod: "a".to_owned(), ready: true, report };
        let shown = |outdated| {
            let pipeline = pipeline("orders", &status(outdated));
            render(&pipeline, std::slice::from_ref(&replica), &[], None, plain())
        };
        assert!(shown(1).contains("2 of 3"), "{}", shown(1));
        assert!(!shown(0).contains("2 of 3"), "{}", shown(0));
    }

    #[test]
    fn a_generation_that_the_operator_has_not_seen_is_told() {
        let text = render(
            &pipeline("orders", &json!({ "observedGeneration": 2 })),
            &[],
            &[],
            None,
            plain(),
        );
        assert_eq!(text, "orders, gateway, generation 3, of which the operator has seen 2\n");
    }
}
