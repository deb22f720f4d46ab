//! TLS on the public port: the certificates of all pipelines that ask for it, chosen by the name that a
//! client gives, and taken up anew when they change on disk.
//!
//! # Laws
//!
//! - A connection keeps what it was opened with: a renewed certificate closes none.
//! - A pair of files that is no good is refused and said so, and the last good one stays.
//! - One provider of cryptography in the whole process: aws-lc-rs.

mod certificates;
mod pair;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::error::Elapsed,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::certificates::Certificates;
pub use self::certificates::Standing;
use crate::{count::Counter, registry::Registry};

/// How much a connection may hold between what counts as written and its socket: one record.
const RECORD: usize = 16 * 1024;

/// The protocols that may be agreed on, the better first.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What does the handshakes.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
    failures: Arc<Failures>,
}

/// Handshakes that came to nothing.
#[derive(Debug, Default)]
struct Failures {
    /// It took too long.
    timeout: Counter,
    /// The peer left, spoke no TLS that is taken here, or didn't take the certificate.
    broken: Counter,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl Tls {
    /// Certificates come from `directory`, where each Secret has a directory of its own.
    ///
    /// # Errors
    ///
    /// Fails when the system has no randomness for the keys of session tickets.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let certificates = Arc::new(Certificates::new(directory));
        let resolver = Arc::clone(&certificates);
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_no_client_auth()
                .with_cert_resolver(resolver);
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // A subscriber that comes back is spared most of a handshake, and no state is kept for it.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
        config.send_tls13_tickets = 1;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, certificates, failures: Arc::default() })
    }

    /// Reads the certificates that the pipelines ask for, where they have changed. Blocks for as long as
    /// it takes to read small files.
    pub fn refresh(&self, registry: &Registry) {
        let pipelines = registry.all();
        let mut wanted = BTreeMap::<_, Vec<_>>::new();
        for (name, pipeline) in pipelines.iter() {
            if let Some(tls) = &pipeline.config().spec.endpoints.tls {
                wanted.entry(tls.secret_name.clone()).or_default().push(name.clone());
            }
        }
        self.certificates.refresh(wanted);
    }

    /// How each certificate stands.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.certificates.standings()
    }

    /// How many handshakes came to nothing, by reason.
    #[must_use]
    pub fn failures(&self) -> [(&'static str, u64); 2] {
        let Failures { timeout, broken } = &*self.failures;
        [("timeout", timeout.get()), ("broken", broken.get())]
    }

    /// What came of a handshake; a failure is counted.
    pub(super) fn note<I>(
        &self,
        handshake: Result<io::Result<TlsStream<I>>, Elapsed>,
    ) -> Option<TlsStream<I>> {
        match handshake {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                self.failures.broken.add(1);
            }
            Err(_) => self.failures.timeout.add(1),
        }
        None
    }

    /// Whether a connection may speak TLS at all.
    pub(super) fn is_wanted(&self) -> bool {
        self.certificates.is_wanted()
    }

    /// Does the handshake.
    pub(super) async fn accept<I>(&self, io: I) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let configure = |session: &mut rustls::ServerConnection| {
            session.set_buffer_limit(Some(RECORD));
        };
        self.acceptor.accept_with(io, configure).await
    }
}

/// Whether HTTP/2 was agreed on.
pub(super) fn speaks_http2<I>(stream: &TlsStream<I>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}
