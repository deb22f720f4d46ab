//! Starts a server on free ports.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::net::TcpListener;
use weir_crds::manifest::Metadata;
use weir_sidecar::{
    app::{App, Listeners},
    config::{Config, PipelineConfig, SloConfig},
    log::DataDir,
    memory::Memory,
};

use crate::client::{Answer, Request, Sse, WebSocket};

/// Long enough for a busy machine; what is waited for comes in milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pipeline that an application posts into, and whose public port is open to publishers.
pub(crate) const OPEN: &str = "
placement: {gateway: {replicas: 1}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
";

/// A running server.
pub(crate) struct Server {
    pub(crate) app: App,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) publish: SocketAddr,
}

/// The configuration of one pipeline, `orders`, with these specs in YAML.
pub(crate) fn config(pipeline: &str, slo: Option<&str>) -> Config {
    let spec = serde_yaml::from_str(pipeline).unwrap();
    let violations = weir_crds::validate::pipeline("orders", &spec);
    assert!(violations.is_empty(), "{violations:?}");
    let Metadata { uid, generation, .. } = Metadata::default();
    let slos = slo.map(|slo| SloConfig {
        namespace: "shop".to_owned(),
        name: "feed".to_owned(),
        generation: None,
        spec: serde_yaml::from_str(slo).unwrap(),
    });
    let pipeline = PipelineConfig {
        namespace: "shop".to_owned(),
        name: "orders".to_owned(),
        uid,
        generation,
        share: None,
        spec,
        slos: slos.into_iter().collect(),
    };
    Config { pipelines: [("orders".to_owned(), pipeline)].into() }
}

/// Serves a configuration whose logs may be on a disk.
pub(crate) async fn start_in(config: Config, data: &Path) -> Server {
    Server::start_on(config, DataDir::new(data.to_owned())).await
}

impl Server {
    /// Serves one pipeline, `orders`.
    pub(crate) async fn start(pipeline: &str) -> Self {
        Self::start_with(config(pipeline, None)).await
    }

    /// Serves a configuration.
    pub(crate) async fn start_with(config: Config) -> Self {
        Self::start_on(config, DataDir::default()).await
    }

    /// Serves one pipeline, `orders`, with the Secrets in this directory.
    pub(crate) async fn start_in(secrets: &Path, pipeline: &str) -> Self {
        Self::start_with_secrets(config(pipeline, None), secrets).await
    }

    /// Serves a configuration whose Secrets lie in `directory`.
    pub(crate) async fn start_with_secrets(config: Config, directory: &Path) -> Self {
        Self::serve(config, DataDir::default(), directory, Memory::unbounded()).await
    }

    async fn start_on(config: Config, data: DataDir) -> Self {
        Self::serve(config, data, Path::new("/nonexistent"), Memory::unbounded()).await
    }

    /// Serves a configuration in a process whose memory is that of a control group.
    pub(crate) async fn start_in_cgroup(config: Config, directory: &Path) -> Self {
        let memory = Memory::of_cgroup(directory);
        Self::serve(config, DataDir::default(), Path::new("/nonexistent"), memory).await
    }

    async fn serve(config: Config, data: DataDir, secrets: &Path, memory: Memory) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (public, admin, publish) = tokio::try_join!(bind(), bind(), bind()).unwrap();
        let listeners = Listeners { public, admin, publish, publish_socket: None };
        Self::serve_on(listeners, config, data, secrets, memory)
    }

    /// Serves a configuration on listeners that are bound.
    pub(crate) fn start_on_listeners(listeners: Listeners, config: Config) -> Self {
        let (data, secrets) = (DataDir::default(), Path::new("/nonexistent"));
        Self::serve_on(listeners, config, data, secrets, Memory::unbounded())
    }

    fn serve_on(
        listeners: Listeners,
        config: Config,
        data: DataDir,
        secrets: &Path,
        memory: Memory,
    ) -> Self {
        let server = Self::start_up(listeners, data, secrets, memory);
        server.app.apply(config);
        server
    }

    /// A server that has not been told yet what it serves.
    pub(crate) async fn start_without() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (public, admin, publish) = tokio::try_join!(bind(), bind(), bind()).unwrap();
        let listeners = Listeners { public, admin, publish, publish_socket: None };
        let (data, secrets) = (DataDir::default(), Path::new("/nonexistent"));
        Self::start_up(listeners, data, secrets, Memory::unbounded())
    }

    fn start_up(listeners: Listeners, data: DataDir, secrets: &Path, memory: Memory) -> Self {
        let Listeners { public, admin, publish, publish_socket: _ } = &listeners;
        let [a, b, c] = [public, admin, publish].map(|l| l.local_addr().unwrap());
        let app = App::start_with(listeners, data, secrets, memory).unwrap();
        Self { app, public: a, admin: b, publish: c }
    }

    /// Posts one JSON event as the application does.
    pub(crate) async fn post(&self, json: &str) -> Answer {
        let request = Request::post("/orders/events").header("content-type", "application/json");
        request.body(json).send(self.publish).await
    }

    /// Posts events `{"n":…}` for a range of numbers, in batches.
    pub(crate) async fn post_numbers(&self, numbers: std::ops::Range<u64>) {
        let lines: Vec<_> = numbers.map(|n| format!("{{\"n\":{n}}}")).collect();
        for lines in lines.chunks(500) {
            let request =
                Request::post("/orders/events").header("content-type", "application/x-ndjson");
            let answer = request.body(&lines.join("\n")).send(self.publish).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    /// Subscribes over SSE.
    pub(crate) async fn sse(&self, query: &str) -> Sse {
        Sse::open(self.public, &format!("/orders/sse{query}"), &[]).await
    }

    /// Subscribes over WebSocket.
    pub(crate) async fn web_socket(&self, query: &str) -> WebSocket {
        WebSocket::open(self.public, &format!("/orders/ws{query}")).await
    }

    /// Opens a WebSocket with more headers, and reads nothing but the head.
    pub(crate) async fn web_socket_with(&self, headers: &[(&str, &str)]) -> WebSocket {
        let socket = tokio::net::TcpStream::connect(self.public).await.unwrap();
        WebSocket::shake_hands(Box::new(socket), "/orders/ws", headers).await
    }

    /// Asks the admin port.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        Request::get(path).send(self.admin).await
    }

    /// A value out of `/metrics`; `None` where there is no such line.
    pub(crate) async fn metric(&self, line: &str) -> Option<u64> {
        let metrics = self.admin("/metrics").await.text();
        let value = metrics.lines().find_map(|found| found.strip_prefix(line))?;
        value.trim().parse().ok()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn metric_becomes(&self, line: &str, expected: u64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric(line).await;
            if value == Some(expected) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{line} is {value:?}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
