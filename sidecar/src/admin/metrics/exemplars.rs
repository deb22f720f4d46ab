//! Puts exemplars behind the buckets of the latency: the library takes none that were made elsewhere.

use std::fmt::Write as _;

use super::LATENCY;
use crate::{count::Exemplar, registry::Registry};

/// Adds those that there are to a scrape.
pub(in crate::admin) fn add(scrape: String, registry: &Registry) -> String {
    let pipelines = registry.all();
    let exemplars = pipelines
        .iter()
        .map(|(name, pipeline)| (name.as_str(), pipeline.hub().accounts().exemplars()));
    let exemplars: Vec<_> =
        exemplars.filter(|(_, kept)| kept.iter().any(Option::is_some)).collect();
    exemplars.into_iter().fold(scrape, |scrape, (name, kept)| insert(&scrape, name, &kept))
}

/// The same text, with those of a pipeline's buckets, which stand in their order.
fn insert(scrape: &str, pipeline: &str, kept: &[Option<Exemplar>]) -> String {
    let start = format!("{LATENCY}_bucket{{");
    let label = format!("pipeline=\"{pipeline}\"");
    let mut kept = kept.iter();
    let mut text = String::with_capacity(scrape.len() + 128 * kept.len());
    for line in scrape.split_inclusive('\n') {
        let bucket = line.strip_prefix(&start).filter(|labels| labels.contains(&label));
        match bucket.and_then(|_| kept.next()) {
            Some(Some(exemplar)) => {
                text.push_str(line.trim_end_matches('\n'));
                push(&mut text, *exemplar);
            }
            Some(None) | None => text.push_str(line),
        }
    }
    text
}

fn push(text: &mut String, Exemplar { trace, latency, at }: Exemplar) {
    let (seconds, millis) = (at / 1_000_000, at / 1_000 % 1_000);
    let latency = latency.as_secs_f64();
    // Writing into a string can't fail.
    let _ = writeln!(text, " # {{trace_id=\"{trace}\"}} {latency} {seconds}.{millis:03}");
}
