//! Reads what a client sends: frames in any split of their bytes, messages out.
//!
//! Laws: the messages depend on the bytes and not on how they were split; nothing is buffered beyond
//! the message that is being read, of which at most the allowed size is kept, however much a header
//! announces; one that is compressed is inflated when it is whole, so that nobody keeps a window for what
//! doesn't come; between messages the decoder owns no memory; after a close or an error it reads nothing.

use super::{
    CloseCode,
    close::is_sendable,
    deflate::Inflater,
    header::{Header, Opcode, Partial},
    mask::Mask,
};

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text, whole.
    Text(String),
    /// Bytes, whole.
    Binary(Vec<u8>),
    /// A ping; its payload belongs into the pong that answers it.
    Ping(Vec<u8>),
    /// A pong, with the payload of the ping that it answers.
    Pong(Vec<u8>),
    /// The closing handshake, with the code where one was given. Nothing comes after it.
    Close(Option<u16>),
}

/// How a client broke RFC 6455. The connection is to be closed with [`ProtocolError::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Section 5.1.
    #[error("a client's frame must be masked")]
    Unmasked,
    /// Section 5.2: no extension that uses them here was agreed on.
    #[error("the reserved bits must be 0, but for that of a compressed message's first frame")]
    ReservedBits,
    /// Section 5.2.
    #[error("the opcode {0:#x} is unknown")]
    Opcode(u8),
    /// Section 5.2.
    #[error("the length must be in its shortest form and below 2^63")]
    Length,
    /// Section 5.5.
    #[error("a control frame must have at most 125 bytes")]
    LongControl,
    /// Section 5.5.
    #[error("a control frame must not be fragmented")]
    FragmentedControl,
    /// Section 5.4.
    #[error("a continuation must follow the first fragment of a message")]
    LoneContinuation,
    /// Section 5.4.
    #[error("a message must not begin before the fragmented one has ended")]
    Interrupted,
    /// Section 5.5.1.
    #[error("the payload of a close must be empty or begin with a code of two bytes")]
    ClosePayload,
    /// Section 7.4.
    #[error("the close code {0} must not be sent")]
    CloseCode(u16),
    /// Section 8.1.
    #[error("text must be UTF-8")]
    Utf8,
    /// RFC 7692, section 7.2.2.
    #[error("a compressed message must be in the DEFLATE format")]
    Deflate,
    /// The message is larger than this server takes.
    #[error("a message must have at most {0} bytes")]
    TooBig(usize),
    /// A compressed message that is far larger than its compressed form.
    #[error("a large message must not be larger than {0} times its compressed form")]
    Bomb(usize),
}

impl ProtocolError {
    /// The code with which to close the connection.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Unmasked
            | Self::ReservedBits
            | Self::Opcode(_)
            | Self::Length
            | Self::LongControl
            | Self::FragmentedControl
            | Self::LoneContinuation
            | Self::Interrupted
            | Self::ClosePayload
            | Self::CloseCode(_) => CloseCode::ProtocolError,
            Self::Utf8 | Self::Deflate => CloseCode::InvalidPayload,
            Self::TooBig(_) | Self::Bomb(_) => CloseCode::TooBig,
        }
    }
}

/// Reads one client's frames.
#[derive(Debug)]
pub struct Decoder {
    max_message: usize,
    /// Whether compression is agreed on.
    inflating: bool,
    step: Step,
    /// The message that is being read, over all of its fragments so far, as it came.
    message: Vec<u8>,
    /// What that message is, while one is open.
    open: Option<Kind>,
    /// How much of an open text is known to be whole characters.
    checked: usize,
    /// How many bytes of payload have been announced for the open message.
    announced: u64,
    /// Whether the open message is compressed.
    compressed: bool,
    /// The payload of the control frame that is being read; it may stand between fragments.
    control: Vec<u8>,
    /// How many frames have begun.
    frames: u64,
    /// Whether nothing is kept of messages.
    deaf: bool,
}

