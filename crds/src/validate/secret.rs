//! Checks what refers to Secrets.

use super::{Violations, label::is_dns_subdomain};
use crate::v1alpha1::SecretKey;

pub(super) fn check_secret_key(found: &mut Violations, field: &str, reference: &SecretKey) {
    let SecretKey { secret_name, key } = reference;
    found.require(
        is_dns_subdomain(secret_name),
        format!("{field}.secretName"),
        "must be a Secret's name",
    );
    found.require(
        is_data_key(key),
        format!("{field}.key"),
        "must be a key of a Secret's data: letters, digits, '-', '_' and '.'",
    );
}

fn is_data_key(key: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=253).contains(&key.len()) && key.bytes().all(inner) && !key.starts_with("..") && key != "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_can_not_lead_out_of_its_directory() {
        for key in ["jwks.json", "a_B-1", ".hidden"] {
            assert!(is_data_key(key), "{key}");
        }
        for key in ["", ".", "..", "..data", "a/b", "a b", &"k".repeat(254)] {
            assert!(!is_data_key(key), "{key}");
        }
    }
}
