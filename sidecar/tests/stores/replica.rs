//! Replicas: processes of the sidecar that serve one manifest, on addresses that they keep when they are
//! restarted.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{io::AsyncReadExt, io::AsyncWriteExt, net::TcpStream, time};

use crate::{PATIENCE, store::free_port};

/// One replica.
pub(crate) struct Replica {
    child: Child,
    manifest: PathBuf,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) publish: SocketAddr,
}

/// Two replicas of the pipeline `orders`.
pub(crate) struct Pair {
    pub(crate) replicas: [Replica; 2],
    _folder: TempDir,
}

impl Pair {
    pub(crate) async fn start(storage: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("orders.yaml");
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{name: orders, namespace: shop}}\n\
             spec:\n  placement: {{sidecar: {{selector: {{matchLabels: {{app: shop}}}}}}}}\n  \
             sources: [{{name: app, http: {{}}}}]\n  log: {{storage: {storage}}}\n  \
             delivery: {{drain: {{window: 1s}}}}\n"
        );
        fs::write(&manifest, text).unwrap();
        let replicas = [(); 2].map(|()| Replica::start(manifest.clone()));
        for replica in &replicas {
            replica.becomes_ready().await;
        }
        Self { replicas, _folder: folder }
    }

    pub(crate) fn public(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.public).collect()
    }

    pub(crate) fn publish(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.publish).collect()
    }
}

impl Replica {
    fn start(manifest: PathBuf) -> Self {
        let [public, admin, publish] =
            [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let child = spawn(&manifest, public, admin, publish);
        Self { child, manifest, public, admin, publish }
    }

    /// As a kubelet does it: the preStop hook, then SIGTERM, then a new process.
    pub(crate) async fn roll(&mut self) {
        let mut drain = program();
        drain.args(["drain", "--admin", &self.admin.to_string()]);
        let drained = tokio::task::spawn_blocking(move || drain.status());
        assert!(drained.await.unwrap().unwrap().success(), "the replica drains");
        self.signal(Signal::TERM);
        self.ends().await;
        self.revive().await;
    }

    /// As a node does that fails.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ends().await;
        self.revive().await;
    }

    async fn revive(&mut self) {
        self.child = spawn(&self.manifest, self.public, self.admin, self.publish);
        self.becomes_ready().await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    async fn ends(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the replica did not end");
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn becomes_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !matches!(ask(self.admin, "/readyz").await, Some(answer) if answer.starts_with("HTTP/1.1 200"))
        {
            assert!(Instant::now() < deadline, "the replica did not become ready");
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_weir-sidecar"))
}

fn spawn(manifest: &PathBuf, public: SocketAddr, admin: SocketAddr, publish: SocketAddr) -> Child {
    let mut run = program();
    run.arg("run").arg(manifest).args(["--status", "never"]);
    for (flag, address) in [("--public", public), ("--admin", admin), ("--publish", publish)] {
        run.arg(flag).arg(address.to_string());
    }
    run.stdout(Stdio::null()).spawn().unwrap()
}

async fn ask(address: SocketAddr, path: &str) -> Option<String> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
