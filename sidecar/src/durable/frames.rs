//! A page of a stream as Server-Sent Events: one event with its data, one that says where it ends.

use super::content::Kind;
use crate::event::{push_base64, push_member};

/// What is said behind each piece of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control<'a> {
    /// The offset to go on from.
    pub(crate) next: &'a str,
    /// The cursor to send along.
    pub(crate) cursor: u64,
    /// Whether there is nothing more for now.
    pub(crate) up_to_date: bool,
    /// Whether there will never be more.
    pub(crate) closed: bool,
}

/// Whether the data of such a stream is sent as base64.
pub(crate) const fn is_base64(kind: Kind) -> bool {
    match kind {
        Kind::Json | Kind::Text => false,
        Kind::Binary => true,
    }
}

/// How much of `data`, out of a stream of text, can be sent: all but a character at the end of which a
/// part is still to come.
pub(crate) fn whole_characters(data: &[u8]) -> usize {
    let tail = data.len().saturating_sub(3);
    let starts = |byte: &u8| *byte >= 0xc0;
    let Some(start) = data.get(tail..).and_then(|tail| tail.iter().rposition(starts)) else {
        return data.len();
    };
    let start = tail + start;
    let cut = data.get(start..).map(std::str::from_utf8);
    match cut {
        Some(Err(error)) if error.error_len().is_none() => start,
        Some(Ok(_) | Err(_)) | None => data.len(),
    }
}

/// Appends an event with data.
pub(crate) fn push_data(kind: Kind, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: data\n");
    match kind {
        Kind::Json | Kind::Text => push_lines(&String::from_utf8_lossy(data), out),
        Kind::Binary => {
            out.extend_from_slice(b"data:");
            push_base64(out, data);
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// Appends what is said behind it.
pub(crate) fn push_control(control: &Control<'_>, out: &mut Vec<u8>) {
    let Control { next, cursor, up_to_date, closed } = control;
    out.extend_from_slice(b"event: control\ndata:{\"streamNextOffset\":\"");
    out.extend_from_slice(next.as_bytes());
    out.push(b'"');
    if *closed {
        out.extend_from_slice(b",\"streamClosed\":true");
    } else {
        push_member(out, "streamCursor", &cursor.to_string());
    }
    if *up_to_date {
        out.extend_from_slice(b",\"upToDate\":true");
    }
    out.extend_from_slice(b"}\n\n");
}

/// One `data` line for each line. A reader drops one space behind the colon, so it is written only where
/// the line begins with one.
fn push_lines(text: &str, out: &mut Vec<u8>) {
    let lines = text.split("\r\n").flat_map(|lines| lines.split(['\r', '\n']));
    for line in lines {
        out.extend_from_slice(if line.starts_with(' ') { b"data: " } else { b"data:" });
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(kind: Kind, data: &[u8]) -> String {
        let mut out = Vec::new();
        push_data(kind, data, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The data that a reader dispatches (HTML standard, section 9.2.6).
    fn read(frame: &str) -> String {
        let lines = frame.strip_prefix("event: data\n").unwrap().strip_suffix("\n\n").unwrap();
        let lines = lines.split('\n').map(|line| line.strip_prefix("data:").unwrap());
        lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn no_line_of_the_data_becomes_a_field_of_its_own() {
        let attack = "a\r\n\r\nevent: control\rdata: {}\n\nb";
        assert_eq!(
            framed(Kind::Text, attack.as_bytes()),
            "event: data\ndata:a\ndata:\ndata:event: control\ndata:data: {}\ndata:\ndata:b\n\n"
        );
    }

    #[test]
    fn bytes_come_as_base64() {
        assert_eq!(framed(Kind::Binary, b"Hello"), "event: data\ndata:SGVsbG8=\n\n");
    }

    #[test]
    fn the_last_control_has_no_cursor() {
        let control = |closed| {
            let mut out = Vec::new();
            let control = Control { next: "1_2", cursor: 7, up_to_date: true, closed };
            push_control(&control, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            control(false),
            "event: control\ndata:{\"streamNextOffset\":\"1_2\",\"streamCursor\":\"7\",\"upToDate\":true}\n\n"
        );
        assert_eq!(
            control(true),
            "event: control\ndata:{\"streamNextOffset\":\"1_2\",\"streamClosed\":true,\"upToDate\":true}\n\n"
        );
    }

    #[test]
    fn a_character_that_is_not_complete_waits_for_its_rest() {
        let text = "aé€😀".as_bytes();
        let expected = [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10];
        for (end, whole) in expected.into_iter().enumerate() {
            assert_eq!(whole_characters(&text[..end]), whole, "{end}");
        }
        // What is no text at all is not held back.
        assert_eq!(whole_characters(&[0xff, 0xff]), 2);
        assert_eq!(whole_characters(&[b'a', 0x80]), 2);
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_text_with_its_lines_joined_by_line_feeds(text in "[a-c \r\n:é]{0,20}") {
            let expected = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&framed(Kind::Text, text.as_bytes())), expected);
        }

        #[test]
        fn what_is_sent_of_a_text_that_is_cut_anywhere_is_text(text in "\\PC{0,12}", cut in 0_usize..40) {
            let bytes = text.as_bytes();
            let bytes = &bytes[..cut.min(bytes.len())];
            prop_assert!(std::str::from_utf8(&bytes[..whole_characters(bytes)]).is_ok());
        }
    }
}
