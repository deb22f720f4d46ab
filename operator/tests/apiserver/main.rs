//! The operator against a real API server: what each controller promises, seen from outside.
//!
//! No node is needed: pods are made by hand, and say of themselves that they are ready.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints know only functions that are tests themselves"
)]

mod account;
mod admission;
mod app;
mod certificates;
mod chart;
mod election;
mod exposures;
mod fixture;
mod gateways;
mod health;
mod installation;
mod namespaces;
mod pipelines;
mod policies;
mod refusals;
mod releases;
mod replicas;
mod requests;
mod restarts;
mod scaling;
mod slos;
#[cfg(feature = "otel")]
mod traces;
mod upgrades;
mod workloads;
