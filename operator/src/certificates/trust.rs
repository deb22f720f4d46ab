//! Finds out whether the API server has been told whom to trust. Every replica does, before it is ready.
//!
//! Until then the API server passes the webhook over, and pods start without the sidecar. Who installs
//! the chart and waits for it to be ready creates pods next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Api;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::CertificateMetrics;
use crate::failure::chain;

/// Short beside the start of a pod, for which somebody waits, and rare for the API server.
const INTERVAL: Duration = Duration::from_secs(2);

/// Says in `trusted` whether the configuration has its authorities. Once it does they are only ever
/// replaced, and nothing more is to be found out.
pub async fn await_trust(
    configurations: Api<MutatingWebhookConfiguration>,
    name: String,
    trusted: Arc<AtomicBool>,
    metrics: CertificateMetrics,
    shutdown: CancellationToken,
) {
    let look = async {
        let mut complained = false;
        loop {
            match configurations.get_opt(&name).await {
                Ok(found) => {
                    let has_authorities = found.as_ref().map(has_authorities);
                    // Where there is none nobody calls, and so nothing is to be waited for.
                    trusted.store(has_authorities.unwrap_or(true), Ordering::Release);
                    if has_authorities == Some(true) {
                        metrics.is_configured(true);
                        return;
                    }
                }
                Err(error) if !complained => {
                    complained = true;
                    let error = chain(&error);
                    tracing::warn!(name, error, "can't read the MutatingWebhookConfiguration");
                }
                Err(_) => {}
            }
            sleep(INTERVAL).await;
        }
    };
    if shutdown.run_until_cancelled(look).await.is_some() {
        shutdown.cancelled().await;
    }
}

/// Whether the API server has been told whom to trust.
#[must_use]
pub fn has_authorities(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration.webhooks.iter().flatten().all(|webhook| {
        webhook.client_config.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn configuration(bundles: &[Value]) -> MutatingWebhookConfiguration {
        let webhook = |bundle: &Value| {
            json!({
                "name": "a.weir.dev", "clientConfig": { "caBundle": bundle },
                "admissionReviewVersions": ["v1"], "sideEffects": "None",
            })
        };
        let webhooks: Vec<_> = bundles.iter().map(webhook).collect();
        serde_json::from_value(json!({ "metadata": {}, "webhooks": webhooks })).unwrap()
    }

    #[test]
    fn every_webhook_must_have_its_authorities() {
        assert!(has_authorities(&configuration(&[json!("Q0E="), json!("Q0E=")])));
        for missing in [Value::Null, json!("")] {
            assert!(!has_authorities(&configuration(&[json!("Q0E="), missing])));
        }
    }
}
