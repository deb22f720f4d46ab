//! Authorization: who may subscribe, and who may publish, on the public port.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKey;
use crate::scalar::Duration;

/// Who may subscribe and publish on the public port. Where the whole field is absent, whoever reaches the
/// port may subscribe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("has(self.jwt) || self.anonymous").message("set jwt, or anonymous: true, or nobody could subscribe"),
        validation = Rule::new("has(self.jwt) || !(has(self.cookie) || has(self.tickets))").field_path(".jwt").message("must be set beside cookie and tickets, which stand for its tokens"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// Whether whoever shows no token may subscribe, too. A token that is shown is verified all the same.
    #[serde(default)]
    pub anonymous: bool,
    /// JSON Web Tokens of an issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Jwt>,
    /// A cookie that holds the token, for pages that a server has given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<Cookie>,
    /// Tickets, for which a token is exchanged by POST to /{pipeline}/ticket: each opens one stream, as
    /// ?ticket=, because a browser's EventSource can send no header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tickets: Option<Tickets>,
}

/// JSON Web Tokens, signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA. Each must
/// have an exp; a stream ends with its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("has(self.jwksUrl) != has(self.jwks)").message("set exactly one of jwksUrl and jwks"),
        validation = Rule::new("!has(self.ca) || (has(self.jwksUrl) && self.jwksUrl.startsWith('https://'))").field_path(".ca").message("vouches for the server of a jwksUrl that begins with https://: set such a one, or remove ca"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Jwt {
    /// The iss that a token must have.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// The audiences, of which a token must have at least one in its aud.
    #[schemars(length(min = 1, max = 16), inner(length(max = 1024)))]
    pub audiences: Vec<String>,
    /// Where the issuer publishes its keys, as a JWK Set. They are read every ten minutes, and when a token
    /// has a key that is unknown; while they can't be read, the last ones stay good for 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self.matches('^https?://[^/?#@[:space:]]+([/?][^#[:space:]]*)?$')").message("must be a URL such as https://id.example.org/.well-known/jwks.json"))
    )]
    pub jwks_url: Option<String>,
    /// A key of a Secret in the namespace that holds the certificates, in PEM, of the authorities that vouch for
    /// the server of jwksUrl. Where it is absent, those do that browsers trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// A key of a Secret in the namespace that holds the issuer's public keys, as a JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<SecretKey>,
    /// By how much the issuer's clock may be wrong.
    #[serde(default = "default_leeway")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("0s", "2m"))
    )]
    pub leeway: Duration,
    /// Claims that every token must have, beside iss, aud and exp.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 256)))]
    pub required_claims: Vec<String>,
    /// What a token must say to subscribe. Where it is absent, every token may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<ClaimRule>,
    /// Which events a subscriber may have, in CEL: those that match. It is about event.NAME and, by which it
    /// tells subscribers apart, claims.NAME: event.subject == claims.sub. Where it is absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub filter: Option<String>,
    /// What a token must say to publish, where endpoints.publish opens that. Where it is absent, none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<ClaimRule>,
}

/// What a claim must say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRule {
    /// The claim's name, such as scope; or a path of names, such as realm_access.roles.
    #[schemars(length(min = 1, max = 256))]
    pub claim: String,
    /// The values, of which the claim must have at least one. The claim is a list, or a text with spaces
    /// between the values.
    #[schemars(length(min = 1, max = 16), inner(length(max = 256)))]
    pub any_of: Vec<String>,
}

/// A cookie that holds a token. Any page can make a browser send it, so the pages are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// The cookie's name.
    #[schemars(length(max = 256))]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = Rule::new("self.matches(\"^[-!#$%&'*+.^_`|~0-9A-Za-z]+$\")").message("must be a cookie's name: letters, digits and punctuation, without spaces, quotes and semicolons"))
    )]
    pub name: String,
    /// The origins whose pages may use the cookie.
    #[schemars(length(min = 1, max = 32), inner(length(max = 256)))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::origins("o")))]
    pub allowed_origins: Vec<String>,
}

/// One-time tickets. They are in the memory of the data plane that issued them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Tickets {
    /// How long a ticket can be used.
    #[serde(default = "default_ticket_ttl")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::within("5s", "5m"))
    )]
    pub ttl: Duration,
}

/// What clocks that are kept by NTP never differ by.
fn default_leeway() -> Duration {
    Duration::seconds(30)
}

/// Enough for a slow network; the ticket is used at once.
fn default_ticket_ttl() -> Duration {
    Duration::seconds(30)
}
