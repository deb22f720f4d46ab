//! What a client goes on sending when its request is answered already.
//!
//! Law: an answer that comes before the body's end is given after what comes of that was thrown away, for a while. To
//! give it at once would close the connection beneath a client that still sends, which is a reset to it, and a reset
//! discards the answer (RFC 9112, section 9.6).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use parking_lot::Mutex;
use tokio::time;
use tokio_util::sync::CancellationToken;

/// How long a client may go on sending what nobody wants.
const LEFTOVER: Duration = Duration::from_secs(2);

/// A body that is lent to whoever answers the request.
#[derive(Debug)]
pub(super) struct Lent(Arc<Mutex<Sent>>);

/// What is there of it when the request is answered.
#[derive(Debug)]
pub(super) struct Leftover {
    sent: Arc<Mutex<Sent>>,
    /// Whether the client waits for a word before it sends (RFC 9110, section 10.1.1).
    waits: bool,
}

#[derive(Debug)]
struct Sent {
    body: Incoming,
    begun: bool,
    ended: bool,
}

/// Lends the body of a request.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Lent>, Leftover) {
    let waits = request.headers().contains_key(header::EXPECT);
    let (head, body) = request.into_parts();
    let ended = body.is_end_stream();
    let sent = Arc::new(Mutex::new(Sent { body, begun: false, ended }));
    let leftover = Leftover { sent: Arc::clone(&sent), waits };
    (Request::from_parts(head, Lent(sent)), leftover)
}

impl Leftover {
    /// Throws away what comes, until the client has ended, or has had its time, or the process stops.
    pub(super) async fn discard(self, stopping: &CancellationToken) {
        let Self { sent, waits } = self;
        let is_due = {
            let sent = sent.lock();
            // Who was given no word sends nothing.
            !sent.ended && (sent.begun || !waits)
        };
        if !is_due {
            return;
        }
        let mut rest = Lent(sent);
        let ended = async { while let Some(Ok(_)) = rest.frame().await {} };
        tokio::select! {
            // Whoever has not ended by then is not worth the wait.
            _ = time::timeout(LEFTOVER, ended) => {}
            () = stopping.cancelled() => {}
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Sent { body, begun, ended } = &mut *self.0.lock();
        *begun = true;
        let frame = Pin::new(&mut *body).poll_frame(context);
        *ended = matches!(frame, Poll::Ready(None | Some(Err(_)))) || body.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().ended
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.lock().body.size_hint()
    }
}
