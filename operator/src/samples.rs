//! Reads what the sidecars counted: each replica at most once for everybody who asks.
//!
//! - [`Sampler`]: asks the replicas, and remembers each one's last answer.
//! - [`Target`], [`Query`], [`Reading`], [`SampleError`]: a question and its answer.
//! - [`Client`]: the HTTP that it takes.

mod answer;
mod budget;
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod memory;
mod metrics;
mod sampler;

pub use answer::{Answer, Query, Reading, SampleError, Target};
pub use budget::Held;
pub use client::{Client, FetchError};
pub use sampler::Sampler;
