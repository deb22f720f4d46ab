//! What a session looks like to whoever drives it.

use std::{
    io::IoSlice,
    task::Context,
    time::{Duration, Instant},
};

use crate::count::EndReason;

/// What is held over a connection: it is told what the peer sent and what the wire took, and says what to
/// write and what to wait for. It does no I/O.
pub trait Conversation: Send + 'static {
    /// Whether it is worth to read from the wire.
    fn wants_input(&self) -> bool;

    /// Takes what the peer sent.
    fn hear(&mut self, bytes: &[u8], now: Instant);

    /// Does all that can be done now, and arranges to be woken when there is more.
    fn poll(&mut self, context: &mut Context<'_>);

    /// The bytes to write, in order.
    fn slices(&self) -> [IoSlice<'_>; 4];

    /// Takes note that the wire took so many of them.
    fn advance(&mut self, count: usize, now: Instant);

    /// Does what is due with time; the wire has taken nothing since `blocked`. `false` where the peer is
    /// gone.
    fn tick(&mut self, blocked: Option<Instant>, now: Instant) -> bool;

    /// Whether something is due before `soon`.
    fn is_restless(&self, soon: Instant) -> bool;

    /// Sends the peer away, for this reason.
    fn leave(&mut self, why: EndReason);

    /// Takes note that a peer that is sent away has little time: what takes long is given up.
    fn hurry(&mut self);

    /// Takes note why the connection ends, unless it does for something that came before.
    fn ends_for(&mut self, why: EndReason);

    /// Whether all that is to be said is said.
    fn is_over(&self) -> bool;

    /// How long it may last; `None` where that is not bounded.
    fn lifetime(&self) -> Option<Duration>;

    /// Whether it is to end because a replica has more than its share, and after how long. To be asked now and
    /// then.
    fn shed(&mut self) -> Option<Duration>;

    /// The time over which a stopping replica sends its peers away.
    fn drain_window(&self) -> Duration;
}
