//! Why a request is refused: what its sender is told, and the reason under which it is counted.

use http::StatusCode;

use crate::count::Counter;

/// Why a request is refused. None of them quotes what was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Nothing was shown, and something must be.
    #[error("a token is needed: send it in the header authorization: Bearer TOKEN")]
    Missing,
    /// What was shown is no token.
    #[error(
        "the token is malformed: it must be a JWT in the compact form, of at most 16 KiB, whose exp and nbf are \
         numbers"
    )]
    Malformed,
    /// A token stands in the URL, which proxies and browsers write down.
    #[error(
        "a token must not stand in the URL, where it ends up in logs and histories: send it in the header \
         authorization: Bearer TOKEN, or exchange it for a ticket by POST to /{{pipeline}}/ticket"
    )]
    InUrl,
    /// The token's algorithm is none that is taken here, or not its key's.
    #[error(
        "the token's algorithm is not taken: it must be RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
         ES384 or EdDSA, and that of its key"
    )]
    Algorithm,
    /// The issuer has no such key.
    #[error("the token's key is unknown: get a new token from the issuer")]
    UnknownKey,
    /// The signature is another's.
    #[error("the token's signature is wrong")]
    Signature,
    /// The token's time is over.
    #[error("the token has expired: get a new one from the issuer")]
    Expired,
    /// The token's time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is of another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// The token is for others.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing that every token must have.
    #[error("the token has no exp, or lacks a claim that is required here")]
    Claim,
    /// The ticket was never issued, is used or is too old.
    #[error(
        "the ticket is unknown, used or too old: each is good once, for a short time; get a new one"
    )]
    Ticket,
    /// A page of an origin that is not allowed asks.
    #[error("pages of this origin are not allowed here")]
    Origin,
    /// The token gives no right to subscribe.
    #[error("the token gives no right to subscribe")]
    Subscribe,
    /// The token gives no right to publish.
    #[error("the token gives no right to publish")]
    Publish,
    /// The filter that all subscribers are held to can't be read.
    #[error(
        "the pipeline's own filter can't be used: come back when spec.auth.jwt.filter is mended"
    )]
    Filter,
    /// The issuer's keys can't be read.
    #[error("the issuer's keys can't be read at the moment: come back later")]
    Keys,
    /// Too many tickets wait to be used.
    #[error("too many tickets wait to be used: come back later")]
    Full,
}

/// The codes of errors in a challenge (RFC 6750, section 3.1).
const INVALID_REQUEST: &str = "invalid_request";
const INVALID_TOKEN: &str = "invalid_token";
const INSUFFICIENT_SCOPE: &str = "insufficient_scope";

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 18] = [
        Self::Missing,
        Self::Malformed,
        Self::InUrl,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claim,
        Self::Ticket,
        Self::Origin,
        Self::Subscribe,
        Self::Publish,
        Self::Filter,
        Self::Keys,
        Self::Full,
    ];

    /// The word in problem documents, in failures and in the label of the metric.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed => "token_malformed",
            Self::InUrl => "token_in_url",
            Self::Algorithm => "token_algorithm",
            Self::UnknownKey => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Claim => "token_claim_missing",
            Self::Ticket => "ticket_invalid",
            Self::Origin => "origin_not_allowed",
            Self::Subscribe => "no_right_to_subscribe",
            Self::Publish => "no_right_to_publish",
            Self::Filter => "filter_unusable",
            Self::Keys => "keys_unavailable",
            Self::Full => "tickets_full",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InUrl => StatusCode::BAD_REQUEST,
            Self::Missing
            | Self::Malformed
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Expired
            | Self::NotYetValid
            | Self::Issuer
            | Self::Audience
            | Self::Claim
            | Self::Ticket => StatusCode::UNAUTHORIZED,
            Self::Origin | Self::Subscribe | Self::Publish => StatusCode::FORBIDDEN,
            Self::Filter | Self::Keys | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may be granted in a while.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Filter | Self::Keys | Self::Full)
    }

    /// The challenge for `www-authenticate` (RFC 6750, section 3); `None` where no token would help.
    #[must_use]
    pub fn challenge(self, realm: &str) -> Option<String> {
        let code = match self {
            // Whoever shows nothing is told nothing but what to show.
            Self::Missing => return Some(format!("Bearer realm=\"{realm}\"")),
            Self::InUrl => INVALID_REQUEST,
            Self::Malformed
            | Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Expired
            | Self::NotYetValid
            | Self::Issuer
            | Self::Audience
            | Self::Claim
            | Self::Ticket => INVALID_TOKEN,
            Self::Subscribe | Self::Publish => INSUFFICIENT_SCOPE,
            Self::Origin | Self::Filter | Self::Keys | Self::Full => return None,
        };
        let label = self.label();
        Some(format!("Bearer realm=\"{realm}\", error=\"{code}\", error_description=\"{label}\""))
    }
}

/// How often which refusal was given.
#[derive(Debug, Default)]
pub struct Counts([Counter; Refusal::ALL.len()]);

impl Counts {
    /// Counts a refusal.
    pub fn add(&self, refusal: Refusal) {
        if let Some(counter) = self.0.get(refusal as usize) {
            counter.add(1);
        }
    }

    /// Every refusal with its count.
    pub fn all(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_a_counter_of_its_own() {
        let counts = Counts::default();
        for (times, refusal) in Refusal::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| counts.add(refusal));
        }
        let counted: Vec<_> = counts.all().collect();
        for (times, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(counted[times], (refusal, times as u64 + 1));
        }
        let mut labels: Vec<_> = Refusal::ALL.map(Refusal::label).into();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Refusal::ALL.len());
    }

    #[test]
    fn a_challenge_stands_where_a_token_would_help() {
        for refusal in Refusal::ALL {
            let challenged = refusal.challenge("orders").is_some();
            let helps = matches!(refusal.status().as_u16(), 400 | 401)
                || matches!(refusal, Refusal::Subscribe | Refusal::Publish);
            assert_eq!(challenged, helps, "{refusal:?}");
        }
        assert_eq!(
            Refusal::Expired.challenge("orders").unwrap(),
            "Bearer realm=\"orders\", error=\"invalid_token\", error_description=\"token_expired\""
        );
        assert_eq!(Refusal::Missing.challenge("orders").unwrap(), "Bearer realm=\"orders\"");
    }
}
