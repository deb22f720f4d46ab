//! Killed at random moments of a rollout, the operator comes to the same end as one that was left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::sleep;
use weir_tests::{Namespace, with_namespace};

use crate::operator::Operator;
use crate::report::Report;
use crate::{Bench, fleet};

/// Enough for a rollout to last about a second, in which it is killed.
const PIPELINES: usize = 40;

/// From its start; a Lease whose holder was killed is not taken before it ends, so the leader is the one that
/// is killed, and comes back under its own name.
const LONGEST_LIFE: Duration = Duration::from_millis(2_500);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    with_namespace("bench-kills", async |disturbed| {
        with_namespace("bench-calm", async |calm| {
            for round in 0..bench.kills {
                fleet::apply(&disturbed, PIPELINES, 1 + round).await?;
                let operator = Operator::start(bench, &disturbed, "kills")?;
                sleep(LONGEST_LIFE.mul_f64(fastrand::f64())).await;
                operator.kill()?;
            }
            let rate = bench.kills;
            fleet::apply(&calm, PIPELINES, rate).await?;
            let _disturbed = Operator::start(bench, &disturbed, "kills")?;
            let _calm = Operator::start(bench, &calm, "calm")?;
            fleet::until_reconciled(&disturbed, PIPELINES).await?;
            fleet::until_reconciled(&calm, PIPELINES).await?;
            let (one, other) = (essence(&disturbed).await?, essence(&calm).await?);
            let what = format!("killed {} times in rollouts of {PIPELINES} pipelines", bench.kills);
            report.hold(
                one == other && one.len() == 3 * PIPELINES,
                &format!(
                    "{what}: {} objects as if it had not been{}",
                    one.len(),
                    difference(&one, &other)
                ),
            );
            Ok(())
        })
        .await
    })
    .await
}

fn difference(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> String {
    let differs = one.iter().find(|(name, object)| other.get(*name) != Some(*object));
    differs.map_or_else(String::new, |(name, object)| {
        format!("; {name} differs:\n{object}\n{}", other.get(name).map_or("absent", String::as_str))
    })
}

/// What the operator has made, without what no two namespaces have in common.
async fn essence(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let children = fleet::children(namespace).await?;
    let own = fleet::uids(namespace).await?;
    let stripped =
        children.into_iter().map(|(name, object)| (name, strip(object, namespace, &own)));
    Ok(stripped.collect())
}

fn strip(mut object: Value, namespace: &Namespace, own: &[String]) -> String {
    object.as_object_mut().map(|object| object.remove("status"));
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for own in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
            metadata.remove(own);
        }
        // Kubernetes counts the revisions of a Deployment in it.
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        annotations.map(|annotations| annotations.remove("deployment.kubernetes.io/revision"));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let text = serde_json::to_string_pretty(&object).unwrap_or_default();
    let text = own.iter().fold(text, |text, uid| text.replace(uid, "UID"));
    let text = text.replace(&namespace.name, "NAMESPACE");
    // The generation of the pipeline: it was changed more often.
    let lines = text.lines().map(|line| match line.split_once("generation: ") {
        Some((before, after)) => {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            format!("{before}generation: N{}", after.get(digits..).unwrap_or_default())
        }
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
