//! Takes spans, queues them, and has them sent.

use std::time::Duration;

use http::Uri;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing_subscriber::{Layer, Registry};

use super::exporter::Exporter;
use super::selection::selection;
use super::settings::{Queue, Settings, SettingsError};
use super::transport::{TlsError, Transport};

/// For the last spans. The Lease has been released by then, and nothing else waits.
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// What the service is called where the environment calls it nothing else.
const SERVICE: &str = "weir-operator";

/// Traces that are being sent.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    endpoint: Uri,
}

/// Why traces can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The environment asks for what can't be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Traces {
    /// Begins to send traces, where the environment names an endpoint, from `instance`: this replica.
    ///
    /// # Errors
    ///
    /// Fails where the environment asks for what can't be.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime, on which it sends.
    pub fn from_environment(instance: Option<&str>) -> Result<Option<Self>, TracesError> {
        let variable =
            |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let settings = Settings::read(&variable)?;
        settings.map(|settings| Self::start(settings, instance)).transpose()
    }

    fn start(settings: Settings, instance: Option<&str>) -> Result<Self, TracesError> {
        let transport = Transport::new(&settings)?;
        // The rest is the transport's.
        let Settings {
            endpoint,
            attributes,
            sampler,
            queue,
            headers: _,
            gzip: _,
            timeout: _,
            authorities: _,
        } = settings;
        let Queue { most, batch, delay } = queue;
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(most)
            .with_max_export_batch_size(batch)
            .with_scheduled_delay(delay)
            .build();
        let exporter = Exporter::new(transport, endpoint.to_string());
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource(attributes, instance))
            .with_span_processor(processor)
            .build();
        Ok(Self { provider, endpoint })
    }

    /// What takes the spans.
    #[must_use]
    pub fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION"));
        let layer = tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_tracer(self.provider.tracer_with_scope(scope.build()));
        layer.with_filter(selection()).boxed()
    }

    /// Where they go.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// Sends the last ones, and ends after [`LONGEST_FAREWELL`] at the latest.
    pub async fn end(self) {
        // It blocks until the thread that sends has ended, or the time is over.
        let farewell = tokio::task::spawn_blocking(move || {
            self.provider.shutdown_with_timeout(LONGEST_FAREWELL)
        });
        match farewell.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not delivered"),
            Err(error) => tracing::warn!(%error, "the last spans were not sent"),
        }
    }
}

/// What the spans are of: what the environment says comes last, and so counts.
fn resource(attributes: Vec<(String, String)>, instance: Option<&str>) -> Resource {
    let given = attributes.into_iter().map(|(name, value)| KeyValue::new(name, value));
    Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(instance.map(|name| KeyValue::new("service.instance.id", name.to_owned())))
        .with_attributes(given)
        .build()
}
