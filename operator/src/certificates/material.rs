//! What the Secret holds: the authorities, the newest one's key, the certificate and its key, as PEM.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_crds::names::{MANAGED_BY, label};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";

/// What the Secret holds. It has no `Debug`, so that no log ever shows a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    /// The certificates of the authorities, the newest first.
    pub(super) authorities: String,
    /// The newest authority's key; empty, or another one's, where somebody else has made the certificate.
    pub(super) authority_key: String,
    /// The webhook's certificate.
    pub(super) certificate: String,
    /// The webhook's key.
    pub(super) key: String,
}

impl Material {
    /// Reads a Secret; `None` where a part that is needed to serve is missing or is no text.
    pub(super) fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            authorities: text(AUTHORITIES)?,
            authority_key: text(AUTHORITY_KEY).unwrap_or_default(),
            certificate: text(CERTIFICATE)?,
            key: text(KEY)?,
        })
    }

    /// The Secret that holds it.
    pub(super) fn secret(&self, name: &str) -> Secret {
        let Self { authorities, authority_key, certificate, key } = self;
        let parts = [
            (AUTHORITIES, authorities),
            (AUTHORITY_KEY, authority_key),
            (CERTIFICATE, certificate),
            (KEY, key),
        ];
        let bytes = |text: &String| ByteString(text.clone().into_bytes());
        let data = parts.map(|(name, text)| (name.to_owned(), bytes(text)));
        let labels = [(label::MANAGED_BY.to_owned(), MANAGED_BY.to_owned())];
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from(labels)),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_gives_back_what_it_was_made_of_and_is_read_without_the_key_of_an_authority() {
        let material = Material {
            authorities: "a".to_owned(),
            authority_key: "b".to_owned(),
            certificate: "c".to_owned(),
            key: "d".to_owned(),
        };
        let mut secret = material.secret("name");
        assert!(Material::of(&secret) == Some(material));
        secret.data.as_mut().unwrap().remove("ca.key");
        assert_eq!(Material::of(&secret).unwrap().authority_key, "");
        secret.data.as_mut().unwrap().remove("tls.key");
        assert!(Material::of(&secret).is_none());
    }
}
