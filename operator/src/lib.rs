//! The Weir operator: makes StreamPipelines run, injects the sidecar, and judges StreamSLOs.
//!
//! Each kind has a controller in the same five words: **observe → validate → build → apply →
//! report**. Only observe reads, only apply and report write, the middle is pure.
//!
//! - [`app`]: what runs where, and in which order it starts and stops.
//! - [`pipeline`]: the StreamPipeline controller.
//! - [`slo`], [`samples`], [`farewells`]: the StreamSLO controller, and what the sidecars counted;
//!   [`carriers`]: the pods in which they are.
//! - [`webhook`], [`injection`], [`certificates`]: how a pod gets the sidecar when it is created;
//!   [`policies`]: the same without a webhook. [`upgrade`]: when it gets a newer one.
//! - [`controller`]: what drives every kind: spans, metrics, backoff, bounded concurrency.
//! - [`apply`], [`conditions`], [`failure`]: what every controller writes with, and how it fails.
//! - [`context`]: what every phase is handed.
//! - [`leader`], [`preflight`], [`serve`], [`admin`], [`tasks`]: the frame around it all;
//!   [`telemetry`], [`traces`]: what is told of it.

pub mod admin;
pub mod app;
pub mod apply;
pub mod args;
pub mod carriers;
pub mod certificates;
pub mod check_health;
pub mod conditions;
pub mod context;
pub mod controller;
pub mod events;
pub mod failure;
pub mod farewells;
pub mod injection;
pub mod kept;
pub mod labels;
pub mod leader;
pub mod mark;
pub mod metrics;
pub mod patience;
pub mod pipeline;
pub mod policies;
pub mod preflight;
mod resources;
pub mod routes;
pub mod samples;
pub mod scaling;
pub mod secrets;
pub mod selector;
pub mod serve;
pub mod sidecar;
pub mod signals;
pub mod slo;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod traces;
pub mod triggers;
pub mod upgrade;
pub mod vitals;
pub mod webhook;
pub mod written;
