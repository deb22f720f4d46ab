//! Finds the cluster under test: the one that `cargo xtask cluster up` announced.
//!
//! Law: a `KUBECONFIG` that merely happens to be set is never used, because it may be anybody's
//! production. It counts only together with `WEIR_CLUSTER_MODE`, as `cargo xtask cluster exec` sets it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::Kubectl;

/// How much of a cluster there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Pods run.
    Node,
    /// An API without nodes: pods stay Pending.
    ControlPlane,
    /// Somebody else's, which must be left as it was.
    Existing,
}

/// A running cluster and its clients.
#[derive(Clone)]
pub struct Cluster {
    /// The API, as administrator.
    pub client: Client,
    /// What there is of a cluster.
    pub mode: Mode,
    variables: HashMap<String, String>,
}

impl Cluster {
    /// Connects to the cluster of this process's environment, else to the one whose folder is
    /// `WEIR_CLUSTER_DIR` or `target/cluster`.
    ///
    /// # Errors
    /// When none is up, with the command that starts one, or when it does not answer.
    pub async fn connect() -> Result<Self> {
        let variables = variables()?;
        let mode = match required(&variables, "WEIR_CLUSTER_MODE")? {
            "node" => Mode::Node,
            "control-plane" => Mode::ControlPlane,
            "existing" => Mode::Existing,
            other => {
                anyhow::bail!("WEIR_CLUSTER_MODE={other} is none of node, control-plane, existing")
            }
        };
        let path = required(&variables, "KUBECONFIG")?;
        let kubeconfig = Kubeconfig::read_from(path)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        client
            .apiserver_version()
            .await
            .with_context(|| format!("the cluster of {path} does not answer"))?;
        Ok(Self { client, mode, variables })
    }

    /// The kubeconfig, to be given to programs.
    ///
    /// # Errors
    /// Never for a cluster that [`Cluster::connect`] made.
    pub fn kubeconfig(&self) -> Result<&Path> {
        required(&self.variables, "KUBECONFIG").map(Path::new)
    }

    /// kubectl for one namespace.
    ///
    /// # Errors
    /// When the cluster came without kubectl.
    pub fn kubectl(&self, namespace: &str) -> Result<Kubectl> {
        let program = PathBuf::from(required(&self.variables, "KUBECTL")?);
        Ok(Kubectl::new(program, self.kubeconfig()?.to_owned(), namespace.to_owned()))
    }

    /// The path of Helm.
    ///
    /// # Errors
    /// When the cluster came without Helm.
    pub fn helm(&self) -> Result<&Path> {
        required(&self.variables, "HELM").map(Path::new)
    }

    /// What the cluster announced under `key`, such as `CTR`; see `tests/cluster/README.md`.
    #[must_use]
    pub fn variable(&self, key: &str) -> Option<&str> {
        self.variables.get(key).map(String::as_str)
    }
}

fn required<'a>(variables: &'a HashMap<String, String>, key: &str) -> Result<&'a str> {
    variables.get(key).map(String::as_str).with_context(|| format!("this cluster has no {key}"))
}

fn variables() -> Result<HashMap<String, String>> {
    if std::env::var_os("WEIR_CLUSTER_MODE").is_some() {
        return Ok(std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect());
    }
    let file = folder().join("env");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!("no cluster is up ({}): run `cargo xtask cluster up`", file.display())
    })?;
    Ok(parse(&text))
}

fn folder() -> PathBuf {
    let named = std::env::var_os("WEIR_CLUSTER_DIR").filter(|value| !value.is_empty());
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cluster");
    named.map_or_else(default, PathBuf::from)
}

fn parse(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_an_equals_sign() {
        let variables = parse("KUBECTL=/a/b\nX=a=b\n");
        assert_eq!(required(&variables, "X").unwrap(), "a=b");
        assert_eq!(
            required(&variables, "HELM").unwrap_err().to_string(),
            "this cluster has no HELM"
        );
    }
}
