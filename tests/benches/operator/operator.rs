//! The operator as a process of its own, which can be killed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually};

use crate::Bench;

/// It starts within a second; this is for a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running operator, which ends with this value.
pub(crate) struct Operator {
    child: Child,
    admin: SocketAddr,
}

impl Operator {
    /// Starts one that watches a namespace, in which its Lease is, too.
    pub(crate) fn start(bench: &Bench, namespace: &Namespace, identity: &str) -> Result<Self> {
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let log = File::create(log(identity))?;
        let child = Command::new(&bench.operator)
            .env("KUBECONFIG", bench.cluster.kubeconfig()?)
            .arg("run")
            .arg(format!("--namespace={}", namespace.name))
            .arg(format!("--watch-namespace={}", namespace.name))
            .arg(format!("--identity={identity}"))
            .arg(format!("--admin-address={admin}"))
            .arg("--sidecar-image=registry.test/weir-sidecar:1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", bench.operator.display()))?;
        Ok(Self { child, admin })
    }

    /// Kills it as the kernel does for want of memory: it learns nothing of it.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it still runs.
    pub(crate) fn check(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the operator ended ({})", ended.unwrap_or_default());
        Ok(())
    }

    /// The most memory that it has had resident, in MiB.
    pub(crate) fn peak_mebibytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.context("no VmHWM")?.trim().trim_end_matches(" kB").parse::<u64>()?;
        Ok(kib / 1_024)
    }

    /// The sum of the metrics whose line begins so.
    pub(crate) async fn metric(&self, beginning: &str) -> Result<u64> {
        let url = format!("http://{}", self.admin).parse()?;
        let answer = Connection::open(&url).await?.get("/metrics").await?;
        let text = String::from_utf8(answer.body.to_vec())?;
        let values = text.lines().filter(|line| line.starts_with(beginning));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(values.sum())
    }

    pub(crate) async fn leads(&self) -> Result<bool> {
        Ok(self.metric("weir_operator_leader ").await? == 1)
    }

    /// Waits until it leads.
    pub(crate) async fn until_it_leads(&self) -> Result<()> {
        eventually("it leads", START, async || {
            ensure!(self.leads().await?, "it follows");
            Ok(())
        })
        .await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where its output goes.
fn log(identity: &str) -> std::path::PathBuf {
    Path::new(&std::env::temp_dir()).join(format!("weir-bench-{identity}.log"))
}
