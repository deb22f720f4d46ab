//! Says what a replica is asked, and what it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use tokio::time::Instant;
use weir_slo::{SAMPLES_V1, Samples, Timestamp};

use super::{FetchError, Held};

/// A replica that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The pod's uid.
    pub uid: String,
    /// The pod's name, for messages.
    pub pod: String,
    /// Where its sidecar's admin port is reached.
    pub address: SocketAddr,
}

/// What is wanted of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Snapshots after this instant are wanted. An answer may hold earlier ones.
    pub since: Timestamp,
    /// An answer that is at most this old will do.
    pub max_age: Duration,
    /// How many objectives the replica may have been given to count: as many as there are in its namespace.
    pub objectives: usize,
}

/// What a replica answered.
#[derive(Debug)]
pub struct Reading {
    /// What it counted.
    pub samples: Samples,
    /// The instant after which it holds every snapshot that the replica remembered.
    pub since: Timestamp,
    /// When it came.
    pub taken: Instant,
    /// What it takes of the memory for answers.
    pub held: Held,
}

/// What became of a question; cheap to clone, because several may ask the same.
pub type Answer = Result<Arc<Reading>, SampleError>;

/// Why a replica was not sampled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The document was not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The document is not what a sidecar writes.
    #[error("the answer is no samples document ({reason})")]
    Parse {
        /// What is wrong with it.
        reason: String,
    },
    /// A sidecar wrote it that is too new, or too old.
    #[error(
        "the sidecar speaks {found}, and this operator {SAMPLES_V1}: bring both to the same version"
    )]
    Version {
        /// The version of the document.
        found: String,
    },
}

impl SampleError {
    /// The value of the metrics' label.
    #[must_use]
    pub const fn category(&self) -> &'static str {
        match self {
            Self::Fetch(FetchError::Connect { .. }) => "connect",
            Self::Fetch(FetchError::Timeout { .. }) => "timeout",
            Self::Fetch(FetchError::Transfer { .. }) => "transfer",
            Self::Fetch(FetchError::Status { .. }) => "status",
            Self::Fetch(FetchError::TooLarge { .. }) => "too_large",
            Self::Parse { .. } => "parse",
            Self::Version { .. } => "version",
        }
    }
}

impl Target {
    /// Where the samples after `since` are read.
    ///
    /// # Errors
    ///
    /// Never, in fact: an address and a number always make a URI.
    pub(super) fn uri(&self, since: Timestamp) -> Result<Uri, FetchError> {
        let Self { uid: _, pod: _, address } = self;
        let text = format!("http://{address}/samples?since={}", since.as_millis());
        text.parse().map_err(|error: http::uri::InvalidUri| FetchError::Connect {
            reason: error.to_string(),
        })
    }
}

/// Reads a samples document.
///
/// # Errors
///
/// The document is malformed, or of a version that this one can't read.
pub(super) fn parse(body: &Bytes) -> Result<Samples, SampleError> {
    let samples: Samples = serde_json::from_slice(body)
        .map_err(|error| SampleError::Parse { reason: error.to_string() })?;
    if samples.is_understood() {
        Ok(samples)
    } else {
        // The text comes from outside and goes into a status.
        let found = samples.api_version.chars().take(64).collect();
        Err(SampleError::Version { found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_family_makes_a_uri() {
        for address in ["10.0.0.7:7071", "[fd00::7]:7071"] {
            let target = Target {
                uid: "u".to_owned(),
                pod: "p".to_owned(),
                address: address.parse().unwrap(),
            };
            let uri = target.uri(Timestamp::from_millis(5)).unwrap();
            assert_eq!(uri.to_string(), format!("http://{address}/samples?since=5"));
        }
    }

    #[test]
    fn a_document_of_another_version_is_refused_by_name() {
        let body =
            br#"{"apiVersion":"weir.dev/samples/v9","instance":{"id":"a","startedAt":1},"now":2}"#;
        let error = parse(&Bytes::from_static(body)).unwrap_err();
        assert_eq!(error, SampleError::Version { found: "weir.dev/samples/v9".to_owned() });
        assert!(error.to_string().contains("bring both to the same version"), "{error}");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let error = parse(&Bytes::from_static(b"<html>")).unwrap_err();
        assert!(error.to_string().contains("line 1 column 1"), "{error}");
    }
}
