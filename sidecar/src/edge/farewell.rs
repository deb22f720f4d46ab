//! Accepts a WebSocket only to say why there is no stream: of a handshake that fails, a page learns
//! nothing, not even its status.
//!
//! Law: what is said costs its connection's slot, for a bounded time.

use std::{future::poll_fn, time::Duration};

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time,
};

use super::head;
use crate::{engine::Incoming, hub::Framing};

/// How long it may take to say it, and then for the peer to close its side. To close at once would answer
/// late bytes with a reset, and a reset discards what the peer has not read yet (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How much of what the peer still says is read at once, and thrown away.
const SCRATCH: usize = 512;

/// What to say before a connection ends.
#[derive(Debug)]
pub struct Farewell {
    /// The head of the response, without what only a version of HTTP has in it.
    pub(super) head: Response<()>,
    /// The last frames, and a close.
    pub(super) frames: Vec<u8>,
}

impl Farewell {
    /// Says it over HTTP/1.
    pub(super) async fn say<I>(self, mut io: I)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { head, frames } = self;
        let mut bytes = head::http1(head, Framing::Bare);
        bytes.extend_from_slice(&frames);
        // Whatever comes of it, the connection is over.
        let _ = time::timeout(LINGER, async {
            io.write_all(&bytes).await?;
            io.shutdown().await?;
            let mut scratch = [0; SCRATCH];
            while io.read(&mut scratch).await? > 0 {}
            Ok::<_, std::io::Error>(())
        })
        .await;
    }

    /// Says it in a stream of HTTP/2.
    pub(super) async fn say_inside(
        self,
        respond: &mut SendResponse<Bytes>,
        receive: Option<impl Incoming>,
    ) {
        let Self { mut head, frames } = self;
        head::http2(head.headers_mut());
        let Ok(mut send) = respond.send_response(head, false) else { return };
        let (Ok(()), Some(mut receive)) = (send.send_data(frames.into(), true), receive) else {
            return;
        };
        let peers_end = async {
            while let Some(Ok(_)) = poll_fn(|context| receive.poll_data(context)).await {}
        };
        // Whatever comes of it, the stream is over.
        let _ = time::timeout(LINGER, peers_end).await;
    }
}
