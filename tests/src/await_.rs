//! Waits for something to become so, with a deadline, and says what was seen last when it did not.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Api, DynamicObject};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// Fine beside what is waited for, and a light load on an API server that shares the machine.
const POLL: Duration = Duration::from_millis(100);

/// Calls `probe` until it returns `Ok`, for at most `limit`. What it returns as an error is the state that
/// it saw, such as "2 of 3 pods are ready".
///
/// # Errors
/// When time runs out, with `what` and the last state. A probe that never returns counts as well.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = String::from("nothing: the first look at it did not end");
    loop {
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(state)) => last = format!("{state:#}"),
            Err(_) => {}
        }
        if Instant::now() + POLL >= deadline {
            bail!("{what}: not so after {} s; last seen: {last}", limit.as_secs());
        }
        sleep(POLL).await;
    }
}

/// Waits until the object's condition `kind` has this `status`, at the object's own generation.
///
/// # Errors
/// When time runs out, with all conditions as last seen.
pub async fn condition(
    api: &Api<DynamicObject>,
    name: &str,
    kind: &str,
    status: &str,
    limit: Duration,
) -> Result<()> {
    eventually(&format!("{name} has {kind}={status}"), limit, async || {
        let object = api.get(name).await?;
        let found = conditions(&object);
        let wanted =
            found.iter().find(|condition| condition.kind == kind).with_context(|| shown(&found))?;
        let current =
            wanted.generation.is_none() || wanted.generation == object.metadata.generation;
        ensure!(current && wanted.status == status, "{}", shown(&found));
        Ok(())
    })
    .await
}

/// One condition of any object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// The generation that it describes.
    pub generation: Option<i64>,
}

impl Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, status, reason, message, generation } = self;
        let generation =
            generation.map_or_else(|| "?".to_owned(), |generation| generation.to_string());
        write!(f, "{kind}={status} ({reason}, generation {generation}: {message})")
    }
}

/// The conditions of any object; none where it has no status yet.
#[must_use]
pub fn conditions(object: &DynamicObject) -> Vec<Condition> {
    let text = |condition: &Value, key: &str| {
        condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let found = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let found = found.into_iter().flatten();
    found
        .map(|condition| Condition {
            kind: text(condition, "type"),
            status: text(condition, "status"),
            reason: text(condition, "reason"),
            message: text(condition, "message"),
            generation: condition.get("observedGeneration").and_then(Value::as_i64),
        })
        .collect()
}

fn shown(conditions: &[Condition]) -> String {
    if conditions.is_empty() {
        return "no conditions".to_owned();
    }
    conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_state_is_told_when_time_runs_out() {
        let mut looks = 0;
        let seen = eventually("three are ready", Duration::from_secs(1), async || -> Result<()> {
            looks += 1;
            bail!("{} of 3", looks.min(2))
        });
        let error = seen.await.unwrap_err().to_string();
        assert_eq!(error, "three are ready: not so after 1 s; last seen: 2 of 3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_does_not_outlive_the_deadline() {
        let begin = Instant::now();
        let hangs = eventually("it answers", Duration::from_secs(2), async || -> Result<()> {
            std::future::pending().await
        });
        assert!(hangs.await.unwrap_err().to_string().contains("did not end"));
        assert!(begin.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_so_is_returned() {
        let mut looks = 0;
        let seen = eventually("it is so", Duration::from_secs(1), async || {
            looks += 1;
            ensure!(looks == 3, "not yet");
            Ok(looks)
        });
        assert_eq!(seen.await.unwrap(), 3);
    }
}
