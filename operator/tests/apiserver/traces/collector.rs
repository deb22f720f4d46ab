//! A collector: takes spans by OTLP over HTTP, and can be told to refuse them.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use warp::Filter as _;
use warp::http::{HeaderMap, StatusCode};
use weir_operator::serve::serve;

use super::process::Variables;

/// A running collector, which ends with this value.
pub(crate) struct Collector {
    address: SocketAddr,
    /// Its certificate, where it has one.
    certificate: Option<(PathBuf, TempDir)>,
    book: Arc<Book>,
    _stop: DropGuard,
}

/// What it was sent.
#[derive(Default)]
struct Book {
    taken: Mutex<Vec<Taken>>,
    authorization: Mutex<String>,
    asked: AtomicUsize,
    refuses: AtomicBool,
}

/// A span that was taken, and what it is of.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) span: Span,
    resource: Vec<KeyValue>,
}

impl Collector {
    /// One without TLS.
    pub(crate) async fn start() -> Result<Self> {
        Self::with(None, None).await
    }

    /// One with TLS, by a certificate that nobody trusts who was not told to.
    pub(crate) async fn secure() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("collector.crt");
        std::fs::write(&file, made.cert.pem())?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        Self::with(Some(TlsAcceptor::from(Arc::new(config))), Some((file, folder))).await
    }

    async fn with(
        tls: Option<TlsAcceptor>,
        certificate: Option<(PathBuf, TempDir)>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let book = Arc::new(Book::default());
        let kept = Arc::clone(&book);
        let routes = warp::path!("v1" / "traces")
            .and(warp::post())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .map(move |headers: HeaderMap, body: Bytes| kept.answer(&headers, &body));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, tls, warp::service(routes), stop.clone()));
        Ok(Self { address, certificate, book, _stop: stop.drop_guard() })
    }

    /// What leads an operator here.
    pub(crate) fn variables(&self) -> Variables {
        let port = self.address.port();
        match &self.certificate {
            None => vec![("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}"))],
            Some((file, _)) => vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://localhost:{port}/")),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.display().to_string()),
            ],
        }
    }

    /// From now on refuses spans, or takes them.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.book.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How often it was asked to take some.
    pub(crate) fn asked(&self) -> usize {
        self.book.asked.load(Ordering::SeqCst)
    }

    /// What it has taken.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.book.taken.lock().clone()
    }

    /// How the last one who asked said who it is.
    pub(crate) fn authorization(&self) -> String {
        self.book.authorization.lock().clone()
    }
}

impl Book {
    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.refuses.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        match self.take(headers, body) {
            Ok(()) => StatusCode::OK,
            Err(error) => {
                eprintln!("the collector was sent what it does not understand: {error:#}");
                StatusCode::BAD_REQUEST
            }
        }
    }

    fn take(&self, headers: &HeaderMap, body: &[u8]) -> Result<()> {
        let kind = headers.get("content-type").context("no content-type")?;
        anyhow::ensure!(kind == "application/x-protobuf", "{kind:?}");
        let mut plain = Vec::new();
        match headers.get("content-encoding") {
            None => plain.extend_from_slice(body),
            Some(_) => drop(GzDecoder::new(body).read_to_end(&mut plain)?),
        }
        if let Some(authorization) = headers.get("authorization") {
            *self.authorization.lock() = authorization.to_str()?.to_owned();
        }
        for of_resource in ExportTraceServiceRequest::decode(&plain[..])?.resource_spans {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let taken = spans.map(|span| Taken { span, resource: resource.clone() });
            self.taken.lock().extend(taken);
        }
        Ok(())
    }
}

impl Taken {
    pub(crate) fn name(&self) -> &str {
        &self.span.name
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.span.name == name
    }

    pub(crate) fn is_root(&self) -> bool {
        self.span.parent_span_id.is_empty()
    }

    pub(crate) fn is_within(&self, parent: &Self) -> bool {
        self.span.parent_span_id == parent.span.span_id
            && self.span.trace_id == parent.span.trace_id
    }

    /// The trace, as a line of the log names it.
    pub(crate) fn trace(&self) -> String {
        self.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The value of an attribute; null where there is none.
    pub(crate) fn attribute(&self, name: &str) -> Value {
        value(&self.span.attributes, name)
    }

    /// The value of an attribute of what the span is of.
    pub(crate) fn resource(&self, name: &str) -> Value {
        value(&self.resource, name)
    }
}

fn value(attributes: &[KeyValue], name: &str) -> Value {
    let found = attributes.iter().find(|found| found.key == name);
    match found.and_then(|found| found.value.as_ref()?.value.clone()) {
        Some(AnyValue::StringValue(text)) => text.into(),
        Some(AnyValue::IntValue(number)) => number.into(),
        Some(AnyValue::BoolValue(is)) => is.into(),
        _ => Value::Null,
    }
}
