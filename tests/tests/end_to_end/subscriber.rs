//! A subscriber over either transport, who expects numbered events in their order and each once.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::time::timeout;
use weir_tests::client::sse::EventSource;
use weir_tests::client::websocket::WebSocket;

/// A reconnection may take three seconds, by the retry time that the server asks for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Someone who reads a stream.
pub(crate) enum Subscriber {
    Sse(EventSource),
    WebSocket(WebSocket),
}

impl Subscriber {
    /// Subscribes over Server-Sent Events.
    pub(crate) async fn sse(url: &str) -> Result<Self> {
        EventSource::open(url).await.map(Self::Sse)
    }

    /// Subscribes over WebSocket; returns when the server has said where the stream starts.
    pub(crate) async fn web_socket(url: &str) -> Result<Self> {
        let mut socket = WebSocket::open(url).await?;
        let opening = timeout(PATIENCE, socket.next_json()).await.context("no opening came")??;
        ensure!(opening["control"] == "open", "the first message is {opening}");
        Ok(Self::WebSocket(socket))
    }

    /// Reads exactly these numbers.
    pub(crate) async fn expect(&mut self, numbers: Range<u64>) -> Result<()> {
        for number in numbers.clone() {
            let next = timeout(PATIENCE, self.next()).await;
            let next = next.with_context(|| format!("{number} of {numbers:?} does not come"))?;
            let next = next.with_context(|| format!("instead of {number} of {numbers:?}"))?;
            ensure!(next == number, "{next} came instead of {number} of {numbers:?}");
        }
        Ok(())
    }

    /// Waits until nothing has come for `quiet`.
    pub(crate) async fn expect_nothing(&mut self, quiet: Duration) -> Result<()> {
        match timeout(quiet, self.next()).await {
            Err(_) => Ok(()),
            Ok(came) => bail!("{came:?} came, where nothing was due"),
        }
    }

    /// How many comments a subscriber over Server-Sent Events has got.
    pub(crate) fn comments(&self) -> usize {
        match self {
            Self::Sse(source) => source.comments(),
            Self::WebSocket(_) => 0,
        }
    }

    /// How many connections it took so far.
    pub(crate) fn connections(&self) -> usize {
        match self {
            Self::Sse(source) => source.connections(),
            Self::WebSocket(_) => 1,
        }
    }

    async fn next(&mut self) -> Result<u64> {
        match self {
            Self::Sse(source) => {
                let event = source.next().await?;
                ensure!(event.name == "message", "a control came: {} {}", event.name, event.data);
                number(&serde_json::from_str(&event.data)?)
            }
            Self::WebSocket(socket) => {
                let message = socket.next_json().await?;
                let data = message.get("data").with_context(|| format!("a control: {message}"))?;
                number(data)
            }
        }
    }
}

fn number(data: &Value) -> Result<u64> {
    data.get("n").and_then(Value::as_u64).with_context(|| format!("no number: {data}"))
}

/// Everyone reads exactly these numbers, at the same time.
pub(crate) async fn all_expect(everyone: &mut [Subscriber], numbers: Range<u64>) -> Result<()> {
    let readers = everyone.iter_mut().enumerate().map(async |(index, subscriber)| {
        subscriber.expect(numbers.clone()).await.with_context(|| format!("subscriber {index}"))
    });
    futures::future::try_join_all(readers).await.map(drop)
}
