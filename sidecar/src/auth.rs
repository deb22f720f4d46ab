//! Decides who a subscriber or a publisher is, and what it may do.
//!
//! # Laws
//!
//! - What is shown is verified or refused. What fails is never taken for less than it claims to be.
//! - A key verifies the algorithms that it is made for and no others; no shared secret is a key.
//! - What a token grants ends with the token.
//! - Tokens and tickets are shown nowhere: a [`Secret`] prints as such, and no refusal quotes one.
//! - What strangers can make happen is bounded: readings of the issuer's keys, tickets, sizes.

#[cfg(feature = "jwt")]
mod bearer;
#[cfg(not(feature = "jwt"))]
#[path = "auth/unable.rs"]
mod bearer;
#[cfg(feature = "jwt")]
mod check;
mod claims;
mod cors;
mod credential;
#[cfg(feature = "jwt")]
mod fetch;
#[cfg(feature = "jwt")]
mod jwks;
mod origins;
mod refusal;
#[cfg(feature = "jwt")]
mod ring;
mod secret;
#[cfg(feature = "jwt")]
mod ticket;
#[cfg(feature = "jwt")]
mod token;
#[cfg(all(feature = "jwt", feature = "tls"))]
mod trust;
mod visitor;

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, header};
use weir_crds::v1alpha1::{Auth, Cookie, StreamPipelineSpec};

use crate::filter::{Expression, Refused, compile_filter};
use bearer::{Bearer, Taken};
pub use claims::Claims;
pub use cors::{Cors, is_preflight};
use credential::CookieRule;
pub use credential::{Credential, Shown};
pub use origins::Origins;
pub use refusal::{Counts, Refusal};
pub use secret::Secret;
pub use visitor::Visitor;

/// How many keys there are, how old they are, and how many readings succeeded and failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysReading {
    /// Usable keys.
    pub keys: u64,
    /// Since they were read; `None` where they never were.
    pub age: Option<Duration>,
    /// Readings that succeeded.
    pub read: u64,
    /// Readings that failed.
    pub failed: u64,
    /// Whether there are keys that are young enough to be believed.
    pub good: bool,
    /// Why the last reading failed, if it did.
    pub trouble: Option<String>,
}

/// What a verified token has shown.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it says.
    pub claims: Arc<Claims>,
    /// Until when it is good.
    pub until: SystemTime,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Read.
    Subscribe,
    /// Write into the log.
    Publish,
    /// Create, append to and delete durable streams.
    Append,
}

/// What is granted to somebody.
#[derive(Debug, Default)]
pub struct Grant {
    /// What the token says; `None` where none was shown.
    pub claims: Option<Arc<Claims>>,
    /// For how long.
    pub lease: Lease,
    /// The ticket that was shown for it.
    ticket: Option<Taken>,
}

impl Grant {
    /// Makes use of the grant: a ticket that was shown for it opens nothing more. One that is dropped without this
    /// leaves the ticket as good as it was.
    pub fn spend(&mut self) {
        self.ticket.take().into_iter().for_each(Taken::spend);
    }
}

/// How long a grant holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lease {
    /// When it ends; `None` where it doesn't by itself.
    pub expires_at: Option<Instant>,
    /// The terms by which it was given. It ends when the pipeline has others.
    pub terms: u64,
}

/// A number for the terms by which a pipeline lets subscribers in: others have another. It is 0 where
/// everybody is let in.
#[must_use]
pub fn terms(spec: &StreamPipelineSpec) -> u64 {
    let (auth, tls) = (&spec.auth, &spec.endpoints.tls);
    if auth.is_none() && tls.is_none() {
        return 0;
    }
    // What can't be written is like nothing else.
    let written = serde_json::to_vec(&(auth, tls)).ok();
    BuildHasherDefault::<DefaultHasher>::default().hash_one(written) | 1
}

/// Guards one pipeline on the public port.
#[derive(Debug)]
pub struct Guard {
    /// The pipeline, as it is named in challenges.
    realm: String,
    terms: u64,
    /// What needs no token.
    open: Open,
    bearer: Option<Bearer>,
    cookie: Option<CookieRule>,
    cors: Option<Cors>,
    /// What every subscriber is held to.
    filter: Result<Option<Arc<Expression>>, Refused>,
    counts: Arc<Counts>,
}

/// What needs no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    subscribe: bool,
    publish: bool,
    append: bool,
}

