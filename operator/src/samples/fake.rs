//! A sidecar's admin port for tests: a real HTTP server on loopback that behaves as told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use weir_slo::{Instance, SAMPLES_V1, Samples, Timestamp};

use super::Target;

/// What the sidecar does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// Answers with these samples, without the snapshots that were not asked for.
    Serve(Samples),
    /// Answers with something else than JSON.
    Garbage,
    /// Answers with a status.
    Fail(u16),
    /// Never answers.
    Hang,
    /// Never ceases to answer.
    Endless,
}

/// A running fake.
pub(crate) struct FakeSidecar {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<String>>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl FakeSidecar {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour).await
    }

    pub(crate) async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(State { behaviour: Mutex::new(behaviour), requests: Mutex::default() });
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// This sidecar as a replica with the pod's name as its uid.
    pub(crate) fn target(&self, pod: &str) -> Target {
        Target { uid: pod.to_owned(), pod: pod.to_owned(), address: self.address }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }

    /// The paths and queries asked for so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.requests.lock().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn requested(&self, count: usize) {
        let enough = async {
            while self.requests().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), enough).await.unwrap();
    }

    /// Closes the port and all connections.
    pub(crate) async fn stop(self) {
        self.server.abort();
        assert!(self.server.await.unwrap_err().is_cancelled());
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| respond(request, Arc::clone(&state)));
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            // A client that gave up is no failure of the test.
            let _ = connection.await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path_and_query().unwrap().to_string();
    state.requests.lock().push(path.clone());
    let behaviour = state.behaviour.lock().clone();
    let full = |text: String| Full::new(Bytes::from(text)).boxed_unsync();
    let mut response = Response::new(full(String::new()));
    match behaviour {
        Behaviour::Serve(samples) => {
            let samples = without_old(samples, since(&path));
            *response.body_mut() = full(serde_json::to_string(&samples).unwrap());
        }
        Behaviour::Garbage => *response.body_mut() = full("<html>not found</html>".to_owned()),
        Behaviour::Fail(status) => *response.status_mut() = status.try_into().unwrap(),
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Endless => {
            let chunk = Bytes::from(vec![b' '; 1 << 20]);
            let frames = futures::stream::repeat(chunk).map(|chunk| Ok(Frame::data(chunk)));
            *response.body_mut() = StreamBody::new(frames).boxed_unsync();
        }
    }
    Ok(response)
}

fn since(path: &str) -> Timestamp {
    let (_, millis) = path.split_once("since=").unwrap();
    Timestamp::from_millis(millis.parse().unwrap())
}

fn without_old(mut samples: Samples, since: Timestamp) -> Samples {
    let slos = samples.pipelines.iter_mut().flat_map(|pipeline| &mut pipeline.slos);
    for objective in slos.flat_map(|slo| &mut slo.objectives) {
        objective.recent.retain(|snapshot| snapshot.at > since);
    }
    samples
}

/// A document of the instance `id` that serves no pipeline.
pub(crate) fn samples(id: &str) -> Samples {
    Samples {
        api_version: SAMPLES_V1.to_owned(),
        instance: Instance {
            id: id.to_owned(),
            started_at: Timestamp::from_millis(1),
            version: "test".to_owned(),
        },
        now: Timestamp::from_millis(2),
        refused: None,
        pipelines: Vec::new(),
    }
}
