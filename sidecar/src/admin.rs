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
        Standing, Tls,
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
    tls: Tls,
    /// Whether the manifests were read once.
    ready: AtomicBool,
    /// Whether they were good once.
    applied: AtomicBool,
    /// Whether all that they ask for was there at once: what comes later takes no pod out of service.
    served: AtomicBool,
    metrics: Mutex<Metrics>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Since {
    since: Option<u64>,
}

/// Who asks whether the process is ready.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Asked {
    /// For a pod that is there for nothing else than to serve: it is not ready before it can. One that carries an
    /// application is, so that the application is not kept from its own work.
    #[serde(default)]
    serving: bool,
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
        metrics.register_collector(Box::new(metrics::Certificates::new(tls.clone())));
        metrics.register_collector(Box::new(process));
        let metrics = Mutex::new(metrics);
        let [ready, applied, served] = [(); 3].map(|()| AtomicBool::new(false));
        Self { registry, engine, draining, tls, ready, applied, served, metrics }
    }

    /// Says that the manifests were read.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Says that what the manifests ask for is in force, and that the certificates were looked for.
    pub fn set_applied(&self) {
        self.applied.store(true, Ordering::Release);
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

    fn readiness(&self, Asked { serving }: Asked) -> Response<Vec<u8>> {
        let hindrance = if self.is_draining() {
            Some("draining".to_owned())
        } else if !self.ready.load(Ordering::Acquire) {
            Some("the manifests were not read yet".to_owned())
        } else if serving {
            self.unserved()
        } else {
            None
        };
        match hindrance {
            None => plain(StatusCode::OK, "ok\n".into()),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n").into()),
        }
    }

    /// Why nobody could be served yet; `None` once somebody could.
    fn unserved(&self) -> Option<String> {
        if self.served.load(Ordering::Acquire) {
            return None;
        }
        if !self.applied.load(Ordering::Acquire) {
            let why = self.registry.refused();
            let why = why.as_ref().map_or("no reason given", |why| why.as_str());
            return Some(format!(
                "the configuration is refused, and there is none before it: {why}"
            ));
        }
        let bare = self.tls.standings().into_iter().find(|standing| !standing.usable);
        if let Some(Standing { secret, fault, usable: _ }) = bare {
            let why = fault.unwrap_or_default();
            return Some(format!("there is no certificate of the Secret {secret} yet: {why}"));
        }
        self.served.store(true, Ordering::Release);
        None
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
    let ready = warp::path!("readyz")
        .and(warp::query::<Asked>())
        .and(admin.clone())
        .map(|asked, admin: Arc<Admin>| admin.readiness(asked));
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
