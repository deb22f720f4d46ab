//! A connection over which HTTP/1.1 is spoken.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_operator::failure::chain;

use super::Error;

/// What the kubelet says when it can't connect, once it does.
pub(super) type Trouble = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// The kubelet says why a moment after the connection broke.
const CONFESSION: Duration = Duration::from_millis(500);

/// What a page of the log, or the samples of many objectives, has at most; what is larger is cut off.
const LARGEST: usize = 64 << 20;

/// A connection.
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// What is reached, for a person.
    pub place: String,
    /// The pod, where it is one.
    pub pod: Option<String>,
    prefix: String,
    trouble: Option<Trouble>,
}

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// A token, if the pipeline asks for one.
    pub token: Option<String>,
    /// The content.
    pub content: Bytes,
}

/// An answer whose body has yet to be read.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Incoming,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Link {
    pub(super) async fn over<S>(
        stream: S,
        place: String,
        prefix: String,
        trouble: Option<Trouble>,
    ) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| super::connect(&place, &error))?;
        // Its errors are those of the request that waits.
        let driver = tokio::spawn(async move {
            let _told = connection.await;
        });
        Ok(Self { sender, driver, place, pod: None, prefix, trouble })
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// Fails where no answer begins.
    pub async fn send(&mut self, method: &str, path: &str, body: Body) -> Result<Answer, Error> {
        let Body { headers, token, content } = body;
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.prefix));
        // A forwarded port has no name of its own.
        let host = if self.pod.is_some() { "localhost" } else { &self.place };
        request = request.header(HOST, host);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(content));
        let request = request.map_err(|error| super::connect(&self.place, &error))?;
        let sent = match self.sender.ready().await {
            Ok(()) => self.sender.send_request(request).await,
            Err(error) => Err(error),
        };
        match sent {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                Ok(Answer { status: head.status, headers: head.headers, body })
            }
            Err(error) => Err(self.broken(chain(&error)).await),
        }
    }

    /// Why the connection broke: in the kubelet's words, where it has some.
    async fn broken(&mut self, reason: String) -> Error {
        let told = match self.trouble.take() {
            Some(trouble) => timeout(CONFESSION, trouble).await.ok().flatten(),
            None => None,
        };
        let reason = told.map_or(reason, |told| in_short(&told));
        Error::Connect { place: self.place.clone(), reason }
    }
}

/// The kubelet names sandboxes and namespaces, where the last words say it all.
fn in_short(told: &str) -> String {
    if told.contains("connection refused") {
        return "nothing listens on it".to_owned();
    }
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Answer {
    /// The whole body.
    ///
    /// # Errors
    ///
    /// Fails where it does not come whole, or is larger than any.
    pub async fn bytes(self, place: &str) -> Result<Bytes, Error> {
        let body = Limited::new(self.body, LARGEST).collect().await;
        let body = body.map_err(|error| super::connect(place, error.as_ref()))?;
        Ok(body.to_bytes())
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_says_is_told_in_short() {
        let told = "error forwarding port 7071 to pod ab, uid : failed to connect to localhost:7071 inside \
                    namespace: IPv4: dial tcp4 127.0.0.1:7071: connect: connection refused\n";
        assert_eq!(in_short(told), "nothing listens on it");
        assert_eq!(in_short(" no such\n pod "), "no such pod");
    }
}
