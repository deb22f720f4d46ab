//! What is measured on the nodes, and held to bars. They are in seconds because a user waits seconds.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::feed::Audience;
use crate::flock::{Told, quantile};
use crate::{admission, configuration, drain, roll};

/// As many subscribers, and the time over which a gateway sends them away unless told otherwise.
const AUDIENCE: Audience = Audience { subscribers: 200, per_second: 200, window: "20s" };

const AWAY: Duration = Duration::from_secs(3);
const IN_FORCE: Duration = Duration::from_secs(5);
const INJECTION: Duration = Duration::from_millis(50);

/// What `cargo xtask bench cluster` sets, to have this instead of the stories.
const ASKED_FOR: &str = "WEIR_TESTS_MEASURE";

pub(crate) fn are_asked_for() -> bool {
    std::env::var_os(ASKED_FOR).is_some()
}

/// Fails where one is missed.
pub(crate) async fn hold() -> Result<()> {
    let mut missed = Vec::new();
    for (met, measured) in
        [injection().await?, in_force().await?, update().await?, drained().await?]
    {
        println!("{} {measured}", if met { "PASS" } else { "FAIL" });
        if !met {
            missed.push(measured);
        }
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

async fn injection() -> Result<(bool, String)> {
    let [plain, injected] = admission::measure().await?;
    let millis = |times: &[Duration], percent| quantile(times, percent).as_secs_f64() * 1e3;
    let added = |percent| millis(&injected, percent) - millis(&plain, percent);
    let line = format!(
        "a pod is created in {:.1} ms at p50 and {:.1} ms at p95; injected, in {:.1} ms and {:.1} ms: it adds \
         {:.1} ms and {:.1} ms; less than {INJECTION:?} at p95; {}",
        millis(&plain, 50),
        millis(&plain, 95),
        millis(&injected, 50),
        millis(&injected, 95),
        added(50),
        added(95),
        load()
    );
    Ok((added(95) < INJECTION.as_secs_f64() * 1e3, line))
}

async fn in_force() -> Result<(bool, String)> {
    let times = configuration::measure().await?;
    let longest = times.last().copied().unwrap_or_default();
    let all: Vec<_> = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect();
    let all = all.join(", ");
    let line = format!(
        "a change is in force in 10 sidecars after {all} s; less than {IN_FORCE:?}; {}",
        load()
    );
    Ok((longest < IN_FORCE, line))
}

async fn update() -> Result<(bool, String)> {
    Ok(unnoticed("a rolling update", &roll::story(AUDIENCE).await?))
}

async fn drained() -> Result<(bool, String)> {
    Ok(unnoticed("the drain of a node", &drain::story(AUDIENCE).await?))
}

/// A machine that is too busy to publish at this rate has measured nothing.
fn unnoticed(what: &str, told: &Told) -> (bool, String) {
    let (subscribers, per_second) = (AUDIENCE.subscribers, told.per_second);
    let line = format!(
        "{what}, {subscribers} subscribers, {per_second:.0} events/s: 0 lost, 0 twice; {}; no more than {AWAY:?} \
         at 200 events/s; {}",
        told.line(),
        load()
    );
    (told.longest() <= AWAY && per_second > 190.0, line)
}

/// What else the machine does: figures mean little without it.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", load.split(' ').next().unwrap_or("unknown"))
}
