//! What only the leader does.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::args::Args;
use crate::certificates::{CertificateMetrics, Keeper, Lives};
use crate::context::Context;
use crate::controller::drive;
use crate::farewells;
use crate::leader::{Elector, KubeLeases, Timing};
use crate::pipeline::Pipelines;
use crate::policies;
use crate::slo::Slos;
use crate::tasks::{Ended, Tasks};

/// What only the leader does, ready to begin.
pub(super) struct Leading {
    /// What is watched; each has controllers of its own.
    scopes: Vec<Arc<Context>>,
    elector: Option<Elector<KubeLeases>>,
    keeper: Option<Keeper>,
    pipelines: Pipelines,
    slos: Slos,
    leads: Gauge,
}

impl Leading {
    pub(super) fn prepare(
        args: &Args,
        lives: Lives,
        context: &Arc<Context>,
        scopes: &[Arc<Context>],
        provider: &Arc<CryptoProvider>,
        certificate: &CertificateMetrics,
        registry: &mut Registry,
    ) -> Self {
        let leads = Gauge::default();
        registry.register(
            "leader",
            "Whether this replica is the one that reconciles: 1 or 0",
            leads.clone(),
        );
        let client = || context.client.clone();
        let elector = args.leader_elect.then(|| {
            let leases = KubeLeases::new(client(), &args.namespace, &args.lease);
            Elector::new(leases, context.options.identity.clone(), Timing::default())
        });
        // What somebody else makes nobody here keeps.
        let own = args.webhook_config.as_ref().filter(|_| args.webhook_certificate_dir.is_none());
        let keeper = own.map(|configuration| Keeper {
            client: client(),
            namespace: args.namespace.clone(),
            service: args.webhook_service.clone(),
            secret: args.webhook_secret.clone(),
            configuration: configuration.clone(),
            lives,
            provider: Arc::clone(provider),
            metrics: certificate.clone(),
        });
        let pipelines = Pipelines::register(Arc::clone(context), registry);
        let slos = Slos::register(Arc::clone(context), registry);
        Self { scopes: scopes.to_vec(), elector, keeper, pipelines, slos, leads }
    }

    /// Waits for the leadership, and leads until `stop` is cancelled.
    pub(super) async fn run(self, stop: &CancellationToken) -> Result<(), AppError> {
        let Self { scopes, elector, keeper, pipelines, slos, leads } = self;
        let begin = || {
            leads.set(1);
            tracing::info!("leading");
            start(&scopes, keeper, &pipelines, &slos, stop)
        };
        let Some(mut elector) = elector else { return work(begin(), stop).await };
        if !elector.acquire(stop).await {
            return Ok(());
        }
        let tasks = begin();
        let never = CancellationToken::new();
        tokio::select! {
            // The lease is renewed until the last reconcile has come to its end.
            result = work(tasks, stop) => result?,
            lost = elector.hold(&never) => lost?,
        }
        elector.release().await;
        leads.set(0);
        Ok(())
    }
}

fn start(
    scopes: &[Arc<Context>],
    keeper: Option<Keeper>,
    pipelines: &Pipelines,
    slos: &Slos,
    stop: &CancellationToken,
) -> Tasks {
    let mut tasks = Tasks::default();
    for scope in scopes {
        let pipelines = pipelines.within(Arc::clone(scope));
        tasks.spawn("pipelines", drive(pipelines, Arc::clone(scope), stop.clone()));
        tasks.spawn("farewells", farewells::watch(Arc::clone(scope), stop.clone()));
        let slos = slos.within(Arc::clone(scope));
        tasks.spawn("slos", drive(slos, Arc::clone(scope), stop.clone()));
        if let Some(release) = scope.options.policies.clone() {
            let sweeping = policies::sweep(Arc::clone(scope), release, stop.clone());
            tasks.spawn("policies", sweeping);
        }
    }
    if let Some(keeper) = keeper {
        tasks.spawn("certificate", keeper.run(stop.clone()));
    }
    tasks
}

/// Waits until all tasks have ended because they were told to.
async fn work(mut tasks: Tasks, stop: &CancellationToken) -> Result<(), AppError> {
    let ended: Ended = tokio::select! {
        ended = tasks.ended() => ended,
        () = stop.cancelled() => {
            tasks.join().await;
            return Ok(());
        }
    };
    // Both can be ready at once.
    if stop.is_cancelled() && !ended.panicked {
        tasks.join().await;
        return Ok(());
    }
    Err(AppError::Ended(ended))
}
