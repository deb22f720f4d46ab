//! The cluster's certificate authority and the certificates of its components.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::layout::Layout;

/// A certificate with its key, both as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs certificates for as long as one `up` runs; the key is also written for the controller manager,
/// which signs what is asked for through the API.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate as PEM.
    pub(crate) certificate: String,
    folder: PathBuf,
}

impl Authority {
    /// Makes a new authority and writes `ca.crt` and `ca.key`.
    ///
    /// # Errors
    /// When a key cannot be made or a file not be written.
    pub(crate) fn new(layout: &Layout) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("weir-test-ca", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        let folder = layout.pki();
        let identity = Identity { certificate: certificate.clone(), key: key.serialize_pem() };
        let authority = Self { issuer: Issuer::new(params, key), certificate, folder };
        authority.write("ca", &identity)?;
        Ok(authority)
    }

    /// A client certificate: `user` and `group` are what RBAC sees.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, group);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate for `hosts`, which are DNS names and addresses.
    ///
    /// # Errors
    /// When a host is neither or a key cannot be made.
    pub(crate) fn server(&self, user: &str, hosts: &[&str]) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = name(user, None);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Writes `NAME.crt` and `NAME.key`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn write(&self, name: &str, identity: &Identity) -> Result<()> {
        std::fs::write(self.folder.join(format!("{name}.crt")), &identity.certificate)?;
        write_private(self.folder.join(format!("{name}.key")), &identity.key)
    }

    /// Writes the key pair that signs service account tokens, as `service-accounts.key` and `.pub`.
    ///
    /// # Errors
    /// When a key cannot be made or a file not be written.
    pub(crate) fn write_token_keys(&self) -> Result<()> {
        let key = KeyPair::generate()?;
        std::fs::write(self.folder.join("service-accounts.pub"), key.public_key_pem())?;
        write_private(self.folder.join("service-accounts.key"), &key.serialize_pem())
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }
}

fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: PathBuf, content: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::in_folder(dir.path());
        layout.make_folders().unwrap();
        let authority = Authority::new(&layout).unwrap();
        authority.write_token_keys().unwrap();
        for key in ["ca.key", "service-accounts.key"] {
            let mode = layout.pki().join(key).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_server_certificate_names_hosts_and_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::in_folder(dir.path());
        layout.make_folders().unwrap();
        let authority = Authority::new(&layout).unwrap();
        let identity = authority.server("api", &["kubernetes.default.svc", "10.96.0.1"]).unwrap();
        let body: String = identity.certificate.lines().filter(|l| !l.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        let holds = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        assert!(holds(b"kubernetes.default.svc") && holds(&[10, 96, 0, 1]));
    }
}
