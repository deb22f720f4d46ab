//! A cluster that the user brings: it is checked and recorded, and never changed or ended.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::build::Binaries;
use super::environment::Environment;
use super::layout::Layout;
use crate::command::{self, QUICK, tool};

/// `1` makes `up` use the cluster of `KUBECONFIG`.
const USE_VARIABLE: &str = "WEIR_USE_EXISTING_CLUSTER";

/// The kubeconfig of the cluster that the user wants used, if any.
///
/// # Errors
/// When one is wanted and `KUBECONFIG` does not say which.
pub(crate) fn wanted() -> Result<Option<String>> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    choose(set(USE_VARIABLE).as_deref(), set("KUBECONFIG"))
}

fn choose(used: Option<&str>, kubeconfig: Option<String>) -> Result<Option<String>> {
    match used {
        None | Some("0") => Ok(None),
        Some("1") => {
            let missing = || format!("{USE_VARIABLE}=1 needs KUBECONFIG, the cluster to use");
            kubeconfig.with_context(missing).map(Some)
        }
        Some(other) => anyhow::bail!("{USE_VARIABLE}={other} is neither 0 nor 1"),
    }
}

/// Checks that the cluster answers and records it.
///
/// # Errors
/// When it does not answer.
pub(crate) fn record(layout: &Layout, kubeconfig: &str) -> Result<()> {
    let kubectl = kubectl()?;
    let mut readyz = tool(&kubectl);
    readyz.args(["--kubeconfig", kubeconfig, "--request-timeout=10s", "get", "--raw", "/readyz"]);
    let answer = command::succeed(&mut readyz, QUICK);
    let answer = answer.with_context(|| format!("the cluster of {kubeconfig} does not answer"))?;
    ensure!(answer.trim() == "ok", "the cluster of {kubeconfig} is not ready: {answer}");
    Environment::of_existing(layout, kubeconfig, &kubectl)?.write(layout)?;
    println!("using the existing cluster of {kubeconfig}");
    Ok(())
}

fn kubectl() -> Result<PathBuf> {
    let found = Binaries::present()?.find("kubectl").or_else(|| command::find("kubectl"));
    found.context("no kubectl: run `cargo xtask cluster build`, or put one on PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_alone_is_not_taken() {
        assert_eq!(choose(None, Some("/home/me/.kube/config".into())).unwrap(), None);
        assert_eq!(choose(Some("0"), Some("x".into())).unwrap(), None);
    }

    #[test]
    fn a_wanted_cluster_needs_a_kubeconfig() {
        assert_eq!(choose(Some("1"), Some("x".into())).unwrap(), Some("x".into()));
        assert!(choose(Some("1"), None).unwrap_err().to_string().contains("KUBECONFIG"));
        assert!(choose(Some("yes"), Some("x".into())).is_err());
    }
}
