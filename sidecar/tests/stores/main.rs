//! Tests of whole replicas on a shared log: real processes of the sidecar, a real Redis or NATS server,
//! subscribers over real sockets that come back with their cursors.
//!
//! - `store`: the servers.
//! - `replica`: the processes.
//! - `subscriber`, `publisher`: those on the other side, who never give up.
//! - `passwords`: servers that ask for one.
//! - `failover`: a store that is replaced by a copy which lacks what came last.
//! - `roll`: replicas that are restarted, and killed, one after the other.

#![cfg(feature = "full")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../server/client.rs"]
#[allow(dead_code, reason = "it is the other tests', too")]
mod client;
mod failover;
#[path = "../server/fixture.rs"]
#[allow(dead_code, reason = "it is the other tests', too")]
mod fixture;
mod passwords;
mod publisher;
mod replica;
mod roll;
#[path = "../server/schema.rs"]
#[allow(dead_code, reason = "it is the other tests', too")]
mod schema;
mod store;
mod subscriber;

/// Long enough for a busy machine; what is waited for comes in milliseconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
