//! How a session ends, and each of its subscriptions.

use std::sync::Arc;

use super::{
    Session,
    reply::{Failure, Reply},
    subscription::Subscription,
};
use crate::{
    count::{EndReason, Seat},
    frame::websocket::{self, CloseCode},
    hub::Hub,
};

/// A subscription that has ended, and the cursor behind which it can go on.
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) cursor: String,
}

impl Session {
    /// Ends a subscription. What is said of that next goes before a batch that has not begun, which is taken
    /// back, and behind one that has.
    pub(super) fn end_subscription(&mut self, place: usize, why: EndReason) -> Ended {
        let mut subscription = self.subscriptions.remove(place);
        if self.outbox.take_back(subscription.number) {
            subscription.take_back();
        }
        let ended = Ended { id: subscription.id.clone(), cursor: subscription.cursor() };
        let seat = subscription.take_seat();
        self.give_back(&subscription.hub, seat, why);
        if self.outbox.has_batch_of(subscription.number) {
            self.parting = Some(subscription);
        }
        ended
    }

    /// Gives a seat back that a subscription no longer needs, for what that has ended; or keeps it, where the socket
    /// has no other. The one that is left counts among its client's connections.
    fn give_back(&mut self, hub: &Arc<Hub>, seat: Option<Seat>, why: EndReason) {
        let Some(seat) = seat else { return };
        let mut seat = seat.with_filter(None);
        seat.ends_for(why);
        if !Arc::ptr_eq(hub, &self.hub) {
            return;
        }
        let others = self.subscriptions.iter_mut().filter(|other| Arc::ptr_eq(&other.hub, hub));
        let others = others.filter_map(Subscription::seat).chain(&mut self.spare);
        match others.last() {
            Some(other) => other.inherit(&mut seat),
            None => self.spare = Some(seat),
        }
    }

    /// Ends all subscriptions, for what the session does.
    pub(super) fn end_subscriptions(&mut self) -> Vec<Ended> {
        let why = self.ends_for.unwrap_or(EndReason::Client);
        (0..self.subscriptions.len()).map(|_| self.end_subscription(0, why)).collect()
    }

    /// Ends all subscriptions with a failure, each with its cursor. Where there is none, that of the connection says
    /// why it ends.
    pub(super) fn fail_all(&mut self, code: &'static str, message: &str, retry_ms: u64) {
        let ended = self.end_subscriptions();
        if ended.is_empty() {
            let failure = Failure::new("connection", "", code, message);
            self.say(Reply::Failure(&Failure { retry_ms: Some(retry_ms), ..failure }));
        }
        for Ended { id, cursor } in ended {
            let failure = Failure::new("subscription", &id, code, message);
            let (retry_ms, cursor) = (Some(retry_ms), Some(cursor));
            self.say(Reply::Failure(&Failure { retry_ms, cursor, ..failure }));
        }
    }

    /// Closes, with the hint when to come back that the subscriptions were given.
    pub(super) fn send_away(&mut self, code: CloseCode, retry_ms: u64) {
        let mut close = Vec::new();
        websocket::encode_close_hint(code, retry_ms, None, &mut close);
        self.end(&close);
    }

    pub(super) fn close(&mut self, code: CloseCode, reason: &str) {
        let mut close = Vec::new();
        websocket::encode_close(code, reason, &mut close);
        self.end(&close);
    }

    /// Says the last that is said. Nothing that has not begun to be sent comes behind it.
    fn end(&mut self, farewell: &[u8]) {
        self.begin_to_leave();
        self.outbox.end(farewell);
    }

    /// The same, as soon as a frame has ended: the client has closed, or broken the protocol, and wants nothing more.
    /// Says whether it ends with this, and not with what was to be said last before.
    pub(super) fn end_now(&mut self, farewell: &[u8]) -> bool {
        self.begin_to_leave();
        self.outbox.close(farewell)
    }

    fn begin_to_leave(&mut self) {
        self.leaving = true;
        self.end_subscriptions();
        self.unburden();
    }
}