impl Open {
    const fn to(self, right: Right) -> bool {
        let Self { subscribe, publish, append } = self;
        match right {
            Right::Subscribe => subscribe,
            Right::Publish => publish,
            Right::Append => append,
        }
    }
}

impl Guard {
    /// A guard of these terms. What `running` has read, issued and counted is kept.
    ///
    /// Must be called within a tokio runtime, on which the issuer's keys are read.
    #[must_use]
    pub fn start(
        realm: &str,
        spec: &StreamPipelineSpec,
        secrets: &Path,
        running: Option<&Self>,
    ) -> Self {
        let StreamPipelineSpec { auth, endpoints, .. } = spec;
        let auth = auth.as_ref();
        let bearer =
            |auth| Bearer::start(realm, auth, secrets, running.and_then(|r| r.bearer.as_ref()));
        let publish = endpoints.publish.as_ref().is_some_and(|publish| publish.anonymous);
        Self {
            realm: realm.to_owned(),
            terms: terms(spec),
            open: Open {
                subscribe: auth.is_none_or(|auth| auth.anonymous),
                publish,
                append: endpoints.durable_streams.as_ref().is_some_and(|streams| streams.anonymous),
            },
            bearer: auth.and_then(bearer),
            cookie: auth.and_then(|auth| auth.cookie.as_ref()).map(CookieRule::from),
            cors: endpoints.cors.as_ref().map(Cors::from),
            filter: filter(auth),
            counts: running.map_or_else(Arc::default, |running| Arc::clone(&running.counts)),
        }
    }

    /// Decides whether a request may do this. A refusal is counted.
    ///
    /// # Errors
    ///
    /// Says why it may not.
    pub async fn authorize(&self, shown: Shown<'_>, right: Right) -> Result<Grant, Refusal> {
        let granted = self.judge(shown, right).await;
        self.counted(granted)
    }

    /// Decides whether whoever opened a connection, perhaps to another pipeline, may do this with this one:
    /// as if the connection had been opened to it. A refusal is counted.
    ///
    /// # Errors
    ///
    /// Says why it may not.
    pub async fn authorize_visitor(
        &self,
        visitor: &Visitor,
        right: Right,
    ) -> Result<Grant, Refusal> {
        self.admit_page(visitor.headers())?;
        let judged = match visitor.redeemed(&self.realm, self.terms) {
            // It stands for a token, which these terms are asked about anew; but it publishes nothing.
            Some(verified) if right == Right::Subscribe => self.grant(verified, right),
            Some(_) | None => self.judge(visitor.shown(), right).await,
        };
        self.counted(judged)
    }

    /// Who has been let in by a request, for what it asks for later on the same connection.
    #[must_use]
    pub fn visitor(&self, shown: Shown<'_>, grant: &Grant) -> Visitor {
        Visitor::new(&self.realm, shown, grant)
    }

    /// Exchanges a token for a ticket; `None` where there are no tickets. A refusal is counted.
    pub async fn issue_ticket(&self, headers: &HeaderMap) -> Option<Result<Secret, Refusal>> {
        self.ticket_seconds()?;
        let shown = Shown { headers, ticket: None, token_in_url: false };
        let issued = match self.authorize(shown, Right::Subscribe).await {
            Ok(Grant {
                claims: Some(claims),
                lease: Lease { expires_at: Some(at), terms: _ },
                ticket: _,
            }) => {
                let until = SystemTime::now() + at.saturating_duration_since(Instant::now());
                let issued = self.bearer.as_ref()?.issue(Verified { claims, until })?;
                self.counted(issued)
            }
            // Whoever needs no token needs no ticket.
            Ok(_) => self.counted(Err(Refusal::Missing)),
            Err(refusal) => Err(refusal),
        };
        Some(issued)
    }

    /// How long a ticket is good, in seconds; `None` where there are no tickets.
    #[must_use]
    pub fn ticket_seconds(&self) -> Option<u64> {
        self.bearer.as_ref()?.ticket_seconds()
    }

    /// Decides whether a page may open a WebSocket, which no browser asks for beforehand. A refusal is
    /// counted.
    ///
    /// # Errors
    ///
    /// It may not, where the manifest names the origins and not this one.
    pub fn admit_page(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let admitted = match (&self.cors, headers.get(header::ORIGIN)) {
            (Some(cors), Some(origin)) if !cors.origins().allow(origin) => Err(Refusal::Origin),
            (Some(_) | None, Some(_) | None) => Ok(()),
        };
        self.counted(admitted)
    }

