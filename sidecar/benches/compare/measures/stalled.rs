//! What subscribers that don't read cost those that do, and the sidecar's memory.
//!
//! Two sidecars run side by side, and only one of them has subscribers that don't read. Events go to
//! both by turns, for a second each, and each second is compared with the other one's beside it: what
//! disturbs the machine for longer disturbs both, and what is shorter disturbs one pair of many.

use anyhow::Result;

use super::{
    Bench,
    deliveries::{self, COLUMNS, Load, NOTE, Run},
};
use crate::{
    arguments::Stalled,
    machine,
    report::Report,
    server::{Kind, Server, Setup},
    summary::{Measurement, Row, Spread, Verdict, complete_of, p99, ratios},
    transport::Transport,
};

/// Fills what the kernel buffers for a reader that doesn't read, at both ends, before anything is
/// measured.
const FILL: u32 = 512 * 1024;

/// At how many events a second.
const FILL_RATE: u32 = 50;

/// How long events go to one of the two.
const TURN: u32 = 1;

/// The two sidecars of all rounds, and the 99th percentile of each turn in milliseconds.
#[derive(Debug, Default)]
struct Pairs {
    without: Vec<Measurement>,
    with: Vec<Measurement>,
    p99_without: Vec<f64>,
    p99_with: Vec<f64>,
}

pub(crate) fn stalled(bench: &Bench, plan: &Stalled) -> Result<Report> {
    let &Stalled { common: _, rate, pairs, bytes, subscribers, stalled, max_ratio } = plan;
    let title = format!(
        "{stalled} of {subscribers} subscribers don't read; {rate} events/s of {bytes} bytes, {} \
         rounds of {pairs} pairs of {TURN} s",
        bench.rounds
    );
    let mut report = Report::new(&title, bench.cores, &COLUMNS, NOTE);
    for &transport in &bench.transports {
        let name = transport.name();
        let mut all = Pairs::default();
        for round in 1..=bench.rounds {
            eprintln!("{name} round {round} of {}", bench.rounds);
            all.measure(bench, plan, transport)?;
        }
        report.judge(all.judge(name, stalled, max_ratio)?);
        for (kind, rounds) in [("none stalled", &all.without), ("some stalled", &all.with)] {
            deliveries::add(&mut report, kind, name, &Row::of(rounds, &all.without)?);
        }
    }
    Ok(report)
}

fn load(plan: &Stalled, transport: Transport, stalled: u32) -> Load {
    let &Stalled { rate, bytes, subscribers, .. } = plan;
    let warm = (FILL.div_ceil(bytes).into(), FILL_RATE);
    Load {
        transport,
        subscribers,
        pipelines: 1,
        stalled,
        warm,
        rate,
        seconds: TURN,
        bytes,
        batch: 1,
    }
}

impl Pairs {
    /// One round: two fresh sidecars.
    fn measure(&mut self, bench: &Bench, plan: &Stalled, transport: Transport) -> Result<()> {
        machine::allow_open_files(2 * plan.subscribers)?;
        let setup = Setup::of(plan.subscribers);
        bench.on(Kind::Sidecar, setup, |without| {
            bench.on(Kind::Sidecar, setup, |with| self.measure_on(without, with, plan, transport))
        })
    }

    fn measure_on(
        &mut self,
        without: &Server,
        with: &Server,
        plan: &Stalled,
        transport: Transport,
    ) -> Result<()> {
        let loads = (load(plan, transport, 0), load(plan, transport, plan.stalled));
        // In this order, as a reader that doesn't read is soon cut off.
        let mut without = Run::begin(without, &loads.0)?;
        let mut with = Run::begin(with, &loads.1)?;
        for pair in 0..plan.pairs {
            // Whoever comes second finds the machine as the first has left it.
            if pair % 2 == 0 {
                self.p99_without.push(p99(&without.deliver_for(TURN)?));
                self.p99_with.push(p99(&with.deliver_for(TURN)?));
            } else {
                self.p99_with.push(p99(&with.deliver_for(TURN)?));
                self.p99_without.push(p99(&without.deliver_for(TURN)?));
            }
        }
        self.without.push(without.end()?);
        self.with.push(with.end()?);
        Ok(())
    }

    fn judge(&self, name: &str, stalled: u32, max_ratio: f64) -> Result<[Verdict; 3]> {
        let Self { without, with, p99_without, p99_with } = self;
        let (quiet, row) = (Row::of(without, without)?, Row::of(with, without)?);
        let ratio = Spread::of_middle_half(ratios(p99_with, p99_without))?;
        let growth = Spread::of(
            with.iter()
                .zip(without)
                .map(|(with, without)| (with.end_kib - without.end_kib) / f64::from(stalled)),
        )?;
        Ok([
            Verdict {
                passed: ratio.median <= max_ratio,
                says: format!(
                    "{name}: the others' p99 is {:.2} times what it is without stalled readers, in the \
                     median of {} pairs (half of them {:.2}\u{2013}{:.2}); at most {max_ratio}. A stalled \
                     reader costs {:.0} KiB",
                    ratio.median,
                    p99_with.len(),
                    ratio.least,
                    ratio.most,
                    growth.median
                ),
            },
            complete_of(&format!("{name}: without stalled readers"), &quiet),
            complete_of(&format!("{name}: beside stalled readers"), &row),
        ])
    }
}
