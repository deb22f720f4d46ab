//! What a connection reads from and writes to: a socket, or what stands in for one.

use std::{
    io::{self, IoSlice, Write as _},
    net::Shutdown,
};

use mio::net::TcpStream;

/// A byte stream that never blocks: where it can't go on it fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock), and whoever drives it is told when to try again.
pub(super) trait Wire {
    /// Whether its driver calls [`unblock`](super::connection::Connection::unblock) when there is room
    /// again. Where it doesn't, a write is simply tried again whenever the connection has its turn.
    const SAYS_WHEN_WRITABLE: bool;

    /// Reads what is there; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much of the slices as there is room for.
    fn write(&mut self, slices: &[IoSlice<'_>; 2]) -> io::Result<usize>;

    /// Says that nothing more is written.
    fn end(&mut self);

    /// Whether a peer that sends nothing more may still listen. Where it can't be told from one that is gone,
    /// it is gone.
    fn may_listen(&mut self) -> bool;
}

impl Wire for TcpStream {
    const SAYS_WHEN_WRITABLE: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Read::read(self, buffer)
    }

    fn write(&mut self, slices: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        // Nearly always one of the slices is empty, and a plain write is cheaper.
        match slices {
            [bytes, none] | [none, bytes] if none.is_empty() => io::Write::write(self, bytes),
            both => self.write_vectored(both),
        }
    }

    fn end(&mut self) {
        // It can only fail where the peer is gone already.
        let _ = self.shutdown(Shutdown::Write);
    }

    fn may_listen(&mut self) -> bool {
        // One that is gone answers what is written by a reset, which a read doesn't show behind the end.
        matches!(self.take_error(), Ok(None))
    }
}
