//! A WebSocket client (RFC 6455) for text messages that are JSON, over plain `ws`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, http::header};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// A peer that is asked to close answers at once; one that hangs is not waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What came next.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A text message, which must be JSON.
    Json(Value),
    /// The other side closed, with this code and reason; 1005 where it gave none.
    Closed(u16, String),
}

/// An open connection. A ping is answered while [`WebSocket::next`] waits.
pub struct WebSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    protocol: Option<String>,
}

impl WebSocket {
    /// Opens `url` without a subprotocol.
    ///
    /// # Errors
    /// When the handshake fails; the error then carries status and body of the answer.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, &[]).await
    }

    /// Opens `url`, offering these subprotocols in their order.
    ///
    /// # Errors
    /// As [`WebSocket::open`].
    pub async fn open_with(url: &str, protocols: &[&str]) -> Result<Self> {
        let mut request = url.into_client_request()?;
        if !protocols.is_empty() {
            let offered = protocols.join(", ").parse()?;
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        }
        let config = WebSocketConfig::default();
        let opened = connect_async_with_config(request, Some(config), true).await;
        let (stream, answer) = opened.map_err(explained)?;
        let chosen = answer.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let chosen = chosen.map(|value| value.to_str().map(str::to_owned)).transpose()?;
        Ok(Self { stream, protocol: chosen })
    }

    /// The subprotocol that the server chose.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The next message or the other side's close. Safe to be cancelled.
    ///
    /// # Errors
    /// When the connection breaks, a frame breaks the protocol, or a message is no JSON text.
    pub async fn next(&mut self) -> Result<Received> {
        loop {
            let message =
                self.stream.next().await.context("the connection ended without a close")??;
            match message {
                Message::Text(text) => {
                    let json = serde_json::from_str(&text);
                    return json.map(Received::Json).with_context(|| format!("no JSON: {text}"));
                }
                Message::Close(None) => return Ok(Received::Closed(1005, String::new())),
                Message::Close(Some(CloseFrame { code, reason })) => {
                    return Ok(Received::Closed(code.into(), reason.to_string()));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) | Message::Frame(_) => {
                    bail!("a binary message was not expected")
                }
            }
        }
    }

    /// The next message, where a close is not expected.
    ///
    /// # Errors
    /// As [`WebSocket::next`], and when the other side closes.
    pub async fn next_json(&mut self) -> Result<Value> {
        match self.next().await? {
            Received::Json(value) => Ok(value),
            Received::Closed(code, reason) => bail!("closed with {code} {reason:?}"),
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        Ok(self.stream.send(Message::text(message.to_string())).await?)
    }

    /// Closes as the standard says: sends a close and waits for the other side's.
    ///
    /// # Errors
    /// When the other side does not answer it.
    pub async fn close(mut self) -> Result<()> {
        self.stream.close(None).await?;
        tokio::time::timeout(CLOSE_LIMIT, async {
            loop {
                match self.stream.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(Error::ConnectionClosed)) | None => return Ok(()),
                    Some(Err(error)) => return Err(error.into()),
                }
            }
        })
        .await
        .context("the close was not answered")?
    }
}

/// Says what the server answered instead of switching protocols.
fn explained(error: Error) -> anyhow::Error {
    let Error::Http(answer) = &error else { return error.into() };
    let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    anyhow::anyhow!("the handshake was answered with status {}: {body}", answer.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    use super::*;

    #[tokio::test]
    async fn messages_come_in_order_and_a_close_has_its_code() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/orders/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut socket = accept_async(listener.accept().await.unwrap().0).await.unwrap();
            let received = socket.next().await.unwrap().unwrap();
            socket.send(Message::Ping(Vec::new().into())).await.unwrap();
            socket.send(received).await.unwrap();
            let close = CloseFrame { code: CloseCode::Restart, reason: "draining".into() };
            socket.close(Some(close)).await.unwrap();
        });
        let mut socket = WebSocket::open(&url).await.unwrap();
        let message = serde_json::json!({"id": 1});
        socket.send(&message).await.unwrap();
        assert_eq!(socket.next_json().await.unwrap(), message);
        let closed = socket.next().await.unwrap();
        assert_eq!(closed, Received::Closed(1012, "draining".to_owned()));
    }

    #[tokio::test]
    async fn a_refused_handshake_shows_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/nope/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let _request = stream.read(&mut [0; 4096]).await.unwrap();
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nno such";
            stream.write_all(answer).await.unwrap();
        });
        let error = WebSocket::open(&url).await.err().unwrap().to_string();
        assert_eq!(error, "the handshake was answered with status 404 Not Found: no such");
    }
}
