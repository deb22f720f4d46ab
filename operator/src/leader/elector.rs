//! Runs an election: acquire, hold, release.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::candidate::{Candidate, Step};
use super::{LeaseStore, StoreError, Timing};

/// One replica in an election.
pub struct Elector<S> {
    store: S,
    candidate: Candidate,
    timing: Timing,
    /// From when on the last successful write of the lease counts.
    renewed: Instant,
}

/// The lease could not be renewed in time, or another candidate holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lost the leadership: the lease could not be renewed in time")]
pub struct Lost;

impl<S: LeaseStore> Elector<S> {
    /// A candidate of this identity, which no other may have.
    #[must_use]
    pub fn new(store: S, identity: String, timing: Timing) -> Self {
        Self { store, candidate: Candidate::new(identity, timing), timing, renewed: Instant::now() }
    }

    /// Waits until this candidate leads. Answers `false` where `stop` is cancelled before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        let mut complained = false;
        while !stop.is_cancelled() {
            match self.attempt(Instant::now() + self.timing.renew).await {
                Ok(true) => return true,
                Ok(false) | Err(StoreError::Conflict) => complained = false,
                // The same complaint every two seconds would bury everything else.
                Err(error) if !complained => {
                    tracing::warn!(%error, "can't take part in the election of a leader");
                    complained = true;
                }
                Err(_) => {}
            }
            self.pause(stop).await;
        }
        false
    }

    /// Renews the lease until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// Fails as soon as another candidate may begin to lead; what only a leader may do must stop then.
    pub async fn hold(&mut self, stop: &CancellationToken) -> Result<(), Lost> {
        while !stop.is_cancelled() {
            let deadline = self.renewed + self.timing.renew;
            match self.attempt(deadline).await {
                Ok(true) | Err(StoreError::Conflict) => {}
                Ok(false) => return Err(Lost),
                Err(error) => tracing::warn!(%error, "lease not renewed"),
            }
            if Instant::now() >= self.renewed + self.timing.renew {
                return Err(Lost);
            }
            self.pause(stop).await;
        }
        Ok(())
    }

    /// Gives the lease back, so that another candidate leads at once. A failure costs the others the
    /// lease's duration, nothing more.
    pub async fn release(&mut self) {
        let give_back = async {
            let Some(lease) = self.store.get().await? else { return Ok(()) };
            match self.candidate.release(&lease, Timestamp::now()) {
                Some(spec) => self.store.replace(lease, spec).await,
                None => Ok(()),
            }
        };
        let deadline = Instant::now() + self.timing.retry;
        match timeout_at(deadline, give_back).await.unwrap_or(Err(StoreError::Late)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "lease not released"),
        }
    }

    /// Looks at the lease and takes or renews it where that may be. Answers whether it is held now.
    async fn attempt(&mut self, deadline: Instant) -> Result<bool, StoreError> {
        timeout_at(deadline, self.compete()).await.unwrap_or(Err(StoreError::Late))
    }

    async fn compete(&mut self) -> Result<bool, StoreError> {
        // Others count from when they see the write, which is later: so this errs on the safe side.
        let started = Instant::now();
        let found = self.store.get().await?;
        match (self.candidate.decide(found.as_ref(), Instant::now(), Timestamp::now()), found) {
            (Step::Create(spec), _) => self.store.create(spec).await?,
            (Step::Replace(spec), Some(lease)) => self.store.replace(lease, spec).await?,
            (Step::Replace(_), None) | (Step::Wait, _) => return Ok(false),
        }
        self.renewed = started;
        Ok(true)
    }

    async fn pause(&self, stop: &CancellationToken) {
        // Jitter keeps candidates that started together from writing together.
        let jitter: Duration = self.timing.retry.mul_f64(0.2 * fastrand::f64());
        tokio::select! {
            () = sleep(self.timing.retry + jitter) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests;
