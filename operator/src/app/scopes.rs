//! What is watched: each namespace by itself, or all of them at once.
//!
//! # Laws
//!
//! - One namespace in which the operator may do nothing keeps no other from being served: a namespace that is
//!   deleted takes the role in it along.
//! - A namespace that is not served is said to be so, and is served as soon as the permissions in it are there.
//! - Where nothing at all can be served the operator ends, with every reason.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::args::Args;
use crate::context::Context;
use crate::preflight::{self, PreflightError};

/// How soon a namespace is looked at again that could not be served.
const RETRY: Duration = Duration::from_secs(15);

/// What is watched as one.
#[derive(Clone)]
pub(super) struct Scope {
    /// What its controllers work with.
    pub(super) context: Arc<Context>,
    /// Is cancelled once it can be served.
    served: CancellationToken,
}

impl Scope {
    /// Whether it can be served.
    pub(super) fn is_served(&self) -> bool {
        self.served.is_cancelled()
    }

    /// Waits until it can be served, and then for the end of `task`; or until `stop` is cancelled.
    pub(super) async fn once_served(self, task: impl Future<Output = ()>, stop: CancellationToken) {
        if stop.run_until_cancelled(self.served.cancelled()).await.is_some() {
            task.await;
        }
    }

    fn namespace(&self) -> Option<&str> {
        self.context.options.watch_namespace.as_deref()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabels {
    namespace: String,
}

/// Shows which namespaces are served. There are as many as the operator was started with.
#[derive(Clone, Default)]
pub(super) struct ScopeMetrics(Family<NamespaceLabels, Gauge>);

impl ScopeMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "namespace_served",
            "Whether a watched namespace is served: 0 where the operator may not read it, as after it was deleted",
            metrics.0.clone(),
        );
        metrics
    }

    fn show(&self, scope: &Scope) {
        let Some(namespace) = scope.namespace() else { return };
        let labels = NamespaceLabels { namespace: namespace.to_owned() };
        self.0.get_or_create_owned(&labels).set(i64::from(scope.is_served()));
    }
}

/// The scopes, of which those can be served that pass the checks.
///
/// # Errors
///
/// Fails where none can be, or one can't for a reason that concerns them all.
pub(super) async fn open(
    args: &Args,
    context: &Context,
    metrics: &ScopeMetrics,
) -> Result<Vec<Scope>, AppError> {
    let scopes = args.scopes();
    let count = scopes.len();
    let scope = |namespace| Scope {
        context: Arc::new(context.within(namespace, count)),
        served: CancellationToken::new(),
    };
    let scopes: Vec<Scope> = scopes.into_iter().map(scope).collect();
    let checks = scopes.iter().map(|scope| preflight::check(&scope.context));
    let checked = futures::future::join_all(checks).await;
    let mut failures = Vec::new();
    for (scope, checked) in scopes.iter().zip(checked) {
        match checked {
            Ok(()) => scope.served.cancel(),
            Err(error) if error.is_forbidden() && count > 1 => failures.push((scope, error)),
            Err(error) => return Err(error.into()),
        }
    }
    if failures.len() == scopes.len() {
        let errors = failures.into_iter().map(|(_, error)| error);
        return Err(PreflightError::all(errors).into());
    }
    for (scope, error) in failures {
        tracing::error!(
            namespace = scope.namespace(),
            error = error.to_string(),
            "watched namespace not served: if it is there, install the chart again, which makes the role in it; \
             else take it out of watchNamespaces"
        );
    }
    scopes.iter().for_each(|scope| metrics.show(scope));
    Ok(scopes)
}

/// Opens the scopes that can't be served yet, as soon as they can be, until `stop` is cancelled.
pub(super) async fn retry(scopes: Vec<Scope>, metrics: ScopeMetrics, stop: CancellationToken) {
    let mut closed: Vec<Scope> = scopes.into_iter().filter(|scope| !scope.is_served()).collect();
    let retry = async {
        while !closed.is_empty() {
            sleep(RETRY).await;
            for scope in &closed {
                if preflight::check(&scope.context).await.is_ok() {
                    scope.served.cancel();
                    metrics.show(scope);
                    tracing::info!(namespace = scope.namespace(), "watched namespace served now");
                }
            }
            closed.retain(|scope| !scope.is_served());
        }
    };
    stop.run_until_cancelled(retry).await;
    // A task that ends before it is told to is an error.
    stop.cancelled().await;
}
