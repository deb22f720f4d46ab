//! Heads over HTTP/2: the scan of frames tells of each that `h2` keeps before its request is looked at, however the
//! bytes are cut; of as many bytes as it has fields at least; and is within a head whenever `h2` is.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Builder, Connection, SendResponse},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_sidecar::edge::{Block, Scan};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings of a client: none.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What may stand between two heads, and not within one.
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// How large a list of headers may be.
const MOST_HEADERS: u32 = 32 * 1024;

/// The first byte says how the others are cut; these are frames, each with its kind, its flags, its stream and its
/// size in a byte.
pub(super) fn follow(input: &[u8]) {
    let Some((&cut, frames)) = input.split_first() else { return };
    let sent = [PREFACE, &SETTINGS, &unpacked(frames)].concat();
    let whole = told(&sent, usize::MAX);
    assert_eq!(told(&sent, usize::from(cut).max(1)), whole, "cut by {cut}");
    compare(&sent, usize::from(cut).max(1));
}

fn unpacked(mut frames: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let [kind, flags, stream, size, rest @ ..] = frames {
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*size)));
        all.extend_from_slice(&[0, 0, *size, *kind, *flags, 0, 0, 0, *stream]);
        all.extend_from_slice(payload);
        frames = rest;
    }
    all
}

/// What is told of all of it, read in pieces of at most so many bytes.
fn told(mut sent: &[u8], most: usize) -> (Vec<Block>, Option<Block>) {
    let (mut scan, mut blocks) = (Scan::default(), Vec::new());
    while !sent.is_empty() {
        let (piece, rest) = sent.split_at(sent.len().min(most).min(scan.ahead()));
        blocks.extend(scan.read(piece));
        sent = rest;
    }
    (blocks, scan.block())
}

/// Gives `h2` what the scan has read, piece by piece.
fn compare(sent: &[u8], most: usize) {
    let (mut scan, mut blocks) = (Scan::default(), Vec::new());
    let mut peer = Peer::new([sent, &PING].concat());
    let mut read = 0;
    while read < sent.len() {
        let next = sent.len().min(read + most.min(scan.ahead()));
        blocks.extend(scan.read(&sent[read..next]));
        read = next;
        if !peer.reads(read, &blocks) {
            return;
        }
    }
    // Between two frames.
    if scan.ahead() == SETTINGS.len() && !peer.is_closed {
        let goes_on = peer.reads(sent.len() + PING.len(), &blocks);
        assert!(goes_on || scan.block().is_some(), "it is within a head");
    }
}

/// A connection as `h2` sees it.
struct Peer {
    given: Rc<Cell<usize>>,
    state: State,
    streams: BTreeMap<u32, (RecvStream, SendResponse<Bytes>)>,
    /// Whether it has ended as it should.
    is_closed: bool,
}

type Handshake = Pin<Box<dyn Future<Output = Result<Connection<Pipe, Bytes>, h2::Error>>>>;

enum State {
    Greeting(Handshake),
    Open(Box<Connection<Pipe, Bytes>>),
}

impl Peer {
    fn new(sent: Vec<u8>) -> Self {
        let given = Rc::<Cell<usize>>::default();
        let pipe = Pipe { sent, given: Rc::clone(&given), read: 0 };
        let mut builder = Builder::new();
        builder.max_header_list_size(MOST_HEADERS).enable_connect_protocol();
        let state = State::Greeting(Box::pin(builder.handshake(pipe)));
        Self { given, state, streams: BTreeMap::new(), is_closed: false }
    }

    /// Reads up to there; `false` where the connection is over. All heads that are kept were told of.
    fn reads(&mut self, given: usize, blocks: &[Block]) -> bool {
        self.given.set(given);
        let context = &mut Context::from_waker(Waker::noop());
        if let State::Greeting(handshake) = &mut self.state {
            match handshake.as_mut().poll(context) {
                Poll::Ready(Ok(connection)) => self.state = State::Open(Box::new(connection)),
                Poll::Ready(Err(_)) => return false,
                Poll::Pending => return true,
            }
        }
        let State::Open(connection) = &mut self.state else { return true };
        loop {
            match connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let stream = respond.stream_id().as_u32();
                    let head = blocks.iter().find(|block| block.stream == stream);
                    if let Some(Block { bytes, trailers: false, .. }) = head {
                        assert!(request.headers().len() <= *bytes, "{request:?} of {bytes} bytes");
                    }
                    self.streams.insert(stream, (request.into_body(), respond));
                }
                Poll::Ready(Some(Err(_))) => return false,
                Poll::Ready(None) => {
                    self.is_closed = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        for (stream, (receive, _)) in &mut self.streams {
            take_all(*stream, receive, blocks, context);
        }
        true
    }
}

/// Takes all that has come in a stream.
fn take_all(stream: u32, receive: &mut RecvStream, blocks: &[Block], context: &mut Context<'_>) {
    while let Poll::Ready(Some(Ok(data))) = receive.poll_data(context) {
        let _ = receive.flow_control().release_capacity(data.len());
    }
    if let Poll::Ready(Ok(Some(trailers))) = receive.poll_trailers(context) {
        let told = blocks.iter().rfind(|block| block.stream == stream && block.trailers);
        let block = told.expect("trailers are told of");
        assert!(trailers.len() <= block.bytes, "{trailers:?} of {} bytes", block.bytes);
    }
}

/// What a client has sent, of which so much has come; what is written to it is taken.
struct Pipe {
    sent: Vec<u8>,
    given: Rc<Cell<usize>>,
    read: usize,
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = buffer.remaining().min(self.given.get() - self.read);
        if count == 0 {
            return Poll::Pending;
        }
        buffer.put_slice(&self.sent[self.read..self.read + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
