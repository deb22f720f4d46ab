//! What a stream holds: bytes, text, or JSON, whose messages keep their boundaries.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{offset::Position, refusal::Refusal};
use crate::event::{check_json, check_json_list, essence};

/// The most messages of one append: each costs a place in the list of their ends.
const MOST_MESSAGES: usize = 100_000;

/// The media type of a stream that is created without one.
pub(crate) const DEFAULT_TYPE: &str = "application/octet-stream";

/// How the content of a stream is cut and framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages, read as one JSON array.
    Json,
    /// Bytes that are sent over SSE as they are.
    Text,
    /// Bytes that are sent over SSE as base64.
    Binary,
}

impl Kind {
    /// The kind of a media type.
    pub(crate) fn of(media_type: &str) -> Self {
        let essence = essence(media_type).to_ascii_lowercase();
        match essence.split_once('/') {
            Some(("application", "json")) => Self::Json,
            Some(("text", _)) => Self::Text,
            Some(_) | None => Self::Binary,
        }
    }
}

/// Whether two media types are the same but for parameters and case.
pub(crate) fn is_same_type(a: &str, b: &str) -> bool {
    essence(a).eq_ignore_ascii_case(essence(b))
}

/// What one append brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The bytes; of JSON, the messages with a comma between two.
    data: Bytes,
    /// Where each message ends in `data`, where these are messages.
    ends: Option<Box<[u32]>>,
}

impl Batch {
    /// Takes a body apart. The result may be empty, as the body may.
    pub(crate) fn new(kind: Kind, body: Bytes) -> Result<Self, Refusal> {
        match kind {
            Kind::Json => messages(&body),
            Kind::Text | Kind::Binary => Ok(Self { data: body, ends: None }),
        }
    }

    /// Nothing.
    pub(crate) fn empty(kind: Kind) -> Self {
        let ends = match kind {
            Kind::Json => Some(Box::default()),
            Kind::Text | Kind::Binary => None,
        };
        Self { data: Bytes::new(), ends }
    }

    /// Makes it again of its parts; `None` where these are no batch of this kind.
    pub(crate) fn restore(kind: Kind, data: Bytes, ends: Option<Box<[u32]>>) -> Option<Self> {
        let fits = match (kind, &ends) {
            (Kind::Json, Some(ends)) => fits(&data, ends),
            (Kind::Text | Kind::Binary, None) => true,
            (Kind::Json, None) | (Kind::Text | Kind::Binary, Some(_)) => false,
        };
        fits.then_some(Self { data, ends })
    }

    /// Where each message ends, where these are messages.
    pub(crate) fn ends(&self) -> Option<&[u32]> {
        self.ends.as_deref()
    }

    /// How far it moves a stream on.
    pub(crate) fn len(&self) -> Position {
        self.ends.as_ref().map_or(self.data.len(), |ends| ends.len()) as Position
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let ends = self.ends.as_ref().map_or(0, |ends| size_of_val(&**ends));
        (self.data.len() + ends) as u64
    }

    /// The part from one place in it to another; places outside mean the ends.
    pub(crate) fn part(&self, from: Position, to: Position) -> Self {
        let to = to.min(self.len());
        let from = from.min(to);
        let Some(ends) = &self.ends else {
            let [from, to] = [from, to].map(|place| usize::try_from(place).unwrap_or(usize::MAX));
            return Self { data: self.data.slice(from..to), ends: None };
        };
        let (begin, end) = (self.begin_of(from), self.end_of(to).max(self.begin_of(from)));
        let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let ends = range.and_then(|(from, to)| ends.get(from..to)).unwrap_or_default();
        let shift = u32::try_from(begin).unwrap_or(0);
        Self {
            data: self.data.slice(begin..end),
            ends: Some(ends.iter().map(|end| end.saturating_sub(shift)).collect()),
        }
    }

