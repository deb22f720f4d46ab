//! Fetches a document over HTTP from inside the cluster: no TLS, no redirects, one deadline for it all.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::failure::chain;

/// The most bytes of an answer. A sidecar keeps 720 snapshots of about 60 bytes for each objective, so
/// this is room for 700 objectives on one replica; what is larger is no sidecar.
const LARGEST: usize = 32 << 20;

/// Fetches documents.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Empty<Bytes>>,
    timeout: Duration,
}

/// Why a document was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No connection came about.
    #[error("can't connect ({reason})")]
    Connect {
        /// What the system said.
        reason: String,
    },
    /// The whole answer did not come in time.
    #[error("no answer within {} ms", .after.as_millis())]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke, or what came was not HTTP.
    #[error("the connection broke ({reason})")]
    Transfer {
        /// What was wrong.
        reason: String,
    },
    /// The server answered with an error.
    #[error("answered with status {status}")]
    Status {
        /// The HTTP status code.
        status: u16,
    },
    /// The answer is larger than any sidecar's.
    #[error("the answer has more than {} MiB", LARGEST >> 20)]
    TooLarge,
}

impl Client {
    /// A client that waits for at most `timeout` for a whole answer.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        // No connection is kept: a replica is asked a few times a minute, and one kept over its restart
        // would fail the next request.
        let pool = Pool::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { pool, timeout }
    }

    /// Fetches the document at `uri`.
    ///
    /// # Errors
    ///
    /// Fails where no whole answer of status 2xx comes in time.
    pub async fn get(&self, uri: Uri) -> Result<Bytes, FetchError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(uri)).await;
        answer.unwrap_or(Err(FetchError::Timeout { after: self.timeout }))
    }

    async fn exchange(&self, uri: Uri) -> Result<Bytes, FetchError> {
        let response = self.pool.get(uri).await.map_err(|error| {
            // The client's own words say no more than the variant does.
            let reason = error.source().map_or_else(|| error.to_string(), chain);
            if error.is_connect() {
                FetchError::Connect { reason }
            } else {
                FetchError::Transfer { reason }
            }
        })?;
        let status = response.status();
        if !status.is_success() {
            return Err(FetchError::Status { status: status.as_u16() });
        }
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => FetchError::TooLarge,
                None => FetchError::Transfer { reason: chain(error.as_ref()) },
            }
        })
    }
}
