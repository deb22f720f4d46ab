//! HTTP/2 frame by frame, for what no library lets a client do.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::fixture::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// The flags of a head, and what of those of other frames has the same bit.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection of which each frame is written by hand.
pub(crate) struct Frames(pub(crate) TcpStream);

/// A frame as it is sent.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, size @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&size[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The streams that a client opens.
pub(crate) fn streams(count: usize) -> impl Iterator<Item = u32> {
    (1_u32..).step_by(2).take(count)
}

impl Frames {
    /// Opens a connection, and says that the server's settings are known.
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let mut frames = Self(TcpStream::connect(to).await.unwrap());
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(&frame(SETTINGS, 0, 0, &[])).await;
        while frames.next().await.kind != SETTINGS {}
        frames.send(&frame(SETTINGS, ACK, 0, &[])).await;
        frames
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.0.write_all(bytes)).await.unwrap().unwrap();
    }

    /// The next frame, which ends no connection.
    pub(crate) async fn next(&mut self) -> Frame {
        let mut header = [0; 9];
        timeout(PATIENCE, self.0.read_exact(&mut header)).await.unwrap().unwrap();
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        timeout(PATIENCE, self.0.read_exact(&mut payload)).await.unwrap().unwrap();
        assert_ne!(kind, GOAWAY, "the connection goes on: {payload:?}");
        Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }
    }

    /// Reads until so many such frames have come.
    pub(crate) async fn until(&mut self, mut count: usize, is_it: impl Fn(&Frame) -> bool) {
        while count > 0 {
            count -= usize::from(is_it(&self.next().await));
        }
    }

    /// Waits until the server has read all that was sent.
    pub(crate) async fn is_read(&mut self) {
        self.send(&frame(PING, 0, 0, b"all read")).await;
        self.until(1, |frame| frame.kind == PING && frame.payload == b"all read").await;
    }
}