    /// Counts a page that a browser is to keep out, and returns why.
    #[must_use]
    pub fn refuse_page(&self) -> Refusal {
        let refusal = Refusal::Origin;
        self.counts.add(refusal);
        refusal
    }

    /// Whether everybody is answered the same, so that the answers may be shared.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.open.subscribe && matches!(self.filter, Ok(None))
    }

    /// What every subscriber is held to. Where it can't be read, there are no subscribers.
    #[must_use]
    pub fn filter(&self) -> Option<&Arc<Expression>> {
        self.filter.as_ref().ok()?.as_ref()
    }

    /// The rules for pages of other origins.
    #[must_use]
    pub const fn cors(&self) -> Option<&Cors> {
        self.cors.as_ref()
    }

    /// The challenge that goes with a refusal.
    #[must_use]
    pub fn challenge(&self, refusal: Refusal) -> Option<String> {
        refusal.challenge(&self.realm)
    }

    /// How often which refusal was given.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What has come of reading the issuer's keys; `None` where no token is verified.
    #[must_use]
    pub fn keys(&self) -> Option<KeysReading> {
        self.bearer.as_ref().map(Bearer::keys)
    }

    async fn judge(&self, shown: Shown<'_>, right: Right) -> Result<Grant, Refusal> {
        // It is in logs and histories by now, whoever is to verify it.
        if shown.token_in_url {
            return Err(Refusal::InUrl);
        }
        // What is shown to those who verify nothing is meant for somebody else.
        let Some(bearer) = &self.bearer else { return self.stranger(right) };
        match credential::find(shown, self.cookie.as_ref())? {
            Credential::Nothing => self.stranger(right),
            Credential::Token(token) => {
                let verified = bearer.verify(&token).await?;
                self.grant(verified, right)
            }
            Credential::Ticket(ticket) => {
                let (verified, taken) = bearer.take(&ticket)?;
                Ok(Grant { ticket: Some(taken), ..self.grant(verified, right)? })
            }
        }
    }

    /// What somebody may do who shows nothing.
    fn stranger(&self, right: Right) -> Result<Grant, Refusal> {
        self.check_filter(right)?;
        if !self.open.to(right) {
            return Err(Refusal::Missing);
        }
        let lease = Lease { expires_at: None, terms: self.terms };
        Ok(Grant { claims: None, lease, ticket: None })
    }

    /// Nobody subscribes who could get more than the filter lets through.
    const fn check_filter(&self, right: Right) -> Result<(), Refusal> {
        match (right, &self.filter) {
            (Right::Subscribe, Err(_)) => Err(Refusal::Filter),
            (Right::Subscribe, Ok(_)) | (Right::Publish | Right::Append, Ok(_) | Err(_)) => Ok(()),
        }
    }

    fn grant(&self, verified: Verified, right: Right) -> Result<Grant, Refusal> {
        self.check_filter(right)?;
        let Verified { claims, until } = verified;
        let jwt = self.bearer.as_ref().map(Bearer::jwt);
        let (satisfied, refusal) = match right {
            Right::Subscribe => {
                let rule = jwt.and_then(|jwt| jwt.subscribe.as_ref());
                (rule.is_none_or(|rule| claims.satisfy(rule)), Refusal::Subscribe)
            }
            Right::Publish | Right::Append => {
                let rule = jwt.and_then(|jwt| jwt.publish.as_ref());
                (rule.is_some_and(|rule| claims.satisfy(rule)), Refusal::Publish)
            }
        };
        if !satisfied && !self.open.to(right) {
            return Err(refusal);
        }
        // A ticket may have waited until its token's end.
        let left = until.duration_since(SystemTime::now()).map_err(|_| Refusal::Expired)?;
        let expires_at = Instant::now().checked_add(left);
        let lease = Lease { expires_at, terms: self.terms };
        Ok(Grant { claims: Some(claims), lease, ticket: None })
    }

    fn counted<T>(&self, judged: Result<T, Refusal>) -> Result<T, Refusal> {
        judged.inspect_err(|&refusal| {
            self.counts.add(refusal);
            tracing::debug!(pipeline = self.realm, reason = refusal.label(), "refused a request");
        })
    }
}

