//! Reads a JWK Set (RFC 7517). Sans-I/O.
//!
//! What is no key for signatures of the algorithms taken here is left out: a set may hold keys for other
//! purposes. Which and why is remembered, for whoever wonders why a token is refused.

use std::fmt;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{
        AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse,
        RSAKeyParameters,
    },
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set that are looked at; issuers have two or three.
const MOST_KEYS: usize = 64;

/// The shortest modulus of an RSA key, in bytes: 2048 bits.
const LEAST_MODULUS: usize = 256;

/// What every RSA key can verify.
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// An issuer's keys.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    left_out: Vec<LeftOut>,
}

/// A public key, and what it may verify.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// A key by which nothing is verified here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    id: Option<String>,
    why: Unusable,
}

/// Why a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("it can't be read")]
    Form,
    #[error("by its use or key_ops it verifies no signatures")]
    Purpose,
    #[error("it is an RSA key of less than 2048 bits")]
    Short,
    #[error("no key of its kind or curve is taken")]
    Kind,
    #[error("its alg is none that is taken, or none of its kind")]
    Algorithm,
}

/// Why a set is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("it is no JWK Set: {0}")]
    Form(String),
    #[error("it holds no key that can verify a token here{0}")]
    Empty(String),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set. One without a usable key is taken for a mistake: an issuer that takes a key back has another.
    /// What was known before stays good, as while the issuer is away.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| KeySetError::Form(error.to_string()))?;
        let mut set = Self::default();
        for value in document.keys.into_iter().take(MOST_KEYS) {
            let id = value.get("kid").and_then(Value::as_str).map(str::to_owned);
            match Key::read(value) {
                Ok(key) => set.keys.push(key),
                Err(why) => set.left_out.push(LeftOut { id, why }),
            }
        }
        if set.keys.is_empty() {
            let why = set.left_out.iter().map(|key| format!("; {key}"));
            return Err(KeySetError::Empty(why.collect()));
        }
        Ok(set)
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys by which nothing is verified.
    pub(super) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// The keys by which a token that names this key may be signed. A key without a name may be any.
    pub(super) fn candidates(&self, id: Option<&str>) -> impl Iterator<Item = &Key> {
        let may_be = move |key: &&Key| match (&key.id, id) {
            (Some(own), Some(named)) => own == named,
            (None, _) | (_, None) => true,
        };
        self.keys.iter().filter(may_be)
    }
}

impl Key {
    fn read(value: Value) -> Result<Self, Unusable> {
        let jwk: Jwk = serde_json::from_value(value).map_err(|_| Unusable::Form)?;
        let algorithms = algorithms(&jwk)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| Unusable::Form)?;
        Ok(Self { id: jwk.common.key_id, algorithms, key })
    }

    /// The key, if this is one of its algorithms.
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.algorithms.contains(&algorithm).then_some(&self.key)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, why } = self;
        match id {
            Some(id) => write!(f, "the key {:?}: {why}", id.chars().take(64).collect::<String>()),
            None => write!(f, "a key without kid: {why}"),
        }
    }
}

/// What a key may verify: what its kind can, narrowed to what it is made for; at least one.
fn algorithms(jwk: &Jwk) -> Result<Vec<Algorithm>, Unusable> {
    let CommonParameters { public_key_use, key_operations, key_algorithm, .. } = &jwk.common;
    let for_signatures = public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature);
    let verifies = key_operations.as_ref().is_none_or(|of| of.contains(&KeyOperations::Verify));
    if !for_signatures || !verifies {
        return Err(Unusable::Purpose);
    }
    let able: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if is_long(rsa) => RSA,
        AlgorithmParameters::RSA(_) => return Err(Unusable::Short),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            // It is another crate's, and may grow.
            EllipticCurve::P521 | EllipticCurve::Ed25519 | _ => return Err(Unusable::Kind),
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        // Among them shared secrets: with those, whoever verifies could sign.
        AlgorithmParameters::OctetKey(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        | _ => return Err(Unusable::Kind),
    };
    let made_for = |algorithm: &&Algorithm| {
        key_algorithm.is_none_or(|own| Algorithm::try_from(own).is_ok_and(|own| own == **algorithm))
    };
    let made_for: Vec<_> = able.iter().filter(made_for).copied().collect();
    if made_for.is_empty() { Err(Unusable::Algorithm) } else { Ok(made_for) }
}

