//! What a session does with time: signs of life, limits, and what has become of its pipelines meanwhile.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Conversation as _, Session,
    ending::Ended,
    reply::{Failure, Reply},
    retry,
    subscription::Subscription,
};
use crate::{
    count::{EndReason, Transport, TurnedAway},
    frame::websocket::{self, CloseCode},
    hub::{STALL, TOO_COSTLY},
};

/// How long a subscriber whose filter matches nothing goes without being told how far it is.
const POSITION: Duration = Duration::from_secs(5);

impl Session {
    /// Does what is due with time; the socket has taken nothing since `blocked`. `false` where the
    /// peer is gone.
    pub(super) fn look_after(&mut self, blocked: Option<Instant>, now: Instant) -> bool {
        self.held_back =
            self.held_back && self.allowance.is_overdrawn(self.rate(), now - self.born);
        if self.expires_at.is_some_and(|at| now >= at) {
            self.expire();
        }
        if !self.leaving && !self.keep_time(now) {
            self.end_overdue();
        }
        self.subscriptions.iter().for_each(|one| one.look_ahead(blocked.is_some()));
        if let Some(since) = blocked {
            self.cut_off();
            let patience = self.subscriptions.iter().map(Subscription::patience).min();
            let stalled = now.saturating_duration_since(since) >= patience.unwrap_or(STALL);
            // Who was sent away with its cursors, or leaves by itself, need no longer keep up.
            if stalled {
                self.ends_for(EndReason::Stalled);
            }
            if stalled && !self.leaving {
                self.give_up();
            }
            return !stalled;
        }
        if self.leaving {
            return true;
        }
        self.send_withdrawn();
        self.end_costly();
        self.tell_positions(now);
        let Some(interval) = self.heartbeat() else {
            self.leave(EndReason::Changed);
            return true;
        };
        let interval = interval * self.jitter / 100;
        if now.saturating_duration_since(self.last_sent) >= interval && self.outbox.is_empty() {
            self.say(Reply::Heartbeat);
        }
        let silent = now.saturating_duration_since(self.last_heard);
        if silent >= interval && !self.pinged {
            self.pinged = true;
            let mut ping = Vec::new();
            websocket::encode_ping(b"", &mut ping);
            self.outbox.push_frames(&ping);
        }
        let answers = silent < interval * 2;
        if !answers {
            self.ends_for(EndReason::Unanswered);
        }
        answers
    }

    /// Whether it has to look at the time more often, because something happens before `soon`.
    pub(super) fn has_work_before(&self, soon: Instant) -> bool {
        self.held_back || self.expires_at.is_some_and(|at| at <= soon)
    }

    /// Ends with the token: each subscription with the cursor from which it goes on with a new one.
    fn expire(&mut self) {
        if self.leaving {
            return;
        }
        self.hub.accounts().expired.add(1);
        self.ends_for(EndReason::TokenExpired);
        let retry_ms = retry();
        let message = "the token has expired: come back with a new one, and with the cursor";
        self.fail_all("token_expired", message, retry_ms);
        self.send_away(CloseCode::PolicyViolation, retry_ms);
    }

    /// Says how far subscriptions have come whose filter passed over the newest events, so that a cursor
    /// doesn't grow old.
    fn tell_positions(&mut self, now: Instant) {
        let patience = POSITION * self.jitter / 100;
        for place in 0..self.subscriptions.len() {
            let Some(subscription) = self.subscriptions.get_mut(place) else { return };
            if let Some(cursor) = subscription.news_of_position(now, patience) {
                let id = subscription.id.clone();
                self.say(Reply::Position { id: &id, cursor: &cursor });
            }
        }
    }

    /// Ends the subscriptions that are too far behind while the socket takes nothing.
    fn cut_off(&mut self) {
        while let Some(place) = self.subscriptions.iter().position(Subscription::is_out_of_bounds) {
            self.subscriptions.get_mut(place).into_iter().for_each(Subscription::cut_off);
            let Ended { id, cursor } = self.end_subscription(place, EndReason::SlowConsumer);
            let message = "the subscription fell too far behind";
            let failure = Failure {
                cursor: Some(cursor),
                ..Failure::new("subscription", &id, "slow_consumer", message).passing()
            };
            self.say(Reply::Failure(&failure));
        }
    }

    /// Ends the subscriptions whose filters cost more than they may.
    fn end_costly(&mut self) {
        let reason = TurnedAway::FilterTooCostly;
        while let Some(place) = self.subscriptions.iter().position(Subscription::is_too_costly) {
            let hub = self.subscriptions.get(place).map(|one| Arc::clone(&one.hub));
            hub.iter().for_each(|hub| {
                hub.accounts().turned_away.count(Transport::WebSocket, reason);
            });
            let Ended { id, cursor } = self.end_subscription(place, EndReason::FilterTooCostly);
            let (retry_ms, cursor) = (Some(reason.retry_ms()), Some(cursor));
            let failure = Failure::new("subscription", &id, reason.name(), TOO_COSTLY);
            self.say(Reply::Failure(&Failure { retry_ms, cursor, ..failure }));
        }
    }

    /// Gives a peer up that takes nothing: it has not kept up with any of its subscriptions; or, where it has
    /// none, with what it asked for.
    fn give_up(&mut self) {
        self.subscriptions.iter_mut().for_each(Subscription::cut_off);
        if self.spare.is_some() {
            self.hub.accounts().cut_off.add(1);
        }
    }

    /// Ends the subscriptions to pipelines that are gone.
    fn send_withdrawn(&mut self) {
        while let Some(place) = self.subscriptions.iter().position(Subscription::is_withdrawn) {
            let Ended { id, cursor } = self.end_subscription(place, EndReason::Changed);
            self.say(Reply::Draining { id: &id, cursor: &cursor, retry_ms: retry() });
        }
    }
}
