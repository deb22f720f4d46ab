//! Reads a segment from its start, and says how it ends. Sans-I/O.
//!
//! # Laws
//!
//! - What is returned was committed as it is, from the segment's base on without a hole.
//! - A group that isn't whole is no part of it.

use bytes::Bytes;

use super::record::{HEAD_BYTES, HEADER_BYTES, Header, Span};
use crate::{
    intake::Posted,
    log::{Micros, Offset},
};

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scan {
    /// The frames of whole groups.
    pub(super) frames: Vec<Frame>,
    /// Where the last whole group ends.
    pub(super) end: u64,
    /// The offset behind the last event.
    pub(super) next: Offset,
    /// What comes then.
    pub(super) rest: Rest,
}

/// A frame with its events.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) span: Span,
    pub(super) time: Micros,
    pub(super) events: Vec<Posted>,
}

/// What stands behind the last whole group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// The start of a group, right as far as it goes: its writer was killed.
    Cut,
    /// Something else, and behind it no later group. Either the machine stopped while the group was
    /// written, or the group was damaged afterwards.
    Wrong,
    /// Something else, with a later group behind it: what was committed is damaged.
    Damaged,
}

/// Reads the segment `bytes` whose head says that it starts at `base`.
pub(super) fn scan(bytes: &Bytes, salt: u32, base: Offset) -> Scan {
    let mut scan = Scan { frames: vec![], end: HEAD_BYTES as u64, next: base, rest: Rest::Nothing };
    let mut at = HEAD_BYTES;
    let mut group = Vec::new();
    let mut next = base;
    while at < bytes.len() {
        let ends_group = match frame(bytes, at, salt) {
            Ok(Found { header, frame, end }) if follows(&header, scan.next, next) => {
                (at, next) = (end, header.first + u64::from(header.count));
                group.push(frame);
                header.last
            }
            // A right frame in a wrong place.
            Ok(Found { .. }) | Err(Flaw::Wrong) => {
                let rest = wrong(bytes, at, salt, scan.next);
                return scan.end_with(rest);
            }
            Err(Flaw::Short) => return scan.end_with(Rest::Cut),
        };
        if ends_group {
            scan.frames.append(&mut group);
            (scan.end, scan.next) = (at as u64, next);
        }
    }
    let rest = if group.is_empty() { Rest::Nothing } else { Rest::Cut };
    scan.end_with(rest)
}

impl Scan {
    fn end_with(self, rest: Rest) -> Self {
        Self { rest, ..self }
    }
}

struct Found {
    header: Header,
    frame: Frame,
    end: usize,
}

enum Flaw {
    /// The bytes end before the frame does.
    Short,
    Wrong,
}

/// The events of a frame, wherever it lies.
#[derive(Debug)]
pub(super) struct Body {
    /// The offset of the first one.
    pub(super) first: Offset,
    pub(super) time: Micros,
    pub(super) events: Vec<Posted>,
}

/// Reads neighbouring frames; `None` where `bytes` are none.
pub(super) fn frames(bytes: &Bytes, salt: u32) -> Option<Vec<Body>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Found { header, frame, end } = frame(bytes, at, salt).ok()?;
        let Frame { span: _, time, events } = frame;
        found.push(Body { first: header.first, time, events });
        at = end;
    }
    Some(found)
}

fn frame(bytes: &Bytes, at: usize, salt: u32) -> Result<Found, Flaw> {
    let rest = bytes.get(at..).unwrap_or_default();
    if rest.len() < HEADER_BYTES {
        return Err(Flaw::Short);
    }
    let header = Header::decode(rest, salt).ok_or(Flaw::Wrong)?;
    let (body, end) = (at + HEADER_BYTES, at + header.frame_bytes());
    if end > bytes.len() {
        return Err(Flaw::Short);
    }
    let events = header.events(&bytes.slice(body..end), salt).ok_or(Flaw::Wrong)?;
    let span = Span { first: header.first, at: at as u64 };
    Ok(Found { header, frame: Frame { span, time: header.time, events }, end })
}

/// Whether a frame is the next one, of the group that starts at `group`.
fn follows(header: &Header, group: Offset, next: Offset) -> bool {
    header.first == next && header.group == group && header.count > 0
}

/// Looks for a later group behind the wrong bytes at `at`. Blocks of one write may reach a disk in any
/// order, so later frames of the same group tell nothing.
fn wrong(bytes: &Bytes, at: usize, salt: u32, group: Offset) -> Rest {
    let places = at + 1..bytes.len();
    let mut headers =
        places.filter_map(|at| bytes.get(at..).and_then(|rest| Header::decode(rest, salt)));
    if headers.any(|header| header.group > group) { Rest::Damaged } else { Rest::Wrong }
}
