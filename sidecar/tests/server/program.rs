//! The real program, with what the command line and the system have to say to it.

use std::{
    fs,
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    client::{Answer, Request, Sse},
    fixture::PATIENCE,
};

const SLO: &str = "---
apiVersion: weir.dev/v1alpha1
kind: StreamSLO
metadata: {name: feed}
spec:
  pipelineRef: {name: orders}
  timeWindow: {duration: 1h, isRolling: true}
  objectives: [{name: errors, target: '99', errorRate: {}}]
";

/// The program, which a drop kills.
pub(crate) struct Program {
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) publish: SocketAddr,
    pub(crate) admin: SocketAddr,
    folder: TempDir,
}

impl Program {
    /// Starts it with the pipeline `orders` of this spec, an SLO of it and these arguments, and waits until that is
    /// served.
    pub(crate) async fn start(spec: &str, arguments: &[&str]) -> Self {
        Self::start_with(spec, SLO, arguments).await
    }

    /// The same without an SLO.
    pub(crate) async fn start_without_slo(spec: &str) -> Self {
        Self::start_with(spec, "", &[]).await
    }

    async fn start_with(spec: &str, slo: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("orders.yaml");
        let spec = spec.lines().map(|line| format!("  {line}\n")).collect::<String>();
        let head = "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {name: orders}\nspec:\n";
        fs::write(&manifest, format!("{head}{spec}{slo}")).unwrap();
        let [public, admin, publish] = ports_of_its_own();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-sidecar"))
            .arg("run")
            .arg(manifest)
            .args([format!("--public={public}"), format!("--admin={admin}")])
            .args([format!("--publish={publish}"), "--status=never".to_owned()])
            .arg(format!("--last-words={}", folder.path().join("last-words").display()))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self { child, public, publish, admin, folder };
        let deadline = Instant::now() + PATIENCE;
        while !program.is_ready().await {
            assert!(Instant::now() < deadline, "it is not ready in time");
            sleep(Duration::from_millis(10)).await;
        }
        program
    }

    async fn is_ready(&self) -> bool {
        TcpStream::connect(self.admin).await.is_ok() && self.takes_subscribers().await
    }

    /// Whether its probe says that it is ready.
    pub(crate) async fn takes_subscribers(&self) -> bool {
        Request::get("/readyz").send(self.admin).await.status == 200
    }

    pub(crate) async fn sse(&self) -> Sse {
        Sse::open(self.public, "/orders/sse", &[]).await
    }

    pub(crate) async fn post(&self, json: &str) -> Answer {
        let request = Request::post("/orders/events").header("content-type", "application/json");
        request.body(json).send(self.publish).await
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended as it should, with its final counters handed over. Returns these.
    pub(crate) async fn ends(self) -> Value {
        let words = self.ends_with().await.expect("last words");
        let words: Value = serde_json::from_str(&words).unwrap();
        assert_eq!(words["pipelines"][0]["name"], "orders", "{words}");
        words
    }

    /// Waits until it has ended as it should, and returns its last words.
    pub(crate) async fn ends_with(mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            sleep(Duration::from_millis(10)).await;
        };
        assert!(status.success(), "{status}");
        fs::read_to_string(self.folder.path().join("last-words")).ok()
    }

    /// Waits until so many deliveries are written.
    pub(crate) async fn writes(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE;
        let mut written = 0;
        while written < count {
            assert!(Instant::now() < deadline, "{written} are written, of {count}");
            let metrics = self.metrics().await;
            let lines = metrics.lines();
            let lines = lines.filter(|line| line.starts_with("weir_deliveries_written_total{"));
            let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            written = counts.sum();
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it answers to a scrape.
    pub(crate) async fn metrics(&self) -> String {
        Request::get("/metrics").send(self.admin).await.text()
    }

    /// The most memory that it has had, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three ports of a loopback address that nobody else has, so that nobody takes one that was free.
fn ports_of_its_own() -> [SocketAddr; 3] {
    let [a, b, c, ..] = RandomState::new().hash_one(()).to_be_bytes();
    let address = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
    [7070, 7071, 7072].map(|port| (address, port).into())
}
