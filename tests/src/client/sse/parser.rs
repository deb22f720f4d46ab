//! Parses an event stream, after the HTML standard (sections 9.2.5 and 9.2.6) and nothing else.

/// An event as an `EventSource` dispatches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's name; `message` where the stream names none.
    pub name: String,
    /// The lines of data, joined by line feeds.
    pub data: String,
    /// The last event id as of this event.
    pub id: String,
}

/// What a stream says, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An event.
    Event(Event),
    /// A block that sets the last event id without an event.
    Id(String),
    /// The time until a reconnection, in milliseconds.
    Retry(u64),
    /// A comment.
    Comment,
}

/// The state between two chunks of a stream. One parser serves one connection: an event that its end cuts
/// short is discarded with it.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, of which a line feed right after it is a part.
    after_return: bool,
    after_first_line: bool,
    data: String,
    name: String,
    id: String,
}

impl Parser {
    /// Takes the next bytes of the stream, cut anywhere.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            let continues = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if continues => {}
                b'\r' | b'\n' => items.extend(self.end_of_line()),
                other => self.line.push(other),
            }
        }
        items
    }

    fn end_of_line(&mut self) -> Option<Item> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let first = !std::mem::replace(&mut self.after_first_line, true);
        let line = if first { text.strip_prefix('\u{feff}').unwrap_or(&text) } else { &text };
        if line.is_empty() {
            return self.dispatch();
        }
        match line.split_once(':') {
            Some(("", _)) => Some(Item::Comment),
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(line, ""),
        }
    }

    fn field(&mut self, field: &str, value: &str) -> Option<Item> {
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                return value.parse().ok().map(Item::Retry);
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        let (data, name) = (std::mem::take(&mut self.data), std::mem::take(&mut self.name));
        let id = self.id.clone();
        if data.is_empty() {
            return Some(Item::Id(id));
        }
        let name = if name.is_empty() { "message".to_owned() } else { name };
        let data = data.strip_suffix('\n').unwrap_or(&data).to_owned();
        Some(Item::Event(Event { name, data, id }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(stream: &str) -> Vec<Item> {
        Parser::default().push(stream.as_bytes())
    }

    fn message(data: &str, id: &str) -> Item {
        Item::Event(Event { name: "message".into(), data: data.into(), id: id.into() })
    }

    #[test]
    fn the_examples_of_the_standard_are_read_as_it_says() {
        assert_eq!(parse("data: YHOO\ndata: +2\ndata: 10\n\n"), [message("YHOO\n+2\n10", "")]);
        assert_eq!(
            parse(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            [
                Item::Comment,
                Item::Id(String::new()),
                message("first event", "1"),
                message("second event", ""),
                message(" third event", ""),
            ]
        );
        assert_eq!(parse("data\n\ndata\ndata\n\ndata:"), [message("", ""), message("\n", "")]);
        assert_eq!(
            parse("data:test\n\ndata: test\n\n"),
            [message("test", ""), message("test", "")]
        );
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let stream = "\u{feff}id: é7\r\nevent: gap\r\ndata: a\r\ndata: b\r\r\nretry: 90\n\n";
        let whole = parse(stream);
        let mut parser = Parser::default();
        let bytewise: Vec<_> = stream.bytes().flat_map(|byte| parser.push(&[byte])).collect();
        assert_eq!(whole, bytewise);
        let gap = Event { name: "gap".into(), data: "a\nb".into(), id: "é7".into() };
        assert_eq!(whole, [Item::Event(gap), Item::Retry(90), Item::Id("é7".into())]);
    }

    #[test]
    fn what_the_standard_ignores_is_ignored() {
        assert_eq!(parse("id: a\0b\nretry: 1s\nretry:\nother: x\ndata: y\n\n"), [message("y", "")]);
    }
}
