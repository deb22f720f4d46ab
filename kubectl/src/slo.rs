//! `kubectl weir slo`: error budgets and burn rates, drawn.

mod chart;

use std::collections::BTreeMap;
use std::io::{self, Write};

use futures::StreamExt;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use weir_crds::v1alpha1::StreamSLO;

use crate::Error;
use crate::args::Slo;
use crate::cluster::Cluster;
use crate::output::Screen;
use crate::pipelines;

/// Clears a terminal, and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Draws; again and again where that is asked for, until it is interrupted.
///
/// # Errors
///
/// Fails where the SLOs can't be read, or nothing can be printed.
pub async fn run<O: Write, E: Write>(
    cluster: &Cluster,
    asked: &Slo,
    screen: &mut Screen<O, E>,
) -> Result<(), Error> {
    let all = pipelines::slos(cluster).await?;
    let shown = match &asked.name {
        Some(name) => vec![pipelines::find(all, "StreamSLO", name, &cluster.namespace)?],
        None => all,
    };
    if !asked.watch {
        if shown.is_empty() {
            screen.note(&format!("no StreamSLO in the namespace {}", cluster.namespace));
        }
        return Ok(draw(&shown, screen)?);
    }
    tokio::select! {
        watched = follow(cluster, asked, screen) => watched,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

fn draw<O: Write, E: Write>(slos: &[StreamSLO], screen: &mut Screen<O, E>) -> io::Result<()> {
    let charts: Vec<_> = slos.iter().map(|slo| chart::draw(slo, screen.paint)).collect();
    write!(screen.out, "{}", charts.join("\n"))?;
    screen.out.flush()
}

async fn follow<O: Write, E: Write>(
    cluster: &Cluster,
    asked: &Slo,
    screen: &mut Screen<O, E>,
) -> Result<(), Error> {
    let api: Api<StreamSLO> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut config = watcher::Config::default();
    if let Some(name) = &asked.name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let mut changes = watcher(api, config).default_backoff().boxed();
    let mut shown = Shown::default();
    while let Some(change) = changes.next().await {
        match change {
            Ok(change) => {
                if shown.take(change) {
                    let slos: Vec<_> = shown.slos.values().cloned().collect();
                    let between = if screen.is_terminal { CLEAR } else { "\n" };
                    screen.out.write_all(between.as_bytes())?;
                    draw(&slos, screen)?;
                }
            }
            Err(error) => screen.note(&format!("not watched for a moment: {}", why(&error))),
        }
    }
    Ok(())
}

fn why(error: &watcher::Error) -> String {
    weir_operator::failure::chain(error)
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    slos: BTreeMap<String, StreamSLO>,
    /// The list that replaces it, while it is read.
    reading: Option<BTreeMap<String, StreamSLO>>,
}

impl Shown {
    /// Takes a change; answers whether there is something new to draw.
    fn take(&mut self, change: Event<StreamSLO>) -> bool {
        match change {
            Event::Init => self.reading = Some(BTreeMap::new()),
            Event::InitApply(slo) => {
                self.reading.get_or_insert_default().insert(slo.name_any(), slo);
            }
            Event::InitDone => {
                let read = self.reading.take().unwrap_or_default();
                let is_new = read != self.slos || read.is_empty();
                self.slos = read;
                return is_new;
            }
            Event::Apply(slo) => {
                let before = self.slos.insert(slo.name_any(), slo.clone());
                return before.is_none_or(|before| before.status != slo.status);
            }
            Event::Delete(slo) => return self.slos.remove(&slo.name_any()).is_some(),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slo(name: &str, met: &str) -> StreamSLO {
        serde_json::from_value(json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamSLO",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": {
                "pipelineRef": { "name": "orders" }, "timeWindow": { "duration": "28d" },
                "objectives": [{ "name": "speed", "target": "99", "latency": { "threshold": "50ms" } }],
            },
            "status": { "summary": { "met": met, "data": "OK" } },
        }))
        .unwrap()
    }

    #[test]
    fn it_is_drawn_anew_when_the_list_is_whole_and_when_a_status_changes() {
        let mut shown = Shown::default();
        assert!(!shown.take(Event::Init));
        assert!(!shown.take(Event::InitApply(slo("a", "1/1"))));
        assert!(shown.take(Event::InitDone));
        assert!(!shown.take(Event::Apply(slo("a", "1/1"))), "nothing that is shown");
        assert!(shown.take(Event::Apply(slo("a", "0/1"))));
        assert!(!shown.take(Event::Init));
        assert!(shown.take(Event::InitDone), "it is gone");
        assert!(shown.slos.is_empty());
    }
}
