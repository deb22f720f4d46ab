//! An event as a message, and back. Sans-I/O.
//!
//! The id that JetStream compares is `i-` and the event's identity, and where the event has none, `t-` and
//! a number drawn for this append, so that it can be sent again when its answer is lost. An event that
//! came before and has left the log since has the old one's offset behind its identity.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::PublishMessage};
use bytes::Bytes;

use super::LogError;
use crate::log::{
    Entry, Micros, Offset,
    codec::{self, Identity, Origin},
    instant_of,
};

/// The size by which retention is counted, so that an index can be made from headers alone.
const SIZE: &str = "Weir-Size";

/// The name of an event without an identity, for one append.
pub(super) fn token() -> String {
    format!("t-{:032x}", fastrand::u128(..))
}

/// The name of an event with an identity. `evicted` is where an equal one was, which has left the log.
pub(super) fn name(identity: &Identity, evicted: Option<Offset>) -> String {
    let hex = format!("i-{:032x}", u128::from_be_bytes(*identity));
    match evicted {
        Some(offset) => format!("{hex}.{offset}"),
        None => hex,
    }
}

/// The identity out of a name.
fn identity(name: &str) -> Option<Identity> {
    let hex = name.strip_prefix("i-")?;
    let hex = hex.split_once('.').map_or(hex, |(hex, _)| hex);
    u128::from_str_radix(hex, 16).ok().map(u128::to_be_bytes)
}

/// What is sent.
pub(super) fn message(name: &str, size: u64, event: Bytes) -> PublishMessage {
    PublishMessage::build().payload(event).message_id(name).header(SIZE, size.to_string().as_str())
}

/// What the headers of a message say.
pub(super) fn read_headers(headers: &HeaderMap) -> Option<(String, u64, Option<Identity>)> {
    let name = headers.get(NATS_MESSAGE_ID)?.as_str().to_owned();
    let size = headers.get(SIZE)?.as_str().parse().ok()?;
    let identity = identity(&name);
    Some((name, size, identity))
}

/// An entry out of a message.
pub(super) fn entry(offset: Offset, time: Micros, event: &Bytes) -> Result<Entry, LogError> {
    let (Origin { replica: _, accepted }, posted) =
        codec::decode(event).map_err(|error| LogError::Damaged(error.to_string()))?;
    Ok(Entry { offset, accepted_at: instant_of(accepted), time, posted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_name() {
        let known = [7; 16];
        assert_eq!(identity(&name(&known, None)), Some(known));
        assert_eq!(identity(&name(&known, Some(12))), Some(known));
        assert_ne!(name(&known, None), name(&known, Some(12)));
        assert_eq!(identity(&token()), None);
    }
}
