//! What every replica runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use weir_crds::v1alpha1::StreamPipeline;

use super::AppError;
use super::scopes::Scope;
use crate::admin::{self, Checks};
use crate::args::Args;
use crate::certificates::{self, Certificate, CertificateMetrics, await_trust, load};
use crate::context::Context;
use crate::failure::chain;
use crate::serve::{bind, serve};
use crate::sidecar::Image;
use crate::tasks::Tasks;
use crate::vitals::Vitals;
use crate::webhook::{self, Webhook, WebhookMetrics};

/// What every replica runs, ready to begin: its ports are open.
pub(super) struct Serving {
    admin: TcpListener,
    vitals: Arc<Vitals>,
    injecting: Option<Injecting>,
}

/// The webhook and what it needs.
struct Injecting {
    listener: TcpListener,
    tls: TlsAcceptor,
    webhook: Arc<Webhook>,
    followers: Vec<Follower>,
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    metrics: CertificateMetrics,
    origin: Origin,
    configuration: String,
    context: Arc<Context>,
}

/// Where the certificate comes from.
enum Origin {
    /// The Secret of this name, which the leader keeps.
    Secret(String),
    /// Files in this directory, which somebody else keeps.
    Directory(PathBuf),
}

/// Keeps the pipelines of a scope for the webhook up to date.
struct Follower {
    scope: Scope,
    writer: Writer<StreamPipeline>,
    store: Store<StreamPipeline>,
}

impl Serving {
    pub(super) async fn prepare(
        args: &Args,
        context: &Arc<Context>,
        scopes: &[Scope],
        provider: Arc<CryptoProvider>,
        metrics: CertificateMetrics,
        registry: &mut Registry,
    ) -> Result<Self, AppError> {
        let admin = bind(args.admin_address, "probes and metrics", "--admin-address").await?;
        let vitals = Arc::clone(&context.vitals);
        let Some(configuration) = args.webhook_config.clone() else {
            return Ok(Self { admin, vitals, injecting: None });
        };
        let listener = bind(args.webhook_address, "the webhook", "--webhook-address").await?;
        let certificate = Arc::new(Certificate::default());
        let followers: Vec<_> = scopes.iter().map(Follower::of).collect();
        let injecting = Injecting {
            listener,
            tls: acceptor(&provider, &certificate)?,
            webhook: Arc::new(Webhook {
                pipelines: followers.iter().map(|follower| follower.store.clone()).collect(),
                image: Image::of(&context.options),
                namespace: args.namespace.clone(),
                metrics: WebhookMetrics::register(registry),
            }),
            followers,
            certificate,
            provider,
            metrics,
            origin: match &args.webhook_certificate_dir {
                None => Origin::Secret(args.webhook_secret.clone()),
                Some(directory) => Origin::Directory(directory.clone()),
            },
            configuration,
            context: Arc::clone(context),
        };
        Ok(Self { admin, vitals, injecting: Some(injecting) })
    }

    /// Starts it all. It is not ready any more, and ends, when `closing` is cancelled. A pod that is to end gets no new
    /// requests as soon as others can take them; until then it is asked only as long as it says that it is ready.
    pub(super) fn start(
        self,
        tasks: &mut Tasks,
        registry: Registry,
        closing: &CancellationToken,
        leads: Gauge,
    ) {
        let Self { admin, vitals, injecting } = self;
        let (liveness, readiness) = (Checks::default(), Checks::default());
        let stopping = closing.clone();
        readiness.require("not stopping", move || !stopping.is_cancelled());
        let controllers = Arc::clone(&vitals);
        readiness.require("allowed to watch", move || controllers.are_admitted(Instant::now()));
        liveness.require("controllers get on", move || vitals.get_on(Instant::now()));
        if let Some(injecting) = injecting {
            injecting.start(tasks, &readiness, closing, leads);
        }
        let service = admin::service(liveness, readiness, Arc::new(registry));
        tasks.spawn("admin", serve(admin, None, service, closing.clone()));
    }
}

