//! Publishes numbered events over HTTP, from outside of the pods.

use std::ops::Range;

use anyhow::{Result, ensure};
use hyper::Uri;
use serde_json::Value;
use weir_tests::client::http::{Answer, Connection};

/// A client that publishes to one pipeline.
pub(crate) struct Publisher {
    connection: Connection,
    path: String,
}

impl Publisher {
    /// Connects to the endpoint of the URL.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let url: Uri = url.parse()?;
        Ok(Self { connection: Connection::open(&url).await?, path: url.path().to_owned() })
    }

    /// Publishes each number by a request of its own.
    pub(crate) async fn publish_singly(&mut self, numbers: Range<u64>) -> Result<()> {
        for number in numbers {
            let answer = self.post("application/json", event(number)).await?;
            check(&answer, 1)?;
        }
        Ok(())
    }

    /// Publishes the numbers, so many with each request.
    pub(crate) async fn publish_in_batches(&mut self, numbers: Range<u64>, of: u64) -> Result<()> {
        let mut from = numbers.start;
        while from < numbers.end {
            let to = numbers.end.min(from + of);
            let lines: Vec<String> = (from..to).map(event).collect();
            let answer = self.post("application/x-ndjson", lines.join("\n")).await?;
            check(&answer, to - from)?;
            from = to;
        }
        Ok(())
    }

    /// Posts a body and returns whatever is answered.
    pub(crate) async fn post(&mut self, media_type: &str, body: String) -> Result<Answer> {
        self.connection.post(&self.path, media_type, body).await
    }
}

/// The payload of a numbered event.
pub(crate) fn event(number: u64) -> String {
    format!("{{\"n\":{number}}}")
}

fn check(answer: &Answer, count: u64) -> Result<()> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let taken = answer.status == 200 && body["accepted"] == count && body["duplicates"] == 0;
    ensure!(taken, "{} events: {} {}", count, answer.status, String::from_utf8_lossy(&answer.body));
    Ok(())
}
