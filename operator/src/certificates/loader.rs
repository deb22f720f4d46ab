//! Serves what the Secret holds, and takes up a new certificate without a pause. Every replica does.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;

use super::CertificateMetrics;
use super::inspect::{InspectError, certified_key, expiry};
use super::material::Material;
use crate::failure::chain;

/// The certificate that is served now.
#[derive(Default)]
pub struct Certificate(ArcSwapOption<CertifiedKey>);

impl Certificate {
    /// Whether there is one.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.0.load().is_some()
    }

    #[cfg(test)]
    pub(super) fn served(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("loaded", &self.is_loaded()).finish()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// Follows the Secret until `shutdown` is cancelled.
pub async fn load(
    secrets: Api<Secret>,
    name: String,
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    metrics: CertificateMetrics,
    shutdown: CancellationToken,
) {
    let changes = watcher::watch_object(secrets, &name).default_backoff();
    let mut changes = Box::pin(changes.take_until(shutdown.cancelled_owned()));
    let mut complained = false;
    loop {
        match changes.try_next().await {
            Ok(Some(secret)) => {
                complained = false;
                take_up(secret.as_ref(), &certificate, &provider, &metrics);
            }
            Ok(None) => return,
            Err(error) if !complained => {
                complained = true;
                tracing::warn!(name, error = chain(&error), "can't follow the webhook's Secret");
            }
            Err(_) => {}
        }
    }
}

/// Takes up what a Secret holds. A Secret that is gone, or is not usable, leaves what is served as it is:
/// the leader puts it in order.
fn take_up(
    secret: Option<&Secret>,
    certificate: &Certificate,
    provider: &CryptoProvider,
    metrics: &CertificateMetrics,
) {
    let Some(material) = secret.and_then(Material::of) else { return };
    serve(&material, certificate, provider, metrics);
}

/// Serves this certificate from now on, if it is one; else what is served stays.
pub(super) fn serve(
    material: &Material,
    certificate: &Certificate,
    provider: &CryptoProvider,
    metrics: &CertificateMetrics,
) {
    let ready = certified_key(material, provider);
    match ready.and_then(|key| Ok::<_, InspectError>((expiry(&key)?, key))) {
        Ok((expiry, key)) => {
            certificate.0.store(Some(Arc::new(key)));
            metrics.serves_until(expiry);
            tracing::info!(%expiry, "serving the webhook's certificate");
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the webhook's new certificate is not usable");
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prometheus_client::registry::Registry;

    use super::super::issue;
    use super::super::lives::Lives;
    use super::*;

    #[test]
    fn a_usable_secret_is_taken_up_and_one_that_is_gone_or_broken_changes_nothing() {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let metrics = CertificateMetrics::register(&mut Registry::default());
        let certificate = Certificate::default();
        let material =
            issue::begin(&["a.b.svc".to_owned()], Lives::default(), Timestamp::now()).unwrap();
        let take = |secret: Option<&Secret>| take_up(secret, &certificate, &provider, &metrics);
        take(None);
        assert!(!certificate.is_loaded());
        take(Some(&material.secret("s")));
        let served = certificate.0.load_full().unwrap();
        take(None);
        take(Some(&Material { key: "broken".to_owned(), ..material }.secret("s")));
        assert!(Arc::ptr_eq(&served, &certificate.0.load_full().unwrap()));
    }
}
