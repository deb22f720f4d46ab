//! What a connection writes beside its events: whole messages, which wait for the end of the one that is being
//! written, and control frames, which may stand within it (RFC 6455, section 5.4).
//!
//! Law: nothing that has begun is interrupted.

/// What waits to be written beside events.
#[derive(Debug, Default)]
pub(crate) struct Asides {
    /// What may stand within a message, then the rest. Empty, and without an allocation, nearly always.
    bytes: Vec<u8>,
    sent: usize,
    /// How many of the bytes may stand within a message.
    within: usize,
}

impl Asides {
    /// What begins a stream.
    pub(crate) const fn new(head: Vec<u8>) -> Self {
        Self { bytes: head, sent: 0, within: 0 }
    }

    /// How many bytes wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether nothing waits.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds behind all that waits what `write` appends.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
    }

    /// Adds control frames while a message is being written: they need not wait for its end.
    pub(crate) fn interject(&mut self, frames: &[u8]) {
        if self.sent > self.within {
            // One of these messages is what is being written.
            return self.bytes.extend_from_slice(frames);
        }
        self.bytes.splice(self.within..self.within, frames.iter().copied());
        self.within += frames.len();
    }

    /// Adds what ends the stream while a message is being written, and takes back what would come behind that.
    pub(crate) fn interject_last(&mut self, frames: &[u8]) {
        if self.sent <= self.within {
            self.bytes.truncate(self.within);
        }
        self.interject(frames);
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
        let taken = count.min(self.waiting());
        self.sent += taken;
        if self.sent == self.bytes.len() {
            // A new vector, not a cleared one: an idle connection keeps no buffer.
            *self = Self::default();
        }
        count - taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_overtake_messages_and_not_each_other() {
        let mut asides = Asides::default();
        asides.push(|out| out.extend_from_slice(b"message"));
        asides.interject(b"ping");
        assert_eq!((asides.rest_within(), asides.rest()), (&b"ping"[..], &b"pingmessage"[..]));
        asides.advance(2);
        asides.interject(b"pong");
        assert_eq!((asides.rest_within(), asides.waiting()), (&b"ngpong"[..], 13));
        assert_eq!(asides.advance(6), 0);
        assert_eq!((asides.rest_within(), asides.rest()), (&b""[..], &b"message"[..]));
        assert_eq!((asides.advance(10), asides.is_empty()), (3, true));
    }

    #[test]
    fn the_last_takes_back_what_has_not_begun() {
        let mut asides = Asides::default();
        asides.interject(b"ping");
        asides.push(|out| out.extend_from_slice(b"message"));
        asides.advance(1);
        asides.interject_last(b"close");
        assert_eq!((asides.rest_within(), asides.rest()), (&b"ingclose"[..], &b"ingclose"[..]));
    }
}
