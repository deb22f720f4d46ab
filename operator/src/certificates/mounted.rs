//! Serves a certificate that somebody else makes and renews, such as cert-manager, and that is mounted as
//! files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::CertificateMetrics;
use super::loader::{Certificate, serve};
use super::material::Material;

/// The kubelet takes a minute or so to exchange the files, and a certificate is renewed weeks before it
/// expires.
const INTERVAL: Duration = Duration::from_secs(5);

/// Follows the files `tls.crt` and `tls.key` of a directory until `shutdown` is cancelled.
pub async fn follow(
    directory: PathBuf,
    certificate: Arc<Certificate>,
    provider: Arc<CryptoProvider>,
    metrics: CertificateMetrics,
    shutdown: CancellationToken,
) {
    let look = async {
        let (mut seen, mut complained) = (None, false);
        loop {
            match read(&directory).await {
                Ok(material) => {
                    complained = false;
                    // A pair of which one file is older than the other is refused, and read again.
                    if seen.as_ref() != Some(&material) {
                        serve(&material, &certificate, &provider, &metrics);
                        seen = Some(material);
                    }
                }
                Err(error) if !complained => {
                    complained = true;
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "can't read the webhook's certificate");
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

async fn read(directory: &Path) -> std::io::Result<Material> {
    let file = async |name: &str| tokio::fs::read_to_string(directory.join(name)).await;
    Ok(Material {
        certificate: file("tls.crt").await?,
        key: file("tls.key").await?,
        // Whom to trust the API server is told by whoever made the certificate.
        authorities: String::new(),
        authority_key: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use prometheus_client::registry::Registry;

    use super::super::issue;
    use super::super::lives::Lives;
    use super::*;

    fn write(directory: &Path, material: &Material) {
        std::fs::write(directory.join("tls.crt"), &material.certificate).unwrap();
        std::fs::write(directory.join("tls.key"), &material.key).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_taken_up_when_its_files_change_and_a_broken_one_changes_nothing() {
        let made = || issue::begin(&["a.b.svc".to_owned()], Lives::default(), Timestamp::now());
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path();
        let certificate = Arc::new(Certificate::default());
        let stop = CancellationToken::new();
        let following = tokio::spawn(follow(
            directory.to_owned(),
            Arc::clone(&certificate),
            Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            CertificateMetrics::register(&mut Registry::default()),
            stop.clone(),
        ));
        let first = made().unwrap();
        write(directory, &first);
        while !certificate.is_loaded() {
            sleep(INTERVAL).await;
        }
        let served = certificate.served().unwrap();
        let second = made().unwrap();
        write(directory, &Material { key: "broken".to_owned(), ..second.clone() });
        for _ in 0..20 {
            sleep(INTERVAL).await;
        }
        assert!(Arc::ptr_eq(&served, &certificate.served().unwrap()));
        write(directory, &second);
        while Arc::ptr_eq(&served, &certificate.served().unwrap()) {
            sleep(INTERVAL).await;
        }
        stop.cancel();
        following.await.unwrap();
    }
}
