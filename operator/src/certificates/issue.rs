//! Makes authorities and certificates.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::lives::Lives;
use super::material::Material;

/// An authority and its key, as PEM.
struct Authority {
    certificate: String,
    key: String,
}

/// Makes an authority, and a certificate by it.
pub(super) fn begin(
    names: &[String],
    lives: Lives,
    now: Timestamp,
) -> Result<Material, rcgen::Error> {
    let Authority { certificate, key } = authority(lives, now)?;
    let material = Material {
        authorities: certificate,
        authority_key: key,
        certificate: String::new(),
        key: String::new(),
    };
    issue(material, names, lives, now)
}

/// Puts a new authority before those that `kept` holds; the certificate stays.
pub(super) fn add_authority(
    material: Material,
    kept: &str,
    lives: Lives,
    now: Timestamp,
) -> Result<Material, rcgen::Error> {
    let Authority { certificate, key } = authority(lives, now)?;
    Ok(Material { authorities: format!("{certificate}{kept}"), authority_key: key, ..material })
}

/// Makes a certificate for `names` by the newest authority.
pub(super) fn issue(
    material: Material,
    names: &[String],
    lives: Lives,
    now: Timestamp,
) -> Result<Material, rcgen::Error> {
    let signing_key = KeyPair::from_pem(&material.authority_key)?;
    let issuer = Issuer::from_ca_cert_pem(&material.authorities, signing_key)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "weir-operator webhook");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    limit(&mut params, lives.backdated(), now, lives.certificate());
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(Material { certificate: certificate.pem(), key: key.serialize_pem(), ..material })
}

fn authority(lives: Lives, now: Timestamp) -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::new([])?;
    // The name differs from that of every other authority, so that a certificate names one of them.
    let name = format!("weir-operator webhook authority {now} {:08x}", fastrand::u32(..));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit(&mut params, lives.backdated(), now, lives.authority());
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Authority { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn limit(params: &mut CertificateParams, backdated: Duration, now: Timestamp, life: Duration) {
    let since_epoch = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let now = date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - backdated;
    params.not_after = now + life;
}
