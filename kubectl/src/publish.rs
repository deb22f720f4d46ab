//! `kubectl weir publish`: publishes JSON values, or lines of JSON, into a pipeline.
//!
//! # Laws
//!
//! - A line is published when it has been read: lines that wait go together, and nobody waits for more. With
//!   `--key` as many go together as can, so that the same lines have the same keys another time.
//! - Every batch has a key, so that one whose answer was lost is sent again without being taken twice.
//! - A line that is no JSON ends it; the lines before have been published.

mod batch;

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::sync::mpsc;
use tokio::time::sleep;
use weir_crds::names::port;

use self::batch::{Batch, Room};
use crate::args::{ClusterArgs, Publish};
use crate::output::{Screen, harmless};
use crate::reach::{self, Body, Link, Reach};
use crate::tail::query::encode;
use crate::tail::say;

/// How often a batch is sent whose answer doesn't come, or asks for it.
const ATTEMPTS: u32 = 5;
/// The wait before the second attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait that a server may ask for: somebody looks on.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Lines that were read and wait; more than a batch takes.
const WAITING: usize = 1_024;

/// Why not all was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline can't be reached.
    #[error(transparent)]
    Reach(#[from] reach::Error),
    /// What was given is no JSON.
    #[error("{what} is no JSON ({reason}): a text is written with quotes, as '\"text\"'")]
    Json {
        /// The argument, or the line.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was given.
    #[error("nothing to publish: give JSON as an argument, or lines of it on standard input")]
    Nothing,
    /// Standard input can't be read.
    #[error("can't read standard input")]
    Input(#[source] io::Error),
    /// The server refuses.
    #[error("{place} refuses: {reason}")]
    Refused {
        /// Who.
        place: String,
        /// Why, in its words.
        reason: String,
    },
    /// The server answered with what is no receipt.
    #[error("{place} took the events, and answered what is no receipt")]
    Receipt {
        /// Who.
        place: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The receipt can't be printed.
    #[error("can't write the output")]
    Output(#[from] io::Error),
}

/// What the server took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Receipt {
    accepted: u64,
    #[serde(default)]
    duplicates: u64,
    #[serde(default)]
    cursor: Option<String>,
}

/// Publishes the arguments or, without any, the lines of `input` until its end.
///
/// # Errors
///
/// Fails where not everything was published; what was, is told before.
pub async fn run<I, O, E>(
    reach: &ClusterArgs,
    asked: &Publish,
    input: I,
    screen: &mut Screen<O, E>,
) -> Result<(), Error>
where
    I: AsyncRead + Unpin + Send + 'static,
    O: Write,
    E: Write,
{
    for (index, event) in asked.events.iter().enumerate() {
        check(event, || format!("argument {}", index + 1))?;
    }
    let reach = Reach::find(reach, &asked.way, &asked.pipeline).await?;
    let mut publisher = Publisher::new(reach, asked);
    let published = if asked.events.is_empty() {
        publisher.lines(input).await
    } else {
        publisher.all(&asked.events).await
    };
    let Receipt { accepted, duplicates, cursor } = publisher.total;
    if cursor.is_some() {
        let cursor = harmless(&cursor.unwrap_or_default());
        writeln!(screen.out, "{accepted} accepted, {duplicates} duplicates, cursor {cursor}")?;
    }
    if let Some(pod) = publisher.pod {
        screen.note(&format!("published in the pod {pod}"));
    }
    published
}

fn check(text: &str, what: impl Fn() -> String) -> Result<(), Error> {
    let parsed = serde_json::from_str::<IgnoredAny>(text);
    parsed.map(drop).map_err(|error| Error::Json { what: what(), reason: error.to_string() })
}

struct Publisher<'a> {
    asked: &'a Publish,
    reach: Reach,
    link: Option<Link>,
    /// What the keys of this run begin with.
    key: String,
    batches: u64,
    total: Receipt,
    pod: Option<String>,
}

impl<'a> Publisher<'a> {
    fn new(reach: Reach, asked: &'a Publish) -> Self {
        // One that nobody else makes up, so that nothing new is taken for old.
        let made_up = || format!("kubectl-{:016x}", fastrand::u64(..));
        let key = asked.key.clone().unwrap_or_else(made_up);
        let total = Receipt::default();
        Self { asked, reach, link: None, key, batches: 0, total, pod: None }
    }

    async fn all(&mut self, events: &[String]) -> Result<(), Error> {
        let mut batch = Batch::default();
        for event in events {
            // A value may be written over several lines, which its meaning doesn't need.
            let event = event.replace(['\n', '\r'], " ");
            if batch.has_room(&event) == Room::None {
                self.publish(std::mem::take(&mut batch)).await?;
            }
            batch.push(&event);
        }
        self.publish(batch).await
    }

    async fn lines<I>(&mut self, input: I) -> Result<(), Error>
    where
        I: AsyncRead + Unpin + Send + 'static,
    {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let lines = BufReader::new(input).lines();
        // Ends with the input, or when nobody takes any more lines.
        let reading = tokio::spawn(read(lines, sender));
        let mut number = 0_u64;
        let mut batch = Batch::default();
        let mut outcome = Ok(());
        while let Some(line) = receiver.recv().await {
            let mut waiting = Some(line);
            while let Some(line) = waiting {
                number += 1;
                outcome = self.line(line, number, &mut batch).await;
                if outcome.is_err() {
                    break;
                }
                waiting = receiver.try_recv().ok();
            }
            // With a key of the user's, what is published together must not depend on when it was read.
            if self.asked.key.is_none() || outcome.is_err() {
                self.publish(std::mem::take(&mut batch)).await?;
            }
            if outcome.is_err() {
                break;
            }
        }
        self.publish(batch).await?;
        // A terminal is read until the next line, whoever listens.
        reading.abort();
        outcome?;
        if self.total == Receipt::default() { Err(Error::Nothing) } else { Ok(()) }
    }

    async fn line(
        &mut self,
        line: io::Result<String>,
        number: u64,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let line = line.map_err(Error::Input)?;
        if line.trim().is_empty() {
            return Ok(());
        }
        check(&line, || format!("line {number}"))?;
        if batch.has_room(&line) == Room::None {
            self.publish(std::mem::take(batch)).await?;
        }
        batch.push(&line);
        Ok(())
    }

    async fn publish(&mut self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let key = format!("{}/{}", self.key, self.batches);
        self.batches += 1;
        let body = Bytes::from(batch.into_text());
        let mut pause = PAUSE;
        let mut attempt = 1;
        let receipt = loop {
            match self.send(&key, body.clone()).await {
                Ok(Sent::Taken(receipt)) => break receipt,
                Ok(Sent::Later { wait, reason, place }) => {
                    if attempt == ATTEMPTS {
                        return Err(Error::Refused { place, reason });
                    }
                    sleep(wait.max(pause).min(LONGEST_PAUSE)).await;
                }
                // Whether it was taken is not known; the key makes it safe to ask again.
                Err(Error::Reach(error)) if error.is_passing() => {
                    if attempt == ATTEMPTS || self.total.cursor.is_none() {
                        return Err(error.into());
                    }
                    sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
            pause *= 2;
        };
        self.total.accepted += receipt.accepted;
        self.total.duplicates += receipt.duplicates;
        self.total.cursor = receipt.cursor.or(self.total.cursor.take());
        Ok(())
    }

    async fn send(&mut self, key: &str, content: Bytes) -> Result<Sent, Error> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.reach.open(port::PUBLISH).await?,
        };
        let mut headers = vec![("content-type", "application/x-ndjson".to_owned())];
        headers.push(("idempotency-key", key.to_owned()));
        headers.extend(self.asked.r#type.clone().map(|kind| ("ce-type", kind)));
        let body = Body { headers, token: self.asked.way.token.clone(), content };
        let path = format!("/{}/events", encode(&self.asked.pipeline));
        let answer = link.send("POST", &path, body).await?;
        let (status, after) = (answer.status, answer.header("retry-after").map(str::to_owned));
        let place = link.place.clone();
        let text = answer.bytes(&place).await?;
        self.pod.clone_from(&link.pod);
        self.link = Some(link);
        if status.is_success() {
            let receipt = serde_json::from_slice(&text);
            return receipt.map(Sent::Taken).map_err(|source| Error::Receipt { place, source });
        }
        let reason = harmless(&say::problem(status, &text));
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let wait = after.and_then(|after| after.parse().ok()).map(Duration::from_secs);
            return Ok(Sent::Later { wait: wait.unwrap_or_default(), reason, place });
        }
        Err(Error::Refused { place, reason })
    }
}

/// What became of a batch.
enum Sent {
    Taken(Receipt),
    /// The server can't take it just now.
    Later {
        wait: Duration,
        reason: String,
        place: String,
    },
}

async fn read<I>(mut lines: Lines<BufReader<I>>, sender: mpsc::Sender<io::Result<String>>)
where
    I: AsyncRead + Unpin,
{
    loop {
        let line = match lines.next_line().await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let is_last = line.is_err();
        if sender.send(line).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_named_with_the_remedy() {
        let error = check("hello", || "line 7".to_owned()).unwrap_err().to_string();
        assert!(error.starts_with("line 7 is no JSON (expected value"), "{error}");
        assert!(error.contains("written with quotes"), "{error}");
        assert!(check("{\"a\":1}", String::new).is_ok());
        assert!(check("1 2", String::new).is_err());
    }
}
