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
use crate::conditions::get;
use crate::context::{Context, Notice};
use crate::failure::{Failure, chain};

/// Reports an outcome. Answers whether the pipeline has settled, or is to be looked at again soon.
pub(super) async fn report(
    context: &Context,
    observed: &Observed,
    outcome: &Outcome,
    repairs: &[Repair],
) -> Result<bool, Error> {
    match outcome {
        Outcome::Failed(error) if context.patience.bears(&observed.pipeline, error.category()) => {
            return Ok(false);
        }
        Outcome::Failed(_) => {}
        Outcome::Applied(_) | Outcome::Rejected(_) => context.patience.forget(&observed.pipeline),
    }
    let status = status(observed, outcome, repairs, Timestamp::now());
    write(context, &observed.pipeline, &status).await?;
    if let (Outcome::Applied(_), Some(notice)) =
        (outcome, observed.scaling.as_ref().and_then(scaled))
    {
        context.publish(&observed.pipeline, notice).await;
    }
    if let Some(notice) = misspelt(observed) {
        context.publish(&observed.pipeline, notice).await;
    }
    if let (Outcome::Applied(_), Some(notice)) = (outcome, rebalancing(observed)) {
        context.publish(&observed.pipeline, notice).await;
    }
    Ok(is_settled(observed))
}

/// The Event about a request that asks for nothing, where the status did not tell of it before.
fn misspelt(observed: &Observed) -> Option<Notice> {
    let note = observed.upgrade.misspelt()?;
    let before = observed.pipeline.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let told =
        get(before, condition::UP_TO_DATE).is_some_and(|found| found.message.contains(&note));
    (!told).then(|| Notice { warning: true, reason: "UpgradeUnknown".to_owned(), note })
}

/// The Event about subscribers who are sent away.
fn rebalancing(observed: &Observed) -> Option<Notice> {
    let gateway = observed.pipeline.spec.placement.gateway.as_ref()?;
    begun(observed.rebalancing.as_ref()?, gateway.rebalance.as_ref()?.window.get())
}

/// The status that says what a gateway's pods are about to be given, where they were given something else before.
pub(super) fn intention(
    pipeline: &StreamPipeline,
    noted: Option<&str>,
) -> Option<StreamPipelineStatus> {
    let before = pipeline.status.as_ref()?;
    let given = before.pod_templates.last().filter(|given| Some(given.as_str()) != noted)?;
    let pod_templates = vec![given.clone(), noted?.to_owned()];
    Some(StreamPipelineStatus { pod_templates, ..before.clone() })
}

/// Says what is about to be done.
pub(super) async fn intend(
    context: &Context,
    pipeline: &mut StreamPipeline,
    status: StreamPipelineStatus,
) -> Result<(), Error> {
    let api = context.namespaced::<StreamPipeline>(&namespace(pipeline));
    let written = apply_status(&api, &pipeline.name_any(), &status).await.map_err(Error::Report)?;
    context.written.note(&written.metadata);
    pipeline.status = Some(status);
    Ok(())
}

/// Reports that the cluster could not be observed, and hands the error on.
pub(super) async fn unobserved(
    context: &Context,
    pipeline: &StreamPipeline,
    error: Error,
) -> Error {
    // A status that is behind is nothing to go on from: what it counts would go back.
    if !context.patience.bears(pipeline, error.category())
        && !context.written.is_behind(&pipeline.metadata)
    {
        let status = unobserved_status(pipeline, &error, Timestamp::now());
        if let Err(second) = write(context, pipeline, &status).await {
            tracing::warn!(error = chain(&second), "status not written");
        }
    }
    error
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
    use std::time::Duration;

    use http::StatusCode;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use kube::core::Status;

    use super::*;
    use crate::apply::ApplyError;
    use crate::conditions;
    use crate::pipeline::Stands;
    use crate::pipeline::testing::running;
    use crate::testing::{FakeApi, context, gateway};

    fn reported() -> StreamPipelineStatus {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        status(
            &running(&gateway("orders", 1), &["a"]),
            &Outcome::Applied(Stands::default()),
            &[],
            now,
        )
    }

    /// An API server that refuses everything with this code, and a failure of it.
    fn refusing(code: u16) -> (FakeApi, impl Fn() -> Error) {
        let refusal = move || Status::failure("no", "").with_code(code);
        let api = FakeApi::new(move |_| {
            (StatusCode::from_u16(code).unwrap(), serde_json::to_value(refusal()).unwrap())
        });
        let error = move || {
            let source = kube::Error::Api(Box::new(refusal()));
            Error::Apply(ApplyError::Apply {
                kind: "Service".to_owned(),
                name: "a".to_owned(),
                source,
            })
        };
        (api, error)
    }

    #[tokio::test(start_paused = true)]
    async fn an_overloaded_api_server_is_not_told_of_before_it_lasts() {
        let (api, error) = refusing(503);
        let (context, observed) = (context(api.client()), running(&gateway("orders", 1), &["a"]));
        let failed = async || {
            let result = report(&context, &observed, &Outcome::Failed(error()), &[]).await;
            unobserved(&context, &observed.pipeline, error()).await;
            (result.is_err(), api.asked().len())
        };
        assert_eq!(failed().await, (false, 0));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(failed().await, (false, 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        // It is told then, as far as the API server listens.
        let (told, asked) = failed().await;
        assert!(told && asked > 0, "{:?}", api.asked());
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_permission_is_told_of_at_once() {
        let (api, error) = refusing(403);
        let context = context(api.client());
        unobserved(&context, &gateway("orders", 1), error()).await;
        assert_eq!(
            api.asked(),
            ["PATCH /apis/weir.dev/v1alpha1/namespaces/shop/streampipelines/orders/status"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_is_behind_is_not_gone_on_from() {
        let (api, error) = refusing(403);
        let context = context(api.client());
        let mut pipeline = gateway("orders", 1);
        pipeline.metadata.resource_version = Some("8".to_owned());
        context.written.note(&pipeline.metadata);
        pipeline.metadata.resource_version = Some("7".to_owned());
        unobserved(&context, &pipeline, error()).await;
        assert!(api.asked().is_empty(), "{:?}", api.asked());
    }

    #[test]
    fn what_pods_are_about_to_be_given_is_said_before_where_it_is_another() {
        let said = |given: &[&str], noted: Option<&str>| {
            let mut pipeline = gateway("orders", 1);
            let pod_templates = given.iter().copied().map(str::to_owned).collect();
            pipeline.status = Some(StreamPipelineStatus { pod_templates, ..reported() });
            intention(&pipeline, noted).map(|status| status.pod_templates)
        };
        assert_eq!(said(&["a"], Some("b")), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(said(&["a"], Some("a")), None);
        assert_eq!(said(&["a", "b"], Some("b")), None);
        assert_eq!(said(&[], Some("b")), None, "nothing was given before");
        assert_eq!(said(&["a"], None), None, "it is no gateway any more");
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
        stored.conditions[0].status = conditions::Status::Unknown.as_str().to_owned();
        assert!(is_changed(Some(&stored), &reported()));
    }
}
