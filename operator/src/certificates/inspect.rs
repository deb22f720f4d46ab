//! Looks at what the Secret holds as the API server would: is it whole, trusted, for the right name, and
//! for how long?

use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::material::Material;
use super::plan::{Period, Standing};

/// Why what the Secret holds is not usable.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A part is no PEM.
    #[error("{0} is no PEM")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    /// A part holds no certificate.
    #[error("{0} holds no certificate")]
    Missing(&'static str),
    /// A certificate is malformed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// The name under which the API server reaches the webhook is no DNS name.
    #[error("{0:?} is no DNS name")]
    Name(String),
    /// The authorities are no authorities.
    #[error("the authorities can't be used")]
    Authorities(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server would refuse the certificate, or the key is not its own.
    #[error("the certificate can't be used")]
    Refused(#[from] rustls::Error),
}

/// What stands in the Secret: an error where the API server would not trust it for `name` at `now`.
pub(super) fn standing(
    material: &Material,
    provider: &Arc<CryptoProvider>,
    name: &str,
    now: Timestamp,
) -> Result<Standing, InspectError> {
    let key = certified_key(material, provider)?;
    let authorities = certificates(&material.authorities, "ca.crt")?;
    let (leaf, between) = key.cert.split_first().ok_or(InspectError::Missing("tls.crt"))?;
    verify(leaf, between, &authorities, provider, name, now)?;
    let newest = authorities.first().ok_or(InspectError::Missing("ca.crt"))?;
    let (newest, leaf) = (parse(newest, "ca.crt")?, parse(leaf, "tls.crt")?);
    Ok(Standing {
        authority: period(&newest),
        certificate: period(&leaf),
        by_newest: leaf.issuer() == newest.subject(),
        has_key: is_key_of(&material.authority_key, &newest),
    })
}

/// Whether this is the private key of the certificate.
fn is_key_of(key: &str, certificate: &X509Certificate<'_>) -> bool {
    let key = KeyPair::from_pem(key);
    key.is_ok_and(|key| key.subject_public_key_info() == certificate.public_key().raw)
}

/// The certificate with its key, ready to be served.
pub(super) fn certified_key(
    material: &Material,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, InspectError> {
    let chain = certificates(&material.certificate, "tls.crt")?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes());
    let key = key.map_err(|error| InspectError::Pem("tls.key", error))?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// Until when the certificate is valid.
pub(super) fn expiry(key: &CertifiedKey) -> Result<Timestamp, InspectError> {
    Ok(period(&parse(key.end_entity_cert()?, "tls.crt")?).until)
}

/// The authorities that have not expired, as PEM.
pub(super) fn unexpired(authorities: &str, now: Timestamp) -> Result<String, InspectError> {
    let mut kept = String::new();
    // Each is written as it stood: from its first line to its last.
    for text in authorities.split_inclusive("-----END CERTIFICATE-----").map(str::trim) {
        if text.is_empty() {
            continue;
        }
        let certificate = certificates(text, "ca.crt")?;
        let first = certificate.first().ok_or(InspectError::Missing("ca.crt"))?;
        if period(&parse(first, "ca.crt")?).until > now {
            kept.push_str(text);
            kept.push('\n');
        }
    }
    Ok(kept)
}

fn verify(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
    name: &str,
    now: Timestamp,
) -> Result<(), InspectError> {
    let unusable = |error| InspectError::Authorities(error);
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| unusable(error.into()))?;
    }
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = builder.build().map_err(|error| unusable(error.into()))?;
    let name = ServerName::try_from(name).map_err(|_| InspectError::Name(name.to_owned()))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_server_cert(leaf, between, &name, &[], now)?;
    Ok(())
}

fn certificates(
    pem: &str,
    part: &'static str,
) -> Result<Vec<CertificateDer<'static>>, InspectError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.map_err(|error| InspectError::Pem(part, error))
}

