//! The operator as a process of its own: its environment and its log are nobody else's.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use weir_tests::client::http::Connection;
use weir_tests::{Namespace, eventually};

use crate::fixture::{LIMIT, install_definitions};
use crate::installation::free;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_weir-operator");

/// Variables of its environment.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// A running operator, which is killed with this value.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts one, and waits until it is ready.
    pub(crate) async fn start(
        watched: &Namespace,
        system: &Namespace,
        besides: &[String],
        variables: &Variables,
    ) -> Result<Self> {
        install_definitions(&watched.cluster).await?;
        let admin = free().await?;
        let folder = tempfile::tempdir()?;
        let child = Command::new(PROGRAM)
            .env_clear()
            .env("KUBECONFIG", watched.cluster.kubeconfig()?)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .arg("run")
            .arg(format!("--namespace={}", system.name))
            .arg(format!("--watch-namespace={}", watched.name))
            .arg("--identity=traced")
            .arg("--sidecar-image=registry.test/weir-sidecar:1")
            .arg(format!("--admin-address={admin}"))
            .args(["--log-format=json", "--log=info,weir_operator=debug"])
            .args(besides)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()?;
        let process = Self { child, folder };
        let url = format!("http://{admin}").parse()?;
        let ready = eventually("the operator is ready", LIMIT, async || {
            let answer = Connection::open(&url).await?.get("/readyz").await?;
            ensure!(answer.status == 200, "{:?}", answer.body);
            Ok(())
        });
        ready.await.with_context(|| format!("{:?}", process.text()))?;
        Ok(process)
    }

    /// Asks it to end, waits until it has ended well, and returns what it logged.
    pub(crate) async fn stop(mut self) -> Result<Vec<Value>> {
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::TERM)?;
        let child = &mut self.child;
        let mut ended = None;
        eventually("the operator has ended", LIMIT, async || {
            ended = child.try_wait()?;
            ensure!(ended.is_some(), "it runs");
            Ok(())
        })
        .await?;
        let text = self.text()?;
        ensure!(ended.is_some_and(|status| status.success()), "{ended:?}: {text}");
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    fn text(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join("log"))?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
