//! Sets logging up.

use std::io::IsTerminal;

use tracing_subscriber::{
    filter::{ParseError, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::args::LogFormat;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log {directives:?} is not understood: give a level, or directives such as info,weir_operator=debug"
)]
pub struct TelemetryError {
    directives: String,
    source: ParseError,
}

/// Writes logs to standard error from now on. A second call changes nothing.
///
/// # Errors
///
/// Fails where the directives are malformed.
pub fn start(format: LogFormat, directives: &str) -> Result<(), TelemetryError> {
    let targets = directives.parse::<Targets>();
    let targets =
        targets.map_err(|source| TelemetryError { directives: directives.to_owned(), source })?;
    let lines =
        fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let logs = tracing_subscriber::registry().with(targets);
    // Another subscriber, as a test has, stays.
    let _ = match format {
        LogFormat::Text => logs.with(lines).try_init(),
        LogFormat::Json => logs.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}
