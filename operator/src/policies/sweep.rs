//! Removes the policies of this release that nobody wants: those whose pipeline is gone, or in a namespace that is
//! not watched any more, and all of them where the operator injects by a webhook. Where it injects by policies, it
//! removes the configuration of the webhook that did so before.
//!
//! # Laws
//!
//! - What injected before goes as `handover` says.
//! - Of a namespace that can't be read nothing is known, so its policies stay.
//! - What is removed is what was seen: one of the same name that was made or changed since stays, until it is looked
//!   at again.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weir_crds::v1alpha1::StreamPipeline;
use weir_crds::validate;

use super::handover::{Retirement, retiring, webhook_answers};
use crate::context::Context;
use crate::failure::{Category, chain};
use crate::injection::policy;

/// What a policy adds is harmless without its pipeline, so it may stay for so long.
const INTERVAL: Duration = Duration::from_secs(15);
/// The same while the webhook's configuration is about to go, for which replicas wait that are to end.
const RETIRING: Duration = Duration::from_secs(2);
/// The same where the operator lacks the permission to look.
const FORBIDDEN: Duration = Duration::from_mins(10);

/// What is swept.
pub struct Sweep {
    /// Asks the API server.
    pub client: Client,
    /// After which the policies are named, and as which the webhook's configuration is.
    pub release: String,
    /// Whether the operator injects by policies; where it doesn't, none is wanted.
    pub wants: bool,
    /// Each scope that is watched, with whether it can be read.
    pub scopes: Vec<(Arc<Context>, IsRead)>,
}

/// Says whether a scope can be read.
pub type IsRead = Box<dyn Fn() -> bool + Send + Sync>;

impl Sweep {
    /// Removes them, time and again, until `stop` is cancelled. Where none is wanted, once is enough: nobody makes any.
    pub async fn run(self, stop: CancellationToken) {
        let sweeping = async {
            if !self.wants && self.may_be_left().await {
                webhook_answers(&self.client, &self.release).await;
            }
            let mut retirement = Retirement::begin(Instant::now());
            loop {
                let pause = match self.once(&mut retirement).await {
                    Ok(_) if !self.wants => return,
                    Ok(true) => RETIRING,
                    Ok(false) => INTERVAL,
                    Err(error) => {
                        tracing::warn!(
                            error = chain(&error),
                            "policies that nobody wants not removed"
                        );
                        let forbidden = Category::of(&error) == Category::Forbidden;
                        if forbidden { FORBIDDEN } else { INTERVAL }
                    }
                };
                sleep(pause).await;
            }
        };
        stop.run_until_cancelled(sweeping).await;
        // A task that ends before it is told to is an error.
        stop.cancelled().await;
    }

    /// Whether there may be policies that wait for their successor.
    async fn may_be_left(&self) -> bool {
        let left = self.left().await;
        left.map_or(true, |(found, bound)| !found.is_empty() || !bound.is_empty())
    }

    /// The policies and the bindings of the release.
    async fn left(&self) -> Result<(Vec<ObjectMeta>, Vec<ObjectMeta>), kube::Error> {
        let policies = Api::<MutatingAdmissionPolicy>::all(self.client.clone());
        let bindings = Api::<MutatingAdmissionPolicyBinding>::all(self.client.clone());
        let params = ListParams::default().labels(&policy::of_release(&self.release));
        futures::try_join!(list(&policies, &params), list(&bindings, &params))
    }

    /// Answers whether the webhook's configuration is still to go.
    async fn once(&self, retirement: &mut Retirement) -> Result<bool, kube::Error> {
        // The policies first: a pipeline that comes in between is among those that are listed then.
        let (found, bound) = self.left().await?;
        let leaving = if self.wants { self.leaving().await } else { None };
        if found.is_empty() && bound.is_empty() && leaving.is_none() {
            return Ok(false);
        }
        let wanted = self.wanted().await?;
        let policies = Api::<MutatingAdmissionPolicy>::all(self.client.clone());
        let bindings = Api::<MutatingAdmissionPolicyBinding>::all(self.client.clone());
        // The bindings first: without one a policy does nothing.
        for binding in bound.iter().filter(|found| !wanted.contains(found)) {
            remove(&bindings, binding).await?;
        }
        for found in found.iter().filter(|found| !wanted.contains(found)) {
            if remove(&policies, found).await? {
                tracing::info!(name = found.name, "removed a policy that nobody wants any more");
            }
        }
        let Some(leaving) = leaving else { return Ok(false) };
        let all_stand = wanted.stand(&found, &bound);
        if !retirement.is_due(all_stand, Instant::now()) {
            return Ok(true);
        }
        let configurations = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        if !remove(&configurations, &leaving).await? {
            return Ok(true);
        }
        tracing::info!(
            name = self.release,
            "policies inject in place of the webhook, whose configuration is gone"
        );
        Ok(false)
    }

    /// The webhook's configuration, where it is to go. Who may not look at it is none the worse for it.
    async fn leaving(&self) -> Option<ObjectMeta> {
        let found = retiring(&self.client, &self.release).await;
        found.unwrap_or_else(|error| {
            let error = chain(&error);
            tracing::debug!(error, "whether a webhook's configuration is left is not known");
            None
        })
    }

