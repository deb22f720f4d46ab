//! The Weir operator: makes StreamPipelines run, injects the sidecar, and judges StreamSLOs.
//!
//! Each kind has a controller in the same five words: **observe → validate → build → apply →
//! report**. Only observe reads, only apply and report write, the middle is pure.
//!
//! - [`pipeline`]: the StreamPipeline controller.
//! - [`slo`]: the StreamSLO controller.
//! - [`samples`]: what the sidecars counted.
//! - [`controller`]: what drives both: spans, metrics, backoff, bounded concurrency.
//! - [`apply`], [`conditions`], [`failure`]: what every controller writes with, and how it fails.
//! - [`context`]: what every phase is handed.

pub mod admin;
pub mod app;
pub mod apply;
pub mod args;
pub mod certificates;
pub mod check_health;
pub mod conditions;
pub mod context;
pub mod controller;
pub mod failure;
pub mod injection;
pub mod labels;
pub mod leader;
pub mod metrics;
pub mod pipeline;
pub mod preflight;
pub mod samples;
pub mod selector;
pub mod serve;
pub mod sidecar;
pub mod signals;
pub mod slo;
pub mod tasks;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod webhook;
