//! The command line.

use std::{env, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use weir_crds::{names::SECRETS_DIR, scalar::Quantity};

/// Turns an application's events into Server-Sent Events and WebSocket streams that resume.
#[derive(Debug, Parser)]
#[command(name = "weir-sidecar", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the pipelines that manifests declare, until interrupted.
    Run(Box<Run>),
    /// Make the sidecar that runs in this pod send its subscribers away; returns when they are gone. For
    /// a preStop hook.
    Drain(Drain),
}

/// Make a running sidecar send its subscribers away.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// Where the sidecar serves its probes.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7071")]
    pub admin: SocketAddr,
}

/// Serve the pipelines that manifests declare.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Files with StreamPipelines and StreamSLOs, and directories with such files. A change is taken up
    /// without a restart, and one with a mistake is refused: what was good last stays in force. At the start a file
    /// with a mistake ends the program; where only directories are named, it serves nothing until they are mended.
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    pub paths: Vec<PathBuf>,

    /// Where subscribers connect.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "WEIR_PUBLIC_ADDRESS",
        default_value = "127.0.0.1:7070"
    )]
    pub public: SocketAddr,

    /// Where probes, metrics and samples are served.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "WEIR_ADMIN_ADDRESS",
        default_value = "127.0.0.1:7071"
    )]
    pub admin: SocketAddr,

    /// Where the application publishes, without a token: keep it on the loopback interface.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7072")]
    pub publish: SocketAddr,

    /// A Unix socket on which the application publishes, too.
    #[arg(long, value_name = "PATH")]
    pub publish_socket: Option<PathBuf>,

    /// Where the Secrets are that manifests name, such as the certificates of spec.endpoints.tls: a directory
    /// for each, a file for each of its keys. What changes there is taken up without a restart.
    #[arg(long, value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,

    /// A file for the final counters, written when the process ends: in a pod, the container's
    /// termination message.
    #[arg(long, value_name = "FILE")]
    pub last_words: Option<PathBuf>,
    /// Where the logs of pipelines with spec.log.storage.disk are kept. Only one process at a time may use
    /// it. By default $XDG_STATE_HOME/weir, or .local/state/weir in the home directory, or .weir here.
    #[arg(long, value_name = "DIR", env = "WEIR_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// How much memory the process may use, such as 512Mi, where no control group bounds it: when it gets
    /// scarce, new subscribers are asked to come back. In a container its limit counts, and this doesn't.
    #[arg(long, value_name = "BYTES", env = "WEIR_MEMORY_LIMIT")]
    pub memory_limit: Option<Quantity>,

    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Whether to print the status line, and before it the URLs.
    #[arg(long, value_enum, default_value_t = Status::Auto)]
    pub status: Status,
}

impl Run {
    /// Where logs on a disk are kept.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let variable =
            |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = || variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = || variable("HOME").map(|home| home.join(".local/state"));
        let usual =
            || state().or_else(home).map_or_else(|| ".weir".into(), |state| state.join("weir"));
        self.data_dir.clone().unwrap_or_else(usual)
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// For a collector: one JSON object a line.
    Json,
}

/// Whether to print the status line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Status {
    /// In place in a terminal, as plain lines elsewhere.
    Auto,
    /// Not at all: the operator reads the samples instead.
    Never,
}
