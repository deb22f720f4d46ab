//! `cargo xtask cluster …`: a real Kubernetes on this machine, for tests.
//!
//! `tests/cluster/README.md` tells how it works and how it is used.

pub(crate) mod build;
mod cache;
mod cgroup;
mod config;
mod control_plane;
pub(crate) mod down;
pub(crate) mod environment;
pub(crate) mod existing;
pub(crate) mod layout;
mod network;
mod node;
mod pki;
mod plan;
mod ports;
mod process;
mod programs;
mod template;
pub(crate) mod up;
pub(crate) mod using;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

/// What to do with the test cluster.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Compile the cluster's programs, once
    Build {
        /// Only what an API without nodes needs
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Start a fresh cluster
    Up(up::Options),
    /// End the cluster and remove all it left
    Down,
    /// Say what is running
    Status,
    /// Import image archives into the running nodes
    Load {
        #[arg(required = true, value_name = "TAR")]
        archives: Vec<PathBuf>,
    },
    /// Call kubectl with the cluster's kubeconfig
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a program in the cluster's network, from where pods and Services are reached
    Exec {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<OsString>,
    },
}

/// Does what `command` says.
///
/// # Errors
/// When it cannot be done; the error says what to do about it.
pub(crate) fn command(command: Command) -> Result<()> {
    match command {
        Command::Build { control_plane_only } => build::command(control_plane_only),
        Command::Up(options) => up::command(&options),
        Command::Down => down::command(),
        Command::Status => using::status(),
        Command::Load { archives } => using::load(&archives),
        Command::Kubectl { arguments } => using::kubectl(&arguments),
        Command::Exec { words } => using::exec(&words),
    }
}