fn filter(auth: Option<&Auth>) -> Result<Option<Arc<Expression>>, Refused> {
    let jwt = auth.and_then(|auth| auth.jwt.as_ref());
    let source = jwt.and_then(|jwt| jwt.filter.as_deref());
    source.map(|source| compile_filter(source).map(Arc::new)).transpose()
}

impl From<&Cookie> for CookieRule {
    fn from(spec: &Cookie) -> Self {
        let Cookie { name, allowed_origins } = spec;
        Self { name: name.clone(), origins: Origins::new(allowed_origins) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(rest: &str) -> Guard {
        let spec = format!(
            "{{placement: {{gateway: {{}}}}, sources: [{{name: app, http: {{}}}}], {rest}}}"
        );
        let spec: StreamPipelineSpec = serde_yaml::from_str(&spec).unwrap();
        Guard::start("orders", &spec, Path::new("/nonexistent"), None)
    }

    async fn asked(guard: &Guard, right: Right) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer of.no.use".parse().unwrap());
        let shown = Shown { headers: &headers, ticket: None, token_in_url: false };
        let grant = guard.authorize(shown, right).await?;
        assert!(grant.claims.is_none() && grant.lease.expires_at.is_none());
        Ok(())
    }

    #[tokio::test]
    async fn without_terms_everybody_may_subscribe_and_what_is_shown_is_meant_for_others() {
        let closed = guard("endpoints: {sse: {}}");
        assert_eq!(asked(&closed, Right::Subscribe).await, Ok(()));
        assert_eq!(asked(&closed, Right::Publish).await, Err(Refusal::Missing));
        assert_eq!(asked(&closed, Right::Append).await, Err(Refusal::Missing));
        let open = guard(
            "endpoints: {sse: {}, publish: {anonymous: true}, durableStreams: {anonymous: true}}, auth: {anonymous: true}",
        );
        assert_eq!(asked(&open, Right::Subscribe).await, Ok(()));
        assert_eq!(asked(&open, Right::Publish).await, Ok(()));
        assert_eq!(asked(&open, Right::Append).await, Ok(()));
        let counted: Vec<_> = closed.counts().all().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Refusal::Missing, 2)]);
    }

    #[tokio::test]
    async fn a_token_in_the_url_is_refused_also_by_those_who_verify_none() {
        let headers = HeaderMap::new();
        let shown = Shown { headers: &headers, ticket: None, token_in_url: true };
        for guard in [guard("endpoints: {sse: {}}"), guard("auth: {anonymous: true}")] {
            let judged = guard.authorize(shown, Right::Subscribe).await;
            assert_eq!(judged.map(drop), Err(Refusal::InUrl));
        }
    }

    #[tokio::test]
    async fn a_visitor_of_one_pipeline_is_judged_anew_by_another() {
        let (open, closed) = (guard("endpoints: {sse: {}}"), guard("auth: {anonymous: false}"));
        let strict =
            guard("endpoints: {websocket: {}, cors: {allowedOrigins: ['https://a.example']}}");
        let headers =
            [(header::ORIGIN, "https://b.example".parse().unwrap())].into_iter().collect();
        let shown = Shown { headers: &headers, ticket: None, token_in_url: false };
        let visitor = open.visitor(shown, &Grant::default());
        let ask = async |guard: &Guard, right| guard.authorize_visitor(&visitor, right).await;
        assert!(ask(&open, Right::Subscribe).await.is_ok());
        assert_eq!(ask(&open, Right::Publish).await.map(drop), Err(Refusal::Missing));
        assert_eq!(ask(&closed, Right::Subscribe).await.map(drop), Err(Refusal::Missing));
        assert_eq!(ask(&strict, Right::Subscribe).await.map(drop), Err(Refusal::Origin));
    }

    #[test]
    fn a_page_of_an_origin_that_is_not_named_is_kept_out() {
        let guard =
            guard("endpoints: {websocket: {}, cors: {allowedOrigins: ['https://a.example']}}");
        let from = |origin: &'static str| -> HeaderMap {
            [(header::ORIGIN, origin.parse().unwrap())].into_iter().collect()
        };
        assert_eq!(guard.admit_page(&from("https://a.example")), Ok(()));
        assert_eq!(guard.admit_page(&HeaderMap::new()), Ok(()));
        assert_eq!(guard.admit_page(&from("https://b.example")), Err(Refusal::Origin));
    }
}
