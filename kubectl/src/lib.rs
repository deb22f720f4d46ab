//! `kubectl weir`: looks at streams from a terminal, and at whether Weir is well.
//!
//! - [`args`]: the command line. [`cluster`]: the API server that kubectl would use.
//! - [`check`]: is the installation sound? [`status`], [`slo`]: what the operator says on the resources.
//! - [`tail`], [`publish`]: a pipeline from a terminal, over [`reach`].
//! - [`inject`]: what the webhook would add to a manifest, by the webhook's own function.
//! - [`watching`]: which namespaces are no operator's.
//! - [`completion`]: for shells, and for kubectl. [`output`]: tables and colours.
//!
//! What is printed is made by functions that do no I/O.

pub mod args;
pub mod check;
pub mod cluster;
pub mod completion;
pub mod inject;
pub mod output;
pub mod pipelines;
pub mod publish;
pub mod reach;
pub mod slo;
pub mod status;
pub mod tail;
pub mod watching;

use std::io::{self, Write};

use crate::args::{Args, Command};
use crate::cluster::Cluster;
use crate::output::Screen;

/// How a command ended that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing to complain about.
    Well,
    /// The check found a problem.
    Unsound,
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server can't be used.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A resource can't be read.
    #[error(transparent)]
    Pipelines(#[from] pipelines::Error),
    /// The data plane can't be reached.
    #[error(transparent)]
    Reach(#[from] reach::Error),
    /// A stream can't be read.
    #[error(transparent)]
    Tail(#[from] tail::Error),
    /// Events can't be published.
    #[error(transparent)]
    Publish(#[from] publish::Error),
    /// A manifest can't be injected.
    #[error(transparent)]
    Inject(#[from] inject::Error),
    /// What is to be said can't be rendered.
    #[error("can't render the output")]
    Render(#[from] serde_yaml::Error),
    /// What is to be said can't be.
    #[error("can't write the output")]
    Output(#[from] io::Error),
}

impl Error {
    /// Whether whoever read the output has closed it.
    #[must_use]
    pub fn is_closed_output(&self) -> bool {
        let io = match self {
            Self::Output(error) | Self::Tail(tail::Error::Output(error)) => error,
            Self::Cluster(_)
            | Self::Pipelines(_)
            | Self::Reach(_)
            | Self::Tail(_)
            | Self::Publish(_)
            | Self::Inject(_)
            | Self::Render(_) => return false,
        };
        io.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Runs a command.
///
/// # Errors
///
/// Fails where it can't do what it is asked.
pub async fn run<O: Write, E: Write>(
    args: Args,
    screen: &mut Screen<O, E>,
) -> Result<Ended, Error> {
    let Args { reach, color: _, command } = args;
    match command {
        Command::Check(asked) => {
            let cluster = Cluster::connect(&reach).await?;
            return check::run(&cluster, &asked, screen).await;
        }
        Command::Status(asked) => {
            status::run(&Cluster::connect(&reach).await?, &asked, screen).await?;
        }
        Command::Tail(asked) => tail::run(&reach, &asked, screen).await?,
        Command::Publish(asked) => publish::run(&reach, &asked, tokio::io::stdin(), screen).await?,
        Command::Inject(asked) => inject::run(&reach, &asked, io::stdin(), screen).await?,
        Command::Slo(asked) => slo::run(&Cluster::connect(&reach).await?, &asked, screen).await?,
        Command::Completion(asked) => completion::script(asked.shell, &mut screen.out)?,
        Command::Complete(asked) => {
            completion::complete(&reach, &asked.words, &mut screen.out).await?;
        }
    }
    Ok(Ended::Well)
}