fn is_long(rsa: &RSAKeyParameters) -> bool {
    // Four characters of base64 are three bytes.
    rsa.n.len() / 4 * 3 + rsa.n.len() % 4 >= LEAST_MODULUS
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn rsa(bits: usize) -> Value {
        json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(vec![0xff; bits / 8]), "e": "AQAB"})
    }

    fn with(mut key: Value, name: &str, value: &Value) -> Value {
        key[name] = value.clone();
        key
    }

    fn taken(key: &Value) -> Vec<Algorithm> {
        let set = json!({"keys": [key]}).to_string();
        KeySet::parse(set.as_bytes()).map_or(Vec::new(), |set| {
            set.keys.first().map_or(Vec::new(), |key| key.algorithms.clone())
        })
    }

    #[test]
    fn a_key_verifies_what_it_is_made_for_and_nothing_else() {
        let coordinate = URL_SAFE_NO_PAD.encode([1; 32]);
        let p256 = json!({"kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate});
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": coordinate});
        for (key, algorithms) in [
            (rsa(2048), RSA),
            (with(rsa(4096), "use", &json!("sig")), RSA),
            (with(rsa(2048), "alg", &json!("PS256")), &[Algorithm::PS256]),
            (with(rsa(2048), "alg", &json!("HS256")), &[]),
            (with(rsa(2048), "alg", &json!("RSA-OAEP")), &[]),
            (with(rsa(2048), "use", &json!("enc")), &[]),
            (with(rsa(2048), "key_ops", &json!(["encrypt"])), &[]),
            (rsa(1024), &[]),
            (p256.clone(), &[Algorithm::ES256]),
            (with(p256.clone(), "alg", &json!("ES384")), &[]),
            (with(p256.clone(), "crv", &json!("P-384")), &[Algorithm::ES384]),
            (with(p256.clone(), "crv", &json!("P-521")), &[]),
            (with(p256, "crv", &json!("secp256k1")), &[]),
            (ed25519.clone(), &[Algorithm::EdDSA]),
            (with(ed25519, "crv", &json!("X25519")), &[]),
            (json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), &[]),
            (json!({"kty": "new"}), &[]),
            (json!(null), &[]),
        ] {
            assert_eq!(taken(&key), algorithms, "{key}");
        }
    }

    #[test]
    fn a_set_says_which_keys_are_left_out_and_why() {
        let named = |key: Value, kid: &str| with(key, "kid", &json!(kid));
        let set = json!({"keys": [
            named(rsa(2048), "good"),
            named(rsa(1024), "short"),
            named(with(rsa(2048), "use", &json!("enc")), "enc"),
            named(with(rsa(2048), "alg", &json!("RSA-OAEP")), "oaep"),
            named(json!({"kty": "oct", "k": "c2VjcmV0"}), &"s".repeat(100)),
            null,
        ]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        let told: Vec<_> = set.left_out().iter().map(ToString::to_string).collect();
        let secret = format!("the key {:?}: no key of its kind or curve is taken", "s".repeat(64));
        assert_eq!(
            told,
            [
                "the key \"short\": it is an RSA key of less than 2048 bits",
                "the key \"enc\": by its use or key_ops it verifies no signatures",
                "the key \"oaep\": its alg is none that is taken, or none of its kind",
                &secret,
                "a key without kid: it can't be read",
            ]
        );
    }

    #[test]
    fn a_key_of_another_kind_spoils_no_set_and_a_set_without_keys_is_none() {
        let set =
            json!({"keys": [{"kty": "oct", "k": "AA"}, {}, with(rsa(2048), "kid", &json!("a"))]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), 1);
        assert_eq!(set.candidates(Some("a")).count(), 1);
        assert_eq!(set.candidates(Some("b")).count(), 0);
        assert_eq!(set.candidates(None).count(), 1);
        for (empty, why) in [
            ("{\"keys\":[]}", "token here"),
            ("{\"keys\":[{}]}", "no key of its kind or curve is taken"),
        ] {
            let error = KeySet::parse(empty.as_bytes()).unwrap_err();
            assert!(matches!(error, KeySetError::Empty(_)), "{empty}");
            assert!(error.to_string().ends_with(why), "{error}");
        }
        for text in ["", "[]", "{}", "{\"keys\":{}}", "<html>"] {
            assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::Form(_))), "{text}");
        }
    }
}
