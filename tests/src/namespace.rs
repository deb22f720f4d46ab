//! Gives each test a namespace of its own, and shows what is in it when the test fails.
//!
//! Laws: the name is unique, so tests run side by side; the namespace is deleted however the test ends,
//! and its contents are shown before, if it ends badly.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ObjectMeta, PostParams};

use crate::{Cluster, Kubectl, diagnosis, eventually};

/// No story takes this long; one that hangs is ended so that its namespace can be shown.
const STORY_LIMIT: Duration = Duration::from_mins(8);

/// The controllers make it within a second, unless the machine is busy.
const ACCOUNT_LIMIT: Duration = Duration::from_secs(60);

/// A namespace for one test.
#[derive(Clone)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// The cluster that it is in.
    pub cluster: Cluster,
    /// kubectl in this namespace.
    pub kubectl: Kubectl,
}

impl Namespace {
    /// The objects of a kind that are in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }

    /// The objects of a kind of `weir.dev/v1alpha1`, such as `("StreamSLO", "streamslos")`.
    #[must_use]
    pub fn custom(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "weir.dev".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "weir.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.cluster.client.clone(), &self.name, &resource)
    }

    /// The namespace's objects, events and logs, as they are shown when a test fails.
    pub async fn diagnosis(&self) -> String {
        format!("=== namespace {}\n{}", self.name, diagnosis::of(&self.kubectl).await)
    }
}

/// Connects to the cluster, makes a namespace whose name begins with `prefix`, runs `story` in it and
/// deletes it.
///
/// # Errors
/// Those of the story, and when there is no cluster.
///
/// # Panics
/// When the story does.
pub async fn with_namespace<F, Story>(prefix: &str, story: F) -> Result<()>
where
    F: FnOnce(Namespace) -> Story,
    Story: Future<Output = Result<()>>,
{
    let namespace = create(prefix).await?;
    let story = AssertUnwindSafe(tokio::time::timeout(STORY_LIMIT, story(namespace.clone())));
    let outcome = story.catch_unwind().await;
    if !matches!(outcome, Ok(Ok(Ok(())))) {
        eprintln!("{}", namespace.diagnosis().await);
    }
    delete(&namespace).await?;
    match outcome {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(anyhow!("the test did not end within {} s", STORY_LIMIT.as_secs())),
        Err(panic) => resume_unwind(panic),
    }
}

async fn create(prefix: &str) -> Result<Namespace> {
    let cluster = Cluster::connect().await?;
    let name = format!("{prefix}-{}", (0..6).map(|_| fastrand::lowercase()).collect::<String>());
    let object = v1::Namespace {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        ..v1::Namespace::default()
    };
    let namespaces: Api<v1::Namespace> = Api::all(cluster.client.clone());
    let created = namespaces.create(&PostParams::default(), &object).await;
    created.with_context(|| format!("could not make the namespace {name}"))?;
    let namespace = Namespace { kubectl: cluster.kubectl(&name)?, name, cluster };
    // Without it no pod can be made.
    let accounts = namespace.api::<v1::ServiceAccount>();
    eventually("there is a default service account", ACCOUNT_LIMIT, async || {
        Ok(accounts.get("default").await?)
    })
    .await?;
    Ok(namespace)
}

async fn delete(namespace: &Namespace) -> Result<()> {
    let namespaces: Api<v1::Namespace> = Api::all(namespace.cluster.client.clone());
    namespaces.delete(&namespace.name, &DeleteParams::background()).await?;
    Ok(())
}
