//! Remembers which pipelines are as they should be, so that nothing is written where nothing is to be done.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::observe::Versions;

/// What was written for each pipeline, by its uid.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<HashMap<String, Written>>);

#[derive(Debug, PartialEq, Eq)]
struct Written {
    /// Of what was wanted.
    fingerprint: u64,
    /// Of what stood then.
    versions: Versions,
}

impl Settled {
    /// Whether the same was written before, and nobody has touched it since.
    pub(super) fn is(&self, uid: &str, fingerprint: u64, versions: &Versions) -> bool {
        let settled = self.0.lock();
        let written = settled.get(uid);
        written.is_some_and(|w| w.fingerprint == fingerprint && w.versions == *versions)
    }

    /// Notes what was written.
    pub(super) fn note(&self, uid: &str, fingerprint: u64, versions: Versions) {
        self.0.lock().insert(uid.to_owned(), Written { fingerprint, versions });
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, is_living: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| is_living(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(of_service: &str) -> Versions {
        let mut versions = Versions::default();
        versions.0[1] = Some(of_service.to_owned());
        versions
    }

    #[test]
    fn what_somebody_touched_or_what_is_to_be_another_is_written_again() {
        let settled = Settled::default();
        assert!(!settled.is("a", 1, &versions("7")));
        settled.note("a", 1, versions("7"));
        assert!(settled.is("a", 1, &versions("7")));
        assert!(!settled.is("a", 2, &versions("7")));
        assert!(!settled.is("a", 1, &versions("8")));
        assert!(!settled.is("b", 1, &versions("7")));
        settled.keep_only(|uid| uid == "b");
        assert!(!settled.is("a", 1, &versions("7")));
    }
}
