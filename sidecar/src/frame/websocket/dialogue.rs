//! What a server answers to what a client sends, whatever the messages mean: pongs, the closing
//! handshake, and the close that says how the client broke the protocol.

use super::{
    Coding, Decoder, Message, ProtocolError, encode_close, encode_close_reply, encode_pong,
};

/// One client's side of a connection.
#[derive(Debug)]
pub struct Dialogue {
    decoder: Decoder,
    /// How the client broke the protocol.
    breach: Option<ProtocolError>,
}

/// What a client has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing more that is whole.
    Nothing,
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// The connection ends: the reply says so, and nothing may be sent behind it.
    Farewell,
}

/// A client that pings without listening is answered for its latest ping only once so much waits
/// (RFC 6455, section 5.5.3).
const MOST_REPLY: usize = 4 * 1024;

impl Dialogue {
    /// A dialogue with a client that may send messages of at most `max_message` bytes, compressed where
    /// the server's may be.
    #[must_use]
    pub fn new(max_message: usize, coding: Coding) -> Self {
        let decoder = Decoder::new(max_message);
        let decoder = match coding {
            Coding::Plain => decoder,
            Coding::Deflate { .. } => decoder.inflating(),
        };
        Self { decoder, breach: None }
    }

    /// How the client broke the protocol, for which it was closed.
    #[must_use]
    pub const fn breach(&self) -> Option<ProtocolError> {
        self.breach
    }

    /// From now on no message is of use: what comes of one is thrown away. Pings and a close are answered as ever.
    pub fn ignore_messages(&mut self) {
        self.decoder.ignore_messages();
    }

    /// Whether the client has said its last, and nothing more is read.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.decoder.is_over()
    }

    /// How many frames the client has sent since this was last asked.
    pub const fn take_frames(&mut self) -> u64 {
        self.decoder.take_frames()
    }

    /// Whether a message of the client has begun and is not whole.
    #[must_use]
    pub const fn is_within_message(&self) -> bool {
        self.decoder.is_within_message()
    }

    /// How many bytes of memory it has for what is not whole.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.decoder.held()
    }

    /// Takes bytes off `input` until something was said, and appends to `reply` what the protocol itself
    /// has to say to them. The reply holds nothing else.
    pub fn hear(&mut self, input: &mut &[u8], reply: &mut Vec<u8>) -> Heard {
        loop {
            match self.decoder.feed(input) {
                Ok(None) => return Heard::Nothing,
                Ok(Some(Message::Text(text))) => return Heard::Text(text),
                Ok(Some(Message::Binary(bytes))) => return Heard::Binary(bytes),
                Ok(Some(Message::Pong(_))) => {}
                Ok(Some(Message::Ping(payload))) => {
                    if reply.len() > MOST_REPLY {
                        reply.clear();
                    }
                    encode_pong(&payload, reply);
                }
                Ok(Some(Message::Close(code))) => {
                    encode_close_reply(code, reply);
                    return Heard::Farewell;
                }
                Err(error) => {
                    self.breach = Some(error);
                    encode_close(error.close_code(), &error.to_string(), reply);
                    return Heard::Farewell;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear_all(bytes: &[u8]) -> (Vec<Heard>, Vec<u8>) {
        let (mut dialogue, mut input) = (Dialogue::new(100, Coding::Plain), bytes);
        let (mut heard, mut reply) = (Vec::new(), Vec::new());
        loop {
            match dialogue.hear(&mut input, &mut reply) {
                Heard::Nothing => return (heard, reply),
                Heard::Farewell => {
                    heard.push(Heard::Farewell);
                    return (heard, reply);
                }
                said @ (Heard::Text(_) | Heard::Binary(_)) => heard.push(said),
            }
        }
    }

    #[test]
    fn each_ping_is_answered_and_messages_are_handed_on() {
        let (heard, reply) =
            hear_all(b"\x89\x81\0\0\0\0a\x81\x82\0\0\0\0hi\x89\x81\0\0\0\0b\x8a\x80\0\0\0\0");
        assert_eq!(heard, [Heard::Text("hi".into())]);
        assert_eq!(reply, b"\x8a\x01a\x8a\x01b");
    }

    #[test]
    fn a_flood_of_pings_is_answered_in_part_and_for_the_latest() {
        let mut ping = b"\x89\xfd\0\0\0\0".to_vec();
        ping.resize(6 + 125, b'x');
        let flood = [ping.repeat(1_000), b"\x89\x84\0\0\0\0last".to_vec()].concat();
        let (_, reply) = hear_all(&flood);
        assert!(reply.len() < MOST_REPLY + 200, "{}", reply.len());
        assert!(reply.ends_with(b"\x8a\x04last"));
    }

    #[test]
    fn who_is_not_listened_to_any_more_is_answered_all_the_same() {
        let (mut dialogue, mut reply) = (Dialogue::new(100, Coding::Plain), Vec::new());
        // A text in two frames, of which half a frame has come.
        let mut input = &b"\x01\x84\0\0\0\0te"[..];
        assert_eq!(dialogue.hear(&mut input, &mut reply), Heard::Nothing);
        assert!(dialogue.held() > 0);
        dialogue.ignore_messages();
        assert_eq!(dialogue.held(), 0);
        // Its end, which is no text; bytes; a ping; a close.
        let rest = b"xt\x80\x81\0\0\0\0\xff\x82\x81\0\0\0\0b\x89\x81\0\0\0\0?\x88\x80\0\0\0\0";
        for byte in rest.iter().take(rest.len() - 1) {
            let heard = dialogue.hear(&mut std::slice::from_ref(byte), &mut reply);
            assert_eq!((heard, dialogue.is_over()), (Heard::Nothing, false));
            assert!(dialogue.held() < 16, "nothing is kept");
        }
        assert_eq!(reply, b"\x8a\x01?");
        let last = dialogue.hear(&mut &rest[rest.len() - 1..], &mut reply);
        assert_eq!((last, dialogue.is_over()), (Heard::Farewell, true));
        assert!(reply.ends_with(b"\x88\0"));
    }

    #[test]
    fn a_close_is_answered_with_its_code_and_a_breach_with_its_own() {
        assert_eq!(
            hear_all(b"\x88\x82\0\0\0\0\x03\xe8"),
            (vec![Heard::Farewell], b"\x88\x02\x03\xe8".to_vec())
        );
        let (heard, reply) = hear_all(b"\x81\x05");
        assert_eq!(heard, [Heard::Farewell]);
        assert_eq!(reply[2..4], 1002_u16.to_be_bytes());
    }
}
