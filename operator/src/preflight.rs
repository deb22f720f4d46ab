//! Looks, before anything is started, for what no retry would mend: missing definitions and permissions.

use std::fmt::{self, Debug};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};
use weir_crds::v1alpha1::{StreamPipeline, StreamSLO};

use crate::context::Context;
use crate::failure::{Category, explain};

/// A chart creates the definitions a moment before the operator; they take that long to be served.
const PATIENCE: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(500);

/// What keeps the operator from working, all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PreflightError(Vec<Problem>);

/// One thing that keeps the operator from working.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    /// The API server does not know the kind.
    Unknown { kind: String, api_version: String },
    /// The operator may not list and watch the kind.
    Forbidden { message: String },
    /// The API server was not reached, or can't answer.
    Unreachable { message: String },
}

impl PreflightError {
    /// Everything that is missing anywhere.
    pub(crate) fn all(errors: impl IntoIterator<Item = Self>) -> Self {
        Self(errors.into_iter().flat_map(|error| error.0).collect())
    }

    /// Whether permissions are all that is missing.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.0.iter().all(|problem| matches!(problem, Problem::Forbidden { .. }))
    }
}

impl fmt::Display for PreflightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("; "))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { kind, api_version } => write!(
                f,
                "the API server does not know {kind} ({api_version}): install the definitions, by \
                 `kubectl apply --server-side -f crds/` or by the chart with crds.install=true"
            ),
            Self::Forbidden { message } => {
                write!(f, "{message}: grant it to the operator's role, as the chart does")
            }
            Self::Unreachable { message } => write!(f, "the API server can't be asked: {message}"),
        }
    }
}

/// Checks that every kind that is watched can be.
///
/// # Errors
///
/// Fails with everything that is missing.
pub async fn check(context: &Context) -> Result<(), PreflightError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let problems = problems(context).await;
        let unknown = |problem: &Problem| matches!(problem, Problem::Unknown { .. });
        if problems.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline || !problems.iter().all(unknown) {
            return Err(PreflightError(problems));
        }
        sleep(INTERVAL).await;
    }
}

async fn problems(context: &Context) -> Vec<Problem> {
    let found = futures::join!(
        problem::<StreamPipeline>(context),
        problem::<StreamSLO>(context),
        problem::<ConfigMap>(context),
        problem::<Service>(context),
        problem::<Deployment>(context),
        problem::<StatefulSet>(context),
        problem::<PodDisruptionBudget>(context),
        exposing::<NetworkPolicy>(context),
        exposing::<Ingress>(context),
        problem::<Pod>(context),
    );
    let (a, b, c, d, e, f, g, h, i, j) = found;
    let mut found: Vec<Problem> = [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect();
    // One server that is out of reach is one problem.
    found.dedup();
    found
}

/// The problem with a kind that the operator may have been started without.
async fn exposing<K>(context: &Context) -> Option<Problem>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    if context.options.exposure { problem::<K>(context).await } else { None }
}

async fn problem<K>(context: &Context) -> Option<Problem>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let one = ListParams::default().limit(1);
    let error = context.watched::<K>().list_metadata(&one).await.err()?;
    let message = explain(&error);
    Some(match Category::of(&error) {
        Category::NotFound => Problem::Unknown {
            kind: K::kind(&()).into_owned(),
            api_version: K::api_version(&()).into_owned(),
        },
        Category::Forbidden => Problem::Forbidden { message },
        Category::Conflict
        | Category::Invalid
        | Category::Unavailable
        | Category::Transport
        | Category::Internal => Problem::Unreachable { message },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_stands_in_one_line() {
        let unknown =
            Problem::Unknown { kind: "StreamSLO".into(), api_version: "weir.dev/v1alpha1".into() };
        let forbidden = Problem::Forbidden { message: "pods is forbidden".into() };
        let line = PreflightError(vec![unknown, forbidden]).to_string();
        assert!(line.contains("does not know StreamSLO (weir.dev/v1alpha1)"), "{line}");
        assert!(line.contains("kubectl apply --server-side -f crds/"), "{line}");
        assert!(line.contains("; pods is forbidden: grant it"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}
