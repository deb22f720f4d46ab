//! Reads where traces go, and which, from the variables that OpenTelemetry has for it.
//!
//! # Laws
//!
//! - Without an endpoint nothing else is looked at.
//! - All that is wrong is told at once, each with its variable and the remedy. What can't be done is refused
//!   and not passed over.
//! - Headers are shown nowhere: they hold secrets.

mod reader;

use std::path::PathBuf;
use std::time::Duration;

use http::uri::{InvalidUri, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::Sampler;

use self::reader::{Reader, Setting};

/// Appended to an endpoint that is that of all signals.
const PATH: &str = "/v1/traces";

/// Where traces go, and which.
#[derive(Debug)]
pub(super) struct Settings {
    /// Where they are posted.
    pub(super) endpoint: Uri,
    /// What goes along.
    pub(super) headers: HeaderMap,
    /// Whether they are compressed.
    pub(super) gzip: bool,
    /// For how long a batch is tried.
    pub(super) timeout: Duration,
    /// Whom to trust, where it is not the system's authorities.
    pub(super) authorities: Option<Authorities>,
    /// What the spans are of.
    pub(super) attributes: Vec<(String, String)>,
    /// Which traces are kept.
    pub(super) sampler: Sampler,
    /// What waits to be sent.
    pub(super) queue: Queue,
}

/// A file with authorities.
#[derive(Debug)]
pub(super) struct Authorities {
    /// The variable that names it.
    pub(super) variable: String,
    /// The file.
    pub(super) path: PathBuf,
}

/// What waits to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// The most spans that wait.
    pub(super) most: usize,
    /// The most that are sent at once.
    pub(super) batch: usize,
    /// How often they are.
    pub(super) delay: Duration,
}

/// The environment asks for what can't be.
#[derive(Debug, thiserror::Error)]
#[error("traces can't be sent: {}", .0.join("; "))]
pub struct SettingsError(Vec<String>);

impl Settings {
    /// Reads the settings by a look-up of variables; nothing where no traces are asked for.
    ///
    /// # Errors
    ///
    /// Fails where something is asked for that can't be.
    pub(super) fn read(
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let mut reader = Reader::new(variable);
        let Some(endpoint) = reader.of_exporter("ENDPOINT") else { return Ok(None) };
        if !is_wanted(&mut reader) {
            return Ok(None);
        }
        check_protocol(&mut reader);
        check_identity(&mut reader);
        let endpoint = self::endpoint(&mut reader, &endpoint);
        let settings = Self {
            headers: headers(&mut reader),
            gzip: gzip(&mut reader),
            timeout: timeout(&mut reader),
            authorities: reader
                .of_exporter("CERTIFICATE")
                .map(|Setting { variable, value }| Authorities { variable, path: value.into() }),
            attributes: attributes(&mut reader),
            sampler: sampler(&mut reader),
            queue: queue(&mut reader),
            endpoint: endpoint.unwrap_or_default(),
        };
        match reader.problems() {
            problems if problems.is_empty() => Ok(Some(settings)),
            problems => Err(SettingsError(problems)),
        }
    }
}

/// Whether traces are wanted. What is neither yes nor no is wrong, and counts as yes until that is told.
fn is_wanted(reader: &mut Reader<'_>) -> bool {
    let disabled = reader.get("OTEL_SDK_DISABLED").map(|value| value.to_ascii_lowercase());
    let exporter = reader.get("OTEL_TRACES_EXPORTER");
    match disabled.as_deref() {
        Some("true") => return false,
        None | Some("false") => {}
        Some(_) => reader.wrong("OTEL_SDK_DISABLED", "is to be true or false"),
    }
    match exporter.as_deref() {
        Some("none") => return false,
        None | Some("otlp") => {}
        Some(_) => reader.wrong("OTEL_TRACES_EXPORTER", "is to be otlp or none"),
    }
    true
}

fn check_protocol(reader: &mut Reader<'_>) {
    let Some(Setting { variable, value }) = reader.of_exporter("PROTOCOL") else { return };
    if value != "http/protobuf" {
        let remedy = "is to be http/protobuf, with the endpoint that the collector has for it, mostly at port 4318";
        reader.wrong(&variable, remedy);
    }
}

fn check_identity(reader: &mut Reader<'_>) {
    for what in ["CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        if let Some(Setting { variable, .. }) = reader.of_exporter(what) {
            let remedy =
                "can't be used: take a header, or a collector that asks for no certificate";
            reader.wrong(&variable, remedy);
        }
    }
}

