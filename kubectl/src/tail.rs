//! `kubectl weir tail`: prints a pipeline's events as they come.
//!
//! # Laws
//!
//! - Each event is printed once and in order, over as many connections as it takes: the next one begins
//!   behind the last event that was printed.
//! - What is missing is said, never passed over; that a pod has one part of the stream only, too.
//! - The first connection must come about; a later one is tried until it does.

pub(crate) mod query;
pub(crate) mod say;
mod sse;

use std::io::{self, Write};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::sleep;
use weir_crds::names::port;

use self::say::Control;
use self::sse::{Frame, Parser};
use crate::args::{ClusterArgs, Format, Tail};
use crate::output::{Screen, harmless};
use crate::reach::{self, Answer, Body, Reach};

/// Until the stream says how long to wait.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait between two attempts: somebody looks on.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Why the events end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline can't be reached.
    #[error(transparent)]
    Reach(#[from] reach::Error),
    /// The server refuses for good.
    #[error("{place} refuses: {reason}")]
    Refused {
        /// Who.
        place: String,
        /// Why, in its words.
        reason: String,
    },
    /// The stream ended for good.
    #[error("the stream ended: {0}")]
    Failed(String),
    /// The events can't be printed.
    #[error("can't print the events")]
    Output(#[from] io::Error),
}

/// Prints until it is interrupted, or has printed as many as were asked for.
///
/// # Errors
///
/// Fails where no stream comes about, or one ends for good.
pub async fn run<O: Write, E: Write>(
    reach: &ClusterArgs,
    asked: &Tail,
    screen: &mut Screen<O, E>,
) -> Result<(), Error> {
    let reach = Reach::find(reach, &asked.way, &asked.pipeline).await?;
    let mut reader = Reader::new(reach, asked);
    let read = tokio::select! {
        read = reader.read(screen) => read,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Error::Output),
    };
    if let Some(cursor) = reader.last.filter(|_| screen.is_terminal) {
        screen.note(&format!("to go on from here: --cursor {}", harmless(&cursor)));
    }
    read
}

/// How a connection ended.
enum End {
    /// All that was asked for is printed.
    Enough,
    /// Another one goes on, after this time.
    Again(Duration, String),
}

struct Reader<'a> {
    asked: &'a Tail,
    reach: Reach,
    /// The cursor behind which a connection goes on.
    last: Option<String>,
    retry: Duration,
    left: Option<u64>,
}

impl<'a> Reader<'a> {
    fn new(reach: Reach, asked: &'a Tail) -> Self {
        Self { asked, reach, last: asked.cursor.clone(), retry: RETRY, left: asked.count }
    }

