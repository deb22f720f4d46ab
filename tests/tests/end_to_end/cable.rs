//! A network path between a subscriber and the server, which a test can break.
//!
//! What the server has written is not what the subscriber has seen: some of it is on the way. When the
//! cable is cut the subscriber's end is reset at once, as a network that fails does it. What has come from the
//! server is read before its end is closed, so that it is known exactly which events the server had handed to a
//! socket that nobody read any more; none may be on the way then.

use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Larger than what is ever under way here.
const BUFFER: usize = 64 * 1024;

/// What the cable does with what the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// The server's bytes arrive here and go no further.
    Stuck,
    Cut,
}

/// A path for one connection after the other.
pub(crate) struct Cable {
    address: SocketAddr,
    ends: Arc<Ends>,
    carrier: JoinHandle<Result<()>>,
}

struct Ends {
    state: watch::Sender<State>,
    /// All that the server has sent on the present connection.
    sent: watch::Sender<Vec<u8>>,
}

impl Cable {
    /// Lays a cable to `server`.
    pub(crate) async fn lay(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, sent) = (watch::Sender::new(State::Whole), watch::Sender::default());
        let ends = Arc::new(Ends { state, sent });
        let carrier = tokio::spawn(carry_on(listener, server, Arc::clone(&ends)));
        Ok(Self { address, ends, carrier })
    }

    /// Where a subscriber connects.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing more through to the subscriber, and does not tell it.
    pub(crate) fn jam(&self) {
        self.ends.state.send_replace(State::Stuck);
    }

    /// How many whole events the server has sent on the present connection.
    pub(crate) fn sent(&self) -> usize {
        events(&self.ends.sent.borrow())
    }

    /// Breaks the connection, and returns how many whole events the server had sent on it. The next one
    /// goes through.
    pub(crate) async fn cut(&self) -> Result<usize> {
        self.ends.state.send_replace(State::Cut);
        self.ends.state.subscribe().wait_for(|state| *state == State::Whole).await?;
        Ok(self.sent())
    }
}

impl Ends {
    fn is(&self, state: State) -> bool {
        *self.state.borrow() == state
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

async fn carry_on(listener: TcpListener, server: SocketAddr, ends: Arc<Ends>) -> Result<()> {
    loop {
        let (near, _) = listener.accept().await?;
        let far = TcpStream::connect(server).await.context("the server is not reached")?;
        ends.sent.send_replace(Vec::new());
        // A connection that one of its ends broke is over, and nothing else is.
        let _broken = carry(near, far, &ends).await;
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, ends: &Ends) -> Result<()> {
    let mut state = ends.state.subscribe();
    let (mut down, mut up) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        tokio::select! {
            read = far.read(&mut down) => {
                let Some(bytes) = down.get(..read?).filter(|bytes| !bytes.is_empty()) else { break };
                ends.sent.send_modify(|sent| sent.extend_from_slice(bytes));
                if ends.is(State::Whole) {
                    near.write_all(bytes).await?;
                }
            }
            read = near.read(&mut up) => {
                let Some(bytes) = up.get(..read?).filter(|bytes| !bytes.is_empty()) else { break };
                far.write_all(bytes).await?;
            }
            changed = state.changed() => {
                changed?;
                if ends.is(State::Cut) { break }
            }
        }
    }
    if ends.is(State::Cut) {
        sever(near, far, ends)?;
        ends.state.send_replace(State::Whole);
    }
    Ok(())
}

fn sever(near: TcpStream, far: TcpStream, ends: &Ends) -> Result<()> {
    near.set_zero_linger()?;
    drop(near);
    // The server goes on for a client that only sends no more: its end is closed, once all that came is read.
    let mut far = far.into_std()?;
    let mut rest = vec![0; BUFFER];
    loop {
        match far.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                let bytes = rest.get(..count).unwrap_or_default();
                ends.sent.send_modify(|sent| sent.extend_from_slice(bytes));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How many whole events there are in the bytes of an answer that is an event stream, which may end
/// anywhere.
fn events(answer: &[u8]) -> usize {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| unchunked(body)).unwrap_or_default();
    let Some((whole, _)) = body.rsplit_once("\n\n") else { return 0 };
    let has_data = |block: &&str| block.lines().any(|line| line.starts_with("data:"));
    whole.split("\n\n").filter(has_data).count()
}

/// The content of a chunked body (RFC 9112, section 7.1) as far as it goes.
fn unchunked(mut body: &str) -> String {
    let mut content = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        content.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or_default();
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        12\r\nretry: 1\nid: a-0\n\n\r\n\
        15\r\nid: a-1\ndata: {\"n\":0}\r\n\
        13\r\n\n\nid: a-2\ndata: 1\n\n\r\n\
        3\r\n:\n\n\r\n";

    #[test]
    fn whole_events_are_counted_and_an_opening_and_a_comment_are_none() {
        assert_eq!(events(ANSWER.as_bytes()), 2);
    }

    #[test]
    fn an_event_counts_from_its_last_byte_on() {
        let second = ANSWER.find("data: 1\n\n").unwrap() + "data: 1\n\n".len();
        assert_eq!(events(&ANSWER.as_bytes()[..second]), 2);
        assert_eq!(events(&ANSWER.as_bytes()[..second - 1]), 1);
        assert_eq!(events(b"HTTP/1.1 200"), 0);
    }

    #[tokio::test]
    async fn what_was_on_the_way_when_the_cable_was_cut_is_known() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let cable = Cable::lay(listener.local_addr()?).await?;
        let mut subscriber = TcpStream::connect(cable.address()).await?;
        let (mut server, _) = listener.accept().await?;
        let first = ANSWER.find("13\r\n").unwrap();
        server.write_all(&ANSWER.as_bytes()[..first]).await?;
        let mut seen = vec![0; first];
        subscriber.read_exact(&mut seen).await?;
        cable.jam();
        server.write_all(&ANSWER.as_bytes()[first..]).await?;
        let server = async {
            assert_eq!(server.read(&mut [0]).await?, 0);
            drop(server);
            anyhow::Ok(())
        };
        let (sent, server) = tokio::join!(cable.cut(), server);
        server?;
        assert_eq!(sent?, 2);
        assert!(subscriber.read(&mut [0]).await.is_err(), "a reset");
        let _next = TcpStream::connect(cable.address()).await?;
        listener.accept().await?;
        Ok(())
    }
}
