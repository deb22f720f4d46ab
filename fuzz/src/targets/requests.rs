//! Requests to the public port: whatever is asked for, by whatever path, query and headers, is answered,
//! and never by an error of the server's own.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::Request;
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;
use weir_sidecar::{
    edge::{
        Door, Service, Takeover,
        accept::{Peer, Routes, waiting},
        routes,
    },
    memory::Memory,
};

use super::{message::parse, server::Server};

const MANIFEST: &str = "\
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: orders, namespace: shop}
spec:
  placement: {gateway: {}}
  sources: [{name: app, http: {}}]
  endpoints: {sse: {}, websocket: {}, read: {}, publish: {anonymous: true}, durableStreams: {anonymous: true}}
";

/// More requests show no more than so many do.
const MOST: usize = 4;

struct Edge {
    server: Server,
    routes: Routes,
}

static EDGE: LazyLock<Edge> = LazyLock::new(|| {
    let server = Server::start(MANIFEST);
    let service = Service {
        registry: Arc::clone(&server.registry),
        draining: CancellationToken::new(),
        stopping: CancellationToken::new(),
        waiting: waiting(),
        memory: Memory::unbounded(),
        budgets: weir_sidecar::memory::Budgets::of(None),
        unrouted: Arc::default(),
    };
    let routes = routes(&service, Door::Public);
    Edge { server, routes }
});

/// Long beside what takes an answer that doesn't wait for anything.
const PATIENCE: Duration = Duration::from_millis(20);

/// An input holds several requests, of which one may build on what another did.
pub(super) fn answer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    text.split("\n===\n").take(MOST).for_each(|request| answer_one(request.as_bytes()));
}

fn answer_one(input: &[u8]) {
    let (first, headers, body) = parse(input);
    let Some(mut request) = request(first, body) else { return };
    *request.headers_mut() = headers;
    let (takeover, handover) = Takeover::channel();
    request.extensions_mut().insert(takeover);
    request.extensions_mut().insert(Peer(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let Edge { server, routes } = &*EDGE;
    server.runtime.block_on(async {
        let mut service = warp::service(routes.clone());
        tokio::select! {
            response = service.call(request) => {
                let response = response.unwrap_or_else(|never: Infallible| match never {});
                let status = response.status();
                // Busy, or as many durable streams as there may be.
                let ours = status.is_server_error() && !matches!(status.as_u16(), 503 | 507);
                assert!(!ours, "answered with {status}");
            }
            // A stream; the engine would take it over now.
            _ = handover => {}
            // A long-poll, which waits for an event that doesn't come.
            () = tokio::time::sleep(PATIENCE) => {}
        }
    });
}

/// `METHOD TARGET`, as far as hyper would take it.
fn request(line: &[u8], body: &[u8]) -> Option<Request<String>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let body = String::from_utf8_lossy(body).into_owned();
    let request = Request::builder().method(method).uri(target).body(body).ok()?;
    request.uri().path_and_query().is_some().then_some(request)
}
