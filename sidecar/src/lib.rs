//! The data plane of Weir: it turns an application's events into streams that resume.
//!
//! ```text
//! sources ──▶ intake ─────────▶ log ──────▶ hub ───────▶ edge, engine ──▶ sockets
//!             decode,           append,     chunks       handshake,
//!             check             offset      by cursor    then one loop
//! ```
//!
//! Each stage is a module. [`event`], [`intake`] and [`frame`] do no I/O. [`app`] wires them together;
//! [`registry`] holds what is being served; [`count`] holds what became of it.

pub mod admin;
pub mod app;
pub mod args;
pub mod auth;
pub mod clock;
pub mod config;
pub mod count;
pub mod drain;
pub mod durable;
pub mod edge;
pub mod engine;
pub mod evaluate;
pub mod event;
pub mod filter;
pub mod frame;
pub mod hub;
pub mod intake;
pub mod log;
pub mod memory;
pub mod pipeline;
pub mod registry;
pub mod run;
mod seldom;
pub mod session;
pub mod share;
pub mod source;
pub mod status;
pub mod upkeep;
