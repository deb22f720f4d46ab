//! The certificates that are in use, by the names of their Secrets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    client::verify_server_name,
    pki_types::ServerName,
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::pair::{Pair, PairError};

/// The certificates that are wanted.
#[derive(Debug)]
pub(super) struct Certificates {
    /// Where the Secrets are mounted.
    directory: PathBuf,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// The good ones of the slots, to be looked at without the lock.
    usable: ArcSwap<Usable>,
}

/// What handshakes see.
#[derive(Debug, Default)]
struct Usable {
    /// Whether any pipeline asks for TLS.
    wanted: bool,
    keys: Vec<Arc<CertifiedKey>>,
}

/// One Secret.
#[derive(Debug, Default)]
struct Slot {
    /// What was read last, good or not.
    seen: Option<Result<Pair, PairError>>,
    /// What is wrong with that.
    fault: Option<PairError>,
    /// The last good pair.
    key: Option<Arc<CertifiedKey>>,
}

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The Secret's name.
    pub secret: String,
    /// Whether there is a good one, be it an older one.
    pub usable: bool,
    /// What is wrong with what lies on disk.
    pub fault: Option<String>,
}

impl Certificates {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            slots: Mutex::default(),
            usable: ArcSwap::default(),
        }
    }

    /// Reads what is wanted, by which pipelines, and has changed; and forgets what is not wanted any more.
    pub(super) fn refresh(&self, wanted: BTreeMap<String, Vec<String>>) {
        let mut slots = self.slots.lock();
        slots.retain(|secret, _| wanted.contains_key(secret));
        for (secret, pipelines) in wanted {
            let pair = Pair::read(&self.directory.join(&secret));
            let pipelines = pipelines.join(", ");
            slots.entry(secret.clone()).or_default().take(&secret, &pipelines, pair);
        }
        let keys = slots.values().filter_map(|slot| slot.key.as_ref().map(Arc::clone)).collect();
        self.usable.store(Arc::new(Usable { wanted: !slots.is_empty(), keys }));
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.usable.load().wanted
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        let slots = self.slots.lock();
        let standing = |(secret, Slot { seen: _, fault, key }): (&String, &Slot)| Standing {
            secret: secret.clone(),
            usable: key.is_some(),
            fault: fault.as_ref().map(ToString::to_string),
        };
        slots.iter().map(standing).collect()
    }
}

impl Slot {
    /// Takes up what was read, where it is new and good; says so, where it is new and not.
    fn take(&mut self, secret: &str, pipelines: &str, read: Result<Pair, PairError>) {
        if self.seen.as_ref() == Some(&read) {
            return;
        }
        let certified = read.as_ref().map_err(Clone::clone).and_then(Pair::certified);
        self.seen = Some(read);
        match certified {
            Ok(key) => {
                tracing::info!(secret, pipelines, "took up a certificate");
                self.fault = None;
                self.key = Some(Arc::new(key));
            }
            Err(fault) => {
                let stays =
                    if self.key.is_some() { "the last good one stays" } else { "none is there" };
                tracing::error!(
                    secret,
                    pipelines,
                    %fault,
                    "refused the certificate of spec.endpoints.tls, {stays}"
                );
                self.fault = Some(fault);
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    /// The certificate that is valid for the name that the client gives; the first, where none is or no
    /// name is given: then it is the client's to judge.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = self.usable.load();
        let named = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let of_name =
            named.and_then(|name| usable.keys.iter().find(|key| is_valid_for(key, &name)));
        of_name.or_else(|| usable.keys.first()).map(Arc::clone)
    }
}

fn is_valid_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().ok();
    let parsed = certificate.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
}
