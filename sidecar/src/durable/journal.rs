//! Where changes of streams are made to last, before they are seen and answered.

use std::fmt::Debug;

use super::{
    refusal::Refusal,
    state::{Accepted, State},
    stream::Config,
};
use crate::log::Pending;

/// A change of one stream. All of them, replayed in order, make the streams again.
#[derive(Debug)]
#[expect(dead_code, reason = "the one journal there is forgets all of it")]
pub(crate) enum Change<'a> {
    /// There is a stream, with what it inherits or was created with.
    Created { path: &'a str, config: &'a Config, state: &'a State },
    /// It has more.
    Appended { path: &'a str, accepted: &'a Accepted },
    /// It is gone.
    Deleted { path: &'a str },
}

/// Makes changes last.
///
/// Laws: changes of one stream are recorded one after the other, and `record` answers when a change is
/// as safe as is promised. What it refuses has not happened.
pub(crate) trait Journal: Debug + Send + Sync {
    fn record<'a>(&'a self, change: Change<'a>) -> Pending<'a, Result<(), Refusal>>;
}

/// Remembers nothing: the streams are in memory, and end with the process.
#[derive(Debug, Default)]
pub(crate) struct Forgetful;

impl Journal for Forgetful {
    fn record<'a>(&'a self, _: Change<'a>) -> Pending<'a, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
