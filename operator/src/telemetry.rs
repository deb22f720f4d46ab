//! Sets logging and traces up.

use std::io::IsTerminal;

use tracing_subscriber::{
    Layer, Registry,
    filter::{ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use weir_crds::logging::Directives;

use crate::args::LogFormat;
use crate::traces::{Traces, TracesError, correlated};

/// Why logging or traces could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// What is to be logged is malformed.
    #[error("--log {directives:?} is not understood")]
    Directives {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Traces can't be sent as the environment asks.
    #[error(transparent)]
    Traces(#[from] TracesError),
}

/// What is to be ended in good order.
#[must_use]
pub struct Telemetry {
    traces: Option<Traces>,
}

/// Writes logs to standard error from now on, and sends traces of `instance`, this replica, where the
/// environment asks for them. A second call changes nothing.
///
/// # Errors
///
/// Fails where the directives are malformed, or traces are asked for that can't be sent.
pub fn start(
    format: LogFormat,
    directives: &Directives,
    instance: Option<&str>,
) -> Result<Telemetry, TelemetryError> {
    let directives = directives.as_str();
    let targets: Targets = directives.parse().map_err(|source| TelemetryError::Directives {
        directives: directives.to_owned(),
        source,
    })?;
    let traces = Traces::from_environment(instance)?;
    let mut layers = vec![lines(format).with_filter(targets).boxed()];
    layers.extend(traces.as_ref().map(Traces::layer));
    // Another subscriber, as a test has, stays.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    if let Some(traces) = &traces {
        tracing::info!(endpoint = traces.endpoint(), "sending traces");
    }
    Ok(Telemetry { traces })
}

/// What writes the logs.
fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let colours = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => {
            lines.map_event_format(|lines| correlated(lines.with_ansi(colours), format)).boxed()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.map_event_format(|lines| correlated(lines, format)).boxed()
        }
    }
}

impl Telemetry {
    /// Sends the last spans.
    pub async fn end(self) {
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}
