//! TLS in a build without it: nothing asks for it, because no manifest that does is taken.

use std::{io, path::Path};

use crate::registry::Registry;

/// What would do the handshakes.
#[derive(Debug, Clone)]
pub struct Tls;

/// How a certificate would stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The Secret's name.
    pub secret: String,
    /// Whether there is a good one.
    pub usable: bool,
    /// What is wrong with what lies on disk.
    pub fault: Option<String>,
}

impl Tls {
    /// Looks at no directory.
    ///
    /// # Errors
    ///
    /// Never fails.
    pub const fn new(_: &Path) -> io::Result<Self> {
        Ok(Self)
    }

    /// Does nothing.
    pub const fn refresh(&self, _: &Registry) {}

    /// Nobody shakes hands.
    #[must_use]
    pub const fn failures(&self) -> [(&'static str, u64); 0] {
        []
    }

    /// There are none.
    #[must_use]
    pub const fn standings(&self) -> Vec<Standing> {
        Vec::new()
    }
}
