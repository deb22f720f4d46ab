//! An EventSource: reconnects and resumes as the HTML standard demands (section 9.2).

mod parser;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};

pub use parser::Event;
use parser::{Item, Parser};

use super::http::Connection;

const MEDIA_TYPE: &str = "text/event-stream";

/// "A few seconds" in the standard; short, so that a test is not kept waiting.
const RETRY: Duration = Duration::from_millis(200);

/// A stream of events that survives the connections it comes over.
pub struct EventSource {
    url: Uri,
    retry: Duration,
    last_event_id: String,
    connection: Option<Stream>,
    ready: VecDeque<Item>,
    comments: usize,
    connections: usize,
}

/// One connection's body. The sender is kept because the connection ends with it.
struct Stream {
    _sender: Connection,
    body: Incoming,
    parser: Parser,
}

/// An answer after which the standard does not reconnect.
#[derive(Debug)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The media type.
    pub media_type: String,
    /// The body.
    pub body: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, media_type, body } = self;
        write!(f, "refused with status {status}, media type {media_type:?}: {body}")
    }
}

impl std::error::Error for Refusal {}

impl EventSource {
    /// Connects to `url`.
    ///
    /// # Errors
    /// When the first connection fails, unlike a browser, which would try for ever.
    pub async fn open(url: &str) -> Result<Self> {
        Self::resume(url, "").await
    }

    /// Connects to `url` as one who has already seen the event `last_event_id`.
    ///
    /// # Errors
    /// As [`EventSource::open`].
    pub async fn resume(url: &str, last_event_id: &str) -> Result<Self> {
        let mut source = Self {
            url: url.parse()?,
            retry: RETRY,
            last_event_id: last_event_id.to_owned(),
            connection: None,
            ready: VecDeque::new(),
            comments: 0,
            connections: 0,
        };
        source.connect().await?;
        Ok(source)
    }

    /// The next event. Where the connection ends, it reconnects after the stream's retry time and sends
    /// the last event's id. Safe to be cancelled.
    ///
    /// # Errors
    /// A [`Refusal`], when the server answers with any status but 200, or another media type.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            while let Some(item) = self.ready.pop_front() {
                if let Some(event) = self.dispatch(item) {
                    return Ok(event);
                }
            }
            if self.connection.is_none() {
                self.reconnect().await?;
            }
            self.read().await;
        }
    }

    /// Drops the connection, as a broken network would. What has arrived but was not returned is lost
    /// with it, and a server that resumes sends it again.
    pub fn cut(&mut self) {
        self.connection = None;
        self.ready.clear();
    }

    /// The last event id as of the event that was returned last.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How many comments have come, such as heartbeats.
    #[must_use]
    pub const fn comments(&self) -> usize {
        self.comments
    }

    /// How many connections there have been.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections
    }

    /// The time between a lost connection and the next, which the stream itself may set.
    #[must_use]
    pub const fn retry(&self) -> Duration {
        self.retry
    }

    fn dispatch(&mut self, item: Item) -> Option<Event> {
        match item {
            Item::Event(event) => {
                event.id.clone_into(&mut self.last_event_id);
                return Some(event);
            }
            Item::Id(id) => self.last_event_id = id,
            Item::Retry(millis) => self.retry = Duration::from_millis(millis),
            Item::Comment => self.comments += 1,
        }
        None
    }

    async fn reconnect(&mut self) -> Result<()> {
        loop {
            tokio::time::sleep(self.retry).await;
            match self.connect().await {
                Err(error) if error.is::<Refusal>() => return Err(error),
                // The standard reconnects after a network error, and after nothing else.
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let mut sender = Connection::open(&self.url).await?;
        let response = sender.send(self.request()?).await?;
        let body = accept(response).await?;
        self.connection = Some(Stream { _sender: sender, body, parser: Parser::default() });
        self.connections += 1;
        Ok(())
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::get(path).header(header::ACCEPT, MEDIA_TYPE);
        request = request.header(header::CACHE_CONTROL, "no-store");
        if !self.last_event_id.is_empty() {
            request = request.header("last-event-id", &self.last_event_id);
        }
        Ok(request.body(Full::default())?)
    }

    /// Reads what comes next; an end or a fault of the connection loses it.
    async fn read(&mut self) {
        let Some(stream) = &mut self.connection else { return };
        match stream.body.frame().await {
            Some(Ok(frame)) => {
                let bytes = frame.into_data().unwrap_or_default();
                self.ready.extend(stream.parser.push(&bytes));
            }
            Some(Err(_)) | None => self.connection = None,
        }
    }
}

/// Takes the body of an answer that is an event stream.
async fn accept(response: Response<Incoming>) -> Result<Incoming> {
    let (head, body) = response.into_parts();
    let media_type = head.headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if head.status == StatusCode::OK && essence.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Ok(body);
    }
    let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
    bail!(Refusal { status: head.status.as_u16(), media_type: media_type.to_owned(), body })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// Answers one connection after the other, ends each, and returns the requests' heads.
    async fn server(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/orders/sse", listener.local_addr().unwrap());
        let serve = async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                requests.push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        };
        (url, tokio::spawn(serve))
    }

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=utf-8\r\n\r\n";

    #[tokio::test]
    async fn a_lost_connection_is_resumed_from_the_event_returned_last() {
        const FIRST: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\nid: a\ndata: 1\n\nid: b\ndata: 2\n\ndata: cut";
        const SECOND: &str =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\nid: c\ndata: 3\n\n";
        let (url, requests) = server(&[FIRST, SECOND]).await;
        let mut source = EventSource::open(&url).await.unwrap();
        for data in ["1", "2", "3"] {
            assert_eq!(source.next().await.unwrap().data, data);
        }
        assert_eq!((source.comments(), source.connections()), (1, 2));
        assert_eq!(source.last_event_id(), "c");
        assert_eq!(source.retry(), Duration::from_millis(1));
        let requests = requests.await.unwrap();
        assert!(!requests[0].contains("last-event-id"), "{}", requests[0]);
        assert!(requests[1].contains("last-event-id: b\r\n"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn an_answer_other_than_an_event_stream_ends_it() {
        const GONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";
        let (url, _) = server(&[HEAD, GONE]).await;
        let mut source = EventSource::open(&url).await.unwrap();
        let refusal = source.next().await.unwrap_err().downcast::<Refusal>().unwrap();
        assert_eq!(refusal.status, 204);
    }
}