impl Injecting {
    fn start(
        self,
        tasks: &mut Tasks,
        readiness: &Checks,
        closing: &CancellationToken,
        leads: Gauge,
    ) {
        let Self {
            listener,
            tls,
            webhook,
            followers,
            certificate,
            provider,
            metrics,
            origin,
            configuration,
            context,
        } = self;
        let waits = Waits { since: Instant::now(), leads };
        let (loaded, waited) = (Arc::clone(&certificate), waits.clone());
        let is_loaded = move || loaded.is_loaded() || waited.in_vain(Instant::now());
        readiness.require("certificate loaded", is_loaded);
        // Those that can't be served yet keep nobody waiting.
        let served = followers.iter().filter(|follower| follower.scope.is_served()).count();
        let unread = Arc::new(AtomicUsize::new(served));
        let left = Arc::clone(&unread);
        readiness.require("pipelines read", move || left.load(Ordering::Acquire) == 0);
        let (shown, stop) = (metrics.clone(), closing.clone());
        match origin {
            Origin::Secret(name) => {
                let secrets = context.namespaced::<Secret>(&context.options.namespace);
                let loading = load(secrets, name, certificate, provider, shown, stop);
                tasks.spawn("certificate", loading);
            }
            Origin::Directory(directory) => {
                let following = certificates::follow(directory, certificate, provider, shown, stop);
                tasks.spawn("certificate", following);
            }
        }
        let trusted = Arc::new(AtomicBool::new(false));
        let is_trusted = Arc::clone(&trusted);
        let is_trusted =
            move || is_trusted.load(Ordering::Acquire) || waits.in_vain(Instant::now());
        readiness.require("trusted by the API server", is_trusted);
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
        let trust = await_trust(configurations, configuration, trusted, metrics, closing.clone());
        tasks.spawn("trust", trust);
        for follower in followers {
            let scope = follower.scope.clone();
            let unread = if scope.is_served() { Arc::clone(&unread) } else { Arc::default() };
            let following = follower.follow(unread, closing.clone());
            tasks.spawn("pipelines", scope.once_served(following, closing.clone()));
        }
        let service = webhook::service(webhook);
        tasks.spawn("webhook", serve(listener, Some(tls), service, closing.clone()));
    }
}

/// Waiting for what a leader makes: the certificate, and the API server's trust in it.
///
/// While injection is changed from policies to the webhook the leader is one that makes neither, and it is
/// replaced only when its successors are ready. So who does not lead waits for a while and no longer. A
/// leader that can't make them itself is not ready until it can.
#[derive(Clone)]
struct Waits {
    since: Instant,
    leads: Gauge,
}

/// Long beside the time in which a leader makes them, a few seconds. An upgrade waits for it with each replica.
const PATIENCE: Duration = Duration::from_secs(15);

impl Waits {
    fn in_vain(&self, now: Instant) -> bool {
        self.leads.get() == 0 && now.duration_since(self.since) >= PATIENCE
    }
}

impl Follower {
    fn of(scope: &Scope) -> Self {
        let (store, writer) = reflector::store();
        Self { scope: scope.clone(), writer, store }
    }

    /// Follows until `stop` is cancelled; once all has been read, there is one less in `unread`.
    async fn follow(self, unread: Arc<AtomicUsize>, stop: CancellationToken) {
        let Self { scope, writer, store } = self;
        let pipelines: Api<StreamPipeline> = scope.context.watched();
        let changes =
            watcher(pipelines, watcher::Config::default()).default_backoff().reflect(writer);
        let follow = changes.take_until(stop.cancelled_owned()).for_each(|change| async {
            if let Err(error) = change {
                tracing::warn!(error = chain(&error), "watch of the pipelines interrupted");
            }
        });
        let note = async {
            if store.wait_until_ready().await.is_ok() {
                unread.fetch_sub(1, Ordering::AcqRel);
            }
        };
        futures::join!(follow, note);
    }
}

fn acceptor(
    provider: &Arc<CryptoProvider>,
    certificate: &Arc<Certificate>,
) -> Result<TlsAcceptor, rustls::Error> {
    let resolver: Arc<Certificate> = Arc::clone(certificate);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    // What the accept loop speaks; an API server would choose HTTP/2 where it is offered.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_lead_waits_for_a_while_and_who_leads_until_it_is_there() {
        let since = Instant::now();
        let waits = Waits { since, leads: Gauge::default() };
        assert!(!waits.in_vain(since + PATIENCE - Duration::from_millis(1)));
        assert!(waits.in_vain(since + PATIENCE));
        waits.leads.set(1);
        assert!(!waits.in_vain(since + PATIENCE));
    }
}
