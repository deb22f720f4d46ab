//! What a running cluster is used by: its state, its images, its API and its network.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::environment::Environment;
use super::layout::Layout;
use super::{node, process};
use crate::command::{self, QUICK, tool};

/// `cargo xtask cluster status`: prints the processes, the address and the nodes.
///
/// # Errors
/// When no cluster is up or a component of it has ended.
pub(crate) fn status() -> Result<()> {
    let layout = Layout::from_environment()?;
    let environment = Environment::read(&layout)?;
    for (key, value) in environment.lines() {
        println!("{key}={value}");
    }
    let recorded = process::recorded(&layout);
    for (name, pid, running) in &recorded {
        println!(
            "{name:24} {}",
            if *running { format!("running, pid {pid}") } else { "ended".into() }
        );
    }
    let mut nodes = client(&environment)?;
    print!("{}", command::succeed(nodes.args(["--request-timeout=10s", "get", "nodes"]), QUICK)?);
    if let Some((name, _, _)) = recorded.iter().find(|(_, _, running)| !running) {
        bail!("{name} has ended; its log is {}", layout.log(name).display());
    }
    Ok(())
}

/// `cargo xtask cluster load`: imports image archives into the running nodes.
///
/// # Errors
/// When the cluster has no node of its own or an archive cannot be imported.
pub(crate) fn load(archives: &[PathBuf]) -> Result<()> {
    let layout = Layout::from_environment()?;
    let environment = Environment::read(&layout)?;
    let ctr = environment.get("CTR").context("this cluster has no node to load images into")?;
    for archive in archives {
        for node in environment.nodes() {
            node::import(&layout.containerd_socket(node), Path::new(ctr), archive)?;
        }
        println!("imported {}", archive.display());
    }
    Ok(())
}

/// `cargo xtask cluster kubectl`: becomes kubectl.
///
/// # Errors
/// When no cluster is up or kubectl cannot be started.
pub(crate) fn kubectl(arguments: &[OsString]) -> Result<()> {
    let environment = Environment::read(&Layout::from_environment()?)?;
    // Not bounded and with standard input: it is the user's own call.
    let mut kubectl = Command::new(environment.require("KUBECTL")?);
    kubectl.env("KUBECONFIG", environment.require("KUBECONFIG")?).args(arguments);
    Err(kubectl.exec()).context("could not start kubectl")
}

/// `cargo xtask cluster exec`: becomes a program that has the cluster's environment and, with a node, is
/// in its network.
///
/// # Errors
/// When no cluster is up or the program cannot be started.
pub(crate) fn exec(words: &[OsString]) -> Result<()> {
    let environment = Environment::read(&Layout::from_environment()?)?;
    let (program, arguments) = words.split_first().context("no program is given")?;
    let mut command = inside(&environment, program);
    Err(command.args(arguments).exec())
        .with_context(|| format!("could not start {}", program.display()))
}

/// A command that has the cluster's environment and, with a node, is in its network.
pub(crate) fn inside(environment: &Environment, program: &OsStr) -> Command {
    let mut command = match environment.get("WEIR_CLUSTER_NETNS") {
        Some(namespace) => {
            let mut nsenter = Command::new("nsenter");
            nsenter.arg(format!("--net={namespace}")).arg("--").arg(program);
            nsenter
        }
        None => Command::new(program),
    };
    command.envs(environment.lines());
    command
}

fn client(environment: &Environment) -> Result<Command> {
    let mut kubectl = tool(environment.require("KUBECTL")?);
    kubectl.arg("--kubeconfig").arg(environment.require("KUBECONFIG")?);
    Ok(kubectl)
}