/// The endpoint: that of traces as it stands, and that of all signals with the path of traces.
fn endpoint(reader: &mut Reader<'_>, setting: &Setting) -> Option<Uri> {
    let Setting { variable, value } = setting;
    let is_of_traces = variable.contains("TRACES");
    let found = if is_of_traces {
        value.parse()
    } else {
        format!("{}{PATH}", value.trim_end_matches('/')).parse()
    };
    let remedy = match found {
        Ok(found) if !is_web(&found) => "is to be a URL such as http://collector:4318".to_owned(),
        Ok(found) if found.authority().is_some_and(|found| found.as_str().contains('@')) => {
            "is to name no user: give who you are in OTEL_EXPORTER_OTLP_HEADERS".to_owned()
        }
        Ok(_) if !is_of_traces && value.contains('?') => {
            "is to have no query: give the whole URL in OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
                .to_owned()
        }
        Ok(found) => return Some(found),
        Err(error) => malformed(&error),
    };
    reader.wrong(variable, &remedy);
    None
}

fn is_web(uri: &Uri) -> bool {
    let is_known = uri.scheme().is_some_and(|found| [Scheme::HTTP, Scheme::HTTPS].contains(found));
    is_known && uri.host().is_some_and(|host| !host.is_empty())
}

fn malformed(error: &InvalidUri) -> String {
    format!("is to be a URL such as http://collector:4318 ({error})")
}

fn headers(reader: &mut Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(setting) = reader.of_exporter("HEADERS") else { return headers };
    for (name, value) in reader.pairs(&setting) {
        let value = HeaderValue::from_str(&value);
        match (HeaderName::from_bytes(name.as_bytes()), value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                headers.append(name, value);
            }
            (Err(_), _) | (_, Err(_)) => {
                let remedy = "holds what is no name, or no value, of a header";
                reader.wrong(&setting.variable, remedy);
            }
        }
    }
    headers
}

fn gzip(reader: &mut Reader<'_>) -> bool {
    let Some(Setting { variable, value }) = reader.of_exporter("COMPRESSION") else { return false };
    match value.as_str() {
        "gzip" => return true,
        "none" => {}
        _ => reader.wrong(&variable, "is to be gzip or none"),
    }
    false
}

fn timeout(reader: &mut Reader<'_>) -> Duration {
    let found = reader.of_exporter("TIMEOUT");
    Duration::from_millis(reader.number(found, 1..=600_000, "milliseconds").unwrap_or(10_000))
}

/// The name of the service comes last, and so counts.
fn attributes(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let given = reader.setting("OTEL_RESOURCE_ATTRIBUTES");
    let mut attributes = given.map(|given| reader.pairs(&given)).unwrap_or_default();
    let name = reader.get("OTEL_SERVICE_NAME");
    attributes.extend(name.map(|name| ("service.name".to_owned(), name)));
    attributes
}

fn sampler(reader: &mut Reader<'_>) -> Sampler {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    let under = |root| Sampler::ParentBased(Box::new(root));
    match reader.get(NAME).as_deref() {
        None | Some("parentbased_always_on") => under(Sampler::AlwaysOn),
        Some("parentbased_always_off") => under(Sampler::AlwaysOff),
        Some("parentbased_traceidratio") => under(Sampler::TraceIdRatioBased(share(reader))),
        Some("always_on") => Sampler::AlwaysOn,
        Some("always_off") => Sampler::AlwaysOff,
        Some("traceidratio") => Sampler::TraceIdRatioBased(share(reader)),
        Some(_) => {
            let remedy =
                "is to be always_on, always_off, traceidratio, or one of these after parentbased_";
            reader.wrong(NAME, remedy);
            Sampler::AlwaysOff
        }
    }
}

/// The share of traces that is kept.
fn share(reader: &mut Reader<'_>) -> f64 {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(text) = reader.get(NAME) else { return 1.0 };
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    if share.is_none() {
        reader.wrong(NAME, "is to be a number from 0 to 1, such as 0.1");
    }
    share.unwrap_or(1.0)
}

fn queue(reader: &mut Reader<'_>) -> Queue {
    let mut number = |name: &str, most, what: &str, usual| {
        let found = reader.setting(name);
        reader.number(found, 1..=most, what).unwrap_or(usual)
    };
    // The room is taken at once.
    let most = number("OTEL_BSP_MAX_QUEUE_SIZE", 65_536, "spans", 2_048);
    let batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 65_536, "spans", most.min(512));
    let delay = number("OTEL_BSP_SCHEDULE_DELAY", 600_000, "milliseconds", 5_000);
    if batch > most {
        let remedy = format!("is to be at most OTEL_BSP_MAX_QUEUE_SIZE, which is {most}");
        reader.wrong("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &remedy);
    }
    let size = |number| usize::try_from(number).unwrap_or(usize::MAX);
    Queue { most: size(most), batch: size(batch), delay: Duration::from_millis(delay) }
}

#[cfg(test)]
mod tests;
