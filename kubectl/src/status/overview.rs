//! All pipelines and SLOs of a namespace, in two tables, and below them what is wrong.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use weir_crds::names::reason::UPGRADE_AVAILABLE;
use weir_crds::v1alpha1::{PlacementKind, StreamPipeline, StreamSLO};

use crate::output::{Cell, Paint, Table, Tone, harmless};
use crate::watching::LeftOut;

/// The tables, and what is wrong.
pub(super) fn render(
    pipelines: &[StreamPipeline],
    slos: &[StreamSLO],
    left_out: Option<&LeftOut>,
    paint: Paint,
) -> String {
    let mut parts = Vec::new();
    if !pipelines.is_empty() {
        parts.push(table(pipelines).render(paint));
    }
    if !slos.is_empty() {
        parts.push(objectives(slos).render(paint));
    }
    // Where nobody looks, this is why nobody has, and what stands on the others nobody keeps up to date.
    if let Some(left_out) = left_out.filter(|_| !parts.is_empty()) {
        parts.push(unwatched(left_out, paint));
    }
    let is_seen = |conditions: &Option<&[Condition]>| left_out.is_none() || conditions.is_some();
    let of_pipelines = pipelines.iter().map(|pipeline| {
        let conditions = pipeline.status.as_ref().map(|status| status.conditions.as_slice());
        ("pipeline", pipeline.name_any(), conditions)
    });
    let of_slos = slos.iter().map(|slo| {
        let conditions = slo.status.as_ref().map(|status| status.conditions.as_slice());
        ("SLO", slo.name_any(), conditions)
    });
    let seen = of_pipelines.chain(of_slos).filter(|(_, _, conditions)| is_seen(conditions));
    let told = seen.map(|(kind, name, conditions)| troubles(kind, &name, conditions, paint));
    parts.extend(told.filter(|text| !text.is_empty()));
    parts.join("\n")
}

/// That nobody looks after the namespace, and what to do.
pub(super) fn unwatched(LeftOut { message, remedy }: &LeftOut, paint: Paint) -> String {
    let (title, remedy) = (paint.text(Tone::Bad, &harmless(message)), harmless(remedy));
    format!("{title}\n  {remedy}; what is shown here is of before\n")
}

fn table(pipelines: &[StreamPipeline]) -> Table {
    let heading = ["PIPELINE", "READY", "PLACEMENT", "REPLICAS", "OUTDATED", "INJECTED", "SSE"];
    let mut table = Table::new(heading);
    for pipeline in pipelines {
        let status = pipeline.status.clone().unwrap_or_default();
        let replicas = status.replicas.clone().unwrap_or_default();
        let outdated = match replicas.outdated {
            0 => Cell::from("0"),
            some => Cell::new(Tone::Doubtful, some.to_string()),
        };
        table.row([
            pipeline.name_any().into(),
            verdict(&status.conditions, "Ready"),
            placement(pipeline).into(),
            replicas.summary.into(),
            outdated,
            status
                .injection
                .map_or_else(String::new, |found| format!("{}/{}", found.injected, found.selected))
                .into(),
            status.endpoints.and_then(|found| found.sse).unwrap_or_default().into(),
        ]);
    }
    table
}

pub(super) const fn placement(pipeline: &StreamPipeline) -> &'static str {
    match pipeline.spec.placement.kind() {
        Some(PlacementKind::Sidecar(_)) => "sidecar",
        Some(PlacementKind::Gateway(_)) => "gateway",
        None => "?",
    }
}

/// The SLOs in a table.
pub(super) fn objectives(slos: &[StreamSLO]) -> Table {
    let heading = ["SLO", "PIPELINE", "READY", "MET", "WORST", "SLI", "BUDGET", "BURN(1H)", "DATA"];
    let mut table = Table::new(heading);
    for slo in slos {
        let status = slo.status.clone().unwrap_or_default();
        let summary = status.summary.clone().unwrap_or_default();
        let met = verdict(&status.conditions, "Met").with_text(&summary.met);
        table.row([
            slo.name_any().into(),
            slo.spec.pipeline_ref.name.clone().into(),
            verdict(&status.conditions, "Ready"),
            met,
            summary.worst.unwrap_or_default().into(),
            summary.sli.unwrap_or_default().into(),
            summary.budget.unwrap_or_default().into(),
            summary.burn.unwrap_or_default().into(),
            summary.data.into(),
        ]);
    }
    table
}

/// A condition's status in its tone; `Unknown` where it isn't there.
pub(super) fn verdict(conditions: &[Condition], type_: &str) -> Cell {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    let status = found.map_or("Unknown", |condition| condition.status.as_str());
    Cell::new(tone(status), status)
}

