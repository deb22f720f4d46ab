//! The admin port: liveness, readiness and metrics.

use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};
use warp::{Filter, reply};

/// The media type of the metrics (OpenMetrics 1.0.0, section "Text format").
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What must be so for a replica to be ready, or alive.
#[derive(Clone, Default)]
pub struct Checks {
    checks: Arc<Mutex<Vec<Check>>>,
}

struct Check {
    name: &'static str,
    passes: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Checks {
    /// Adds a check; `name` says what is missing while it does not pass.
    pub fn require(&self, name: &'static str, passes: impl Fn() -> bool + Send + Sync + 'static) {
        self.checks.lock().push(Check { name, passes: Box::new(passes) });
    }

    /// What is missing.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let checks = self.checks.lock();
        checks.iter().filter(|check| !(check.passes)()).map(|check| check.name).collect()
    }
}

/// The routes of the admin port.
#[must_use]
pub fn routes(
    liveness: Checks,
    readiness: Checks,
    registry: Arc<Registry>,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone {
    let live = warp::path!("livez").map(move || judge("alive", &liveness));
    let ready = warp::path!("readyz").map(move || judge("ready", &readiness));
    let metrics = warp::path!("metrics").map(move || metrics(&registry));
    warp::get().and(live.or(ready).unify().or(metrics).unify())
}

fn judge(what: &str, checks: &Checks) -> Response {
    let missing = checks.missing();
    if missing.is_empty() {
        text(StatusCode::OK, format!("{what}\n"))
    } else {
        let missing = format!("not {what}: {}\n", missing.join(", "));
        text(StatusCode::SERVICE_UNAVAILABLE, missing)
    }
}

fn metrics(registry: &Registry) -> Response {
    let mut body = String::new();
    match encode(&mut body, registry) {
        Ok(()) => reply::with_header(body, "content-type", OPEN_METRICS).into_response(),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response {
    reply::with_status(body, status).into_response()
}

/// What the accept loop runs.
pub fn service(
    liveness: Checks,
    readiness: Checks,
    registry: Arc<Registry>,
) -> impl tower_service::Service<
    warp::http::Request<hyper::body::Incoming>,
    Response = Response,
    Error = Infallible,
    Future: Send,
> + Clone
+ Send
+ 'static {
    warp::service(routes(liveness, readiness, registry))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::{BodyExt, Empty};
    use hyper::body::Bytes;
    use tower_service::Service;
    use warp::http::Request;

    use super::*;

    async fn get(readiness: &Checks, path: &str) -> (StatusCode, String, String) {
        get_of(&Checks::default(), readiness, path).await
    }

    async fn get_of(
        liveness: &Checks,
        readiness: &Checks,
        path: &str,
    ) -> (StatusCode, String, String) {
        let mut registry = Registry::with_prefix("test");
        registry.register("a", "A", prometheus_client::metrics::gauge::Gauge::<i64>::default());
        let mut service =
            warp::service(routes(liveness.clone(), readiness.clone(), Arc::new(registry)));
        let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        let response = service.call(request).await.unwrap();
        let status = response.status();
        let media = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, media, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing_until_nothing_is() {
        let readiness = Checks::default();
        let flag = Arc::new(AtomicBool::new(false));
        let loaded = Arc::clone(&flag);
        readiness.require("pipelines read", || true);
        readiness.require("certificate loaded", move || loaded.load(Ordering::SeqCst));
        let (status, _, body) = get(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "not ready: certificate loaded\n");
        flag.store(true, Ordering::SeqCst);
        assert_eq!(get(&readiness, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn liveness_and_readiness_ask_for_different_things() {
        let (some, none) = (Checks::default(), Checks::default());
        some.require("never", || false);
        assert_eq!(get_of(&none, &some, "/livez").await.0, StatusCode::OK);
        let (status, _, body) = get_of(&some, &none, "/livez").await;
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "not alive: never\n")
        );
        assert_eq!(get_of(&some, &none, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_to_the_end() {
        let (status, media, body) = get(&Checks::default(), "/metrics").await;
        assert_eq!((status, media.as_str()), (StatusCode::OK, OPEN_METRICS));
        assert!(body.contains("test_a 0") && body.ends_with("# EOF\n"), "{body}");
    }
}
