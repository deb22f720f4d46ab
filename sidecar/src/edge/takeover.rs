//! Takes a connection out of hyper's hands before anything is answered.
//!
//! HTTP has this for upgrades (101) only; an SSE response is an ordinary one. So a route that serves a
//! stream sends a [`Handover`] and never completes; the accept loop, which drives the connection, then
//! stops driving it, takes the socket back, and gives both to the engine. hyper has written nothing at
//! that point, because it waits for the route.

use std::{convert::Infallible, future, sync::Arc};

use http::Version;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    count::Seat,
    frame::Format,
    hub::{Framing, Hub},
    log::Offset,
};

/// What the engine needs of a stream besides its socket.
#[derive(Debug)]
pub struct Handover {
    /// The head of the response.
    pub head: Vec<u8>,
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
}

/// A connection that can be taken over, once.
#[derive(Debug, Clone)]
pub struct Takeover {
    version: Version,
    sender: Arc<Mutex<Option<oneshot::Sender<Handover>>>>,
}

impl Takeover {
    /// The two ends: one for the requests of a connection, one for whoever drives it.
    #[must_use]
    pub fn channel() -> (Self, oneshot::Receiver<Handover>) {
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        (Self { version: Version::HTTP_11, sender }, receiver)
    }

    /// The same connection, for a request of this version.
    #[must_use]
    pub fn with_version(&self, version: Version) -> Self {
        Self { version, sender: Arc::clone(&self.sender) }
    }

    /// The version of the request.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Hands the connection over. Never returns: the connection's driver drops this future.
    pub async fn take(self, handover: Handover) -> Infallible {
        if let Some(sender) = self.sender.lock().take() {
            // Where the driver is gone already, so is the connection, and dropping the handover gives
            // the seat back.
            let _ = sender.send(handover);
        }
        future::pending().await
    }
}
