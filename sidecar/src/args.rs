//! The command line.

use std::{env, net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use weir_crds::{
    logging::Directives,
    names::SECRETS_DIR,
    scalar::{Duration, Quantity},
};

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
    #[arg(
        long,
        value_name = "ADDRESS",
        value_parser = address,
        default_value = "127.0.0.1:7071"
    )]
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
        value_parser = address,
        default_value = "127.0.0.1:7070"
    )]
    pub public: SocketAddr,

    /// Where probes, metrics and samples are served.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "WEIR_ADMIN_ADDRESS",
        value_parser = address,
        default_value = "127.0.0.1:7071"
    )]
    pub admin: SocketAddr,

    /// Where the application publishes, without a token: keep it on the loopback interface.
    #[arg(
        long,
        value_name = "ADDRESS",
        value_parser = address,
        default_value = "127.0.0.1:7072"
    )]
    pub publish: SocketAddr,

    /// A Unix socket on which the application publishes, too.
    #[arg(long, value_name = "PATH")]
    pub publish_socket: Option<PathBuf>,

    /// Where the Secrets are that manifests name, such as the certificates of spec.endpoints.tls: a directory
    /// for each, a file for each of its keys. What changes there is taken up without a restart.
    #[arg(long, value_name = "DIR", default_value = SECRETS_DIR)]
    pub secrets_dir: PathBuf,

    /// A file for the final counters of the StreamSLOs' objectives, written when the process ends: in a pod, the
    /// container's termination message. Where no StreamSLO is served there is nothing to hand over, and nothing is
    /// written.
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

    /// How long a SIGTERM may take to send subscribers away one after the other, as spec.delivery.drain.window
    /// says, where no drain has begun before it. The process ends at most two seconds later: by default before the
    /// ten seconds are over that a container engine grants. A second signal ends at once.
    #[arg(long, value_name = "DURATION", env = "WEIR_STOP_WINDOW", default_value = "8s")]
    pub stop_window: Duration,

    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged: a level, or directives such as info,weir_sidecar=debug. By default info, and of the libraries
    /// that warn of what a peer says, errors alone.
    #[arg(long, env = "WEIR_LOG", value_name = "DIRECTIVES")]
    pub log: Option<Directives>,

    /// Whether to print the status line, and before it the URLs.
    #[arg(long, value_enum, default_value_t = Status::Auto)]
    pub status: Status,
}

/// Reads an address. A port alone could mean this machine or all the world, so it is not guessed.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| match text.trim_start_matches(':').parse::<u16>() {
        Ok(port) => format!(
            "the address is missing: 127.0.0.1:{port} is for this machine alone, 0.0.0.0:{port} or [::]:{port} for \
             whoever reaches it"
        ),
        Err(_) => {
            "it must be an IP address with a port, such as 127.0.0.1:7070 or [::]:7070".to_owned()
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(public: &str) -> String {
        let arguments = ["weir-sidecar", "run", "x.yaml", "--public", public];
        Args::try_parse_from(arguments).expect_err(public).to_string()
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_one_that_is() {
        for port in ["7070", ":7070"] {
            let said = refused(port);
            assert!(said.contains("127.0.0.1:7070") && said.contains("0.0.0.0:7070"), "{said}");
        }
        for no_address in ["localhost:7070", "127.0.0.1", "", "70700"] {
            assert!(refused(no_address).contains("IP address with a port"), "{no_address}");
        }
        let taken = Args::try_parse_from(["weir-sidecar", "run", "x.yaml", "--public=[::]:1"]);
        assert!(taken.is_ok());
    }

    #[test]
    fn what_is_no_level_is_refused_with_those_that_are() {
        let given = |log: &str| Args::try_parse_from(["weir-sidecar", "run", "x.yaml", log]);
        let said = given("--log=loud").expect_err("loud").to_string();
        assert!(said.contains("'--log") && said.contains("none of the levels"), "{said}");
        assert!(given("--log=info,weir_sidecar=debug").is_ok());
    }
}
