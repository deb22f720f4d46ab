//! The admin port: probes, metrics, samples and drain.

mod metrics;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Response, StatusCode, header};
pub use metrics::Process;
use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry::Registry as Metrics};
use serde::Deserialize;
use tokio::time;
use tokio_util::sync::CancellationToken;
use warp::Filter;
use weir_slo::Timestamp;

use crate::{
    edge::{
        Tls,
        accept::{Peer, Routes},
    },
    engine::Engine,
    registry::Registry,
};

/// How often the end of a drain is looked for.
const POLL: Duration = Duration::from_millis(50);

/// How much longer than the longest window a drain may take: a subscriber's last bytes.
const SLACK: Duration = Duration::from_secs(5);

/// What the admin port reports on, and can do.
#[derive(Debug)]
pub struct Admin {
    registry: Arc<Registry>,
    engine: Arc<Engine>,
    /// Cancelled when subscribers are sent away.
    draining: CancellationToken,
    /// Whether the manifests were read once.
    ready: AtomicBool,
    metrics: Mutex<Metrics>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Since {
    since: Option<u64>,
}

impl Admin {
    /// Reports on these.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        engine: Arc<Engine>,
        draining: CancellationToken,
        tls: Tls,
        process: Process,
    ) -> Self {
        let mut metrics = Metrics::default();
        metrics.register_collector(Box::new(metrics::Pipelines::new(Arc::clone(&registry))));
        metrics.register_collector(Box::new(metrics::Certificates::new(tls)));
        metrics.register_collector(Box::new(process));
        let ready = AtomicBool::new(false);
        Self { registry, engine, draining, ready, metrics: Mutex::new(metrics) }
    }

    /// Says that the manifests were read.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether subscribers are being sent away, or were.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Sends the subscribers away, over their pipelines' windows; returns when they are gone, and after `most` in any
    /// case: a subscriber that takes nothing is not waited for beyond.
    pub async fn drain(&self, most: Duration) {
        tracing::info!(
            connections = self.engine.connections(),
            "draining: subscribers are sent away"
        );
        self.draining.cancel();
        self.engine.drain(most);
        let windows = self.registry.all();
        let windows = windows.values().map(|pipeline| pipeline.hub().settings().drain);
        let longest = windows.max().unwrap_or_default().min(most);
        let gone = async {
            while self.engine.connections() > 0 {
                time::sleep(POLL).await;
            }
        };
        let patience = longest.saturating_add(SLACK).min(most);
        if time::timeout(patience, gone).await.is_err() {
            tracing::warn!(
                left = self.engine.connections(),
                "subscribers were left after the drain"
            );
        }
    }

    fn readiness(&self) -> Response<Vec<u8>> {
        let (status, text) = if self.is_draining() {
            (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
        } else if self.ready.load(Ordering::Acquire) {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the manifests were not read yet\n")
        };
        plain(status, text.into())
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let mut out = String::new();
        match text::encode(&mut out, &self.metrics.lock()) {
            Ok(()) => {
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                let out = metrics::exemplars::add(out, &self.registry);
                respond(StatusCode::OK, kind, out.into_bytes())
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n").into()),
        }
    }

    fn samples(&self, since: Since) -> Response<Vec<u8>> {
        let samples = self.registry.samples(Timestamp::from_millis(since.since.unwrap_or(0)));
        match serde_json::to_vec(&samples) {
            Ok(body) => respond(StatusCode::OK, "application/json", body),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n").into()),
        }
    }
}

/// The routes of the admin port.
#[must_use]
pub fn routes(admin: &Arc<Admin>) -> Routes {
    let shared = Arc::clone(admin);
    let admin = warp::any().map(move || Arc::clone(&shared));
    let live = warp::path!("livez").map(|| plain(StatusCode::OK, "ok\n".into()));
    let ready = warp::path!("readyz").and(admin.clone()).map(|admin: Arc<Admin>| admin.readiness());
    let metrics =
        warp::path!("metrics").and(admin.clone()).map(|admin: Arc<Admin>| admin.metrics());
    let samples = warp::path!("samples")
        .and(warp::query::<Since>())
        .and(admin.clone())
        .map(|since, admin: Arc<Admin>| admin.samples(since));
    let drain = warp::path!("drain")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(admin)
        .then(|headers: HeaderMap, peer: Peer, admin: Arc<Admin>| async move {
            // A drain is for good. So only this pod's own preStop hook may start it: no neighbour in the
            // cluster, and no web page, which would send an origin.
            if !peer.is_local() || headers.contains_key(header::ORIGIN) {
                return plain(
                    StatusCode::FORBIDDEN,
                    "a drain is started from the same pod\n".into(),
                );
            }
            admin.drain(Duration::MAX).await;
            plain(StatusCode::OK, "drained\n".into())
        });
    let none = warp::any().map(|| {
        let paths = "served here are /livez, /readyz, /metrics, /samples and POST /drain\n";
        plain(StatusCode::NOT_FOUND, paths.into())
    });
    let probes = live.or(ready).unify().or(metrics).unify();
    probes
        .or(samples)
        .unify()
        .or(drain)
        .unify()
        .or(none)
        .unify()
        .map(warp::Reply::into_response)
        .boxed()
}

fn plain(status: StatusCode, text: std::borrow::Cow<'static, str>) -> Response<Vec<u8>> {
    respond(status, "text/plain; charset=utf-8", text.into_owned().into_bytes())
}

fn respond(status: StatusCode, media_type: &'static str, body: Vec<u8>) -> Response<Vec<u8>> {
    crate::edge::respond(status, media_type, body)
}
