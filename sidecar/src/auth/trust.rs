//! Whom an issuer's server must be vouched for by: the authorities that browsers trust, or those that the
//! manifest names.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio_rustls::TlsConnector;

static USUAL: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> =
    LazyLock::new(|| trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

/// What opens a connection over TLS to whom browsers trust.
pub(super) fn usual() -> io::Result<TlsConnector> {
    match &*USUAL {
        Ok(config) => Ok(TlsConnector::from(Arc::clone(config))),
        Err(error) => Err(io::Error::other(error.clone())),
    }
}

/// What opens one to those for whom these authorities vouch, whose certificates are in PEM; and to no others.
pub(super) fn of(certificates: &[u8]) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(certificates) {
        let certificate = certificate.map_err(|_| none())?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(none());
    }
    Ok(TlsConnector::from(trusting(roots).map_err(io::Error::other)?))
}

fn none() -> io::Error {
    io::Error::other("it holds no certificate in PEM: put that of the authority there")
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
