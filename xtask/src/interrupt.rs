//! Notices that the user wants to stop, so that what was started can be ended first.
//!
//! Laws: after the first interrupt or termination signal no program is waited for any longer, except while
//! things are being ended; the second signal ends this program at once. Without [`watch`] a signal does
//! what it always does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell says of a program that was interrupted: 128 and the number of SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static ENDING: AtomicBool = AtomicBool::new(false);

/// Begins to notice.
///
/// # Errors
/// When the system refuses.
pub(crate) fn watch() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the signal that sets the flag finds it unset.
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&REQUESTED))
            .and_then(|_| flag::register(signal, Arc::clone(&REQUESTED)))
            .context("could not watch for interrupts")?;
    }
    Ok(())
}

/// Whether the user wants to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Whether to wait for no program any longer.
pub(crate) fn ends_waits() -> bool {
    requested() && !ENDING.load(Ordering::Relaxed)
}

/// Ends something, for which programs are called and waited for in spite of an interrupt.
pub(crate) fn while_ending<T>(end: impl FnOnce() -> T) -> T {
    ENDING.store(true, Ordering::Relaxed);
    let ended = end();
    ENDING.store(false, Ordering::Relaxed);
    ended
}
