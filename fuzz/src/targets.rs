//! What is fuzzed: everything that reads bytes that a stranger may have sent, or a disk garbled.
//!
//! A target panics where a law is broken. `cargo test` replays the seeds and what was once a finding
//! (`seeds/TARGET/`), so that nothing found comes back; `cargo xtask fuzz` looks for more.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "that is how a target tells"
)]

mod cursor;
mod disk;
mod encoding;
mod filter;
mod frames;
mod heads;
mod inflate;
mod intake;
mod manifests;
mod message;
mod requests;
mod server;
mod session;
mod websocket;

/// A target, by its name.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// Every target.
pub(crate) const ALL: &[Target] = &[
    ("cursor", cursor::read),
    ("disk", disk::recover),
    ("encoding", encoding::read),
    ("filter", filter::evaluate),
    ("heads", heads::follow),
    ("inflate", inflate::inflate),
    ("intake", intake::decode),
    ("manifests", manifests::load),
    ("requests", requests::answer),
    ("session", session::talk),
    ("websocket", websocket::decode),
];
