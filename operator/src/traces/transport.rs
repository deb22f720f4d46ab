//! Posts messages to the collector: over HTTP or HTTPS, compressed where asked, with one deadline for it all.

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::settings::{Authorities, Settings};
use crate::failure::chain;

/// The most bytes of an answer that are read: it says at most why spans were refused.
const LARGEST_ANSWER: usize = 64 << 10;

/// Posts messages to the collector.
#[derive(Debug)]
pub(super) struct Transport {
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: HeaderMap,
    gzip: bool,
    timeout: Duration,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection came about.
    #[error("can't connect ({0})")]
    Connect(String),
    /// The whole answer did not come in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection broke, or what came was not HTTP.
    #[error("the connection broke ({0})")]
    Transfer(String),
    /// The collector did not take it.
    #[error("answered with status {0}")]
    Status(u16),
    /// The message could not be compressed.
    #[error("can't compress the spans")]
    Compress(#[from] std::io::Error),
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the authorities can't be read.
    #[error("{variable} names {}, which can't be read as certificates (PEM): {reason}", .path.display())]
    Authorities {
        /// What names it.
        variable: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no authority to trust.
    #[error(
        "the collector's certificate can't be verified: {0}; name a file with its authority in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    Verifier(#[from] rustls::Error),
}

impl Transport {
    /// Prepares to post; nothing is connected yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, TlsError> {
        let is_secure = settings.endpoint.scheme() == Some(&Scheme::HTTPS);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(is_secure, settings.authorities.as_ref())?)
            .https_or_http()
            .enable_http1()
            .build();
        let mut headers = settings.headers.clone();
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(concat!(
            "weir-operator/",
            env!("CARGO_PKG_VERSION")
        )));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(Self {
            pool: Pool::builder(TokioExecutor::new()).build(connector),
            endpoint: settings.endpoint.clone(),
            headers,
            gzip: settings.gzip,
            timeout: settings.timeout,
        })
    }

    /// Posts a message, and returns what is answered to it.
    pub(super) async fn send(&self, message: Vec<u8>) -> Result<Bytes, SendError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(message)).await;
        answer.unwrap_or(Err(SendError::Timeout(self.timeout)))
    }

    async fn exchange(&self, message: Vec<u8>) -> Result<Bytes, SendError> {
        let body = if self.gzip { gzip(&message)? } else { message };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let response = self.pool.request(request).await.map_err(|error| {
            // The client's own words say no more than the variant does.
            let reason = error.source().map_or_else(|| error.to_string(), chain);
            if error.is_connect() {
                SendError::Connect(reason)
            } else {
                SendError::Transfer(reason)
            }
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        if !status.is_success() {
            return Err(SendError::Status(status.as_u16()));
        }
        let body = body.map_err(|error| SendError::Transfer(chain(error.as_ref())))?;
        Ok(body.to_bytes())
    }
}

fn gzip(message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message)?;
    encoder.finish()
}

/// Trusts the authorities that are named, or else those of the system; without HTTPS nobody.
fn tls(is_secure: bool, authorities: Option<&Authorities>) -> Result<ClientConfig, TlsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?;
    if let Some(authorities) = authorities {
        return Ok(config.with_root_certificates(read(authorities)?).with_no_client_auth());
    }
    if !is_secure {
        return Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    Ok(config.with_platform_verifier()?.with_no_client_auth())
}

fn read(authorities: &Authorities) -> Result<RootCertStore, TlsError> {
    let Authorities { variable, path } = authorities;
    let wrong = |reason: String| TlsError::Authorities {
        variable: variable.clone(),
        path: path.clone(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(chain(&error)))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| wrong(chain(&error)))?;
        roots.add(certificate).map_err(|error| wrong(chain(&error)))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds none".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_named_with_its_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let reading = |path: PathBuf| {
            let variable = "OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned();
            tls(true, Some(&Authorities { variable, path })).unwrap_err().to_string()
        };
        let none = reading(file.path().to_owned());
        assert!(none.starts_with("OTEL_EXPORTER_OTLP_CERTIFICATE names "), "{none}");
        assert!(none.ends_with("it holds none"), "{none}");
        let missing = reading("/nowhere/ca.crt".into());
        assert!(missing.contains("names /nowhere/ca.crt"), "{missing}");
    }
}
