//! The operator against a real API server: what each controller promises, seen from outside.
//!
//! No node is needed: pods are made by hand, and say of themselves that they are ready.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints know only functions that are tests themselves"
)]

mod app;
mod election;
mod fixture;
mod pipelines;
mod refusals;
mod replicas;
mod slos;