    /// How far one gets from `from` with so many bytes: by at least one message, or one byte.
    pub(crate) fn fitting(&self, from: Position, max_bytes: usize) -> Position {
        let most = match &self.ends {
            None => from.saturating_add(max_bytes as Position),
            Some(ends) => {
                let limit = self.begin_of(from).saturating_add(max_bytes);
                ends.partition_point(|&end| end as usize <= limit) as Position
            }
        };
        most.clamp(from.saturating_add(1), self.len().max(from.saturating_add(1))).min(self.len())
    }

    /// The bytes.
    pub(crate) const fn data(&self) -> &Bytes {
        &self.data
    }

    /// Where message `index` begins in `data`: behind the comma after the one before it.
    fn begin_of(&self, index: Position) -> usize {
        if index == 0 { 0 } else { (self.end_of(index) + 1).min(self.data.len()) }
    }

    /// Where the first `count` messages end in `data`.
    fn end_of(&self, count: Position) -> usize {
        let ends = self.ends.as_deref().unwrap_or_default();
        let last = usize::try_from(count).ok().and_then(|count| count.checked_sub(1));
        last.and_then(|last| ends.get(last)).map_or(0, |end| *end as usize)
    }
}

/// Whether messages may end there: each has a byte and, but for the first, a comma before it.
fn fits(data: &[u8], ends: &[u32]) -> bool {
    let mut begin = 0;
    for end in ends {
        let end = *end as usize;
        if end <= begin {
            return false;
        }
        begin = end + 1;
    }
    begin == if ends.is_empty() { data.len() } else { data.len() + 1 }
}

/// The JSON array of what `parts` hold, or their bytes one after the other.
pub(crate) fn join(kind: Kind, parts: &[Batch]) -> Vec<u8> {
    let bytes = parts.iter().map(|part| part.data.len() + 1).sum::<usize>();
    let mut joined = Vec::with_capacity(bytes + 2);
    match kind {
        Kind::Text | Kind::Binary => {
            parts.iter().for_each(|part| joined.extend_from_slice(&part.data));
        }
        Kind::Json => {
            joined.push(b'[');
            for (index, part) in parts.iter().filter(|part| part.len() > 0).enumerate() {
                if index > 0 {
                    joined.push(b',');
                }
                joined.extend_from_slice(&part.data);
            }
            joined.push(b']');
        }
    }
    joined
}

/// The messages in a JSON text: the elements of an array, or else the one value. An empty body has none.
fn messages(body: &[u8]) -> Result<Batch, Refusal> {
    let mut found = Messages { data: Vec::with_capacity(body.len()), ends: Vec::new() };
    match body.trim_ascii_start() {
        [] => {}
        [b'[', ..] => {
            check_json_list(body)?;
            let mut text = serde_json::Deserializer::from_slice(body);
            text.deserialize_seq(&mut found)
                .and_then(|()| text.end())
                .map_err(|error| Refusal::Json(error.to_string()))?;
        }
        _ => {
            check_json(body)?;
            let value = serde_json::from_slice::<&RawValue>(body)
                .map_err(|error| Refusal::Json(error.to_string()))?;
            found.push(value.get());
        }
    }
    if found.ends.len() > MOST_MESSAGES {
        return Err(Refusal::TooManyMessages { limit: MOST_MESSAGES });
    }
    let Messages { data, ends } = found;
    Ok(Batch { data: data.into(), ends: Some(ends.into()) })
}

/// Collects messages. Nothing is built of them, so that neither their depth nor their number does harm.
struct Messages {
    data: Vec<u8>,
    ends: Vec<u32>,
}

impl Messages {
    fn push(&mut self, message: &str) {
        if !self.ends.is_empty() {
            self.data.push(b',');
        }
        self.data.extend_from_slice(message.as_bytes());
        // A body is bounded far below what this holds.
        self.ends.push(u32::try_from(self.data.len()).unwrap_or(u32::MAX));
    }
}

