//! Takes a JWT apart and verifies its signature. Sans-I/O.

use std::str::FromStr as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, AlgorithmFamily, crypto};
use serde::Deserialize;

use super::{claims::Claims, jwks::KeySet, refusal::Refusal, secret::Secret};

/// A JWT in the compact form, taken apart: `HEADER.PAYLOAD.SIGNATURE`, each in base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts<'a> {
    /// What is signed: header and payload with the dot between them.
    message: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, payload) = message.split_once('.')?;
        let all = [header, payload, signature];
        // Without a signature it is an unsecured one (RFC 7519, section 6), whose algorithm is refused.
        let well_formed = !header.is_empty()
            && !payload.is_empty()
            && all.iter().all(|part| part.bytes().all(is_base64url));
        well_formed.then_some(Self { message, header, payload, signature })
    }
}

const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// What a JWT's header says, as far as it matters here. It is not verified yet.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What a reader must understand (RFC 7515, section 4.1.11). Nothing of the kind is understood here.
    crit: Option<serde_json::Value>,
}

/// A token whose header has been read.
#[derive(Debug)]
pub(super) struct Token<'a> {
    parts: Parts<'a>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> Token<'a> {
    /// Reads the header.
    pub(super) fn read(token: &'a Secret) -> Result<Self, Refusal> {
        let parts = Parts::of(token.reveal()).ok_or(Refusal::Malformed)?;
        let Header { alg, kid, crit } = decode(parts.header)?;
        if crit.is_some() {
            return Err(Refusal::Malformed);
        }
        // Not `none`, and nothing with a shared secret: whoever knows the public key could sign.
        let algorithm = Algorithm::from_str(&alg).map_err(|_| Refusal::Algorithm)?;
        if algorithm.family() == AlgorithmFamily::Hmac {
            return Err(Refusal::Algorithm);
        }
        Ok(Self { parts, algorithm, key_id: kid })
    }

    /// Verifies the signature, and returns what is signed.
    pub(super) fn verify(&self, keys: &KeySet) -> Result<Claims, Refusal> {
        let Self { parts: Parts { message, header: _, payload, signature }, algorithm, key_id } =
            self;
        let mut refusal = Refusal::UnknownKey;
        for key in keys.candidates(key_id.as_deref()) {
            let Some(key) = key.for_algorithm(*algorithm) else {
                refusal = Refusal::Algorithm;
                continue;
            };
            if crypto::verify(signature, message.as_bytes(), key, *algorithm) == Ok(true) {
                return decode(payload).map(Claims::new);
            }
            refusal = Refusal::Signature;
        }
        Err(refusal)
    }
}

/// Reads a part that is JSON.
fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, as slowly and as plainly as can be.
    fn naive(token: &str) -> Option<(String, String, String)> {
        let parts: Vec<&str> = token.split('.').collect();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let good = |part: &&str| part.chars().all(|c| alphabet.contains(c));
        match parts[..] {
            [a, b, c] if !a.is_empty() && !b.is_empty() && parts.iter().all(good) => {
                Some((a.into(), b.into(), c.into()))
            }
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn a_token_is_split_as_a_naive_reader_splits_it(token in "[A-Za-z0-9._=~ é-]{0,24}|[a-c._]{0,8}") {
            let split = Parts::of(&token);
            let parts = split.map(|p| (p.header.into(), p.payload.into(), p.signature.into()));
            prop_assert_eq!(parts, naive(&token));
            if let Some(parts) = split {
                prop_assert_eq!(parts.message, format!("{}.{}", parts.header, parts.payload));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(token in any::<String>()) {
            let _ = Token::read(&Secret::from(token));
        }
    }

    fn header(json: &str) -> Result<(), Refusal> {
        let token = format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(json));
        Token::read(&Secret::from(token)).map(drop)
    }

    #[test]
    fn only_signatures_by_a_key_pair_are_taken() {
        for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
        {
            assert_eq!(header(&format!(r#"{{"alg":"{alg}"}}"#)), Ok(()), "{alg}");
        }
        for alg in
            ["none", "None", "NONE", "HS256", "HS384", "HS512", "ES512", "RSA-OAEP", "", "rs256"]
        {
            assert_eq!(header(&format!(r#"{{"alg":"{alg}"}}"#)), Err(Refusal::Algorithm), "{alg}");
        }
    }

    #[test]
    fn a_header_that_can_not_be_understood_is_refused() {
        for json in ["{}", "[]", "", "{\"alg\":1}", r#"{"alg":"RS256","crit":["b64"],"b64":false}"#]
        {
            assert_eq!(header(json), Err(Refusal::Malformed), "{json}");
        }
    }
}
