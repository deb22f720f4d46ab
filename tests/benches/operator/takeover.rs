//! How soon another replica leads when the leader is killed, and that it goes on with the work.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::{eventually, with_namespace};

use crate::operator::Operator;
use crate::report::Report;
use crate::{Bench, fleet};

/// The bar.
const SECONDS: f64 = 20.0;

const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    with_namespace("bench-takeover", async |namespace| {
        fleet::apply(&namespace, 1, 1).await?;
        let mut leader = Operator::start(bench, &namespace, "takeover-0")?;
        leader.until_it_leads().await?;
        fleet::until_reconciled(&namespace, 1).await?;
        let mut longest = 0.0_f64;
        for round in 1..=ROUNDS {
            let next = Operator::start(bench, &namespace, &format!("takeover-{round}"))?;
            eventually("it follows", LIMIT, async || {
                ensure!(!next.leads().await?, "it leads");
                Ok(())
            })
            .await?;
            leader.kill()?;
            let killed = Instant::now();
            fleet::apply(&namespace, 1, 1 + round).await?;
            fleet::until_reconciled(&namespace, 1).await?;
            let seconds = killed.elapsed().as_secs_f64();
            longest = longest.max(seconds);
            Report::note(&format!("the leader killed: a change is reconciled by the next after {seconds:.1} s"));
            leader = next;
        }
        report.hold(
            longest < SECONDS,
            &format!("the leader killed {ROUNDS} times: {longest:.1} s at most until the next has done a change; less than {SECONDS} s"),
        );
        Ok(())
    })
    .await
}
