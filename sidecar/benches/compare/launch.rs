//! Becomes a server that keeps to its core and doesn't outlive the load generator.
//!
//! Both must be set in the new process before its program starts, and both survive `execve`; so the
//! load generator starts itself in this mode, and this mode replaces itself with the server.

use std::{
    convert::Infallible, ffi::OsString, os::unix::process::CommandExt as _, path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::machine;

/// Becomes `command`.
pub(crate) fn launch(core: Option<usize>, command: &[OsString]) -> Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if let Some(core) = core {
        machine::keep_to(core)?;
    }
    let (program, arguments) = command.split_first().context("there is no command to launch")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("can't start {}", Path::new(program).display()))
}
