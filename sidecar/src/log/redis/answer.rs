//! What the scripts answer, read. Sans-I/O.

use bytes::Bytes;
use redis::Value;

use super::{LogError, script::LOST};
use crate::log::{
    Entry, Micros, Offset,
    codec::{self, Origin},
    instant_of,
};

/// An answer that no script of ours gives.
pub(super) fn malformed() -> LogError {
    LogError::Damaged("redis answered what this version does not understand".to_owned())
}

/// The parts of an answer; `None` where it says that events were lost.
pub(super) fn parts(answer: Value) -> Result<Option<std::vec::IntoIter<Value>>, LogError> {
    let Value::Array(parts) = answer else { return Err(malformed()) };
    let lost = matches!(parts.first(), Some(Value::Int(LOST)));
    Ok((!lost).then(|| parts.into_iter()))
}

/// The next part, which is a number.
pub(super) fn number(parts: &mut impl Iterator<Item = Value>) -> Result<u64, LogError> {
    match parts.next() {
        Some(Value::Int(number)) => u64::try_from(number).map_err(|_| malformed()),
        Some(other) => text(&other)?.parse().map_err(|_| malformed()),
        None => Err(malformed()),
    }
}

/// A part that is a text.
pub(super) fn text(part: &Value) -> Result<&str, LogError> {
    let Value::BulkString(bytes) = part else { return Err(malformed()) };
    std::str::from_utf8(bytes).map_err(|_| malformed())
}

/// An entry of the stream as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) offset: Offset,
    pub(super) time: Micros,
    pub(super) event: Bytes,
}

/// The entries of a part that is a list of them.
pub(super) fn entries(part: Option<Value>) -> Result<Vec<Stored>, LogError> {
    match part {
        Some(Value::Array(entries)) => entries.into_iter().map(stored).collect(),
        Some(Value::Nil) | None => Ok(Vec::new()),
        Some(_) => Err(malformed()),
    }
}

fn stored(entry: Value) -> Result<Stored, LogError> {
    let Value::Array(parts) = entry else { return Err(malformed()) };
    let mut parts = parts.into_iter();
    let id = parts.next().ok_or_else(malformed)?;
    let offset = text(&id)?.strip_suffix("-0").and_then(|number| number.parse().ok());
    let Some(Value::Array(fields)) = parts.next() else { return Err(malformed()) };
    // In the order in which the script writes them: t, s, i, e, each before its value.
    let mut values = fields.into_iter().skip(1).step_by(2);
    let time = number(&mut values)?;
    let Some(Value::BulkString(event)) = values.nth(2) else { return Err(malformed()) };
    Ok(Stored { offset: offset.ok_or_else(malformed)?, time, event: event.into() })
}

/// The answer to `XREAD` of one stream.
pub(super) fn news(answer: Value) -> Result<Vec<Stored>, LogError> {
    let Value::Array(streams) = answer else {
        return if answer == Value::Nil { Ok(Vec::new()) } else { Err(malformed()) };
    };
    match streams.into_iter().next() {
        Some(Value::Array(stream)) => entries(stream.into_iter().nth(1)),
        Some(_) | None => Err(malformed()),
    }
}

/// An entry as the tail has it.
pub(super) fn entry(stored: Stored) -> Result<Entry, LogError> {
    let Stored { offset, time, event } = stored;
    let (Origin { replica: _, accepted }, posted) =
        codec::decode(&event).map_err(|error| LogError::Damaged(error.to_string()))?;
    Ok(Entry { offset, accepted_at: instant_of(accepted), time, posted })
}
