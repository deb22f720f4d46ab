//! A client of HTTP/2: requests, SSE and WebSockets in the streams of one connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h2::{
    RecvStream, SendStream,
    client::{Builder, SendRequest},
    ext::Protocol,
};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

use crate::{
    client::{Socket, Sse, WebSocket},
    fixture::PATIENCE,
};

/// A connection.
pub(crate) struct Http2 {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::connect_with(to, &Builder::new()).await
    }

    pub(crate) async fn connect_with(to: SocketAddr, builder: &Builder) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self::over(Box::new(socket), builder).await
    }

    /// With settings, over a socket.
    pub(crate) async fn over(socket: Socket, builder: &Builder) -> Self {
        let (requests, connection) = builder.handshake(socket).await.unwrap();
        Self { requests, connection: tokio::spawn(connection) }
    }

    /// Sends a request with a body. Returns the answer's head, and both sides of its stream.
    pub(crate) async fn ask(
        &self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, HeaderMap, SendStream<Bytes>, RecvStream), h2::Error> {
        let mut requests = timeout(PATIENCE, self.requests.clone().ready()).await.unwrap()?;
        let ended = body.is_none() && request.method() != Method::CONNECT;
        let (response, mut send) = requests.send_request(request, ended)?;
        if let Some(body) = body {
            send.send_data(body, true)?;
        }
        let (head, receive) = timeout(PATIENCE, response).await.unwrap()?.into_parts();
        Ok((head.status, head.headers, send, receive))
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = request(Method::GET, path).body(()).unwrap();
        let (status, headers, _, body) = self.ask(request, None).await.unwrap();
        (status, headers, text(body).await)
    }

    pub(crate) async fn post(&self, path: &str, kind: &str, body: Bytes) -> (StatusCode, String) {
        let request = request(Method::POST, path).header("content-type", kind).body(()).unwrap();
        let (status, _, _, answer) = self.ask(request, Some(body)).await.unwrap();
        (status, text(answer).await)
    }

    /// Subscribes over SSE.
    pub(crate) async fn sse(&self, path: &str, headers: &[(&str, &str)]) -> Sse {
        let mut request = request(Method::GET, path).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.subscribe(request.body(()).unwrap(), None).await
    }

    /// The same by any request.
    pub(crate) async fn subscribe(&self, request: Request<()>, body: Option<Bytes>) -> Sse {
        let (status, headers, send, receive) = self.ask(request, body).await.unwrap();
        Sse::begun(Box::new(Tunnel::new(send, receive)), format!("{status} {headers:?}"))
    }

    /// Asks for a WebSocket (RFC 8441).
    pub(crate) async fn tunnel(
        &self,
        path: &str,
        protocol: Option<&'static str>,
    ) -> Result<(StatusCode, HeaderMap, Tunnel), h2::Error> {
        self.tunnel_with(path, protocol, &[]).await
    }

    /// The same with more headers.
    pub(crate) async fn tunnel_with(
        &self,
        path: &str,
        protocol: Option<&'static str>,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, Tunnel), h2::Error> {
        let mut connect = request(Method::CONNECT, path).header("sec-websocket-version", "13");
        for (name, value) in headers {
            connect = connect.header(*name, *value);
        }
        if let Some(protocol) = protocol {
            connect = connect.extension(Protocol::from_static(protocol));
        }
        let connect = connect.body(()).unwrap();
        let (status, headers, send, receive) = self.ask(connect, None).await?;
        Ok((status, headers, Tunnel::new(send, receive)))
    }

    pub(crate) async fn web_socket(&self, path: &str) -> WebSocket {
        self.web_socket_with(path, &[]).await
    }

    pub(crate) async fn web_socket_with(&self, path: &str, more: &[(&str, &str)]) -> WebSocket {
        let opened = self.tunnel_with(path, Some("websocket"), more).await;
        let (status, headers, tunnel) = opened.unwrap();
        assert_eq!(status, 200);
        assert!(!headers.contains_key("sec-websocket-accept"), "{headers:?}");
        WebSocket::begun(Box::new(tunnel)).await
    }
}

pub(crate) fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://test{path}"))
}

async fn text(mut body: RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(part) = timeout(PATIENCE, body.data()).await.unwrap() {
        let part = part.unwrap();
        body.flow_control().release_capacity(part.len()).unwrap();
        text.extend_from_slice(&part);
    }
    String::from_utf8(text).unwrap()
}

/// Both sides of a stream, as a socket. What is read gives the server room for more.
pub(crate) struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    rest: Bytes,
}

impl Tunnel {
    const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, rest: Bytes::new() }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                None => return Poll::Ready(Ok(())),
                Some(part) => self.rest = part.map_err(io::Error::other)?,
            }
            let count = self.rest.len();
            self.receive.flow_control().release_capacity(count).map_err(io::Error::other)?;
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let data = Bytes::copy_from_slice(bytes);
        self.send.send_data(data, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
