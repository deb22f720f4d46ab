//! The pipelines and SLOs: what does the operator say on them?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};

use super::finding::{Finding, Verdict};
use super::observe::Read;
use crate::watching::{LeftOut, Watching};

/// What is to be said of pipelines and SLOs: those that are well are counted, the others named.
pub(super) fn judge(
    pipelines: &Read<Vec<StreamPipeline>>,
    slos: &Read<Vec<StreamSLO>>,
    watching: &Watching,
) -> Vec<Finding> {
    let pipelines = kind("pipelines", pipelines, watching, Verdict::Problem, |found| Seen {
        generation: found.metadata.generation,
        observed: found.status.as_ref().and_then(|status| status.observed_generation),
        conditions: found.status.as_ref().map_or(&[], |status| &status.conditions),
    });
    // An objective that is missed is no matter of the installation: only Ready counts, not Met.
    let slos = kind("SLOs", slos, watching, Verdict::Warning, |found| Seen {
        generation: found.metadata.generation,
        observed: found.status.as_ref().and_then(|status| status.observed_generation),
        conditions: found.status.as_ref().map_or(&[], |status| &status.conditions),
    });
    [pipelines, slos].concat()
}

/// What the operator has written on a resource.
struct Seen<'a> {
    generation: Option<i64>,
    observed: Option<i64>,
    conditions: &'a [Condition],
}

fn kind<K: ResourceExt>(
    subject: &str,
    read: &Read<Vec<K>>,
    watching: &Watching,
    verdict: Verdict,
    seen: impl Fn(&K) -> Seen<'_>,
) -> Vec<Finding> {
    let all = match read {
        Ok(all) => all,
        Err(reason) => return vec![Finding::unknown(subject, reason)],
    };
    let wrong: Vec<_> = all
        .iter()
        .filter_map(|found| {
            let namespace = found.namespace().unwrap_or_default();
            let subject = format!("{subject} {namespace}/{}", found.name_any());
            match watching.left_out(&namespace) {
                Some(left_out) => Some(unwatched(subject, &seen(found), verdict, left_out)),
                None => one(&subject, &seen(found), verdict),
            }
        })
        .collect();
    let well = all.len() - wrong.len();
    let mut findings = wrong;
    if findings.is_empty() || well > 0 {
        findings.push(Finding::ok(subject, format!("{well} of {} are ready", all.len())));
    }
    findings
}

/// What stands on it nobody keeps up to date.
fn unwatched(
    subject: String,
    seen: &Seen<'_>,
    verdict: Verdict,
    LeftOut { message, remedy }: LeftOut,
) -> Finding {
    let before = if seen.conditions.is_empty() { "" } else { "; its conditions are of before" };
    Finding::wrong(verdict, subject, format!("{message}{before}"), remedy)
}

fn one(subject: &str, seen: &Seen<'_>, verdict: Verdict) -> Option<Finding> {
    let Seen { generation, observed, conditions } = seen;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    let Some(ready) = ready else {
        let message = "no operator has looked at it";
        let remedy = "see what is said of the operator";
        return Some(Finding::wrong(verdict, subject, message, remedy));
    };
    if ready.status != "True" {
        let message = format!("is not ready ({}): {}", ready.reason, ready.message);
        let remedy =
            "do what it says; `kubectl weir status -n`, with its namespace, shows the rest";
        return Some(Finding::wrong(verdict, subject, message, remedy));
    }
    if observed != generation {
        let message = "has a change that the operator has not taken up yet";
        let remedy =
            "wait a moment; if it stays so, see what is said of the operator, and its logs";
        return Some(Finding::wrong(Verdict::Warning, subject, message, remedy));
    }
    let partly = conditions
        .iter()
        .find(|condition| condition.type_ == "Injected" && condition.status == "False");
    partly.map(|partly| {
        let message =
            format!("is ready, but not in all pods ({}): {}", partly.reason, partly.message);
        Finding::wrong(Verdict::Warning, subject, message, "do what it says")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::operator::tests::installed;

    fn pipeline(status: &Value) -> StreamPipeline {
        serde_json::from_value(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
            "metadata": { "name": "orders", "namespace": "shop", "generation": 2 },
            "spec": {
                "placement": { "gateway": {} },
                "sources": [{ "name": "demo", "generator": { "rate": 5 } }],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "Why", "message": "mend it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    }

    fn first(status: &Value) -> Finding {
        judge(&Ok(vec![pipeline(status)]), &Ok(Vec::new()), &Watching::default()).remove(0)
    }

    #[test]
    fn a_pipeline_that_is_ready_is_counted() {
        let ready = json!({ "observedGeneration": 2, "conditions": [condition("Ready", "True")] });
        assert_eq!(first(&ready), Finding::ok("pipelines", "1 of 1 are ready"));
    }

    #[test]
    fn one_that_is_not_is_named_with_what_the_operator_says() {
        let not = first(&json!({ "conditions": [condition("Ready", "False")] }));
        assert_eq!(
            (not.subject.as_str(), not.verdict),
            ("pipelines shop/orders", Verdict::Problem)
        );
        assert!(not.message.contains("(Why): mend it"), "{not:?}");
        assert!(first(&Value::Null).message.contains("no operator"));
    }

    #[test]
    fn one_that_nobody_watches_says_so_and_not_what_stands_on_it() {
        let operator = installed("weir-system", &["--watch-namespace=till"]).deployment;
        let watching = Watching::of(std::iter::once(&operator), true);
        for (status, before) in [
            (Value::Null, false),
            (json!({ "conditions": [condition("Ready", "False")] }), true),
            (json!({ "observedGeneration": 2, "conditions": [condition("Ready", "True")] }), true),
        ] {
            let found = judge(&Ok(vec![pipeline(&status)]), &Ok(Vec::new()), &watching).remove(0);
            assert_eq!(found.verdict, Verdict::Problem);
            let said = "no operator watches the namespace shop: weir-system/weir watches till";
            assert!(found.message.starts_with(said), "{found:?}");
            assert_eq!(found.message.ends_with("of before"), before, "{found:?}");
            assert!(found.remedy.unwrap().contains("watchNamespaces"));
        }
    }

    #[test]
    fn one_that_lags_or_is_not_in_all_pods_is_a_warning() {
        let ready = condition("Ready", "True");
        for status in [
            json!({ "observedGeneration": 1, "conditions": [ready] }),
            json!({ "observedGeneration": 2, "conditions": [ready, condition("Injected", "False")] }),
        ] {
            assert_eq!(first(&status).verdict, Verdict::Warning, "{status}");
        }
    }
}
