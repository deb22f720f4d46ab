//! A certificate and its key, as a mounted Secret of the type `kubernetes.io/tls` has them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

/// The files of a Secret.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How often the files are read again when they change meanwhile.
const ATTEMPTS: usize = 3;

/// What is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PairError {
    /// A file can't be read.
    #[error("{}: {reason}: Secrets are looked for in the directory that --secrets-dir names", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There is no certificate in the file.
    #[error(
        "tls.crt holds no certificate in PEM: put the certificate there, and behind it its chain"
    )]
    NoCertificate,
    /// There is no key in the file.
    #[error(
        "tls.key holds no private key in PEM: put the unencrypted key of the certificate there"
    )]
    NoKey,
    /// The two don't belong together, or can't be used.
    #[error("tls.crt and tls.key can't be used together: {0}")]
    Unusable(String),
}

/// The bytes of the two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// Reads the files, both of one version: a Secret may be exchanged between two reads.
    pub(super) fn read(directory: &Path) -> Result<Self, PairError> {
        let read = |file: &'static str| {
            let file = directory.join(file);
            let read = fs::read(&file);
            read.map_err(|error: io::Error| PairError::Read { file, reason: error.to_string() })
        };
        let mut key = read(KEY)?;
        for _ in 0..ATTEMPTS {
            let certificate = read(CERTIFICATE)?;
            let again = read(KEY)?;
            if again == key {
                return Ok(Self { certificate, key });
            }
            key = again;
        }
        let file = directory.join(KEY);
        Err(PairError::Read { file, reason: "it changes all the time".to_owned() })
    }

    /// What a handshake needs, where the pair is good.
    pub(super) fn certified(&self) -> Result<CertifiedKey, PairError> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate);
        let chain: Vec<_> =
            chain.collect::<Result<_, _>>().map_err(|_| PairError::NoCertificate)?;
        if chain.is_empty() {
            return Err(PairError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| PairError::NoKey)?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| PairError::Unusable(error.to_string()))
    }
}
