//! Verifies the tokens and the tickets of a pipeline.

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use weir_crds::v1alpha1::{Auth, Jwt, SecretKey, Tickets as TicketsSpec};

use super::{
    KeysReading, Verified, check, fetch::Origin, refusal::Refusal, ring::Ring, secret::Secret,
    ticket::Tickets, token::Token,
};

pub(super) use super::ticket::Taken;

/// What verifies tokens.
#[derive(Debug)]
pub(super) struct Bearer {
    jwt: Jwt,
    ring: Arc<Ring>,
    /// The tickets, where they are issued, and for how long each is good.
    tickets: Option<(Arc<Tickets>, TicketsSpec)>,
}

impl Bearer {
    /// Begins to read the issuer's keys. Those of `running`, and its tickets, are kept where the manifest
    /// says the same about them.
    pub(super) fn start(
        realm: &str,
        auth: &Auth,
        secrets: &Path,
        running: Option<&Self>,
    ) -> Option<Self> {
        let Auth { anonymous: _, jwt, cookie: _, tickets } = auth;
        let jwt = jwt.as_ref()?;
        let origin = origin(jwt, secrets)?;
        let kept = running.map(|running| &running.ring).filter(|ring| *ring.origin() == origin);
        let ring = kept.map_or_else(|| Arc::new(Ring::start(realm, origin)), Arc::clone);
        let tickets = tickets.clone().map(|spec| {
            // A ticket stands for a token that was verified by these terms.
            let kept = running.filter(|running| running.jwt == *jwt);
            let kept = kept.and_then(|running| running.tickets.as_ref());
            (kept.map_or_else(Arc::default, |(tickets, _)| Arc::clone(tickets)), spec)
        });
        Some(Self { jwt: jwt.clone(), ring, tickets })
    }

    /// The terms.
    pub(super) const fn jwt(&self) -> &Jwt {
        &self.jwt
    }

    /// What has come of reading the issuer's keys.
    pub(super) fn keys(&self) -> KeysReading {
        self.ring.reading()
    }

    /// Verifies a token. Where its key is unknown, the issuer is asked for new ones first.
    pub(super) async fn verify(&self, token: &Secret) -> Result<Verified, Refusal> {
        match self.verify_now(token) {
            Err(refusal @ (Refusal::UnknownKey | Refusal::Keys)) => {
                if self.ring.renew().await {
                    self.verify_now(token)
                } else {
                    Err(refusal)
                }
            }
            judged => judged,
        }
    }

    /// Verifies a token by the keys that are at hand.
    pub(super) fn verify_now(&self, token: &Secret) -> Result<Verified, Refusal> {
        let token = Token::read(token)?;
        let keys = self.ring.keys().ok_or(Refusal::Keys)?;
        let claims = token.verify(&keys)?;
        let until = check::check(&self.jwt, &claims, SystemTime::now())?;
        Ok(Verified { claims: Arc::new(claims), until })
    }

    /// Exchanges what a token has shown for a ticket; `None` where there are no tickets.
    pub(super) fn issue(&self, verified: Verified) -> Option<Result<Secret, Refusal>> {
        let (tickets, TicketsSpec { ttl }) = self.tickets.as_ref()?;
        Some(tickets.issue(verified, ttl.get(), Instant::now()))
    }

    /// How long a ticket is good, in seconds; `None` where there are no tickets.
    pub(super) fn ticket_seconds(&self) -> Option<u64> {
        self.tickets.as_ref().map(|(_, TicketsSpec { ttl })| ttl.get().as_secs())
    }

    /// Takes a ticket, which is used up once it is spent.
    pub(super) fn take(&self, ticket: &Secret) -> Result<(Verified, Taken), Refusal> {
        let (tickets, _) = self.tickets.as_ref().ok_or(Refusal::Ticket)?;
        tickets.take(ticket, Instant::now())
    }
}

fn origin(jwt: &Jwt, secrets: &Path) -> Option<Origin> {
    let file = |SecretKey { secret_name, key }: &SecretKey| secrets.join(secret_name).join(key);
    match (&jwt.jwks_url, &jwt.jwks) {
        (Some(url), _) => Some(Origin::Url { url: url.clone(), ca: jwt.ca.as_ref().map(file) }),
        (None, Some(jwks)) => Some(Origin::File(file(jwks))),
        (None, None) => None,
    }
}
