//! Shows the person at the terminal where the streams are, and how they are doing.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::{self, Interval};
use weir_slo::{Evaluation, Verdict as Judged};

use crate::{
    args::Run,
    config::Config,
    evaluate::Evaluators,
    registry::Registry,
    status::{Addresses, ObjectiveView, PipelineView, Printer, SloView, Verdict, View, banner},
};

/// How often the line is brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);

/// The status line, and what it is made from.
pub(super) struct Show {
    printer: Printer,
    evaluators: Evaluators,
    /// When each pipeline was last looked at, and how many events it had accepted.
    seen: BTreeMap<String, (Instant, u64)>,
    interval: Interval,
}

impl Show {
    /// Prints the URLs.
    pub(super) fn start(arguments: &Run, config: &Config) -> Self {
        let origin: Vec<_> =
            arguments.paths.iter().map(|path| path.display().to_string()).collect();
        let addresses = Addresses {
            public: reachable(arguments.public),
            admin: reachable(arguments.admin),
            publish: reachable(arguments.publish),
        };
        // Whoever closed the pipe doesn't want to know.
        let _ = io::stdout().write_all(banner(&origin.join(", "), config, &addresses).as_bytes());
        Self {
            printer: Printer::new(),
            evaluators: Evaluators::default(),
            seen: BTreeMap::new(),
            interval: time::interval(INTERVAL),
        }
    }

    fn view(&mut self, registry: &Registry) -> View {
        let now = Instant::now();
        let mut pipelines = Vec::new();
        for (name, pipeline) in registry.all().iter() {
            let deliveries = pipeline.hub().cut().deliveries;
            let subscribers = pipeline.hub().accounts().subscribers();
            let before = self.seen.insert(name.clone(), (now, deliveries.accepted));
            pipelines.push(PipelineView {
                name: name.clone(),
                accepted: deliveries.accepted,
                per_second: before.map_or(0.0, |before| rate(before, (now, deliveries.accepted))),
                sse: subscribers.sse,
                websocket: subscribers.websocket,
                written: deliveries.written,
                dropped: deliveries.dropped,
            });
        }
        let slos = self.evaluators.evaluate(registry).into_iter();
        let slos = slos.map(|(name, evaluations)| SloView {
            name,
            objectives: evaluations.into_iter().map(objective).collect(),
        });
        View { pipelines, slos: slos.collect() }
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.printer.finish();
    }
}

/// Waits for the next turn of the line, and prints it. Without a line, waits forever.
pub(super) async fn tick(show: &mut Option<Show>, registry: &Registry) {
    let Some(show) = show else { return std::future::pending().await };
    show.interval.tick().await;
    let view = show.view(registry);
    show.printer.print(&view, Instant::now());
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn rate(before: (Instant, u64), now: (Instant, u64)) -> f64 {
    let seconds = now.0.saturating_duration_since(before.0).as_secs_f64();
    let events = now.1.saturating_sub(before.1) as f64;
    if seconds > 0.0 { events / seconds } else { 0.0 }
}

fn objective(evaluation: Evaluation) -> ObjectiveView {
    ObjectiveView {
        name: evaluation.name,
        verdict: match evaluation.verdict {
            Judged::Met => Verdict::Met,
            Judged::Missed => Verdict::Missed,
            Judged::Unknown(_) => Verdict::Unknown,
        },
        sli: evaluation.sli.map(|sli| format!("{sli}%")),
    }
}

/// The address at which a client on this machine reaches a listener.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}
