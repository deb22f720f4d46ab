//! Stands for what verifies tokens in a build that can't: there is none, and the reader of manifests
//! refuses those that ask for one.

use std::path::Path;

use weir_crds::v1alpha1::{Auth, Jwt};

use super::{KeysReading, Verified, refusal::Refusal, secret::Secret};

/// What verifies tokens. There is no value of it.
#[derive(Debug)]
pub(super) enum Bearer {}

/// A ticket that somebody is about to use. There is no value of it.
#[derive(Debug)]
pub(super) enum Taken {}

impl Taken {
    pub(super) const fn spend(self) {
        match self {}
    }
}

impl Bearer {
    pub(super) const fn start(_: &str, _: &Auth, _: &Path, _: Option<&Self>) -> Option<Self> {
        None
    }

    pub(super) const fn jwt(&self) -> &Jwt {
        match *self {}
    }

    pub(super) const fn keys(&self) -> KeysReading {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the one that is able waits for keys")]
    pub(super) async fn verify(&self, _: &Secret) -> Result<Verified, Refusal> {
        match *self {}
    }

    pub(super) fn issue(&self, _: Verified) -> Option<Result<Secret, Refusal>> {
        match *self {}
    }

    pub(super) const fn ticket_seconds(&self) -> Option<u64> {
        match *self {}
    }

    pub(super) const fn take(&self, _: &Secret) -> Result<(Verified, Taken), Refusal> {
        match *self {}
    }
}
