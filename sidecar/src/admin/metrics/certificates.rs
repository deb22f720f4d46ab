//! Writes how the certificates stand, and how handshakes failed.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::edge::{Standing, Tls};

/// Collects what is known about TLS.
#[derive(Debug)]
pub(in crate::admin) struct Certificates {
    tls: Tls,
}

impl Certificates {
    pub(in crate::admin) const fn new(tls: Tls) -> Self {
        Self { tls }
    }
}

/// What a gauge shows of a certificate.
type Reading = fn(&Standing) -> bool;

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let standings = self.tls.standings();
        let gauges: [(_, _, Reading); 2] = [
            (
                "weir_tls_certificate_usable",
                "Whether there is a certificate for the Secret, be it an older one: 1 or 0.",
                |standing| standing.usable,
            ),
            (
                "weir_tls_certificate_refused",
                "Whether what lies on disk for the Secret was refused: 1 or 0.",
                |standing| standing.fault.is_some(),
            ),
        ];
        for (name, help, read) in gauges {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for standing in &standings {
                let labels = [("secret", standing.secret.as_str())];
                metric.encode_family(&labels)?.encode_gauge(&u64::from(read(standing)))?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "weir_tls_handshakes_failed",
            "Connections that ended before their TLS handshake was done, by reason.",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in self.tls.failures() {
            let labels = [("reason", reason)];
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }
}
