//! `cargo xtask arch`: the rules of the house that the compiler and clippy don't hold.

mod crates;
mod files;

use anyhow::{Result, ensure};

/// `cargo xtask arch`.
///
/// # Errors
/// When a rule is broken: all breaches, each with its remedy.
pub(crate) fn check() -> Result<()> {
    let breaches = [crates::breaches()?, files::breaches()?].concat();
    ensure!(breaches.is_empty(), "the rules of the house are broken:\n  {}", breaches.join("\n  "));
    Ok(())
}
