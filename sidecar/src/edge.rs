//! The edge: accepts connections, routes requests with warp, and hands streams to the engine.
//!
//! warp and hyper do the handshake and everything that is a request with an answer. A stream leaves
//! them: its route decides what to answer and [takes the connection over](takeover).

pub mod accept;
mod accepted;
mod arrivals;
mod browser;
mod durable;
mod farewell;
mod form;
mod forward;
mod gate;
mod greeting;
mod head;
mod heads;
mod http1;
mod http2;
mod later;
mod leftover;
mod line;
mod problem;
mod publish;
mod query;
mod read;
mod routes;
mod slots;
mod subscribe;
mod takeover;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "edge/tls_absent.rs"]
mod tls;
mod unsent;
mod waiting;

pub use arrivals::{Arrivals, Fault};
pub use farewell::Farewell;
pub use http2::{Block, Scan};
pub(crate) use problem::respond;
pub use routes::{Door, Service, routes};
pub use slots::Slots;
pub use takeover::{Handover, Manner, Taken, Takeover};
pub use tls::{Standing, Tls};
