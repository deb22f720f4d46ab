//! Traces: what a reconcile or an admission spent its time on, sent to an OpenTelemetry collector.
//!
//! The spans are `tracing`'s and stand where the work is done; this is what takes them away. Where they go
//! the environment says, in OpenTelemetry's own variables. A build without the feature `otel` has none of it.
//!
//! # Laws
//!
//! - Nothing is sent, and nothing prepared, where the environment names no endpoint.
//! - Nobody waits for a collector: what finds the queue full is dropped, and so is what can't be delivered. A
//!   collector that is away costs one line in the log, and another one when it is back.
//! - At the end the operator gives the last spans two seconds, and no more.

#[cfg(not(feature = "otel"))]
mod absent;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(feature = "otel")]
mod lines;
#[cfg(feature = "otel")]
mod provider;
#[cfg(feature = "otel")]
mod remote;
#[cfg(feature = "otel")]
mod selection;
#[cfg(feature = "otel")]
mod settings;
#[cfg(feature = "otel")]
mod transport;

#[cfg(not(feature = "otel"))]
pub use absent::{Traces, TracesError, adopt, correlated};
#[cfg(feature = "otel")]
pub use lines::correlated;
#[cfg(feature = "otel")]
pub use provider::{Traces, TracesError};
#[cfg(feature = "otel")]
pub use remote::adopt;

#[cfg(test)]
mod tests;
