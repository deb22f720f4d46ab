//! Tells by a connection's first bytes what is spoken on it, and gives them back.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};

use super::forward::write_through;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1, or something that HTTP/1 is the right answer to.
    Http1,
    /// HTTP/2 by prior knowledge (RFC 9113, section 3.3).
    Http2,
    /// A record of TLS, and in it a handshake.
    Tls,
}

/// What opens a connection of HTTP/2, up to the point from which on HTTP/1 can't be meant.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// The type of the first record of TLS.
const HANDSHAKE: u8 = 0x16;

impl Protocol {
    /// What these first bytes are of; `None` while that can't be told.
    fn of(bytes: &[u8]) -> Option<Self> {
        let preface = bytes.get(..PREFACE.len()).unwrap_or(bytes);
        match bytes.first()? {
            &HANDSHAKE => Some(Self::Tls),
            _ if preface == PREFACE => Some(Self::Http2),
            _ if PREFACE.starts_with(preface) => None,
            _ => Some(Self::Http1),
        }
    }
}

/// Reads until it is clear what is spoken. An end that comes before that is an error.
pub(super) async fn greet<I>(mut io: I) -> io::Result<(Protocol, Rewound<I>)>
where
    I: AsyncRead + Unpin,
{
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        if let Some(protocol) = Protocol::of(bytes.get(..filled).unwrap_or_default()) {
            let prefix = Bytes::copy_from_slice(bytes.get(..filled).unwrap_or_default());
            return Ok((protocol, Rewound { prefix, io }));
        }
        match io.read(bytes.get_mut(filled..).unwrap_or_default()).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
}

/// A byte stream, part of which was read and is read again.
#[derive(Debug)]
pub(super) struct Rewound<I> {
    prefix: Bytes,
    io: I,
}

impl<I> Rewound<I> {
    #[cfg(feature = "tls")]
    pub(super) const fn get_ref(&self) -> &I {
        &self.io
    }

    /// The stream itself, and what of its beginning was not read again.
    pub(super) fn into_parts(self) -> (Bytes, I) {
        (self.prefix, self.io)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Rewound<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix.split_to(count));
        if buffer.remaining() > 0 {
            // What follows comes along: whoever reads these few bytes alone, asks for twice the memory
            // to read on. What fails here fails again, or ends, where it is read next.
            let _ = Pin::new(&mut self.io).poll_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }
}

write_through!(Rewound);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[test]
    fn protocols_are_told_as_early_as_can_be() {
        assert_eq!(Protocol::of(b""), None);
        for undecided in ["P", "PRI", "PRI * HTTP/2."] {
            assert_eq!(Protocol::of(undecided.as_bytes()), None, "{undecided}");
        }
        for (bytes, expected) in [
            (b"PRI * HTTP/2.0".as_slice(), Protocol::Http2),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            (b"G", Protocol::Http1),
            (b"PO", Protocol::Http1),
            (b"PRI * HTTP/1.1", Protocol::Http1),
            (b"\x16", Protocol::Tls),
            (b"\x00", Protocol::Http1),
        ] {
            assert_eq!(Protocol::of(bytes), Some(expected), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_there_is_read_at_once() {
        let (mut peer, io) = duplex(64);
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let (_, mut rewound) = greet(io).await.unwrap();
        let mut read = Vec::with_capacity(64);
        rewound.read_buf(&mut read).await.unwrap();
        assert_eq!(read, b"GET / HTTP/1.1\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_however_they_come(
            lead in prop::sample::select(vec![
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /", "PRI * HTTP/1", "\x16\x03", "GET ",
            ]),
            rest in proptest::collection::vec(any::<u8>(), 0..64),
            step in 1_usize..32,
        ) {
            let sent = [lead.as_bytes(), &rest].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut peer, io) = duplex(step);
                let bytes = sent.clone();
                let send = async move {
                    peer.write_all(&bytes).await.unwrap();
                };
                let receive = async {
                    let (_, mut rewound) = greet(io).await.unwrap();
                    let mut read = Vec::new();
                    rewound.read_to_end(&mut read).await.unwrap();
                    read
                };
                tokio::join!(send, receive).1
            });
            prop_assert_eq!(read, sent);
        }
    }
}
