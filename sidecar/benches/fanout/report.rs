//! Shows what was measured: a table, then a line for each bar.

use std::fmt;

use anyhow::Result;

use crate::{
    arguments::Plan,
    machine::Cores,
    server::Kind,
    summary::{Bars, Measurement, Row, Verdict},
    transport::Transport,
};

/// A server waits for this part of the time that it runs, also where nobody else uses its core: its own
/// threads take turns.
const QUIET: f64 = 0.1;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    plan: Plan,
    cores: Cores,
    rows: Vec<(Kind, Transport, Row)>,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// A report without results.
    pub(crate) fn new(plan: &Plan, cores: Cores) -> Self {
        Self { plan: plan.clone(), cores, rows: Vec::new(), verdicts: Vec::new() }
    }

    /// Adds a transport's rounds: the floor's measurement and the sidecar's.
    pub(crate) fn add(&mut self, transport: Transport, rounds: &[[Measurement; 2]]) -> Result<()> {
        let (floor, sidecar): (Vec<_>, Vec<_>) =
            rounds.iter().cloned().map(|[floor, sidecar]| (floor, sidecar)).unzip();
        let (sidecar, floor) = (Row::of(&sidecar, &floor)?, Row::of(&floor, &floor)?);
        let bars = Bars { ratio: self.plan.max_ratio, kib: self.plan.max_kib };
        self.verdicts.extend(bars.judge(transport, &floor, &sidecar));
        self.rows.push((Kind::Floor, transport, floor));
        self.rows.push((Kind::Sidecar, transport, sidecar));
        Ok(())
    }

    /// Whether every bar was kept.
    pub(crate) fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.passed)
    }
}

impl Report {
    fn warn_of_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waited = self.rows.iter().map(|(_, _, row)| row.waited).fold(0.0, f64::max);
        if waited <= QUIET {
            return Ok(());
        }
        writeln!(
            f,
            "The machine is busy with something else: a server waited for its core for {:.0} % of \
             the time that\nit ran. The figures are rough, the latencies mean nothing, and a server \
             that joins what is due\nlooks better than it is.\n",
            waited * 100.0
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { subscribers, rate, seconds, rounds, bytes, .. } = &self.plan;
        writeln!(
            f,
            "\n{subscribers} subscribers, {rate} events/s of {bytes} bytes, {rounds} rounds of \
             {seconds} s; {}\n",
            self.cores
        )?;
        writeln!(
            f,
            "{:<7} {:<9} {:>13} {:>18} {:>15} {:>8} {:>8} {:>6} {:>10} {:>12}",
            "server",
            "transport",
            "CPU \u{b5}s",
            "\u{d7} floor (range)",
            "KiB",
            "p50 ms",
            "p99 ms",
            "lost",
            "duplicated",
            "out of order"
        )?;
        writeln!(f, "{:<17} {:>13} {:>18} {:>15}", "", "per delivery", "", "idle subscriber")?;
        for (kind, transport, row) in &self.rows {
            line(f, *kind, *transport, row)?;
        }
        writeln!(
            f,
            "\nMedians of the rounds; each round's ratio is to the floor of that round. Memory is \
             the process's\nresident set: the kernel's socket buffers are not in it. Latency is \
             from when an event was due to\nwhen the load generator, which reads one socket after \
             the other, had read it.\n"
        )?;
        self.warn_of_others(f)?;
        for Verdict { passed, says } in &self.verdicts {
            writeln!(f, "{} {says}", if *passed { "PASS" } else { "FAIL" })?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, kind: Kind, transport: Transport, row: &Row) -> fmt::Result {
    let Row { micros, ratio, kib, p50, p99, faults, deliveries: _, waited: _ } = row;
    let ratio = match kind {
        Kind::Floor => "1".to_owned(),
        Kind::Sidecar => {
            format!("{:.2} ({:.2}\u{2013}{:.2})", ratio.median, ratio.least, ratio.most)
        }
    };
    writeln!(
        f,
        "{:<7} {:<9} {micros:>13.2} {ratio:>18} {kib:>15.1} {p50:>8.2} {p99:>8.2} {:>6} {:>10} \
         {:>12}",
        kind.name(),
        transport.name(),
        faults.lost,
        faults.duplicated,
        faults.out_of_order
    )
}

/// The line that is shown when a measurement is done.
pub(crate) fn progress(
    plan: &Plan,
    kind: Kind,
    transport: Transport,
    round: u32,
    measurement: &Measurement,
) -> String {
    let Measurement { micros, kib, .. } = measurement;
    format!(
        "{} round {round} of {}: {} {micros:.2} \u{b5}s per delivery, {kib:.1} KiB per idle \
         subscriber",
        transport.name(),
        plan.rounds,
        kind.name()
    )
}
