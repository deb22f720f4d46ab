//! The harness for tests on a real Kubernetes API: a namespace of its own for each test, polling with a
//! deadline, kubectl as a user has it, and streaming clients that keep to their standards.
//!
//! A test that needs a cluster is marked `#[ignore = "needs a cluster: cargo xtask test"]`, so that
//! `cargo test` runs everywhere; `cargo xtask test` starts a cluster and runs it. Against one that
//! `cargo xtask cluster up` has left running: `cargo xtask cluster exec -- cargo test -p weir-tests --
//! --ignored`.
//!
//! - [`cluster`]: which cluster, and where its clients are.
//! - [`namespace`]: a namespace for one test, and what is shown when the test fails.
//! - [`definitions`]: the custom resources, as they are shipped.
//! - [`await_`]: waiting for something to become so.
//! - [`kubectl`]: kubectl, by its arguments.
//! - [`sources()`]: the project's own sources, as texts; [`metrics_in()`]: the metrics that expressions ask for.
//! - [`client`]: HTTP, Server-Sent Events and WebSocket.

pub mod await_;
pub mod client;
pub mod cluster;
pub mod definitions;
mod diagnosis;
pub mod kubectl;
pub mod namespace;
mod sources;

pub use await_::eventually;
pub use cluster::Cluster;
pub use kubectl::Kubectl;
pub use namespace::{Namespace, with_namespace};
pub use sources::{metrics_in, sources};
