//! Runs named tasks side by side. The end of any of them that nobody asked for is noticed.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};
use tracing::Instrument;

/// Named tasks.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// Whether it panicked.
    pub panicked: bool,
}

impl Tasks {
    /// Starts a task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::info_span!("task", task = name);
        let handle = self.set.spawn(task.instrument(span));
        self.names.insert(handle.id(), name);
    }

    /// Waits for the end of one; for ever where there is none.
    pub async fn ended(&mut self) -> Ended {
        let Some(joined) = self.set.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, panicked) = match joined {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        Ended { name: self.names.remove(&id).unwrap_or("unnamed"), panicked }
    }

    /// Waits for the end of all of them.
    pub async fn join(&mut self) {
        while !self.set.is_empty() {
            let Ended { name, panicked } = self.ended().await;
            if panicked {
                tracing::error!(task = name, "panicked while stopping");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("endless", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.ended().await, Ended { name: "short", panicked: false });
        tasks.spawn("broken", async { panic!("on purpose") });
        assert_eq!(tasks.ended().await, Ended { name: "broken", panicked: true });
    }

    #[tokio::test]
    async fn joining_waits_for_all() {
        let mut tasks = Tasks::default();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("waits", async {
            receiver.await.unwrap();
        });
        tasks.spawn("wakes", async {
            tokio::task::yield_now().await;
            sender.send(()).unwrap();
        });
        tasks.join().await;
        assert!(tasks.set.is_empty());
    }
}
