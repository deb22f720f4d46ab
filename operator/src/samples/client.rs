//! Fetches a document over HTTP from inside the cluster: no TLS, no redirects, one deadline for it all.

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Held;
use super::budget::{Budget, LARGEST};
use crate::failure::chain;

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
    /// The answer is larger than a sidecar's that counts what it was given.
    #[error("the answer has more than {} KiB", .largest >> 10)]
    TooLarge {
        /// The most bytes.
        largest: usize,
    },
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
        self.get_within(uri, LARGEST, &Budget::default()).await.map(|(bytes, _)| bytes)
    }

    /// Fetches the document at `uri`, of so many bytes at most, which are taken from the budget as they come.
    ///
    /// # Errors
    ///
    /// Fails where no whole answer of status 2xx comes in time.
    pub(super) async fn get_within(
        &self,
        uri: Uri,
        largest: usize,
        budget: &Budget,
    ) -> Result<(Bytes, Held), FetchError> {
        let exchange = self.exchange(uri, largest, budget);
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        answer.unwrap_or(Err(FetchError::Timeout { after: self.timeout }))
    }

    async fn exchange(
        &self,
        uri: Uri,
        largest: usize,
        budget: &Budget,
    ) -> Result<(Bytes, Held), FetchError> {
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
        let mut body = response.into_body();
        let (mut bytes, mut held) = (BytesMut::new(), Held::default());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| FetchError::Transfer { reason: chain(&error) })?;
            // What is no data is trailers, which say nothing.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > largest {
                return Err(FetchError::TooLarge { largest });
            }
            held.add(budget.take(data.len()).await);
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), held))
    }
}
