//! Whether a bundle of authorities holds one that is valid.

use jiff::Timestamp;
use x509_parser::pem::Pem;

/// Says why none of the authorities can be used.
pub(super) fn is_valid(bundle: &[u8], now: Timestamp) -> Result<(), &'static str> {
    if bundle.is_empty() {
        return Err("is empty");
    }
    let mut any = false;
    for pem in Pem::iter_from_buffer(bundle) {
        let pem = pem.map_err(|_| "is no PEM")?;
        let certificate = pem.parse_x509().map_err(|_| "holds what is no certificate")?;
        let validity = certificate.validity();
        let period = validity.not_before.timestamp()..=validity.not_after.timestamp();
        any |= period.contains(&now.as_second());
    }
    if any { Ok(()) } else { Err("holds no authority that is valid now") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// An authority that is as old as ten days, and valid for so many days in all.
    pub(in crate::check) fn authority(days: u32) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let made = rcgen::date_time_ymd(1970, 1, 1) + (now - 10 * DAY);
        let mut params = rcgen::CertificateParams::default();
        params.not_before = made;
        params.not_after = made + days * DAY;
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn one_valid_authority_is_enough() {
        let (old, new) = (authority(9), authority(30));
        let now = Timestamp::now();
        assert_eq!(is_valid(format!("{old}{new}").as_bytes(), now), Ok(()));
        assert_eq!(is_valid(old.as_bytes(), now), Err("holds no authority that is valid now"));
        assert_eq!(is_valid(b"", now), Err("is empty"));
        assert!(is_valid(b"x", now).is_err());
    }
}
