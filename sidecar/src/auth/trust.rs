//! Whom an issuer's server must be vouched for by: the authorities that browsers trust.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tokio_rustls::TlsConnector;

static CONFIG: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
});

/// What opens a connection over TLS.
pub(super) fn connector() -> io::Result<TlsConnector> {
    match &*CONFIG {
        Ok(config) => Ok(TlsConnector::from(Arc::clone(config))),
        Err(error) => Err(io::Error::other(error.clone())),
    }
}
