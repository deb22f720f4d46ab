//! What a connection writes beside its events: whole messages, which wait for the end of the one that is being
//! written, and control frames, which may stand within it (RFC 6455, section 5.4); and how it ends.
//!
//! # Laws
//!
//! - Nothing that has begun is interrupted, and control frames keep their order.
//! - Control frames come before the end, as long as nothing of that is written: whoever is sent away is answered
//!   until then, though not for ever, as the end would never come of a connection that takes no more than its answers.
//!   Nothing at all comes behind it.
//!
//! Whoever writes messages says whether one of them has begun. While it has, none of these here has: they wait for
//! its end, and it for the end of what waits before it begins.

/// How often control frames may still be added before the end: for minutes, as clients ask whether anybody is there.
const MOST_ANSWERS: u8 = 64;

/// What waits to be written beside events.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    /// What may stand within a message, then the rest. Empty, and without an allocation, nearly always.
    bytes: Vec<u8>,
    sent: usize,
    /// How many of the bytes may stand within a message.
    within: usize,
    course: Course,
}

/// How the stream goes on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// With more.
    #[default]
    Open,
    /// It ends behind all that waits, of which so many bytes are the end; so many times more control frames come
    /// before it.
    Ends { last: usize, answers: u8 },
    /// It ends where a frame does: what is left then of the message that is being written is given up.
    Cut,
}

impl Asides {
    /// What begins a stream.
    pub(crate) const fn new(head: Vec<u8>) -> Self {
        Self { bytes: head, sent: 0, within: 0, course: Course::Open }
    }

    /// How many bytes wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the stream ends within the message that is being written.
    pub(crate) const fn is_cut(&self) -> bool {
        matches!(self.course, Course::Cut)
    }

