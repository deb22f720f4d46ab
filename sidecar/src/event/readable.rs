//! Which JSON is taken: what every reader can read, a filter among them.
//!
//! The grammar bounds no depth, and has numbers and halves of characters for which most readers have no value
//! (RFC 8259, sections 6, 8.2 and 9). A payload with such would be there for some and not for others, and would
//! match no filter without a word. So it is refused when it comes. Nothing is built of what is read.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The deepest nesting of lists and objects. serde_json reads 127 levels, as many as most; what carries an event
/// to its reader takes a few of them.
pub(crate) const MAX_DEPTH: usize = 100;

/// Why a text is not taken, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) flaw: Flaw,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column in the line, from 1.
    pub(crate) column: usize,
}

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is no JSON, as the parser says.
    Grammar(Box<str>),
    /// It is JSON that not every reader can read.
    Limit(JsonLimit),
}

/// What of JSON is not taken. The message names the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonLimit {
    /// Lists and objects nest too deep.
    #[error("it nests deeper than {MAX_DEPTH} levels: make it flatter, or send it as a text")]
    Depth,
    /// A number that is infinite for most.
    #[error("a number is beyond 1.8e308, and would be infinite: send it as a text")]
    Number,
    /// Half of a character.
    #[error(
        "an escape such as \\ud83d is half a character: send both halves, or the character itself"
    )]
    Surrogate,
}

/// Checks a JSON text, with white space around it or without.
pub(crate) fn check(text: &[u8]) -> Result<(), Unreadable> {
    check_to(text, MAX_DEPTH)
}

/// The same of a list of such texts.
pub(crate) fn check_list(text: &[u8]) -> Result<(), Unreadable> {
    check_to(text, MAX_DEPTH + 1)
}

fn check_to(text: &[u8], levels: usize) -> Result<(), Unreadable> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Walk { levels }.deserialize(&mut parser).and_then(|()| parser.end());
    read.map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Unreadable {
    let limit = match &*said(error) {
        // The one error that is not the parser's own.
        _ if error.is_data() => JsonLimit::Depth,
        "number out of range" => JsonLimit::Number,
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            JsonLimit::Surrogate
        }
        _ => return Unreadable::grammar(error),
    };
    Unreadable { flaw: Flaw::Limit(limit), line: error.line(), column: error.column() }
}

impl Unreadable {
    /// What is no JSON.
    pub(crate) fn grammar(error: &serde_json::Error) -> Self {
        Self { flaw: Flaw::Grammar(said(error)), line: error.line(), column: error.column() }
    }
}

/// What a parser says, without the place.
fn said(error: &serde_json::Error) -> Box<str> {
    error.to_string().split(" at line ").next().unwrap_or_default().into()
}

/// Reads a value, and everything in it, to no purpose but to have read it.
#[derive(Clone, Copy)]
struct Walk {
    /// How many lists and objects may stand inside each other from here on.
    levels: usize,
}

impl Walk {
    fn inside<E: de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(|| E::custom("it nests too deep"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while list.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while members.next_key_seed(inside)?.is_some() {
            members.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    fn flaw(text: &str) -> Flaw {
        check(text.as_bytes()).expect_err(text).flaw
    }

    #[test]
    fn what_not_every_reader_can_read_is_told_by_its_limit() {
        for (text, limit) in [
            (nested(MAX_DEPTH + 1), JsonLimit::Depth),
            (nested(1_000_000), JsonLimit::Depth),
            ("{\"a\":".repeat(1_000_000), JsonLimit::Depth),
            ("1e400".to_owned(), JsonLimit::Number),
            ("{\"a\":[-1e309]}".to_owned(), JsonLimit::Number),
            (format!("1{}", "0".repeat(400)), JsonLimit::Number),
            (r#""\ud800""#.to_owned(), JsonLimit::Surrogate),
            (r#"["\udc00"]"#.to_owned(), JsonLimit::Surrogate),
            (r#"{"\ud83dx":1}"#.to_owned(), JsonLimit::Surrogate),
            (r#""\ud83d\n""#.to_owned(), JsonLimit::Surrogate),
            (r#""\ud83d\ud83d""#.to_owned(), JsonLimit::Surrogate),
        ] {
            assert_eq!(flaw(&text), Flaw::Limit(limit), "{text:.40}");
        }
    }

    #[test]
    fn what_is_no_json_is_told_in_the_words_of_the_parser_and_with_its_place() {
        let refused = check(b"{\"a\":\n nope}").unwrap_err();
        assert_eq!((refused.line, refused.column), (2, 3));
        assert_eq!(refused.flaw, Flaw::Grammar("expected ident".into()));
        for text in ["", "[", "01", "NaN", "{} {}", "'a'", "\"\\x\"", "[1,]"] {
            assert!(matches!(flaw(text), Flaw::Grammar(_)), "{text}");
        }
    }

    #[test]
    fn what_every_reader_reads_is_taken_up_to_the_limit() {
        for text in
            [" 1 ", "-0", "1e308", "1e-400", r#""\ud83d\ude00""#, "123456789012345678901234567890"]
        {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
        assert_eq!(check(nested(MAX_DEPTH).as_bytes()), Ok(()));
        assert_eq!(check_list(nested(MAX_DEPTH + 1).as_bytes()), Ok(()));
        assert!(check_list(nested(MAX_DEPTH + 2).as_bytes()).is_err());
    }

    const LEAVES: [&str; 14] = [
        "null",
        "true",
        "false",
        "0",
        "-1.5",
        "1e5",
        "1e999",
        "123456789012345678901234567890",
        r#""""#,
        r#""e1 \\""#,
        r#""\"]""#,
        r#""\u00e9""#,
        r#""\ud83d\ude00""#,
        r#""\ud800""#,
    ];

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(&LEAVES[..]).prop_map(str::to_owned);
        leaf.prop_recursive(5, 24, 3, |inner| {
            let key = prop::sample::select(&LEAVES[8..]);
            let list = prop::collection::vec(inner.clone(), 0..4);
            let members = prop::collection::vec((key, inner), 0..4);
            prop_oneof![
                list.prop_map(|items| format!("[{}]", items.join(" ,"))),
                members.prop_map(|members| {
                    let member = |(key, value): &(&str, String)| format!("{key}:{value}");
                    format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_takes_what_a_reader_that_builds_it_takes(
            text in prop_oneof![json(), "[\\[\\]{}:,\"a1eE. \\\\ud-]{0,16}"],
        ) {
            let built = serde_json::from_str::<Value>(&text);
            prop_assert_eq!(check(text.as_bytes()).is_ok(), built.is_ok(), "{}", text);
        }
    }
}
