//! Remembers who opened a connection, where more is asked for on it later.

use std::{
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Grant, Lease, Shown, Verified, origins::SEC_FETCH_SITE};
use crate::memory::detached;

/// The headers that say who sent a request, and from which page.
const TELLING: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::COOKIE,
    header::ORIGIN,
    HeaderName::from_static(SEC_FETCH_SITE),
];

/// Who opened a connection, and how it was shown: so that each pipeline judges by its own terms. Prints
/// nothing of it.
pub struct Visitor {
    headers: HeaderMap,
    /// How many bytes these take.
    bytes: usize,
    /// What the ticket stood for that was used.
    redeemed: Option<Redeemed>,
}

/// What a ticket stood for.
struct Redeemed {
    /// The pipeline that issued it, and its terms.
    realm: String,
    terms: u64,
    verified: Verified,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").finish_non_exhaustive()
    }
}

impl Visitor {
    /// Who was let in to the pipeline `realm` by this.
    pub(super) fn new(realm: &str, shown: Shown<'_>, grant: &Grant) -> Self {
        let Shown { headers, ticket, token_in_url: _ } = shown;
        let mut telling = HeaderMap::new();
        for name in &TELLING {
            for value in headers.get_all(name) {
                telling.append(name, detached(value));
            }
        }
        let Grant { claims, lease: Lease { expires_at, terms }, ticket: _ } = grant;
        let redeemed = match (ticket, claims, *expires_at) {
            (Some(_), Some(claims), Some(at)) => {
                let until = SystemTime::now() + at.saturating_duration_since(Instant::now());
                let verified = Verified { claims: Arc::clone(claims), until };
                Some(Redeemed { realm: realm.to_owned(), terms: *terms, verified })
            }
            (Some(_) | None, Some(_) | None, Some(_) | None) => None,
        };
        let bytes = telling.values().map(HeaderValue::len).sum();
        Self { headers: telling, bytes, redeemed }
    }

    /// How many bytes of its request are kept.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What its request showed, but for what is good once.
    pub(super) const fn shown(&self) -> Shown<'_> {
        Shown { headers: &self.headers, ticket: None, token_in_url: false }
    }

    /// What the ticket stood for, at the pipeline that issued it and while its terms are the same.
    pub(super) fn redeemed(&self, realm: &str, terms: u64) -> Option<Verified> {
        let redeemed = self.redeemed.as_ref()?;
        (redeemed.realm == realm && redeemed.terms == terms).then(|| redeemed.verified.clone())
    }
}
