//! A publisher who posts numbered events at an even pace, and posts again, under the same ids, what it got no
//! answer for.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep};
use weir_tests::eventually;

use crate::objects::UP;
use crate::publisher::Publisher;

/// How often all that is due is posted, in one request: the client is not optimised, and one for each event
/// would keep it busy.
const TICK: Duration = Duration::from_millis(20);

/// The most that one request holds, as much as the server takes with ease.
const MOST: u64 = 100;

/// How long a request is repeated; a replica that stops takes the connection along.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// Publishes until it is told to end.
pub(crate) struct Steady {
    begun: Instant,
    state: Arc<State>,
    task: JoinHandle<Result<u64>>,
}

#[derive(Debug, Default)]
struct State {
    ending: AtomicBool,
    published: AtomicU64,
    repeated: AtomicU64,
}

impl Steady {
    /// Publishes so many events a second to the endpoint of the URL.
    pub(crate) fn start(url: &str, per_second: u64) -> Self {
        let state = Arc::<State>::default();
        let task = tokio::spawn(publish(url.to_owned(), per_second, Arc::clone(&state)));
        Self { begun: Instant::now(), state, task }
    }

    /// Waits until so many more events are published.
    pub(crate) async fn publishes(&self, more: u64) -> Result<()> {
        let wanted = self.state.published.load(Ordering::Relaxed) + more;
        eventually("events are published", UP, async || {
            anyhow::ensure!(!self.task.is_finished(), "the publisher has given up");
            let published = self.state.published.load(Ordering::Relaxed);
            anyhow::ensure!(published >= wanted, "{published} of {wanted}");
            Ok(())
        })
        .await
    }

    /// How many requests were made again.
    pub(crate) fn repeated(&self) -> u64 {
        self.state.repeated.load(Ordering::Relaxed)
    }

    /// Publishes the last event, and returns how many there were, and how many a second.
    pub(crate) async fn end(self) -> Result<(u64, f64)> {
        self.state.ending.store(true, Ordering::Relaxed);
        let published = self.task.await??;
        let seconds = self.begun.elapsed().as_secs_f64();
        Ok((published, f64::from(u32::try_from(published)?) / seconds))
    }
}

async fn publish(url: String, per_second: u64, state: Arc<State>) -> Result<u64> {
    let mut publisher = None;
    let mut pace = interval(TICK);
    let (begun, mut number) = (Instant::now(), 0);
    loop {
        pace.tick().await;
        let last = state.ending.load(Ordering::Relaxed);
        let due = u64::try_from(begun.elapsed().as_millis())? * per_second / 1_000;
        // An answer that was long in coming does not slow the events down: more of them come next.
        let to = due.clamp(number + 1, number + MOST);
        let events = batch(number..to, last);
        insist(&url, &mut publisher, &events, &state).await?;
        number = to;
        state.published.store(number, Ordering::Relaxed);
        if last {
            return Ok(number);
        }
    }
}

/// Posts until it is answered that all of the batch are taken, now or before.
async fn insist(
    url: &str,
    publisher: &mut Option<Publisher>,
    events: &[Value],
    state: &State,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let attempt = post(url, publisher, events).await;
        let Err(error) = attempt else { return Ok(()) };
        // By another connection, which may lead to another replica.
        *publisher = None;
        if begun.elapsed() > PATIENCE {
            bail!(error.context("a batch is not taken"));
        }
        state.repeated.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
    }
}

async fn post(url: &str, publisher: &mut Option<Publisher>, events: &[Value]) -> Result<()> {
    let open = match publisher {
        Some(open) => open,
        None => publisher.insert(Publisher::open(url).await?),
    };
    let body = Value::from(events).to_string();
    let answer = open.post("application/cloudevents-batch+json", body).await?;
    let text = String::from_utf8_lossy(&answer.body);
    let counts: Value = serde_json::from_str(&text).context("no JSON")?;
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    if answer.status == 200
        && count("accepted") + count("duplicates") == u64::try_from(events.len())?
    {
        return Ok(());
    }
    bail!("{} {text}", answer.status)
}

fn batch(numbers: Range<u64>, last: bool) -> Vec<Value> {
    let event = |number: u64| {
        let data = json!({ "n": number, "last": last && number + 1 == numbers.end });
        json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/test", "type": "number",
            "data": data,
        })
    };
    numbers.clone().map(event).collect()
}
