//! Writes what is counted of the process, and of no pipeline.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::edge::Arrivals;

/// Collects what is known of the process.
#[derive(Debug)]
pub(in crate::admin) struct Process {
    arrivals: Arrivals,
}

impl Process {
    pub(in crate::admin) const fn new(arrivals: Arrivals) -> Self {
        Self { arrivals }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "weir_handshakes_refused",
            "Connections to the public port that were closed at once, because their address opens more a second than spec.delivery.maxHandshakesPerAddress of every pipeline.",
            None,
            MetricType::Counter,
        )?;
        metric.encode_counter::<NoLabelSet, _, u64>(&self.arrivals.refused(), None)
    }
}
