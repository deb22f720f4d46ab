//! One HTTP/1.1 connection, over which requests go one after the other.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, Uri, body::Incoming, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A connection that is kept alive between requests.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    /// Connects to the host and port of `url`, which must be plain `http`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(url: &Uri) -> Result<Self> {
        let authority = authority(url)?;
        let stream = TcpStream::connect(&authority).await;
        let stream = stream.with_context(|| format!("could not connect to {authority}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender; a broken connection shows at the next request or read of a body.
        tokio::spawn(connection);
        Ok(Self { sender, authority })
    }

    /// Sends a request for `path` and returns once the answer's head is there.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        if !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, self.authority.parse()?);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Posts `body` to `path` and returns the whole answer, whatever its status.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(
        &mut self,
        path: &str,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let request = Request::post(path).header(header::CONTENT_TYPE, media_type);
        whole(self.send(request.body(Full::new(body.into()))?).await?).await
    }

    /// Gets `path` and returns the whole answer, whatever its status.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn get(&mut self, path: &str) -> Result<Answer> {
        whole(self.send(Request::get(path).body(Full::default())?).await?).await
    }
}

async fn whole(response: Response<Incoming>) -> Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
}

/// The host and port of a plain URL.
fn authority(url: &Uri) -> Result<String> {
    let host = url.host().with_context(|| format!("{url} names no host"))?;
    match url.scheme_str() {
        Some("http" | "ws") => Ok(format!("{host}:{}", url.port_u16().unwrap_or(80))),
        Some(_) | None => bail!("{url} is neither http nor ws"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_port_means_80_and_tls_is_refused() {
        assert_eq!(authority(&"http://a/b".parse().unwrap()).unwrap(), "a:80");
        assert_eq!(authority(&"ws://a:7/b".parse().unwrap()).unwrap(), "a:7");
        assert!(authority(&"https://a/".parse().unwrap()).is_err());
    }
}
