//! Shows until when the certificate is valid, and whether the API server was told to trust it.

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of the webhook's certificate.
#[derive(Debug, Clone)]
pub struct CertificateMetrics {
    expiry: Gauge,
    configured: Gauge,
}

impl CertificateMetrics {
    /// Makes the metrics and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let (expiry, configured) = (Gauge::default(), Gauge::default());
        registry.register_with_unit(
            "webhook_certificate_expiry_timestamp",
            "When the certificate that the webhook serves expires, in seconds since 1970; 0 without one",
            Unit::Seconds,
            expiry.clone(),
        );
        registry.register(
            "webhook_configured",
            "Whether the webhook's configuration is there, with its authorities in it, as last seen: 1 or 0",
            configured.clone(),
        );
        Self { expiry, configured }
    }

    pub(super) fn serves_until(&self, expiry: Timestamp) {
        self.expiry.set(expiry.as_second());
    }

    pub(super) fn is_configured(&self, configured: bool) {
        self.configured.set(i64::from(configured));
    }
}
