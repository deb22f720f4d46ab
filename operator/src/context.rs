//! Holds what every phase of every controller is handed: the client, the recorder, metrics, options.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::NamespaceResourceScope;
use kube::runtime::events::Reporter;
use kube::{Api, Client, Resource};
use tokio::sync::OnceCell;

use crate::carriers::Carriers;
use crate::events::Events;
use crate::failure::explain;
use crate::farewells::Farewells;
use crate::injection::is_protected;
use crate::metrics::ReconcileMetrics;
use crate::patience::Patience;
use crate::policies::Standing;
use crate::routes::Routes;
use crate::samples::Sampler;
use crate::upgrade::Upgrades;
use crate::vitals::Vitals;
use crate::written::Written;

/// What every phase is handed.
#[derive(Clone)]
pub struct Context {
    /// The client of the API server.
    pub client: Client,
    /// What publishes Events.
    pub events: Arc<Events>,
    /// The metrics of the reconciles.
    pub metrics: ReconcileMetrics,
    /// What asks the replicas for their samples, for all controllers.
    pub sampler: Arc<Sampler>,
    /// The pods that carry the data plane, in the scope that is watched.
    pub carriers: Arc<Carriers>,
    /// The final counters of sidecars that have ended.
    pub farewells: Arc<Farewells>,
    /// The reference to the owner of the policies by which pods are injected, once it was read.
    pub policies_owner: Arc<OnceCell<OwnerReference>>,
    /// The policies that were put in force.
    pub policies: Arc<Standing>,
    /// Whether the cluster knows HTTPRoute, and which routes there are.
    pub routes: Arc<Routes>,
    /// What this replica has written of statuses.
    pub written: Arc<Written>,
    /// Which objects fail for reasons that pass by themselves.
    pub patience: Arc<Patience>,
    /// Whether the controllers of this replica get on.
    pub vitals: Arc<Vitals>,
    /// What the operator was started with.
    pub options: Options,
}

/// What the operator was started with, as far as the controllers need it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The operator's own namespace.
    pub namespace: String,
    /// Who this replica is: the pod's name.
    pub identity: String,
    /// The one namespace whose resources are reconciled; all of them where absent. Where several are
    /// watched, each has controllers of its own.
    pub watch_namespace: Option<String>,
    /// The sidecar's container image.
    pub sidecar_image: String,
    /// The pull policy of that image; the cluster's default where absent.
    pub sidecar_image_pull_policy: Option<String>,
    /// The Secrets with which it is pulled, in the namespace of each pod.
    pub sidecar_image_pull_secrets: Vec<String>,
    /// Which pipelines follow the operator's release.
    pub upgrades: Upgrades,
    /// The release after which the policies are named by which pods are injected; without it a webhook does it.
    pub policies: Option<String>,
    /// The ClusterRole with which these policies go.
    pub policies_owner: Option<String>,
    /// The webhook's configuration, where pods are injected by a webhook.
    pub webhook: Option<String>,
    /// Whether pods are injected at all, by a webhook or by policies.
    pub injects: bool,
    /// Namespaces that are never injected, besides the operator's own and that of Kubernetes.
    pub excluded_namespaces: Vec<String>,
    /// Whether workloads are restarted, where a pipeline asks for it.
    pub restarts: bool,
    /// Whether Ingresses, HTTPRoutes and NetworkPolicies are made, where a pipeline asks for them.
    pub exposure: bool,
    /// The sidecar's admin port, on which its samples are read. Another one only in tests.
    pub admin_port: u16,
    /// How many objects of a kind are reconciled at the same time.
    pub concurrency: u16,
}

impl Options {
    /// Whether pods of a namespace may be injected.
    #[must_use]
    pub fn injects_into(&self, namespace: &str) -> bool {
        !is_protected(namespace, &self.namespace)
            && !self.excluded_namespaces.iter().any(|excluded| excluded == namespace)
    }
}

impl Context {
    /// Puts a context together.
    #[must_use]
    pub fn new(
        client: Client,
        metrics: ReconcileMetrics,
        sampler: Arc<Sampler>,
        options: Options,
    ) -> Self {
        let reporter = Reporter {
            controller: weir_crds::names::FIELD_MANAGER.to_owned(),
            instance: Some(options.identity.clone()),
        };
        let events = Arc::new(Events::new(client.clone(), reporter));
        let (farewells, written, patience) = (Arc::default(), Arc::default(), Arc::default());
        let carriers = Arc::default();
        let (policies_owner, policies, routes) = (Arc::default(), Arc::default(), Arc::default());
        Self {
            client,
            events,
            metrics,
            sampler,
            carriers,
            farewells,
            policies_owner,
            policies,
            routes,
            written,
            patience,
            vitals: Arc::default(),
            options,
        }
    }

    /// The same context for one of `count` scopes: a namespace, or all of them. The scopes share the number
    /// of objects that are reconciled at the same time.
    #[must_use]
    pub fn within(&self, namespace: Option<String>, count: usize) -> Self {
        let mut context = self.clone();
        let count = u16::try_from(count).unwrap_or(u16::MAX).max(1);
        context.carriers = Arc::default();
        context.options.watch_namespace = namespace;
        context.options.concurrency = context.options.concurrency.div_ceil(count);
        context
    }

    /// The resources of a kind in the scope that is watched.
    #[must_use]
    pub fn watched<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.options.watch_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The resources of a kind in one namespace.
    #[must_use]
    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Publishes an Event. One that can't be published is logged: the status says the same, so a
    /// reconcile does not fail for it.
    pub async fn publish<K: Resource<DynamicType = ()>>(&self, object: &K, notice: Notice) {
        self.publish_about(&object.object_ref(&()), notice).await;
    }

    /// Publishes an Event about an object of any kind, as [`publish`](Self::publish) does.
    pub async fn publish_about(&self, reference: &ObjectReference, notice: Notice) {
        let reason = notice.reason.clone();
        if let Err(error) = self.events.publish(reference, notice).await {
            tracing::warn!(reason, error = explain(&error), "event not published");
        }
    }
}

/// An Event to be published.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// Whether something is wrong.
    pub warning: bool,
    /// Why, in one CamelCase word.
    pub reason: String,
    /// Why, for a person.
    pub note: String,
}
