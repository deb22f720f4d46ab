//! What only the leader does.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;

use super::AppError;
use super::scopes::Scope;
use crate::args::Args;
use crate::certificates::{CertificateMetrics, Keeper, Lives};
use crate::context::Context;
use crate::controller::drive;
use crate::leader::{Elector, KubeLeases, Timing};
use crate::pipeline::Pipelines;
use crate::policies::{IsRead, Sweep};
use crate::slo::Slos;
use crate::tasks::{Ended, Tasks};

/// What only the leader does, ready to begin.
pub(super) struct Leading {
    /// What is watched; each has controllers of its own.
    scopes: Vec<Scope>,
    /// What removes policies that nobody wants.
    sweep: Option<Sweep>,
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
        scopes: &[Scope],
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
        let sweep = sweep(args, context, scopes);
        Self { scopes: scopes.to_vec(), sweep, elector, keeper, pipelines, slos, leads }
    }

    /// Whether this replica leads: 1 or 0.
    pub(super) fn leads(&self) -> Gauge {
        self.leads.clone()
    }

    /// Waits for the leadership, and leads until `stop` is cancelled.
    pub(super) async fn run(self, stop: &CancellationToken) -> Result<(), AppError> {
        let Self { scopes, sweep, elector, keeper, pipelines, slos, leads } = self;
        let begin = || {
            leads.set(1);
            tracing::info!("leading");
            start(&scopes, keeper, sweep, &pipelines, &slos, stop)
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

/// Policies bear the same name in both modes of injection, so that each finds what the other has left.
fn sweep(args: &Args, context: &Context, scopes: &[Scope]) -> Option<Sweep> {
    let release = args.injection_policies.as_ref().or(args.webhook_config.as_ref())?;
    let read = |scope: &Scope| {
        let seen = scope.clone();
        let is_read: IsRead = Box::new(move || seen.is_served());
        (Arc::clone(&scope.context), is_read)
    };
    Some(Sweep {
        client: context.client.clone(),
        release: release.clone(),
        wants: args.injection_policies.is_some(),
        scopes: scopes.iter().map(read).collect(),
    })
}

fn start(
    scopes: &[Scope],
    keeper: Option<Keeper>,
    sweep: Option<Sweep>,
    pipelines: &Pipelines,
    slos: &Slos,
    stop: &CancellationToken,
) -> Tasks {
    let mut tasks = Tasks::default();
    for scope in scopes {
        let context = || Arc::clone(&scope.context);
        let driving = drive(pipelines.within(context()), context(), stop.clone());
        tasks.spawn("pipelines", scope.clone().once_served(driving, stop.clone()));
        let driving = drive(slos.within(context()), context(), stop.clone());
        tasks.spawn("slos", scope.clone().once_served(driving, stop.clone()));
    }
    if let Some(sweep) = sweep {
        tasks.spawn("policies", sweep.run(stop.clone()));
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