    async fn read<O: Write, E: Write>(&mut self, screen: &mut Screen<O, E>) -> Result<(), Error> {
        let mut wait = match self.connect(screen, true).await? {
            End::Enough => return Ok(()),
            End::Again(wait, why) => self.announce(screen, wait, &why),
        };
        let mut failures: u32 = 0;
        loop {
            sleep(wait).await;
            match self.connect(screen, false).await {
                Ok(End::Enough) => return Ok(()),
                Ok(End::Again(next, why)) => {
                    failures = 0;
                    wait = self.announce(screen, next, &why);
                }
                // One remark for each outage, not for each attempt.
                Err(Error::Reach(error)) if error.is_passing() => {
                    if failures == 0 {
                        screen.note(&weir_operator::failure::chain(&error));
                    }
                    wait = (self.retry * 2_u32.saturating_pow(failures)).min(LONGEST_RETRY);
                    failures += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn announce<O: Write, E: Write>(
        &self,
        screen: &mut Screen<O, E>,
        wait: Duration,
        why: &str,
    ) -> Duration {
        let from = self.last.as_deref().map_or_else(String::new, |last| format!(" behind {last}"));
        screen.note(&harmless(&format!("{why}; going on{from} in {} ms", wait.as_millis())));
        wait
    }

    /// Reads one connection to its end.
    async fn connect<O: Write, E: Write>(
        &mut self,
        screen: &mut Screen<O, E>,
        is_first: bool,
    ) -> Result<End, Error> {
        let mut link = self.reach.open(port::PUBLIC).await?;
        if is_first && let Some(pod) = &link.pod {
            screen.note(&format!("reading from the pod {pod}"));
            if let Some(why) = self.reach.partial() {
                screen.note(&say::partial(why));
            }
        }
        let path = query::path(self.asked, self.last.as_deref());
        let mut headers = vec![("accept", "text/event-stream".to_owned())];
        headers.extend(self.last.clone().map(|last| ("last-event-id", last)));
        let body = Body { headers, token: self.asked.way.token.clone(), ..Body::default() };
        let answer = link.send("GET", &path, body).await?;
        let is_stream = answer.header("content-type").is_some_and(is_event_stream);
        if answer.status == StatusCode::OK && is_stream {
            return self.stream(answer.body, screen).await;
        }
        refusal(answer, link.place.clone()).await
    }

    async fn stream<O: Write, E: Write>(
        &mut self,
        mut body: Incoming,
        screen: &mut Screen<O, E>,
    ) -> Result<End, Error> {
        let mut parser = Parser::default();
        let why = loop {
            match body.frame().await {
                None => break "the connection ended".to_owned(),
                Some(Err(error)) => break format!("the connection broke ({error})"),
                Some(Ok(frame)) => {
                    let bytes = frame.into_data().unwrap_or_default();
                    for frame in parser.push(&bytes) {
                        if let Some(end) = self.take(frame, screen)? {
                            return Ok(end);
                        }
                    }
                    screen.out.flush()?;
                }
            }
        };
        Ok(End::Again(self.retry, why))
    }

    /// Takes one frame; answers how the connection ends, if it does by it.
    fn take<O: Write, E: Write>(
        &mut self,
        frame: Frame,
        screen: &mut Screen<O, E>,
    ) -> Result<Option<End>, Error> {
        let Frame { name, data, id, retry } = frame;
        if let Some(millis) = retry {
            self.retry = Duration::from_millis(millis).min(LONGEST_RETRY);
        }
        if let Some(id) = id {
            self.last = Some(id).filter(|id| !id.is_empty());
        }
        let Some(data) = data else { return Ok(None) };
        match Control::of(&name, &data) {
            None => self.print(&data, screen),
            Some(Control::Gap(text)) => {
                screen.note(&harmless(&text));
                Ok(None)
            }
            Some(Control::Away { why, retry }) => {
                let wait = retry.map_or(self.retry, |wait| wait.min(LONGEST_RETRY));
                Ok(Some(End::Again(wait, why)))
            }
            Some(Control::Over(why)) => Err(Error::Failed(harmless(&why))),
        }
    }

    fn print<O: Write, E: Write>(
        &mut self,
        data: &str,
        screen: &mut Screen<O, E>,
    ) -> Result<Option<End>, Error> {
        let data = if screen.is_terminal { harmless(data) } else { data.to_owned() };
        match self.asked.format {
            Format::Data | Format::Cloudevents => writeln!(screen.out, "{data}")?,
            Format::Cursor => {
                let cursor = self.last.as_deref().unwrap_or_default();
                writeln!(screen.out, "{cursor}\t{data}")?;
            }
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        if self.left == Some(0) {
            screen.out.flush()?;
            return Ok(Some(End::Enough));
        }
        Ok(None)
    }
}

fn is_event_stream(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("text/event-stream")
}

/// An answer that is no stream: one that passes, or one for good.
async fn refusal(answer: Answer, place: String) -> Result<End, Error> {
    let status = answer.status;
    let after = answer.header("retry-after").and_then(|after| after.parse().ok());
    let after = after.map_or(RETRY, Duration::from_secs).min(LONGEST_RETRY);
    let body = answer.bytes(&place).await?;
    let reason = harmless(&say::problem(status, &body));
    let passes = matches!(status.as_u16(), 429 | 502..=504);
    if passes {
        return Ok(End::Again(after, reason));
    }
    Err(Error::Refused { place, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_told_from_its_parameters() {
        assert!(is_event_stream("text/event-stream;charset=utf-8"));
        assert!(is_event_stream("Text/Event-Stream"));
        assert!(!is_event_stream("text/html"));
    }
}