#[derive(Debug)]
enum Step {
    Header(Partial),
    Payload { header: Header, left: u64 },
    Closed,
    Failed(ProtocolError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Decoder {
    /// A decoder that takes messages of at most `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self {
            max_message,
            inflating: false,
            step: Step::Header(Partial::new(false)),
            message: Vec::new(),
            open: None,
            checked: 0,
            announced: 0,
            compressed: false,
            control: Vec::new(),
            frames: 0,
            deaf: false,
        }
    }

    /// The same, of a client with which compression is agreed on. The size of a message is that of what
    /// it inflates to.
    #[must_use]
    pub fn inflating(self) -> Self {
        Self { inflating: true, step: Step::Header(Partial::new(true)), ..self }
    }

    /// Takes bytes off `input` until a message is whole. `None` means that `input` is used up and more
    /// is needed; call it again until then.
    ///
    /// # Errors
    ///
    /// The client broke the protocol. Every later call gives the same error.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ProtocolError> {
        let result = self.read(input);
        if let Err(error) = result {
            *self = Self { step: Step::Failed(error), ..Self::new(self.max_message) };
            *input = &[];
        }
        result
    }

    /// From now on gives only pings, pongs and a close, and keeps nothing of messages: neither of those that come
    /// nor of the one that is being read.
    pub fn ignore_messages(&mut self) {
        self.deaf = true;
        self.message = Vec::new();
    }

    /// Whether it reads nothing more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        match self.step {
            Step::Closed | Step::Failed(_) => true,
            Step::Header(_) | Step::Payload { .. } => false,
        }
    }

    /// How many frames have begun since this was last asked.
    pub const fn take_frames(&mut self) -> u64 {
        std::mem::replace(&mut self.frames, 0)
    }

    /// Whether a message has begun and is not whole.
    #[must_use]
    pub const fn is_within_message(&self) -> bool {
        self.open.is_some()
    }

    /// How many bytes of memory it has for what is not whole.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ProtocolError> {
        loop {
            match &mut self.step {
                Step::Header(partial) => {
                    let Some(header) = partial.feed(input)? else { return Ok(None) };
                    self.begin(header)?;
                }
                Step::Payload { header, left: 0 } => {
                    let header = *header;
                    self.step = Step::Header(Partial::new(self.inflating));
                    if let Some(message) = self.finish(header)? {
                        return Ok(Some(message));
                    }
                }
                Step::Payload { .. } if input.is_empty() => return Ok(None),
                Step::Payload { header, left } => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    let (bytes, rest) = input.split_at(here);
                    let mask = header.mask;
                    let control = header.opcode.is_control();
                    header.mask = mask.turned(here);
                    *left -= here as u64;
                    *input = rest;
                    if control {
                        mask.unmask(bytes, &mut self.control);
                    } else {
                        self.take(mask, bytes)?;
                    }
                }
                Step::Closed => {
                    *input = &[];
                    return Ok(None);
                }
                Step::Failed(error) => return Err(*error),
            }
        }
    }

    /// Begins a frame whose header is whole: the rules that concern its place and its size.
    fn begin(&mut self, header: Header) -> Result<(), ProtocolError> {
        match (header.opcode, self.open) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => {}
            (Opcode::Continuation, None) => return Err(ProtocolError::LoneContinuation),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(ProtocolError::Interrupted),
            (Opcode::Continuation, Some(_)) => self.announce(header.length)?,
            (Opcode::Text, None) => self.open(Kind::Text, header)?,
            (Opcode::Binary, None) => self.open(Kind::Binary, header)?,
        }
        self.frames += 1;
        self.step = Step::Payload { header, left: header.length };
        Ok(())
    }

    fn open(&mut self, kind: Kind, header: Header) -> Result<(), ProtocolError> {
        self.open = Some(kind);
        self.checked = 0;
        self.announced = 0;
        self.compressed = header.compressed;
        self.announce(header.length)
    }

    /// Refuses a frame with which the message gets too large, before its payload comes. A compressed
    /// one may be somewhat larger than what it inflates to, and not without end.
    fn announce(&mut self, length: u64) -> Result<(), ProtocolError> {
        let more = if self.compressed { self.max_message / 8 + 64 } else { 0 };
        let most = self.max_message.saturating_add(more);
        self.announced = self.announced.saturating_add(length);
        if self.announced > most as u64 {
            return Err(ProtocolError::TooBig(self.max_message));
        }
        Ok(())
    }

    /// Takes a piece of the open message's payload.
    fn take(&mut self, mask: Mask, bytes: &[u8]) -> Result<(), ProtocolError> {
        if self.deaf {
            return Ok(());
        }
        mask.unmask(bytes, &mut self.message);
        self.check_text(false)
    }

    /// Ends a frame whose payload is whole; gives the message that it completes.
    fn finish(&mut self, header: Header) -> Result<Option<Message>, ProtocolError> {
        match header.opcode {
            Opcode::Ping => Ok(Some(Message::Ping(std::mem::take(&mut self.control)))),
            Opcode::Pong => Ok(Some(Message::Pong(std::mem::take(&mut self.control)))),
            Opcode::Close => self.close().map(Some),
            Opcode::Continuation | Opcode::Text | Opcode::Binary if header.last => self.complete(),
            Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(None),
        }
    }

    fn complete(&mut self) -> Result<Option<Message>, ProtocolError> {
        if self.deaf {
            self.open = None;
            return Ok(None);
        }
        if std::mem::take(&mut self.compressed) {
            let compressed = std::mem::take(&mut self.message);
            let mut inflater = Inflater::new(self.max_message);
            inflater.feed(&compressed, &mut self.message)?;
            inflater.finish(&mut self.message)?;
        }
        self.check_text(true)?;
        let bytes = std::mem::take(&mut self.message);
        match self.open.take() {
            Some(Kind::Binary) => Ok(Some(Message::Binary(bytes))),
            Some(Kind::Text) | None => {
                let text = String::from_utf8(bytes).map_err(|_| ProtocolError::Utf8)?;
                Ok(Some(Message::Text(text)))
            }
        }
    }

    fn close(&mut self) -> Result<Message, ProtocolError> {
        let payload = std::mem::take(&mut self.control);
        let code = close_code(&payload)?;
        *self = Self { step: Step::Closed, ..Self::new(self.max_message) };
        Ok(Message::Close(code))
    }

    /// Checks what has come of an open text since the last check, so that a broken one is refused as
    /// soon as it is seen. A character may still lack its end, unless the message is `whole`.
    fn check_text(&mut self, whole: bool) -> Result<(), ProtocolError> {
        if self.open != Some(Kind::Text) || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(self.message.get(self.checked..).unwrap_or_default()) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_some() || whole => return Err(ProtocolError::Utf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
}

/// The code in the payload of a close: none, or two bytes and a reason in UTF-8 (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<Option<u16>, ProtocolError> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(ProtocolError::ClosePayload),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !is_sendable(code) {
        return Err(ProtocolError::CloseCode(code));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(ProtocolError::Utf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_messages_the_decoder_owns_no_memory() {
        let mut decoder = Decoder::new(1024);
        // A ping of three bytes, the first fragment of a text and the last.
        let mut input = &[
            0x89, 0x83, 0, 0, 0, 0, 1, 2, 3, 0x01, 0x82, 0, 0, 0, 0, b'a', b'b', 0x80, 0x81, 0, 0,
            0, 0, b'c',
        ][..];
        assert_eq!(decoder.feed(&mut input), Ok(Some(Message::Ping(vec![1, 2, 3]))));
        assert_eq!(decoder.feed(&mut input), Ok(Some(Message::Text("abc".into()))));
        assert_eq!((decoder.message.capacity(), decoder.control.capacity()), (0, 0));
    }
}
