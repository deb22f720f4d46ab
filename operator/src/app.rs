//! Wires the operator together: what every replica runs, and what only the leader does.
//!
//! ```text
//! every replica   probes and metrics · webhook · its certificate · pipelines, read for the webhook
//! the leader      StreamPipeline controller · StreamSLO controller · keeper of the certificate
//! ```
//!
//! # Laws
//!
//! - Ports are opened before anything runs; what keeps the operator from working ends it at once. A namespace of
//!   several that can't be served does not.
//! - When `stop` is cancelled the controllers finish what they are at, and the lease is released. Until policies have
//!   taken the webhook's place, as far as they are about to, the webhook is answered, and the replica ready; the
//!   servers close last.
//! - A leader that loses its lease ends at once (fail-stop), and so does a replica one of whose tasks
//!   ends. What else the probes tell is a law of [`crate::vitals`].

mod leading;
mod scopes;
mod serving;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use rustls::crypto::CryptoProvider;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::leading::Leading;
use self::scopes::ScopeMetrics;
use self::serving::Serving;
use crate::args::Args;
use crate::certificates::{CertificateMetrics, LivesError};
use crate::context::Context;
use crate::leader::Lost;
use crate::metrics::ReconcileMetrics;
use crate::policies;
use crate::preflight::PreflightError;
use crate::samples::Sampler;
use crate::serve::BindError;
use crate::tasks::{Ended, Tasks};

/// How long a replica may take to answer with its samples: it is a few hops away, and answers from
/// memory.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the webhook answers on after the replica ceased to be ready: until every API server has
/// heard of it. Longer where policies are to take its place.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no way to an API server.
    #[error("no cluster: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The client could not be made.
    #[error("can't make a client of the API server")]
    Client(#[source] kube::Error),
    /// Something is missing in the cluster.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The webhook's certificates could not be renewed in time.
    #[error(transparent)]
    Lives(#[from] LivesError),
    /// A port is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// TLS could not be set up.
    #[error("can't set TLS up")]
    Tls(#[from] rustls::Error),
    /// Another replica may lead.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// A part ended that should not.
    #[error("{name} ended{how}", name = .0.name, how = if .0.panicked { " by a panic" } else { "" })]
    Ended(Ended),
}

/// Runs until `stop` is cancelled.
///
/// # Errors
///
/// Fails where the operator can't work, or can't go on.
pub async fn run(
    args: Args,
    provider: Arc<CryptoProvider>,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let config = kube::Config::infer().await?;
    let client = Client::try_from(config).map_err(AppError::Client)?;
    run_with(client, args, provider, stop).await
}

/// Runs against the API server of `client` until `stop` is cancelled.
///
/// # Errors
///
/// Fails where the operator can't work, or can't go on.
pub async fn run_with(
    client: Client,
    args: Args,
    provider: Arc<CryptoProvider>,
    stop: CancellationToken,
) -> Result<(), AppError> {
    let lives = args.lives()?;
    let mut registry = registry();
    let context = Arc::new(context(&args, client, &mut registry));
    let scope_metrics = ScopeMetrics::register(&mut registry);
    let scopes = tokio::select! {
        scopes = scopes::open(&args, &context, &scope_metrics) => scopes?,
        () = stop.cancelled() => return Ok(()),
    };
    let certificate = CertificateMetrics::register(&mut registry);
    let leading =
        Leading::prepare(&args, lives, &context, &scopes, &provider, &certificate, &mut registry);
    let serving =
        Serving::prepare(&args, &context, &scopes, provider, certificate, &mut registry).await?;
    let closing = CancellationToken::new();
    let mut servers = Tasks::default();
    serving.start(&mut servers, registry, &closing, leading.leads());
    servers.spawn("scopes", scopes::retry(scopes, scope_metrics, closing.clone()));
    tracing::info!(identity = context.options.identity, "started");
    tokio::select! {
        result = leading.run(&stop) => result?,
        ended = servers.ended() => return Err(AppError::Ended(ended)),
    }
    if let Some(configuration) = &args.webhook_config {
        sleep(FAREWELL).await;
        policies::farewell(&context.client, configuration).await;
    }
    closing.cancel();
    servers.join().await;
    tracing::info!("stopped");
    Ok(())
}

fn registry() -> Registry {
    let mut registry = Registry::with_prefix("weir_operator");
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    registry.register("build", "The version that runs", Info::new(version));
    registry
}

fn context(args: &Args, client: Client, registry: &mut Registry) -> Context {
    let metrics = ReconcileMetrics::register(registry);
    let sampler = Arc::new(Sampler::register(SAMPLE_TIMEOUT, registry));
    let context = Context::new(client, metrics, sampler, args.options());
    context.farewells.register(registry);
    context
}