fn parse<'a>(
    der: &'a CertificateDer<'_>,
    part: &'static str,
) -> Result<X509Certificate<'a>, InspectError> {
    let parsed = X509Certificate::from_der(der);
    parsed.map(|(_, certificate)| certificate).map_err(|_| InspectError::Malformed(part))
}

fn period(certificate: &X509Certificate<'_>) -> Period {
    let validity = certificate.validity();
    let at = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
    Period { from: at(validity.not_before.timestamp()), until: at(validity.not_after.timestamp()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::issue;
    use super::super::lives::Lives;
    use super::*;

    const NAME: &str = "weir.weir-system.svc";

    fn lives() -> Lives {
        Lives::default()
    }

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn names() -> Vec<String> {
        vec![NAME.to_owned()]
    }

    fn look(material: &Material, name: &str, now: Timestamp) -> Result<Standing, InspectError> {
        standing(material, &provider(), name, now)
    }

    #[test]
    fn what_was_just_made_is_trusted_for_its_name_and_its_time() {
        let material = issue::begin(&names(), lives(), now()).unwrap();
        let standing = look(&material, NAME, now()).unwrap();
        assert!(standing.by_newest && standing.has_key);
        assert_eq!(standing.certificate.from, now() - lives().backdated());
        assert_eq!(standing.certificate.until, now() + lives().certificate());
        assert_eq!(standing.authority.until, now() + lives().authority());
    }

    #[test]
    fn another_name_an_expired_certificate_and_a_foreign_key_are_refused() {
        let material = issue::begin(&names(), lives(), now()).unwrap();
        assert!(look(&material, "other.weir-system.svc", now()).is_err());
        assert!(
            look(&material, NAME, now() + lives().certificate() + Duration::from_secs(1)).is_err()
        );
        let other = issue::begin(&names(), lives(), now()).unwrap();
        let mixed = Material { key: other.key.clone(), ..material.clone() };
        assert!(look(&mixed, NAME, now()).is_err());
        let untrusted = Material { authorities: other.authorities, ..material.clone() };
        assert!(look(&untrusted, NAME, now()).is_err());
        let unsigned = Material { authority_key: other.authority_key, ..material.clone() };
        assert!(!look(&unsigned, NAME, now()).unwrap().has_key);
        let keyless = Material { authority_key: String::new(), ..material.clone() };
        assert!(!look(&keyless, NAME, now()).unwrap().has_key);
        let garbage = Material { certificate: "garbage".to_owned(), ..material };
        assert!(look(&garbage, NAME, now()).is_err());
    }

    #[test]
    fn while_the_authority_changes_both_certificates_are_trusted() {
        let old = issue::begin(&names(), lives(), now()).unwrap();
        let later = now() + Duration::from_hours(24);
        let kept = unexpired(&old.authorities, later).unwrap();
        let added = issue::add_authority(old.clone(), &kept, lives(), later).unwrap();
        let standing = look(&added, NAME, later).unwrap();
        assert!(!standing.by_newest);
        assert_eq!(standing.authority.until, later + lives().authority());
        let renewed = issue::issue(added.clone(), &names(), lives(), later).unwrap();
        assert!(look(&renewed, NAME, later).unwrap().by_newest);
        assert!(renewed.authorities == added.authorities && renewed.key != old.key);
    }

    #[test]
    fn an_expired_authority_leaves_the_bundle() {
        let old = issue::begin(&names(), lives(), now()).unwrap();
        let later = now() + Duration::from_hours(300 * 24);
        let both = issue::add_authority(old.clone(), &old.authorities, lives(), later).unwrap();
        let last = now() + lives().authority();
        assert!(
            unexpired(&both.authorities, last - Duration::from_secs(1)).unwrap()
                == both.authorities
        );
        let left = unexpired(&both.authorities, last).unwrap();
        assert!(both.authorities.starts_with(&left) && left.len() < both.authorities.len());
    }
}