    /// Adds behind all that waits what `write` appends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.course == Course::Open {
            write(&mut self.bytes);
        }
    }

    /// Adds control frames. They need not wait for the end of a message that has begun.
    pub(crate) fn interject(&mut self, frames: &[u8], begun: bool) {
        let Some(place) = self.place(begun) else { return };
        if let Course::Ends { last: _, answers } = &mut self.course {
            let Some(left) = answers.checked_sub(1) else { return };
            *answers = left;
        }
        self.bytes.splice(place..place, frames.iter().copied());
        if begun {
            self.within += frames.len();
        }
    }

    /// Where further control frames stand; none where the end has begun.
    fn place(&self, begun: bool) -> Option<usize> {
        debug_assert!(!begun || self.sent <= self.within);
        match self.course {
            Course::Cut => None,
            Course::Open | Course::Ends { last: _, answers: _ } if begun => Some(self.within),
            Course::Open => Some(self.bytes.len()),
            Course::Ends { last, answers: _ } => {
                let end = self.bytes.len().checked_sub(last)?;
                (self.sent <= end && !self.is_empty()).then_some(end)
            }
        }
    }

    /// Ends the stream behind all that waits, with what `write` appends.
    pub(crate) fn end(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.course == Course::Open {
            let before = self.bytes.len();
            write(&mut self.bytes);
            let last = self.bytes.len() - before;
            self.course = Course::Ends { last, answers: MOST_ANSWERS };
        }
    }

    /// Ends the stream with these frames, as soon as a frame of the message has ended that has begun: that and
    /// everything else that waits, but for control frames, is given up. Without such a message it ends behind all
    /// that waits. Says whether it ends with these, and not as it was to end anyway.
    pub(crate) fn end_now(&mut self, frames: &[u8], begun: bool) -> bool {
        match self.course {
            Course::Cut => false,
            Course::Open | Course::Ends { last: _, answers: _ } if begun => {
                self.bytes.truncate(self.within);
                self.bytes.extend_from_slice(frames);
                self.cut();
                true
            }
            Course::Open => {
                self.end(|out| out.extend_from_slice(frames));
                true
            }
            Course::Ends { last: _, answers: _ } => false,
        }
    }

    /// Lets the end that waits behind a message that has begun come as soon as a frame of that has ended, and gives
    /// up what is between.
    pub(crate) fn hasten(&mut self) {
        if let Course::Ends { last, answers: _ } = self.course {
            let end = self.bytes.len().saturating_sub(last);
            self.bytes.drain(self.within..end.max(self.within));
            self.cut();
        }
    }

    /// All that waits may stand within the message.
    const fn cut(&mut self) {
        self.within = self.bytes.len();
        self.course = Course::Cut;
    }

    /// All that waits.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// What of it may stand within a message.
    pub(crate) fn rest_within(&self) -> &[u8] {
        self.bytes.get(self.sent..self.within).unwrap_or_default()
    }

    /// Takes note that `count` bytes more are written, or all that waits. Returns how many are left over.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        if self.bytes.is_empty() {
            return count;
        }
        let taken = count.min(self.waiting());
        self.sent += taken;
        if self.sent == self.bytes.len() {
            // A new vector, not a cleared one: an idle connection keeps no buffer.
            *self = Self { course: self.course, ..Self::default() };
        }
        count - taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(asides: &mut Asides, bytes: &[u8]) {
        asides.push(|out| out.extend_from_slice(bytes));
    }

    fn end(asides: &mut Asides, bytes: &[u8]) {
        asides.end(|out| out.extend_from_slice(bytes));
    }

    #[test]
    fn an_end_is_not_put_off_for_ever() {
        let mut asides = Asides::default();
        push(&mut asides, b"m");
        end(&mut asides, b"end");
        // Each time there is room for no more than what came before.
        let mut written: Vec<u8> = Vec::new();
        for _ in 0..300 {
            asides.interject(b"p", false);
            written.extend(asides.rest().first());
            asides.advance(1);
        }
        let pongs = usize::from(MOST_ANSWERS);
        assert_eq!(written, [&b"m"[..], &b"p".repeat(pongs), b"end"].concat());
    }

    #[test]
    fn control_frames_overtake_messages_and_not_each_other() {
        let mut asides = Asides::default();
        push(&mut asides, b"message");
        asides.interject(b"ping", true);
        assert_eq!((asides.rest_within(), asides.rest()), (&b"ping"[..], &b"pingmessage"[..]));
        asides.advance(2);
        asides.interject(b"pong", true);
        assert_eq!((asides.rest_within(), asides.waiting()), (&b"ngpong"[..], 13));
        assert_eq!(asides.advance(6), 0);
        assert_eq!((asides.rest_within(), asides.rest()), (&b""[..], &b"message"[..]));
        assert_eq!((asides.advance(10), asides.is_empty()), (3, true));
    }

    #[test]
    fn between_messages_control_frames_wait_for_their_turn() {
        let mut asides = Asides::new(b"head".to_vec());
        asides.interject(b"pong", false);
        push(&mut asides, b"message");
        assert_eq!((asides.rest_within(), asides.rest()), (&b""[..], &b"headpongmessage"[..]));
    }

    #[test]
    fn control_frames_come_before_the_end_until_that_has_begun() {
        for begun in [false, true] {
            let mut asides = Asides::default();
            push(&mut asides, b"farewell");
            end(&mut asides, b"close");
            asides.interject(b"pong", begun);
            push(&mut asides, b"too late");
            end(&mut asides, b"once more");
            let all = if begun { &b"pongfarewellclose"[..] } else { b"farewellpongclose" };
            assert_eq!(asides.rest(), all, "begun: {begun}");
            assert_eq!(asides.rest_within(), if begun { &b"pong"[..] } else { b"" });
            assert!(!asides.is_cut());
            asides.advance(12);
            asides.interject(b"p", false);
            let before = asides.rest().to_vec();
            assert!(before.ends_with(b"pclose"));
            asides.advance(before.len() - 4);
            asides.interject(b"pong", false);
            assert_eq!(asides.rest(), b"lose", "the end has begun");
            asides.advance(4);
            asides.interject(b"pong", false);
            assert!(asides.is_empty());
        }
    }

    #[test]
    fn an_end_within_a_message_takes_back_what_has_not_begun() {
        for farewell in [&b""[..], b"farewell"] {
            let mut asides = Asides::default();
            asides.interject(b"ping", true);
            push(&mut asides, b"message");
            if !farewell.is_empty() {
                end(&mut asides, farewell);
            }
            asides.advance(1);
            assert!(asides.end_now(b"close", true));
            assert_eq!((asides.rest_within(), asides.rest()), (&b"ingclose"[..], &b"ingclose"[..]));
            assert!(asides.is_cut());
            asides.interject(b"pong", true);
            assert!(!asides.end_now(b"another", true));
            assert_eq!(asides.rest(), b"ingclose", "nothing comes behind it");
            asides.advance(8);
            push(&mut asides, b"message");
            assert!(asides.is_empty() && asides.is_cut());
        }
    }

    #[test]
    fn an_end_between_messages_is_the_first_that_was_said() {
        let mut asides = Asides::default();
        push(&mut asides, b"message");
        assert!(asides.end_now(b"close", false));
        assert!(!asides.end_now(b"another", false));
        assert_eq!((asides.rest(), asides.is_cut()), (&b"messageclose"[..], false));
    }

    #[test]
    fn an_end_that_waits_comes_at_once_where_there_is_no_time() {
        let mut asides = Asides::default();
        asides.hasten();
        push(&mut asides, b"published");
        asides.interject(b"ping", true);
        end(&mut asides, b"close");
        asides.hasten();
        asides.hasten();
        assert_eq!((asides.rest_within(), asides.is_cut()), (&b"pingclose"[..], true));
        assert_eq!(asides.rest(), asides.rest_within());
    }
}
