//! Judges the claims that every token must have. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use weir_crds::v1alpha1::Jwt;

use super::{claims::Claims, refusal::Refusal};

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
    if claims.all().get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Refusal::Issuer);
    }
    if !is_for(claims.all().get("aud"), audiences) {
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

/// The end of the year 9999: what lies behind it stands for "never".
const LATEST: f64 = 253_402_300_799.0;

/// A moment in seconds since 1970, perhaps with a fraction (RFC 7519, section 2). One that nobody lives to see is
/// the [`LATEST`], and one before 1970 is over all the same.
fn date(claims: &Claims, name: &str) -> Result<Option<SystemTime>, Refusal> {
    let Some(claim) = claims.all().get(name) else { return Ok(None) };
    let seconds = claim.as_f64().ok_or(Refusal::Malformed)?.clamp(0.0, LATEST);
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
        Claims::new(claims.as_object().unwrap().clone())
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
            (json!({"exp": -1}), Refusal::Expired),
            (json!({"nbf": 1e30}), Refusal::NotYetValid),
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
        for changes in [
            json!({"aud": ["x", "bills"]}),
            json!({"exp": 1000.5}),
            json!({"nbf": 500.0}),
            json!({"exp": 1e30}),
            json!({"exp": 1e300}),
            json!({"nbf": -1}),
        ] {
            assert!(check(&jwt(), &claims(&changes), at(500)).is_ok(), "{changes}");
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