impl<'de> Visitor<'de> for &mut Messages {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(message) = elements.next_element::<&RawValue>()? {
            self.push(message.get());
            if self.ends.len() > MOST_MESSAGES {
                let text = format!("an append may have at most {MOST_MESSAGES} messages");
                return Err(de::Error::custom(text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(body: &str) -> Batch {
        Batch::new(Kind::Json, Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    fn read(parts: &[Batch]) -> String {
        String::from_utf8(join(Kind::Json, parts)).unwrap()
    }

    #[test]
    fn one_level_of_an_array_is_flattened() {
        for (body, count, array) in [
            ("", 0, "[]"),
            ("[]", 0, "[]"),
            (" {\"a\" : 1} ", 1, "[{\"a\" : 1}]"),
            ("[1, 2 ,3]", 3, "[1,2,3]"),
            ("[[1,2],[3]]", 2, "[[1,2],[3]]"),
            ("[[[1]]]", 1, "[[[1]]]"),
            ("\"]\"", 1, "[\"]\"]"),
        ] {
            let batch = json(body);
            assert_eq!((batch.len(), read(&[batch]).as_str()), (count, array), "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in ["{", "[1,]", "[1] 2", "nul", "1 2", "[1"] {
            let refused = Batch::new(Kind::Json, Bytes::copy_from_slice(body.as_bytes()));
            assert!(matches!(refused, Err(Refusal::Json(_))), "{body}");
        }
    }

    #[test]
    fn what_not_every_reader_can_read_is_refused_and_the_array_around_messages_counts_for_none() {
        let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for body in [nested(102), "1e400".to_owned(), r#"["\ud800"]"#.to_owned()] {
            let refused = Batch::new(Kind::Json, Bytes::from(body.clone()));
            assert!(matches!(refused, Err(Refusal::JsonLimit { .. })), "{body:.40}");
        }
        assert_eq!(json(&nested(101)).len(), 1);
    }

    #[test]
    fn a_kind_is_found_whatever_the_case_and_the_parameters() {
        assert_eq!(Kind::of("Application/JSON; charset=utf-8"), Kind::Json);
        assert_eq!(Kind::of("text/PLAIN"), Kind::Text);
        assert_eq!(Kind::of("application/ndjson"), Kind::Binary);
        assert_eq!(Kind::of("nonsense"), Kind::Binary);
    }

    #[test]
    fn a_message_that_is_too_large_for_a_page_is_given_whole() {
        let batch = json("[1,\"aaaaaaaaaaaaaaaaaaaa\",3]");
        assert_eq!(batch.fitting(0, 1), 1);
        assert_eq!(batch.fitting(1, 1), 2);
        assert_eq!(batch.fitting(2, 100), 3);
    }

    proptest! {
        #[test]
        fn the_parts_of_a_batch_hold_the_messages_in_between(
            numbers in prop::collection::vec(any::<u32>(), 0..20),
            from in 0_u64..24,
            to in 0_u64..24,
            max_bytes in 0_usize..64,
        ) {
            let batch = json(&serde_json::to_string(&numbers).unwrap());
            prop_assert_eq!(batch.len(), numbers.len() as u64);
            let (begin, end) = (from.min(batch.len()).min(to) as usize, to.min(batch.len()) as usize);
            let expected = numbers.get(begin..end).unwrap_or_default();
            let part = batch.part(from, to);
            prop_assert_eq!(read(std::slice::from_ref(&part)), serde_json::to_string(expected).unwrap());
            prop_assert_eq!(part.len(), expected.len() as u64);
            if from < batch.len() {
                let fitting = batch.fitting(from, max_bytes);
                prop_assert!(fitting > from && fitting <= batch.len());
                let bytes = batch.part(from, fitting).data().len();
                prop_assert!(bytes <= max_bytes || fitting == from + 1);
            }
        }

        #[test]
        fn the_parts_of_bytes_are_those_in_between(
            data in prop::collection::vec(any::<u8>(), 0..40), from in 0_u64..48, to in 0_u64..48,
        ) {
            let batch = Batch::new(Kind::Binary, Bytes::from(data.clone())).unwrap();
            let to = to.min(data.len() as u64) as usize;
            let from = (from as usize).min(to);
            let part = batch.part(from as u64, to as u64);
            prop_assert_eq!(part.data().as_ref(), &data[from..to]);
        }
    }
}