    async fn wanted(&self) -> Result<Wanted, kube::Error> {
        let mut wanted = Wanted::default();
        for (context, is_read) in self.scopes.iter().filter(|_| self.wants) {
            if !is_read() {
                wanted.unread.extend(context.options.watch_namespace.clone());
                continue;
            }
            let listed = context.watched::<StreamPipeline>().list(&ListParams::default()).await;
            let all = match (listed, &context.options.watch_namespace) {
                (Ok(all), _) => all,
                (Err(error), Some(namespace)) if Category::of(&error) == Category::Forbidden => {
                    wanted.unread.insert(namespace.clone());
                    continue;
                }
                (Err(error), _) => return Err(error),
            };
            let injected = all.items.iter().filter(|pipeline| is_injected(pipeline));
            let names = injected
                .map(|pipeline| (pipeline.namespace().unwrap_or_default(), pipeline.name_any()));
            wanted
                .pipelines
                .extend(names.filter(|(namespace, _)| context.options.injects_into(namespace)));
        }
        Ok(wanted)
    }
}

/// What is wanted, as far as it is known.
#[derive(Default)]
struct Wanted {
    /// The namespace and name of each pipeline for which pods are injected.
    pipelines: BTreeSet<(String, String)>,
    /// The namespaces that can't be read.
    unread: BTreeSet<String>,
}

impl Wanted {
    fn contains(&self, metadata: &ObjectMeta) -> bool {
        policy::pipeline_of(metadata).is_some_and(|(namespace, name)| {
            self.unread.contains(namespace)
                || self.pipelines.contains(&(namespace.to_owned(), name.to_owned()))
        })
    }

    /// Whether each pipeline has one of these policies and one of these bindings: alone neither does anything.
    fn stand(&self, policies: &[ObjectMeta], bindings: &[ObjectMeta]) -> bool {
        [policies, bindings].into_iter().all(|found| {
            let found: BTreeSet<_> = found.iter().filter_map(policy::pipeline_of).collect();
            let mut pipelines = self.pipelines.iter();
            pipelines.all(|(namespace, name)| found.contains(&(namespace.as_str(), name.as_str())))
        })
    }
}

/// Whether pods get a sidecar for a pipeline, as the webhook sees it.
fn is_injected(pipeline: &StreamPipeline) -> bool {
    pipeline.metadata.deletion_timestamp.is_none()
        && pipeline.spec.placement.sidecar.is_some()
        && validate::pipeline(&pipeline.name_any(), &pipeline.spec).is_empty()
}

/// What there is of a kind: nothing, where the API server is too old to know it.
async fn list<K>(api: &Api<K>, params: &ListParams) -> Result<Vec<ObjectMeta>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.list_metadata(params).await {
        Ok(found) => Ok(found.items.into_iter().map(|found| found.metadata).collect()),
        Err(error) if Category::of(&error) == Category::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Answers whether it is gone.
async fn remove<K>(api: &Api<K>, found: &ObjectMeta) -> Result<bool, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let name = found.name.clone().unwrap_or_default();
    let ObjectMeta { uid, resource_version, .. } = found;
    let preconditions =
        Preconditions { uid: uid.clone(), resource_version: resource_version.clone() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        // Another one is there by now.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        result => result.map(|_| true),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::injection::policy::build;
    use crate::sidecar::Image;
    use crate::testing::{FakeApi, options, sidecar_pipeline};

    #[test]
    fn a_policy_is_wanted_for_its_pipeline_and_where_nothing_is_known_of_its_namespace() {
        let (policy, _) =
            build("weir", &sidecar_pipeline("orders"), &Image::of(&options())).unwrap();
        let metadata = policy.metadata;
        let none = Wanted::default();
        assert!(!none.contains(&metadata));
        let pipelines = BTreeSet::from([("shop".to_owned(), "orders".to_owned())]);
        let wanted = Wanted { pipelines, ..Wanted::default() };
        let one = std::slice::from_ref(&metadata);
        assert!(wanted.contains(&metadata) && wanted.stand(one, one));
        assert!(!wanted.stand(one, &[]) && !wanted.stand(&[], one));
        let other = BTreeSet::from([("till".to_owned(), "orders".to_owned())]);
        assert!(!Wanted { pipelines: other, ..Wanted::default() }.contains(&metadata));
        let unread = BTreeSet::from(["shop".to_owned()]);
        assert!(Wanted { unread, ..Wanted::default() }.contains(&metadata));
        let stripped = ObjectMeta { labels: None, ..metadata };
        let unread = BTreeSet::from(["shop".to_owned()]);
        assert!(!Wanted { unread, ..Wanted::default() }.contains(&stripped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_configuration_that_was_changed_since_it_was_looked_at_is_still_to_go() {
        let looks = AtomicUsize::new(0);
        let api = FakeApi::new(move |path| {
            let meta = |kind: &str| json!({ "apiVersion": "meta.k8s.io/v1", "kind": kind });
            if !path.ends_with("/mutatingwebhookconfigurations/weir") {
                let mut none = meta("PartialObjectMetadataList");
                none["metadata"] = json!({ "resourceVersion": "1" });
                none["items"] = json!([]);
                return (StatusCode::OK, none);
            }
            let conflict =
                json!({ "kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict" });
            let mut found = meta("PartialObjectMetadata");
            found["metadata"] =
                json!({ "name": "weir", "annotations": { "weir.dev/retires": "true" } });
            // It is read and removed, and that twice.
            match looks.fetch_add(1, Ordering::Relaxed) {
                1 => (StatusCode::CONFLICT, conflict),
                3 => (StatusCode::OK, json!({ "kind": "Status", "status": "Success" })),
                _ => (StatusCode::OK, found),
            }
        });
        let (client, release) = (api.client(), "weir".to_owned());
        let sweep = Sweep { client, release, wants: true, scopes: Vec::new() };
        let mut retirement = Retirement::begin(Instant::now());
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(sweep.once(&mut retirement).await.unwrap(), "it is there");
        assert!(!sweep.once(&mut retirement).await.unwrap());
        let removed = api.asked().iter().filter(|asked| asked.starts_with("DELETE ")).count();
        assert_eq!(removed, 2, "{:?}", api.asked());
    }
}
