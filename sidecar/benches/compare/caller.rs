//! A blocking HTTP/1.1 client with one connection that it keeps.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::http::ResponseHead;

/// An answer on the same machine that takes this long doesn't come.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client.
#[derive(Debug)]
pub(crate) struct Caller {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("can't connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, received: Vec::new() })
    }

    /// Sends a request, and waits for its answer. Fails unless the answer is 200.
    pub(crate) fn call(&mut self, request: &[u8]) -> Result<()> {
        self.socket.write_all(request).context("can't send a request")?;
        self.received.clear();
        loop {
            if let Some(head) = ResponseHead::parse(&self.received)?
                && self.received.len() >= head.size + head.length
            {
                let answer = String::from_utf8_lossy(&self.received);
                ensure!(head.status == 200, "the server answered: {answer}");
                return Ok(());
            }
            let mut bytes = [0; 4096];
            let count = self.socket.read(&mut bytes).context("no answer came")?;
            ensure!(count > 0, "the server closed the connection before it answered");
            self.received.extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
    }
}
