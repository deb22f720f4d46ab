//! Remembers since when objects fail for reasons that pass by themselves, so that a burst of them is told to nobody.
//!
//! # Laws
//!
//! - An answer such as 429 or 503, a conflict and a broken connection say nothing about the object that was
//!   reconciled: its status and its Events stay as they are, for a minute.
//! - What lasts for longer is told like any other failure.

use std::collections::HashMap;
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::failure::Category;

/// For how long failures in a row are borne. An API server that is restarted is back by then.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than the longest pause between two tries: an object that has not failed for so long was deleted.
const FORGOTTEN: Duration = Duration::from_mins(15);

/// The failures in a row of each object, by uid.
#[derive(Debug, Default)]
pub struct Patience(Mutex<HashMap<String, Failing>>);

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
}

impl Patience {
    /// Whether a failure of an object is borne, and told to nobody yet.
    #[must_use]
    pub fn bears(&self, object: &impl Resource, category: Category) -> bool {
        if !category.passes() {
            return false;
        }
        let now = Instant::now();
        let mut failing = self.0.lock();
        failing.retain(|_, failing| now.duration_since(failing.last) < FORGOTTEN);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let failing = failing.entry(uid).or_insert(Failing { since: now, last: now });
        failing.last = now;
        now.duration_since(failing.since) < PATIENCE
    }

    /// Forgets the failures of an object that fails no longer, or for another reason.
    pub fn forget(&self, object: &impl Resource) {
        if let Some(uid) = &object.meta().uid {
            self.0.lock().remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pipeline;

    #[tokio::test(start_paused = true)]
    async fn what_passes_by_itself_is_borne_for_a_minute_in_a_row() {
        let (patience, orders) = (Patience::default(), pipeline("orders"));
        assert!(!patience.bears(&orders, Category::Forbidden));
        assert!(patience.bears(&orders, Category::Unavailable));
        tokio::time::advance(PATIENCE / 2).await;
        assert!(patience.bears(&orders, Category::Transport));
        tokio::time::advance(PATIENCE / 2).await;
        assert!(
            patience.bears(&pipeline("other"), Category::Conflict),
            "it fails for the first time"
        );
        assert!(!patience.bears(&orders, Category::Unavailable));
        patience.forget(&orders);
        assert!(patience.bears(&orders, Category::Unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_gone_is_forgotten() {
        let patience = Patience::default();
        assert!(patience.bears(&pipeline("gone"), Category::Unavailable));
        tokio::time::advance(FORGOTTEN).await;
        assert!(patience.bears(&pipeline("orders"), Category::Unavailable));
        assert_eq!(patience.0.lock().len(), 1);
    }
}
