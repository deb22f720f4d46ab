//! Calls kubectl as a user does, and returns what the user would read.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longer than any `--timeout` that a test gives to `kubectl wait`.
const LIMIT: Duration = Duration::from_mins(5);

/// kubectl for one cluster and one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

/// What an ended kubectl left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Whether the exit status was zero.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    pub(crate) const fn new(program: PathBuf, kubeconfig: PathBuf, namespace: String) -> Self {
        Self { program, kubeconfig, namespace }
    }

    /// Runs `kubectl ARGUMENTS` in the namespace, whatever its exit status.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn output(&self, arguments: &[&str]) -> Result<Output> {
        self.run(arguments, "").await
    }

    /// Runs `kubectl ARGUMENTS` in the namespace and returns its standard output.
    ///
    /// # Errors
    /// As [`Kubectl::output`], and when it fails; the error then carries standard error.
    pub async fn succeed(&self, arguments: &[&str]) -> Result<String> {
        self.output(arguments).await?.into_success(arguments)
    }

    /// `kubectl apply` of manifests, with more `options` such as `--dry-run=server`.
    ///
    /// # Errors
    /// When it cannot be started or does not end. A refusal is in the output.
    pub async fn apply(&self, manifests: &str, options: &[&str]) -> Result<Output> {
        self.run(&[&["apply", "--filename=-"], options].concat(), manifests).await
    }

    /// `kubectl apply` of a file or a folder.
    ///
    /// # Errors
    /// As [`Kubectl::succeed`].
    pub async fn apply_path(&self, path: &Path) -> Result<String> {
        self.succeed(&["apply", &format!("--filename={}", path.display())]).await
    }

    /// `kubectl get` of one object, as JSON.
    ///
    /// # Errors
    /// As [`Kubectl::succeed`].
    pub async fn get(&self, kind: &str, name: &str) -> Result<serde_json::Value> {
        let text = self.succeed(&["get", kind, name, "--output=json"]).await?;
        serde_json::from_str(&text).context("kubectl did not print JSON")
    }

    /// `kubectl wait`, as in `wait("streamslo/orders", "condition=Met", limit)`.
    ///
    /// # Errors
    /// As [`Kubectl::succeed`], also when time runs out.
    pub async fn wait(&self, object: &str, what: &str, limit: Duration) -> Result<String> {
        let (what, limit) = (format!("--for={what}"), format!("--timeout={}s", limit.as_secs()));
        self.succeed(&["wait", object, &what, &limit]).await
    }

    async fn run(&self, arguments: &[&str], stdin: &str) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        let mut input = child.stdin.take().context("kubectl has no standard input")?;
        let feed = async move {
            // One that ends without reading it all says why on standard error.
            let _ended = input.write_all(stdin.as_bytes()).await;
        };
        let ((), ended) =
            tokio::time::timeout(LIMIT, async { tokio::join!(feed, child.wait_with_output()) })
                .await
                .with_context(|| format!("`kubectl {}` does not end", arguments.join(" ")))?;
        let ended = ended?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output {
            success: ended.status.success(),
            stdout: text(&ended.stdout),
            stderr: text(&ended.stderr),
        })
    }
}

impl Output {
    /// Standard output, if the exit status was zero.
    ///
    /// # Errors
    /// When it was not, with standard error.
    pub fn into_success(self, arguments: &[&str]) -> Result<String> {
        if !self.success {
            bail!("`kubectl {}` failed: {}", arguments.join(" "), self.stderr.trim());
        }
        Ok(self.stdout)
    }
}
