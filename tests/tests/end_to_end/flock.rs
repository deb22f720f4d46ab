//! Many subscribers at once, each of whom keeps a diary: that every event came once and in order, and how
//! long it was away from the stream.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use weir_tests::client::sse::EventSource;

/// Events come many times a second, and nobody is sent away for longer than a few.
const PATIENCE: Duration = Duration::from_secs(60);

/// Subscribers who read until the last event.
pub(crate) struct Flock(JoinSet<Result<Diary>>);

/// What one subscriber has to tell.
#[derive(Debug, Default)]
struct Diary {
    seen: u64,
    /// For each time that it lost its connection: from its last event before that to its next one.
    away: Vec<Duration>,
}

/// What they all have to tell.
#[derive(Debug)]
pub(crate) struct Told {
    /// How many events each of them saw.
    pub(crate) seen: u64,
    /// How many were published a second.
    pub(crate) per_second: f64,
    away: Vec<Duration>,
}

impl Flock {
    /// So many subscribers to `url`, all of whom are connected, before anything is published, when this returns.
    pub(crate) async fn gather(url: &str, count: usize) -> Result<Self> {
        Self::open(url, count, Some(0)).await
    }

    /// The same for those who come while events flow, and see what is published from then on.
    pub(crate) async fn join(url: &str, count: usize) -> Result<Self> {
        Self::open(url, count, None).await
    }

    async fn open(url: &str, count: usize, first: Option<u64>) -> Result<Self> {
        let opened = (0..count).map(|_| EventSource::open(url));
        let sources = futures::future::try_join_all(opened).await?;
        Ok(Self(sources.into_iter().map(|source| read(source, first)).collect()))
    }

    /// All of them leave. Fails where one has missed an event by then, or saw one twice.
    pub(crate) fn leave(mut self) -> Result<()> {
        while let Some(ended) = self.0.try_join_next() {
            ended??;
        }
        Ok(())
    }

    /// Waits until each has seen the last event. Fails where one missed an event or saw one twice.
    pub(crate) async fn tell(mut self) -> Result<Told> {
        let mut told = Told { seen: 0, per_second: 0.0, away: Vec::new() };
        while let Some(diary) = self.0.join_next().await {
            let Diary { seen, away } = diary??;
            told.seen = seen;
            told.away.extend(away);
        }
        told.away.sort();
        Ok(told)
    }
}

impl Told {
    /// How often one of them was away.
    pub(crate) fn times(&self) -> usize {
        self.away.len()
    }

    /// The longest time.
    pub(crate) fn longest(&self) -> Duration {
        self.away.last().copied().unwrap_or_default()
    }

    /// The times in one line.
    pub(crate) fn line(&self) -> String {
        let [half, most] = [50, 99].map(|percent| quantile(&self.away, percent).as_secs_f64());
        let (times, longest) = (self.times(), self.longest().as_secs_f64());
        format!("away {times} times: p50 {half:.2} s, p99 {most:.2} s, at most {longest:.2} s")
    }
}

/// The smallest of sorted values that so many percent of them don't exceed.
pub(crate) fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Reads events by their numbers, of which this is the first; any where none is known.
async fn read(mut source: EventSource, first: Option<u64>) -> Result<Diary> {
    let mut diary = Diary::default();
    let mut next = first;
    let (mut connections, mut before) = (source.connections(), Instant::now());
    loop {
        let event = timeout(PATIENCE, source.next()).await;
        let event = event.with_context(|| format!("nothing comes after {}", diary.seen))??;
        match event.name.as_str() {
            "message" => {}
            // Told to come back: so it does.
            "draining" | "failure" => continue,
            control => bail!("after {} a control came: {control} {}", diary.seen, event.data),
        }
        let data: Value = serde_json::from_str(&event.data)?;
        let number = data["n"].as_u64().with_context(|| format!("no number: {data}"))?;
        let due = next.unwrap_or(number);
        ensure!(number == due, "{data} came, where {due} was next");
        next = Some(number + 1);
        diary.seen += 1;
        if source.connections() != connections {
            connections = source.connections();
            diary.away.push(before.elapsed());
        }
        before = Instant::now();
        if data["last"] == true {
            return Ok(diary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let seconds: Vec<_> = (1..=200).map(Duration::from_secs).collect();
        assert_eq!(quantile(&seconds, 50), Duration::from_secs(100));
        assert_eq!(quantile(&seconds, 99), Duration::from_secs(198));
        assert_eq!(quantile(&seconds[..1], 99), Duration::from_secs(1));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
