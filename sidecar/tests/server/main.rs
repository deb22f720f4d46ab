//! Tests of the whole data plane: a real server on loopback, spoken to over real sockets.
//!
//! - `publish`: what an application posts, and what it is answered.
//! - `read`: pages of the log.
//! - `sse`, `websocket`: what a subscriber gets, byte by byte where that matters.
//! - `large`: what else goes over a WebSocket while a large event does.
//! - `session`: several pipelines on one WebSocket; `schema` holds its messages to the documentation.
//! - `refusals`: who can't be served now, and is asked to come back.
//! - `resume`: cursors, gaps, order.
//! - `auth`: who may subscribe and publish, by tokens, tickets and cookies, from which pages.
//! - `bounds`: slow subscribers, limits, and peers that say nothing.
//! - `http2`: the same over HTTP/2, and what only HTTP/2 has.
//! - `heads`, `content`: what a connection of HTTP/2 may make of heads, and of what nobody reads.
//! - `durable`: durable streams, beside what their public conformance suite asks.
//! - `slow`: what becomes of those who fall behind, under each policy.
//! - `browser`: a real one, over a drain, a restart and a crash.
//! - `crash`: logs on a disk, when the program is killed or there is no room.
//! - `tls`: handshakes, certificates and their renewal.
//! - `kernel`: what the kernel keeps of a client that isn't read.
//! - `limits`, `memory`, `files`: what one client may do, whom there is memory for, and files.
//! - `start`, `life`, `signals`: before the first configuration, changed ones, drain, stop.
//! - `unix`: the socket of the file system on which the application publishes.
//! - `filters`: who gets what, and what can't be a filter.
//! - `traces`: exemplars.
//! - `balance`: the books balance in every scrape.
//! - `counts`, `metrics`, `endings`: the books balance, in samples and metrics, every metric is documented, and why
//!   connections end is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(feature = "jwt")]
mod auth;
mod balance;
mod bounds;
mod browser;
mod client;
mod content;
mod counts;
mod crash;
mod durable;
mod endings;
mod files;
mod filters;
mod fixture;
mod form;
mod frames;
mod h2_client;
mod heads;
mod http2;
mod kernel;
mod large;
mod life;
mod limits;
mod memory;
mod messages;
mod metrics;
mod program;
mod publish;
mod read;
mod refusals;
mod resume;
mod schema;
mod session;
mod share;
mod signals;
mod slow;
mod sse;
mod start;
mod tls;
mod traces;
mod unix;
mod websocket;
