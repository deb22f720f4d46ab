//! Takes a connection out of hyper's hands before anything is answered.
//!
//! HTTP has this for upgrades (101) only; an SSE response is an ordinary one. So a route that serves a
//! stream sends a [`Handover`] and never completes; the accept loop, which drives the connection, then
//! stops driving it, takes the socket back, and gives both to the engine. hyper has written nothing at
//! that point, because it waits for the route. Over HTTP/2 the same is done with one stream.

use std::{
    convert::Infallible,
    future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Response, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{farewell::Farewell, head};
use crate::{
    auth::Lease,
    count::Seat,
    engine::Adoption,
    frame::Format,
    hub::{Framing, Hub},
    log::Offset,
    session::Access,
};

/// What the engine needs of a stream besides its socket.
#[derive(Debug)]
pub struct Handover {
    /// The head of the response, without what only a version of HTTP has in it.
    pub head: Response<()>,
    /// The opening frames, not yet in the framing.
    pub opening: Vec<u8>,
    /// The pipeline.
    pub hub: Arc<Hub>,
    /// The place among the pipeline's connections.
    pub seat: Seat,
    /// The wire format.
    pub format: Format,
    /// How the stream is delimited.
    pub framing: Framing,
    /// The offset of the first event to write.
    pub next: Offset,
    /// How long the subscriber's grant holds.
    pub lease: Lease,
    /// What a session may reach; none where the connection is one stream.
    pub session: Option<Access>,
}

impl Handover {
    /// The stream over HTTP/1, on its socket, with what the peer sent behind its request.
    pub(super) fn adopt<S>(self, socket: S, early: Bytes) -> Adoption<S> {
        let Self { head, opening, hub, seat, format, framing, next, lease, session } = self;
        let head = head::http1(head, framing);
        Adoption { socket, head, opening, early, hub, seat, format, framing, next, lease, session }
    }

    /// The stream over HTTP/2, whose response has begun.
    pub(super) fn adopt_begun<S>(self, socket: S) -> Adoption<S> {
        let Self { head: _, opening, hub, seat, format, framing, next, lease, session } = self;
        let (head, early) = (Vec::new(), Bytes::new());
        Adoption { socket, head, opening, early, hub, seat, format, framing, next, lease, session }
    }
}

/// What a connection that was taken over is for.
#[derive(Debug)]
pub enum Taken {
    /// A stream.
    Stream(Box<Handover>),
    /// A few last words.
    Farewell(Farewell),
}

impl From<Handover> for Taken {
    fn from(handover: Handover) -> Self {
        Self::Stream(Box::new(handover))
    }
}

impl From<Farewell> for Taken {
    fn from(farewell: Farewell) -> Self {
        Self::Farewell(farewell)
    }
}

/// How a request came, as far as its stream depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// The version of HTTP.
    pub version: Version,
    /// Whether it asks for a WebSocket inside a stream of HTTP/2 (RFC 8441).
    pub tunnel: bool,
    /// Whether nobody on the way can read it.
    pub secure: bool,
    /// Where it came from.
    pub address: IpAddr,
}

/// A connection that can be taken over, once.
#[derive(Debug, Clone)]
pub struct Takeover {
    manner: Manner,
    sender: Arc<Mutex<Option<oneshot::Sender<Taken>>>>,
}

impl Takeover {
    /// The two ends: one for the requests of a connection, one for whoever drives it.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<Taken>) {
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let address = Ipv4Addr::UNSPECIFIED.into();
        let manner = Manner { version: Version::HTTP_11, tunnel: false, secure: false, address };
        (Self { manner, sender }, receiver)
    }

    /// The same connection, for a request that came in this manner.
    #[must_use]
    pub fn with_manner(&self, manner: Manner) -> Self {
        Self { manner, sender: Arc::clone(&self.sender) }
    }

    /// How the request came.
    #[must_use]
    pub const fn manner(&self) -> Manner {
        self.manner
    }

    /// Gives the connection away. Never returns: the connection's driver drops this future.
    pub async fn take(self, taken: impl Into<Taken>) -> Infallible {
        if let Some(sender) = self.sender.lock().take() {
            // Where the driver is gone already, so is the connection, and dropping a handover gives the
            // seat back.
            let _ = sender.send(taken.into());
        }
        future::pending().await
    }
}
