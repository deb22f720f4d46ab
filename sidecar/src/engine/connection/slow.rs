//! What becomes of a subscriber that doesn't keep up, by its pipeline's policy.

use std::time::Duration;

use weir_crds::v1alpha1::SlowConsumer;

use super::{Connection, Now, Phase, Tick, Turn, farewell::Farewell, ticks};
use crate::{
    count::EndReason,
    engine::wire::Wire,
    frame::{self, Control, GapReason},
    hub::Settings,
    log::Offset,
};

/// How long a subscriber that is cut off has to take what was begun, and its farewell.
pub(super) const LAST_TRY: Duration = Duration::from_secs(1);

impl<W: Wire> Connection<W> {
    /// Ends a connection whose subscriber doesn't keep up: with a farewell, where the socket takes one in
    /// time.
    pub(super) fn cut_off(&mut self, now: Now<'_>, patience: Tick) -> Turn {
        now.hub.accounts().cut_off.add(1);
        self.cut_off_at = Some(now.tick.saturating_add(patience));
        if patience == 0 || self.phase != Phase::Streaming {
            return self.over();
        }
        self.phase = Phase::Leaving;
        self.outlet.take_back();
        self.say_farewell_soon(now, Farewell::of(EndReason::SlowConsumer));
        // The kernel says that there is room when a third is free; there may be some before that.
        self.blocked_since = None;
        Turn::More
    }

    /// It has all there is: from now on it is behind only if it doesn't keep up.
    pub(super) fn reach_head(&mut self, now: Now<'_>) {
        self.live = true;
        if self.mark.is_none() {
            self.mark = now.hub.mark(self.outlet.unwritten());
        }
    }

    pub(super) fn move_mark(&self) {
        if let Some(mark) = &self.mark {
            mark.set(self.outlet.unwritten());
        }
    }

    /// Deals with a subscriber that is behind by too much, where it need not be cut off. Says whether it
    /// was moved on.
    pub(super) fn catch_up(&mut self, now: Now<'_>) -> bool {
        let (conflates, drops) =
            (now.hub.deals_by(SlowConsumer::Conflate), now.hub.deals_by(SlowConsumer::DropOldest));
        if !(conflates || drops) {
            return false;
        }
        let settings = now.hub.settings();
        if !self.is_too_far_behind(now, &settings) {
            return false;
        }
        if conflates {
            self.conflated_until = now.hub.head();
            return false;
        }
        self.drop_oldest(now, &settings)
    }

    /// Skips the oldest of what waits. Says whether it did.
    fn drop_oldest(&mut self, now: Now<'_>, settings: &Settings) -> bool {
        let next = self.outlet.next();
        let until = now.hub.skips_until(next, settings);
        if until == next {
            return false;
        }
        self.lose(now, until, GapReason::SlowConsumer);
        true
    }

    /// Gives up what is before `first`, and goes on there: with a gap, unless nothing of it was for the
    /// subscriber.
    pub(super) fn lose(&mut self, now: Now<'_>, first: Offset, reason: GapReason) {
        let next = self.outlet.next();
        let filter = self.seat.filter().map(AsRef::as_ref);
        let missed = now.hub.give_up(now.shard, filter, next..first);
        if missed == 0 {
            return self.pass_to(first);
        }
        now.hub.accounts().dropped(now.shard, missed);
        now.hub.accounts().gaps.count(reason);
        let (from, to) =
            (now.hub.cursor(next - 1).to_string(), now.hub.cursor(first - 1).to_string());
        let control = Control::Gap { from: Some(&from), to: &to, missed: Some(missed), reason };
        let mut frame = Vec::new();
        frame::encode_control(self.format, &control, &mut frame);
        self.outlet.push_control(&frame);
        self.outlet.skip_to(first);
        self.move_mark();
    }

    /// Goes on at `next`, past events that are not for the subscriber.
    pub(super) fn pass_to(&mut self, next: Offset) {
        self.outlet.skip_to(next);
        self.stale = true;
        self.move_mark();
    }

    /// Learns what its filter says of what waits for it, while it can't be written.
    pub(super) fn look_ahead(&self, now: Now<'_>) {
        if let (Some(_), Some(filter)) = (self.blocked_since, self.seat.filter()) {
            now.hub.look_ahead(filter, self.outlet.unwritten()..now.hub.head());
        }
    }

    /// Gives up what is not written up to before `head`. Returns how much of it would have been.
    pub(super) fn give_up(&self, now: Now<'_>, head: Offset) -> u64 {
        let filter = self.seat.filter().map(AsRef::as_ref);
        now.hub.give_up(now.shard, filter, self.outlet.unwritten()..head)
    }

    /// Whether its socket takes nothing, for so long that the peer is taken for dead. Less long where
    /// publishers wait for it.
    pub(super) fn is_stalled(&self, now: Now<'_>) -> bool {
        let Some(since) = self.blocked_since else { return false };
        let patience = now.hub.patience(self.mark.as_ref());
        now.tick.saturating_sub(since) >= ticks(patience)
    }

    pub(super) fn is_out_of_bounds(&self, now: Now<'_>, settings: &Settings) -> bool {
        let disconnects = match settings.slow_consumer {
            SlowConsumer::Disconnect => true,
            SlowConsumer::Conflate | SlowConsumer::DropOldest | SlowConsumer::Block => false,
        };
        disconnects
            && self.live
            && self.blocked_since.is_some()
            && self.is_too_far_behind(now, settings)
    }

    fn is_too_far_behind(&self, now: Now<'_>, settings: &Settings) -> bool {
        let filter = self.seat.filter().map(AsRef::as_ref);
        now.hub.is_too_far(self.outlet.unwritten(), filter, settings)
    }
}
