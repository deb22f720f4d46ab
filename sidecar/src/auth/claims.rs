//! Judges what a verified token says. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use weir_crds::v1alpha1::{ClaimRule, Jwt};

use super::refusal::Refusal;

/// What a verified token says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// The claims as they stand in the token.
    #[must_use]
    pub const fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// All claims, by name.
    #[must_use]
    pub const fn all(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whom the token is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.0.get("sub")?.as_str()
    }

    /// The claim of this name; where there is none, the one at the end of this path of names. The names
    /// of some claims are URLs, which have dots in them.
    fn get(&self, path: &str) -> Option<&Value> {
        if let Some(claim) = self.0.get(path) {
            return Some(claim);
        }
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |claim, name| claim.get(name))
    }

    /// Whether a claim has one of the values that a rule names.
    #[must_use]
    pub fn satisfy(&self, rule: &ClaimRule) -> bool {
        let ClaimRule { claim, any_of } = rule;
        let is_named = |value: &str| any_of.iter().any(|named| named == value);
        match self.get(claim) {
            Some(Value::String(text)) => text.split(' ').any(is_named),
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).any(is_named),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

/// Judges the claims that every token must have, and says until when the token is good.
///
/// # Errors
///
/// Says which of them is not as it must be.
pub(super) fn check(jwt: &Jwt, claims: &Claims, now: SystemTime) -> Result<SystemTime, Refusal> {
    let Jwt { issuer, audiences, leeway, required_claims, .. } = jwt;
    let leeway = leeway.get();
    let until = date(claims, "exp")?.ok_or(Refusal::Claim)?;
    let until = until.checked_add(leeway).ok_or(Refusal::Malformed)?;
    if now >= until {
        return Err(Refusal::Expired);
    }
    if let Some(from) = date(claims, "nbf")?
        && now.checked_add(leeway).is_some_and(|now| now < from)
    {
        return Err(Refusal::NotYetValid);
    }
    if claims.0.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Refusal::Issuer);
    }
    if !is_for(claims.0.get("aud"), audiences) {
        return Err(Refusal::Audience);
    }
    if required_claims.iter().any(|name| claims.get(name).is_none_or(Value::is_null)) {
        return Err(Refusal::Claim);
    }
    Ok(until)
}

/// Whether an `aud`, which is a text or a list (RFC 7519, section 4.1.3), names one of the audiences.
fn is_for(aud: Option<&Value>, audiences: &[String]) -> bool {
    let is_ours =
        |value: &Value| value.as_str().is_some_and(|aud| audiences.iter().any(|a| a == aud));
    match aud {
        Some(Value::Array(list)) => list.iter().any(is_ours),
        Some(text) => is_ours(text),
        None => false,
    }
}

/// A moment in seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
fn date(claims: &Claims, name: &str) -> Result<Option<SystemTime>, Refusal> {
    let Some(claim) = claims.0.get(name) else { return Ok(None) };
    let seconds = claim.as_f64().ok_or(Refusal::Malformed)?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refusal::Malformed)?;
    UNIX_EPOCH.checked_add(since).map(Some).ok_or(Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn jwt() -> Jwt {
        serde_yaml::from_str(
            "{issuer: https://id, audiences: [orders, bills], jwksUrl: https://id/jwks, leeway: 30s, \
             requiredClaims: [tenant, realm.name]}",
        )
        .unwrap()
    }

    fn claims(changes: &Value) -> Claims {
        let mut claims = json!({
            "iss": "https://id", "aud": "orders", "exp": 1_000, "tenant": "a", "realm": {"name": "b"},
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        Claims(claims.as_object().unwrap().clone())
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_good_until_its_time_and_the_leeway_are_over() {
        let good = claims(&json!({}));
        assert_eq!(check(&jwt(), &good, at(500)), Ok(at(1_030)));
        assert_eq!(check(&jwt(), &good, at(1_029)), Ok(at(1_030)));
        assert_eq!(check(&jwt(), &good, at(1_030)), Err(Refusal::Expired));
        let early = claims(&json!({"nbf": 530}));
        assert_eq!(check(&jwt(), &early, at(499)), Err(Refusal::NotYetValid));
        assert_eq!(check(&jwt(), &early, at(500)), Ok(at(1_030)));
    }

    #[test]
    fn every_claim_that_is_not_as_it_must_be_has_a_refusal_of_its_own() {
        for (changes, refusal) in [
            (json!({"exp": null}), Refusal::Claim),
            (json!({"exp": "1000"}), Refusal::Malformed),
            (json!({"exp": -1}), Refusal::Malformed),
            (json!({"exp": 1e300}), Refusal::Malformed),
            (json!({"nbf": {}}), Refusal::Malformed),
            (json!({"iss": null}), Refusal::Issuer),
            (json!({"iss": "https://id/"}), Refusal::Issuer),
            (json!({"iss": ["https://id"]}), Refusal::Issuer),
            (json!({"aud": null}), Refusal::Audience),
            (json!({"aud": "order"}), Refusal::Audience),
            (json!({"aud": []}), Refusal::Audience),
            (json!({"aud": ["x", {"orders": 1}]}), Refusal::Audience),
            (json!({"tenant": null}), Refusal::Claim),
            (json!({"realm": {"name": null}}), Refusal::Claim),
            (json!({"realm": "name"}), Refusal::Claim),
        ] {
            assert_eq!(check(&jwt(), &claims(&changes), at(500)), Err(refusal), "{changes}");
        }
        for changes in
            [json!({"aud": ["x", "bills"]}), json!({"exp": 1000.5}), json!({"nbf": 500.0})]
        {
            assert!(check(&jwt(), &claims(&changes), at(500)).is_ok(), "{changes}");
        }
    }

    #[test]
    fn a_right_is_one_of_the_values_of_a_list_or_of_a_text() {
        let rule = |claim: &str| ClaimRule {
            claim: claim.to_owned(),
            any_of: vec!["read".to_owned(), "all".to_owned()],
        };
        let claims = claims(&json!({
            "scope": "openid read", "wide": "reader", "roles": ["x", "all"], "none": ["write", 1],
            "realm_access": {"roles": ["read"]}, "https://a.b/roles": ["all"], "flag": true,
        }));
        for claim in ["scope", "roles", "realm_access.roles", "https://a.b/roles"] {
            assert!(claims.satisfy(&rule(claim)), "{claim}");
        }
        for claim in ["wide", "none", "flag", "missing", "realm_access", "scope.read", ""] {
            assert!(!claims.satisfy(&rule(claim)), "{claim}");
        }
    }

    proptest! {
        #[test]
        fn no_time_whatever_makes_the_check_fail_otherwise_than_by_refusing(
            exp in any::<f64>(), nbf in any::<f64>(), now in 0_u64..4_000_000_000,
        ) {
            let claims = claims(&json!({"exp": exp, "nbf": nbf}));
            let checked = check(&jwt(), &claims, at(now));
            if let Ok(until) = checked {
                prop_assert!(until > at(now));
            }
        }
    }
}
