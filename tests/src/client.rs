//! Clients of the data plane, written against the standards and not against Weir.

pub mod http;
pub mod sse;
pub mod websocket;
