//! Writes what is counted of the process, and of no pipeline.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::{
    count::Refusals,
    edge::Arrivals,
    memory::{Memory, Reading},
};

/// Collects what is known of the process.
#[derive(Debug)]
pub struct Process {
    arrivals: Arrivals,
    memory: Memory,
    unrouted: Arc<Refusals>,
}

impl Process {
    /// Collects what these know.
    #[must_use]
    pub const fn new(arrivals: Arrivals, memory: Memory, unrouted: Arc<Refusals>) -> Self {
        Self { arrivals, memory, unrouted }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "weir_handshakes_failed",
            "Connections to the public port that were closed because they made no request, or none that can be understood or for whose head there was no memory, or didn't read the answer, by reason.",
            None,
            MetricType::Counter,
        )?;
        for (fault, count) in self.arrivals.faults() {
            let labels = [("reason", fault.name())];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let mut metric = encoder.encode_descriptor(
            "weir_requests_unrouted",
            "Requests that were refused and are of no pipeline that is served here, or of none yet because there was no memory to look at them, by reason.",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in self.unrouted.all() {
            let labels = [("reason", reason)];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let Reading { used, limit } = self.memory.reading();
        let mut metric = encoder.encode_descriptor(
            "weir_memory_used_bytes",
            "Memory in use that can't be taken back at once: of the control group that bounds the process, or of the process.",
            None,
            MetricType::Gauge,
        )?;
        metric.encode_gauge(&used)?;
        let mut metric = encoder.encode_descriptor(
            "weir_memory_limit_bytes",
            "How much memory may be in use: near it, subscribers are asked to come back. Absent where it isn't bounded.",
            None,
            MetricType::Gauge,
        )?;
        limit.map_or(Ok(()), |limit| metric.encode_gauge(&limit))
    }
}
