//! How subscribers read the stream.

use clap::ValueEnum;

/// How subscribers read the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Server-Sent Events.
    Sse,
    /// WebSocket.
    #[value(name = "websocket")]
    WebSocket,
}

impl Transport {
    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::WebSocket => "WebSocket",
        }
    }
}
