//! Writes the status of a pipeline, if it changed, and tells of it in Events.

use jiff::Timestamp;
use kube::ResourceExt;
use weir_crds::v1alpha1::{StreamPipeline, StreamPipelineStatus};

use super::observe::Observed;
use super::repair::Repair;
use super::share::begun;
use super::status::{
    condition, is_settled, scaled, status, transitions, unobserved as unobserved_status,
};
use super::{Error, Outcome, namespace};
use crate::apply::apply_status;
use crate::context::{Context, Notice};
use crate::failure::{Category, Failure, chain};

/// Reports an outcome. Answers whether the pipeline has settled, or is to be looked at again soon.
pub(super) async fn report(
    context: &Context,
    observed: &Observed,
    outcome: &Outcome,
    repairs: &[Repair],
) -> Result<bool, Error> {
    if let Outcome::Failed(error) = outcome
        && is_passing(error)
    {
        return Ok(false);
    }
    let status = status(observed, outcome, repairs, Timestamp::now());
    write(context, &observed.pipeline, &status).await?;
    if let (Outcome::Applied(_), Some(notice)) =
        (outcome, observed.scaling.as_ref().and_then(scaled))
    {
        context.publish(&observed.pipeline, notice).await;
    }
    if let (Outcome::Applied(_), Some(notice)) = (outcome, rebalancing(observed)) {
        context.publish(&observed.pipeline, notice).await;
    }
    Ok(is_settled(observed))
}

/// The Event about subscribers who are sent away.
fn rebalancing(observed: &Observed) -> Option<Notice> {
    let gateway = observed.pipeline.spec.placement.gateway.as_ref()?;
    begun(observed.rebalancing.as_ref()?, gateway.rebalance.as_ref()?.window.get())
}

/// Reports that the cluster could not be observed, and hands the error on.
pub(super) async fn unobserved(
    context: &Context,
    pipeline: &StreamPipeline,
    error: Error,
) -> Error {
    // A status that is behind is nothing to go on from: what it counts would go back.
    if !is_passing(&error) && !context.written.is_behind(&pipeline.metadata) {
        let status = unobserved_status(pipeline, &error, Timestamp::now());
        if let Err(second) = write(context, pipeline, &status).await {
            tracing::warn!(error = chain(&second), "status not written");
        }
    }
    error
}

/// Whether an error says nothing about the pipeline and is gone at the next try, most likely.
fn is_passing(error: &Error) -> bool {
    matches!(error.category(), Category::Conflict | Category::Transport)
}

async fn write(
    context: &Context,
    pipeline: &StreamPipeline,
    status: &StreamPipelineStatus,
) -> Result<(), Error> {
    if !is_changed(pipeline.status.as_ref(), status) {
        return Ok(());
    }
    let api = context.namespaced::<StreamPipeline>(&namespace(pipeline));
    let written = apply_status(&api, &pipeline.name_any(), status).await.map_err(Error::Report)?;
    context.written.note(&written.metadata);
    let before = pipeline.status.as_ref().map_or(&[][..], |status| &status.conditions);
    for notice in transitions(before, &status.conditions) {
        context.publish(pipeline, notice).await;
    }
    Ok(())
}

/// Whether the status differs from what stands, apart from conditions that others have added.
fn is_changed(before: Option<&StreamPipelineStatus>, after: &StreamPipelineStatus) -> bool {
    let Some(mut before) = before.cloned() else { return true };
    before.conditions.retain(|found| condition::ALL.contains(&found.type_.as_str()));
    // The API server keeps the order of the first write; only what the conditions say counts.
    before.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    let mut after = after.clone();
    after.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    before != after
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

    use super::*;
    use crate::conditions::Status;
    use crate::pipeline::testing::running;
    use crate::testing::gateway;

    fn reported() -> StreamPipelineStatus {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        status(&running(&gateway("orders", 1), &["a"]), &Outcome::Applied(None), &[], now)
    }

    #[test]
    fn a_status_is_written_when_it_is_new_and_when_it_changed() {
        let mut other = reported();
        other.replicas = None;
        assert!(is_changed(None, &reported()));
        assert!(is_changed(Some(&other), &reported()));
        assert!(!is_changed(Some(&reported()), &reported()));
    }

    #[test]
    fn conditions_of_others_and_another_order_are_no_change() {
        let mut stored = reported();
        stored.conditions.reverse();
        let foreign = Condition { type_: "Audited".to_owned(), ..stored.conditions[0].clone() };
        stored.conditions.push(foreign);
        assert!(!is_changed(Some(&stored), &reported()));
        stored.conditions[0].status = Status::Unknown.as_str().to_owned();
        assert!(is_changed(Some(&stored), &reported()));
    }
}
