//! Parses an event stream, after the HTML standard (sections 9.2.5 and 9.2.6), cut anywhere.

/// What a block of the stream says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// The event's name; empty where the stream names none.
    pub(super) name: String,
    /// The lines of data, joined by line feeds; absent where the block has none, and so is no event.
    pub(super) data: Option<String>,
    /// The position behind the block.
    pub(super) id: Option<String>,
    /// The time until a reconnection, in milliseconds.
    pub(super) retry: Option<u64>,
}

/// The state between two pieces of one connection.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, of which a line feed right after it is a part.
    after_return: bool,
    after_first_line: bool,
    frame: Frame,
}

impl Parser {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let continues = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if continues => {}
                b'\r' | b'\n' => frames.extend(self.end_of_line()),
                other => self.line.push(other),
            }
        }
        frames
    }

    fn end_of_line(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let is_first = !std::mem::replace(&mut self.after_first_line, true);
        let line = if is_first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if line.is_empty() {
            let frame = std::mem::take(&mut self.frame);
            return (frame != Frame::default()).then_some(frame);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        self.field(field, value.strip_prefix(' ').unwrap_or(value));
        None
    }

    /// A comment is a field without a name.
    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.frame.name),
            "data" => {
                let data = self.frame.data.take();
                let data = data.map_or_else(|| value.to_owned(), |data| format!("{data}\n{value}"));
                self.frame.data = Some(data);
            }
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.frame.retry = value.parse().ok().or(self.frame.retry);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(data: &str, id: Option<&str>) -> Frame {
        Frame { data: Some(data.to_owned()), id: id.map(str::to_owned), ..Frame::default() }
    }

    #[test]
    fn an_opening_an_event_and_a_control_are_told_apart() {
        let stream = "retry: 2140\nid: a-0\n\n:\n\nid: a-1\ndata: {\"n\":1}\n\n\
            event: gap\nid: a-9\ndata: {}\n\n";
        let frames = Parser::default().push(stream.as_bytes());
        let opening = Frame { id: Some("a-0".to_owned()), retry: Some(2140), ..Frame::default() };
        let gap = Frame { name: "gap".to_owned(), ..event("{}", Some("a-9")) };
        assert_eq!(frames, [opening, event("{\"n\":1}", Some("a-1")), gap]);
    }

    #[test]
    fn an_event_without_payload_is_an_event() {
        assert_eq!(Parser::default().push(b"data\n\n"), [event("", None)]);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere_and_end_its_lines_in_any_way() {
        let stream = "\u{feff}id: é7\r\ndata: a\r\ndata: b\r\r\nretry: x\rdata:c\n\n";
        let whole = Parser::default().push(stream.as_bytes());
        assert_eq!(whole, [event("a\nb", Some("é7")), event("c", None)]);
        let mut parser = Parser::default();
        let bytewise: Vec<_> = stream.bytes().flat_map(|byte| parser.push(&[byte])).collect();
        assert_eq!(whole, bytewise);
    }
}
