//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use weir_crds::names::SECRETS_DIR;

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
    Run(Run),
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
    /// without a restart.
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

    /// Where the Secrets are mounted that manifests name: a directory for each, a file for each of its keys.
    #[arg(long, value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,

    /// A file for the final counters, written when the process ends: in a pod, the container's
    /// termination message.
    #[arg(long, value_name = "FILE")]
    pub last_words: Option<PathBuf>,

    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Whether to print the status line, and before it the URLs.
    #[arg(long, value_enum, default_value_t = Status::Auto)]
    pub status: Status,
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
