//! How a session ends, and each of its subscriptions.

use super::{
    Session,
    reply::{Failure, Reply},
};
use crate::frame::websocket::{self, CloseCode};

/// A subscription that has ended, and the cursor behind which it can go on.
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) cursor: String,
}

impl Session {
    /// Ends a subscription. What is said of that next goes before a batch that has not begun, which is taken
    /// back, and behind one that has.
    pub(super) fn end_subscription(&mut self, place: usize) -> Ended {
        let mut subscription = self.subscriptions.remove(place);
        if self.outbox.take_back(subscription.number) {
            subscription.take_back();
        }
        let ended = Ended { id: subscription.id.clone(), cursor: subscription.cursor() };
        let seat = subscription.take_seat();
        self.give_back(&subscription.hub, seat);
        if self.outbox.has_batch_of(subscription.number) {
            self.parting = Some(subscription);
        }
        ended
    }

    /// Ends all subscriptions.
    pub(super) fn end_subscriptions(&mut self) -> Vec<Ended> {
        (0..self.subscriptions.len()).map(|_| self.end_subscription(0)).collect()
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
        self.outbox.push(farewell);
    }

    /// The same, as soon as a frame has ended: the client has closed, or broken the protocol, and wants nothing more.
    pub(super) fn end_now(&mut self, farewell: &[u8]) {
        self.begin_to_leave();
        self.outbox.close(farewell);
    }

    fn begin_to_leave(&mut self) {
        self.leaving = true;
        self.end_subscriptions();
        self.unburden();
    }
}
