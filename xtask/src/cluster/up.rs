//! `cargo xtask cluster up`: a fresh cluster, from nothing to ready.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::environment::Environment;
use super::layout::{LOCK_LIMIT, Layout};
use super::plan::{Node, Plan};
use super::ports::Ports;
use super::process::Components;
use super::{build, config, control_plane, down, existing, network, node};
use crate::setup::{Purpose, Report};

/// What kind of cluster to start.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Options {
    /// Start etcd, the API server and its controllers only; no privileges needed
    #[arg(long)]
    pub(crate) control_plane_only: bool,
    /// Fail, rather than start the control plane only, where pods cannot run
    #[arg(long, conflicts_with = "control_plane_only")]
    pub(crate) require_node: bool,
    /// How many nodes there are; each further one is in a network of its own, behind the first [default: 1]
    #[arg(long, value_name = "COUNT", conflicts_with = "control_plane_only",
        value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: Option<u8>,
    /// Image archive to import, besides those in the cluster's folder
    #[arg(long = "image", value_name = "TAR")]
    pub(crate) images: Vec<PathBuf>,
    /// Loopback port of this machine that the API server and pods reach under the node's address
    #[arg(long = "host-port", value_name = "PORT")]
    pub(crate) host_ports: Vec<u16>,
}

/// `cargo xtask cluster up`: clears away what there was, starts a cluster and says where it is.
///
/// # Errors
/// When a program is missing or does not compile, a port is in use, or a component does not get ready in
/// time; what was started is then ended, and its logs stay.
pub(crate) fn command(options: &Options) -> Result<()> {
    run(Layout::from_environment()?, options)
}

/// The same, for the cluster of `layout`.
///
/// # Errors
/// As [`command`].
pub(crate) fn run(layout: Layout, options: &Options) -> Result<()> {
    let _lock = layout.lock(LOCK_LIMIT)?;
    down::clear(&layout)?;
    if let Some(kubeconfig) = existing::wanted()? {
        return existing::record(&layout, &kubeconfig);
    }
    let nodes = nodes(options)?;
    let binaries = build::ensure(!nodes.is_empty())?;
    let ports = Ports::choose(&layout.instance())?;
    let plan = Plan { layout, binaries, ports, nodes };
    if let Err(error) = start(&plan, options) {
        let logs = plan.layout.logs();
        let error = error.context(format!("the cluster did not start; logs: {}", logs.display()));
        return Err(match down::clear(&plan.layout) {
            Ok(()) => error,
            Err(left) => error.context(format!("and something stays behind: {left:#}")),
        });
    }
    Ok(())
}

/// Decides whether and where pods can run, and says why not.
fn nodes(options: &Options) -> Result<Vec<Node>> {
    if options.control_plane_only {
        return Ok(Vec::new());
    }
    let Some(obstacle) = obstacle(&Report::of_this_machine()) else {
        return Ok(Node::of(options.nodes.unwrap_or(1)));
    };
    // Who says how many wants them.
    if options.require_node || options.nodes.is_some() {
        bail!("pods cannot run here: {obstacle}");
    }
    println!("no node, so no pods will run: {obstacle}");
    Ok(Vec::new())
}

/// Why pods cannot run on this machine.
pub(crate) fn obstacle(report: &Report) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a node needs Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("a node needs root".to_owned());
    }
    let missing = report.missing_for(Purpose::Node);
    (!missing.is_empty())
        .then(|| format!("missing packages: {} (run `cargo xtask setup`)", missing.join(" ")))
}

fn start(plan: &Plan, options: &Options) -> Result<()> {
    let begin = Instant::now();
    let layout = &plan.layout;
    if layout.logs().exists() {
        std::fs::remove_dir_all(layout.logs())?;
    }
    layout.make_folders()?;
    config::write(plan).context("could not write the configuration")?;
    let mut components = Components::new(layout);
    if plan.has_nodes() {
        start_with_nodes(plan, options, &mut components, begin)?;
    } else {
        control_plane::start(plan, &mut components)?;
        control_plane::wait_for_api(plan, &mut components)?;
        control_plane::start_controllers(plan, &mut components)?;
        control_plane::wait_for_controllers(plan, &mut components)?;
        report(begin, "control plane is ready");
    }
    Environment::of(plan).write(layout)?;
    println!("kubeconfig: {}", layout.kubeconfig().display());
    println!("environment: {}", layout.environment().display());
    Ok(())
}

/// The nodes' runtimes start and take images while the API server starts.
fn start_with_nodes(
    plan: &Plan,
    options: &Options,
    components: &mut Components<'_>,
    begin: Instant,
) -> Result<()> {
    node::prepare(plan)?;
    start_forwarders(plan, options, components)?;
    control_plane::start(plan, components)?;
    node::start(plan, components)?;
    node::wait_for_runtimes(plan, components)?;
    let images = node::import_images(plan, &options.images)?;
    report(begin, &format!("{images} image archives are imported"));
    control_plane::wait_for_api(plan, components)?;
    control_plane::start_controllers(plan, components)?;
    node::join(plan, components)?;
    control_plane::wait_for_controllers(plan, components)?;
    report(begin, "control plane is ready");
    plan.nodes.iter().try_for_each(|node| {
        node::wait_until_ready(plan, *node, components)?;
        report(begin, &format!("{}, DNS and Services are ready", node.name()));
        Ok(())
    })
}

fn start_forwarders(plan: &Plan, options: &Options, components: &mut Components<'_>) -> Result<()> {
    let network::Forward { outside, inside } = network::forward_in(&plan.layout, plan.ports.api);
    components.start("forward-api-inside", inside)?;
    components.start("forward-api-outside", outside)?;
    for port in &options.host_ports {
        let network::Forward { outside, inside } = network::forward_out(&plan.layout, *port);
        components.start(&format!("forward-{port}-outside"), outside)?;
        components.start(&format!("forward-{port}-inside"), inside)?;
    }
    Ok(())
}

fn report(begin: Instant, what: &str) {
    println!("{:6.2} s  {what}", begin.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_node_is_not_wanted_nothing_is_looked_at() {
        let options = Options { control_plane_only: true, ..Options::default() };
        assert_eq!(nodes(&options).unwrap(), []);
    }
}