pub(super) fn tone(status: &str) -> Tone {
    match status {
        "True" => Tone::Good,
        "False" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

/// What is not as it should be where it holds; of all other conditions it is where they don't.
const ABNORMAL: [&str; 2] = ["ScalingLimited", "Contested"];

/// The reason of a condition that holds, and tells how injected pods come to the operator's release.
const SIDECARS_OUTDATED: &str = "SidecarsOutdated";

fn is_wrong(Condition { type_, status, reason, .. }: &Condition) -> bool {
    let wrong = if ABNORMAL.contains(&type_.as_str()) { "True" } else { "False" };
    status == wrong || [UPGRADE_AVAILABLE, SIDECARS_OUTDATED].contains(&reason.as_str())
}

/// The conditions that are not as they should be, or could be better, each with what to do, as the operator words it.
fn troubles(kind: &str, name: &str, conditions: Option<&[Condition]>, paint: Paint) -> String {
    let title = |text: &str| paint.text(Tone::Strong, &format!("{kind} {name}: {text}"));
    let Some(conditions) = conditions else {
        let text = "no operator has looked at it yet; `kubectl weir check` says why";
        return format!("{}\n", title(text));
    };
    let wrong = conditions.iter().filter(|condition| is_wrong(condition));
    // Everything that failed for one reason has one message.
    let mut told: Vec<&str> = Vec::new();
    let mut out = String::new();
    for Condition { type_, status, reason, message, .. } in wrong {
        if told.contains(&message.as_str()) {
            continue;
        }
        told.push(message);
        out.push_str(&format!(
            "{}\n  {}\n",
            title(&format!("{type_} is {status} ({reason})")),
            harmless(message)
        ));
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::output::Screen;

    pub(in crate::status) fn plain() -> Paint {
        Screen::plain(Vec::new(), Vec::new()).paint
    }

    pub(in crate::status) fn condition(type_: &str, status: &str, message: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "Why", "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    pub(in crate::status) fn pipeline(name: &str, status: &Value) -> StreamPipeline {
        serde_json::from_value(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
            "metadata": { "name": name, "namespace": "shop", "generation": 3 },
            "spec": {
                "placement": { "gateway": { "replicas": 2 } },
                "sources": [{ "name": "demo", "generator": { "rate": 5 } }],
            },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn some_conditions_are_wrong_where_they_hold() {
        let wrong = |type_: &str, status: &str| {
            is_wrong(&serde_json::from_value(condition(type_, status, "")).unwrap())
        };
        assert!(wrong("Ready", "False") && !wrong("Ready", "True"));
        for abnormal in ABNORMAL {
            assert!(wrong(abnormal, "True") && !wrong(abnormal, "False"), "{abnormal}");
        }
        let mut outdated = condition("Injected", "True", "");
        outdated["reason"] = "SidecarsOutdated".into();
        assert!(is_wrong(&serde_json::from_value(outdated).unwrap()));
    }

    #[test]
    fn what_is_wrong_stands_below_the_table_once() {
        let wrong = [
            condition("Ready", "False", "mend it"),
            condition("EndpointsReady", "False", "mend it"),
        ];
        let pipelines = [
            pipeline("carts", &json!({ "conditions": wrong })),
            pipeline(
                "orders",
                &json!({
                    "conditions": [condition("Ready", "True", "it serves")],
                    "replicas": { "desired": 2, "ready": 2, "outdated": 0, "summary": "2/2" },
                    "endpoints": { "sse": "http://orders.shop.svc:7070/orders/sse" },
                }),
            ),
        ];
        let expected = "\
PIPELINE   READY   PLACEMENT   REPLICAS   OUTDATED   INJECTED   SSE
carts      False   gateway     -          0          -          -
orders     True    gateway     2/2        0          -          http://orders.shop.svc:7070/orders/sse

pipeline carts: Ready is False (Why)
  mend it
";
        assert_eq!(render(&pipelines, &[], None, plain()), expected);
    }

    #[test]
    fn an_upgrade_that_waits_to_be_asked_for_is_told() {
        let mut waits = condition("UpToDate", "True", "ask for it");
        waits["reason"] = json!("UpgradeAvailable");
        let text =
            render(&[pipeline("orders", &json!({ "conditions": [waits] }))], &[], None, plain());
        let told = "pipeline orders: UpToDate is True (UpgradeAvailable)\n  ask for it\n";
        assert!(text.ends_with(told), "{text}");
    }

    #[test]
    fn a_pipeline_that_nobody_has_looked_at_says_so() {
        let text = render(&[pipeline("new", &Value::Null)], &[], None, plain());
        assert!(text.contains("pipeline new: no operator has looked at it yet"), "{text}");
        assert!(text.contains("Unknown"), "{text}");
    }

    #[test]
    fn where_no_operator_watches_that_is_said_once_and_before_what_is_of_before() {
        let old = json!({ "conditions": [condition("Ready", "False", "mend it")] });
        let pipelines = [pipeline("new", &Value::Null), pipeline("old", &old)];
        let left_out = LeftOut { message: "nobody watches".to_owned(), remedy: "do".to_owned() };
        let text = render(&pipelines, &[], Some(&left_out), plain());
        let expected = "
nobody watches
  do; what is shown here is of before

pipeline old: Ready is False (Why)
  mend it
";
        assert!(text.ends_with(expected), "{text}");
        assert!(!text.contains("no operator has looked"), "{text}");
        assert_eq!(render(&[], &[], Some(&left_out), plain()), "");
    }
}
