//! Where changes of streams are made to last, before they are seen and answered.

pub(crate) mod disk;
mod record;

use std::fmt::Debug;

use super::{
    refusal::Refusal,
    state::{Accepted, State},
    stream::Config,
};
use crate::log::Pending;

/// A change of one stream. All of them, replayed in order, make the streams again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    /// There is a stream, with what it inherits or was created with.
    Created { path: &'a str, config: &'a Config, state: &'a State },
    /// It has more.
    Appended { path: &'a str, accepted: &'a Accepted },
    /// It is deleted, and stays for its forks.
    Kept { path: &'a str },
    /// It is gone.
    Gone { path: &'a str },
}

/// Makes changes last.
///
/// Laws: changes of one stream are recorded one after the other, and `record` answers when a change is
/// as safe as is promised. What it refuses has not happened.
pub(crate) trait Journal: Debug + Send + Sync {
    fn record<'a>(&'a self, change: Change<'a>) -> Pending<'a, Result<(), Refusal>>;

    /// Does what is due every second.
    fn tick(&self) -> Pending<'_, ()>;

    /// Ends: what was recorded is safe when this has answered, and nothing is recorded any more.
    fn close(&self) -> Pending<'_, ()>;
}

/// A stream as a journal remembers it.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) path: Box<str>,
    pub(crate) config: Config,
    pub(crate) state: State,
}

/// Remembers nothing: the streams are in memory, and end with the process.
#[derive(Debug, Default)]
pub(crate) struct Forgetful;

impl Journal for Forgetful {
    fn record<'a>(&'a self, _: Change<'a>) -> Pending<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn tick(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
