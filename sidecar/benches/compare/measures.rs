//! The benchmarks: each measures the floor and the sidecar in turn, and reports.

mod deliveries;
mod fanout;
mod idle;
mod ingest;
mod rate;
mod stalled;
mod storm;
mod streams;

use std::path::PathBuf;

use anyhow::Result;

pub(crate) use fanout::fanout;
pub(crate) use idle::idle;
pub(crate) use ingest::ingest;
pub(crate) use rate::rate;
pub(crate) use stalled::stalled;
pub(crate) use storm::storm;
pub(crate) use streams::streams;

use crate::{
    machine::Cores,
    server::{Kind, Server, Setup},
    transport::Transport,
};

/// How everything is measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) cores: Cores,
    /// The `weir-sidecar` program.
    pub(crate) program: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) transports: Vec<Transport>,
}

impl Bench {
    /// Measures on a fresh server; a failure is told together with what the server printed.
    fn on<T>(
        &self,
        kind: Kind,
        setup: Setup,
        measure: impl FnOnce(&Server) -> Result<T>,
    ) -> Result<T> {
        let server = Server::start(kind, &self.program, setup, self.cores)?;
        measure(&server).map_err(|error| error.context(server.printed()))
    }

    /// Measures the floor, then the sidecar, in each round.
    fn rounds<T>(&self, mut measure: impl FnMut(Kind) -> Result<T>) -> Result<[Vec<T>; 2]> {
        let mut all = [Vec::new(), Vec::new()];
        for round in 1..=self.rounds {
            for (kind, measurements) in [Kind::Floor, Kind::Sidecar].into_iter().zip(&mut all) {
                eprintln!("round {round} of {}: the {}", self.rounds, kind.name());
                measurements.push(measure(kind)?);
            }
        }
        Ok(all)
    }
}
