//! The one thread that writes a log: it commits in groups, expires, and closes.

use std::{
    fs::File,
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use weir_crds::v1alpha1::Durability;

use super::{
    Report, Room, Shared,
    files::{self, Files, Unwritten},
    index::{Segment, Slot},
    meta::Meta,
    record::{Group, HEAD_BYTES, Span},
    recover::counted,
};
use crate::{
    clock,
    count::Eviction,
    intake::Posted,
    log::{Appended, Entry, LogError, Micros, Offset, identities::Identities, size_of_event},
    seldom::Seldom,
};

/// The size from which on a group takes no more appends: beyond it, a write costs what its bytes cost.
const GROUP_BYTES: usize = 1 << 20;

/// A segment is a sixteenth of the quota: so much room may be taken by events that have left.
const SEGMENTS: u64 = 16;
/// A smaller segment would be made too often.
const LEAST_SEGMENT_BYTES: u64 = 1 << 20;
/// A larger one would be read in one piece when the log is opened.
const MOST_SEGMENT_BYTES: u64 = 64 << 20;

/// Whoever may publish enough can make it happen.
static LEFT_EARLY: Seldom = Seldom::new();

/// How often the system is told to put on the disk what it has, with [`Durability::Interval`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The longest that a group waits for the publishers of the last one, and how long at a time.
const MOST_LINGER: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_micros(50);

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    Append(Append),
    /// A second has passed.
    Tick,
    /// The events from here on can't be read.
    PutAside(Offset),
    Close(oneshot::Sender<()>),
}

/// Events to be appended.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) events: Vec<Posted>,
    pub(super) answer: Answer,
    /// Given back when it is answered.
    pub(super) room: OwnedSemaphorePermit,
}

type Answer = oneshot::Sender<Result<Appended, LogError>>;

/// What a group of appends comes to.
#[derive(Debug, Default)]
struct Planned {
    fresh: Vec<Posted>,
    slots: Vec<Slot>,
    answers: Vec<(Answer, Appended, OwnedSemaphorePermit)>,
}

/// The writer of one log.
pub(super) struct Writer {
    files: Files,
    meta: Meta,
    identities: Identities,
    shared: Arc<Shared>,
    room: Arc<Room>,
    durability: Durability,
    report: Report,
    /// Whether the last report was a bad one.
    reported: bool,
    /// Set for good when nobody knows any more what is on the disk.
    failed: Option<LogError>,
    /// Whether something was written that the disk may not have.
    unsynced: bool,
    synced_at: Instant,
    /// How many appends the last group had, and a part of the time that it took.
    expected: usize,
    linger: Duration,
}

impl Writer {
    pub(super) fn new(
        files: Files,
        meta: Meta,
        identities: Identities,
        shared: Arc<Shared>,
        room: Arc<Room>,
        durability: Durability,
        report: Report,
    ) -> Self {
        Self {
            files,
            meta,
            identities,
            shared,
            room,
            durability,
            report,
            reported: false,
            failed: None,
            unsynced: false,
            synced_at: Instant::now(),
            expected: 0,
            linger: Duration::ZERO,
        }
    }

    /// Writes until it is told to close, or nobody is left who could tell it.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let mut held = None;
        let closing = loop {
            let Some(command) = held.take().or_else(|| queue.blocking_recv()) else { break None };
            match command {
                Command::Append(append) => {
                    let group;
                    (group, held) = self.gather(append, &mut queue);
                    self.commit(group);
                }
                Command::Tick => self.expire(),
                Command::PutAside(offset) => self.put_aside(offset),
                Command::Close(answer) => break Some(answer),
            }
        };
        // Whoever still waits is answered that the log is closed.
        drop(queue);
        self.close();
        if let Some(answer) = closing {
            let _ = answer.send(());
        }
    }

    /// Takes what else is to be appended. Those who were answered together come back together, one a
    /// little after the other; without a moment's patience the first would be committed alone, and the
    /// others wait for it.
    fn gather(
        &self,
        first: Append,
        queue: &mut mpsc::Receiver<Command>,
    ) -> (Vec<Append>, Option<Command>) {
        let deadline = Instant::now() + self.linger;
        let mut bytes = first.size();
        let mut group = vec![first];
        while bytes < GROUP_BYTES {
            match queue.try_recv() {
                Ok(Command::Append(append)) => {
                    bytes += append.size();
                    group.push(append);
                }
                Ok(other) => return (group, Some(other)),
                Err(mpsc::error::TryRecvError::Empty)
                    if group.len() < self.expected && Instant::now() < deadline =>
                {
                    thread::sleep(NAP);
                }
                Err(_) => break,
            }
        }
        (group, None)
    }

    fn commit(&mut self, group: Vec<Append>) {
        let started = Instant::now();
        let expected = group.len();
        let planned = self.plan(group);
        let Planned { fresh, slots, answers } = planned;
        let written = match &self.failed {
            Some(error) => Err(error.clone()),
            None if fresh.is_empty() => Ok(()),
            None => self.write(fresh, &slots, started),
        };
        if let Err(error) = &written {
            let head = self.shared.index.read().head();
            for (slot, offset) in slots.iter().zip(head..) {
                slot.key.into_iter().for_each(|key| self.identities.remove(key, offset));
            }
            self.tell(Some(error.to_string()));
        }
        for (answer, appended, room) in answers {
            // Whoever has left is not answered.
            let _ = answer.send(written.clone().map(|()| appended));
            drop(room);
        }
        self.evict();
        self.sync_if_due();
        (self.expected, self.linger) = match self.durability {
            Durability::Fsync => (expected, (started.elapsed() / 4).min(MOST_LINGER)),
            Durability::Interval => (0, Duration::ZERO),
        };
    }

    /// Gives each event its offset, or finds the one of which it is a repetition.
    fn plan(&mut self, group: Vec<Append>) -> Planned {
        let mut next = self.shared.index.read().head();
        let mut planned = Planned::default();
        for Append { events, answer, room } in group {
            let mut appended = Appended { accepted: 0, duplicates: 0, last: next - 1 };
            for posted in events {
                let key = self.identities.key_of(&posted);
                let known = key.and_then(|key| self.identities.find_or_insert(key, next));
                if let Some(offset) = known {
                    appended.duplicates += 1;
                    appended.last = offset;
                    continue;
                }
                appended.accepted += 1;
                appended.last = next;
                next += 1;
                let size = counted(size_of_event(&posted.event));
                planned.slots.push(Slot { size, key });
                planned.fresh.push(posted);
            }
            planned.answers.push((answer, appended, room));
        }
        planned
    }

    fn write(
        &mut self,
        fresh: Vec<Posted>,
        slots: &[Slot],
        accepted_at: Instant,
    ) -> Result<(), LogError> {
        let mut active = self.active()?;
        let (head, newest) = {
            let index = self.shared.index.read();
            (index.head(), index.newest())
        };
        let time = clock::micros().max(newest);
        let (mut bytes, mut spans) = group(&active, head, time, &fresh);
        if let Some(other) = self.make_room(bytes.len() as u64)? {
            // The checksums start from what is the segment's own.
            (bytes, spans) = group(&other, head, time, &fresh);
            active = other;
        }
        self.put(&active, &bytes)?;
        self.enter(&active, bytes.len() as u64, &spans, slots, time);
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.shared.tail.counts().groups.record(slots.len() as u64);
        self.tell(None);
        let entry = |(posted, offset)| Entry { offset, accepted_at, time, posted };
        self.shared.tail.push(fresh.into_iter().zip(head..).map(entry).collect());
        Ok(())
    }

    /// The segment that takes the next group.
    fn active(&mut self) -> Result<Segment<File>, LogError> {
        // Files go as a whole; so, of no more than half of what is kept, twice that is room enough for them.
        let kept = self.shared.retention.lock().max_bytes / 2;
        let bytes = (self.room.size() / SEGMENTS).min(kept);
        let bytes = bytes.clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES);
        let active = self.shared.index.read().active().cloned();
        match active {
            Some(active) if active.length < bytes => Ok(active),
            Some(_) | None => self.roll(),
        }
    }

    /// Begins a new segment.
    fn roll(&mut self) -> Result<Segment<File>, LogError> {
        if self.unsynced {
            // Nobody looks after the old one any more.
            self.sync()?;
        }
        let head = self.shared.index.read().head();
        let segment = self.files.create(head).map_err(|error| refused(&error))?;
        self.shared.index.write().roll(segment.clone());
        Ok(segment)
    }

    /// Makes room within the quota. The oldest events leave before their time rather than that new ones
    /// are refused. Returns the segment that takes the group, where that is another by now.
    fn make_room(&mut self, bytes: u64) -> Result<Option<Segment<File>>, LogError> {
        let mut other = None;
        loop {
            let (second, written) = {
                let index = self.shared.index.read();
                if self.room.grow_log(index.room().saturating_add(bytes)) {
                    return Ok(other);
                }
                (index.second_base(), index.is_active_written())
            };
            let base = match second {
                Some(base) => base,
                // All that there is leaves, where that helps.
                None if written && self.room.could_hold_log(bytes + HEAD_BYTES as u64) => {
                    other.insert(self.roll()?).base
                }
                None => {
                    let quota = self.room.size();
                    return Err(LogError::Full(format!(
                        "spec.log.storage.disk.size of {quota} bytes has no room for {bytes} more"
                    )));
                }
            };
            self.leave_early(base);
        }
    }

    /// Lets the events before `base` go, because there is no more room for them.
    fn leave_early(&mut self, base: Offset) {
        self.evict_before(base, Eviction::NoRoom);
        if LEFT_EARLY.is_due() {
            tracing::warn!(
                directory = %self.files.directory().display(),
                before = base,
                "events left before their time, because the log has no more room on the disk"
            );
        }
        self.drop_left();
    }

    fn put(&mut self, active: &Segment<File>, bytes: &[u8]) -> Result<(), LogError> {
        let Segment { base: _, salt: _, length, file } = active;
        match files::put(file, *length, bytes, self.durability) {
            Ok(synced) => {
                synced.into_iter().for_each(|took| self.shared.tail.counts().syncs.record(took));
                self.unsynced |= self.durability == Durability::Interval;
                Ok(())
            }
            Err(Unwritten::Refused(error)) => Err(refused(&error)),
            Err(Unwritten::Uncertain(error)) => Err(self.fail(&error)),
        }
    }

    /// Enters a written group into the index.
    fn enter(
        &self,
        active: &Segment<File>,
        bytes: u64,
        spans: &[Span],
        slots: &[Slot],
        time: Micros,
    ) {
        let mut index = self.shared.index.write();
        let end = index.head() + slots.len() as u64;
        let ends = spans.iter().skip(1).map(|span| span.first).chain([end]);
        let mut slots = slots.iter().copied();
        for (span, end) in spans.iter().zip(ends) {
            let count = usize::try_from(end - span.first).unwrap_or(usize::MAX);
            let placed = Span { first: span.first, at: active.length + span.at };
            index.add(placed, time, slots.by_ref().take(count));
        }
        index.set_length(active.length + bytes);
    }

    /// Evicts what is past a bound, and does what is due every second.
    pub(super) fn expire(&mut self) {
        self.evict();
        let left = self.shared.index.read().is_active_left();
        // So that nothing stays on the disk for long after its time.
        if left && self.failed.is_none() && self.roll().is_ok() {
            self.drop_left();
        }
        self.sync_if_due();
    }

    fn evict(&mut self) {
        let retention = *self.shared.retention.lock();
        let identities = &mut self.identities;
        let mut index = self.shared.index.write();
        let before = index.first();
        index.expire(retention, clock::micros(), |key, offset| identities.remove(key, offset));
        let left = index.first() - before;
        drop(index);
        self.shared.tail.counts().evicted(Eviction::Retention, left);
        self.drop_left();
    }

    /// Evicts the events before an offset.
    fn evict_before(&mut self, offset: Offset, why: Eviction) {
        let identities = &mut self.identities;
        let mut index = self.shared.index.write();
        let before = index.first();
        index.evict_before(offset, |key, offset| identities.remove(key, offset));
        let left = index.first() - before;
        drop(index);
        self.shared.tail.counts().evicted(why, left);
    }

    /// Removes the segments that hold nothing any more.
    fn drop_left(&self) {
        let (first, dropped) = {
            let mut index = self.shared.index.write();
            let (first, dropped) = (index.first(), index.drop_segments());
            self.room.set_log(index.room());
            (first, dropped)
        };
        self.shared.tail.evict_before(first);
        for Segment { base, .. } in dropped {
            if let Err(error) = self.files.remove(base) {
                // It is found, and removed, at the next start.
                tracing::warn!(%error, base, "can't remove a segment of the log");
            }
        }
    }

    /// Gives up the segment of an event that can't be read, and those before it: its readers are told of
    /// a gap, and go on behind it.
    fn put_aside(&mut self, from: Offset) {
        if from < self.shared.index.read().first() {
            return;
        }
        let next = self.shared.index.read().next_base(from);
        let next = match next.map_or_else(|| self.roll().map(|rolled| rolled.base), Ok) {
            Ok(next) => next,
            Err(error) => return self.tell(Some(error.to_string())),
        };
        self.evict_before(next, Eviction::Damaged);
        let dropped = self.shared.index.write().drop_segments();
        self.shared.tail.evict_before(next);
        let kept = self.files.quarantine().and_then(|aside| {
            dropped.iter().try_for_each(|segment| self.files.put_aside(segment.base, &aside))
        });
        tracing::error!(
            directory = %self.files.directory().display(),
            before = next,
            kept = kept.is_ok(),
            "the log is damaged: what can't be read and all that came before it is put aside"
        );
    }

    fn sync_if_due(&mut self) {
        if self.unsynced && self.synced_at.elapsed() >= SYNC_INTERVAL {
            // A failure is kept, and told by the next append.
            let _ = self.sync();
        }
    }

    fn sync(&mut self) -> Result<(), LogError> {
        (self.unsynced, self.synced_at) = (false, Instant::now());
        let active = self.shared.index.read().active().cloned();
        let begun = Instant::now();
        match active.map_or(Ok(()), |active| active.file.sync_data()) {
            Ok(()) => {
                self.shared.tail.counts().syncs.record(begun.elapsed());
                Ok(())
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    /// Takes no more events: what is on the disk is not known any more.
    fn fail(&mut self, error: &io::Error) -> LogError {
        let message = format!(
            "the disk failed ({error}), and what it holds of the newest events is uncertain: mend it, and \
             start this replica anew"
        );
        tracing::error!(directory = %self.files.directory().display(), "{message}");
        let error = LogError::Unavailable(message);
        self.tell(Some(error.to_string()));
        self.failed = Some(error.clone());
        error
    }

    fn tell(&mut self, fault: Option<String>) {
        if fault.is_some() || self.reported {
            self.reported = fault.is_some();
            (self.report)(fault);
        }
    }

    fn close(mut self) {
        if self.failed.is_some() || self.sync().is_err() {
            return;
        }
        let head = self.shared.index.read().head();
        if let Err(error) = self.meta.closed(head).write(self.files.directory()) {
            // The next start looks closer, and finds the same.
            tracing::warn!(%error, "can't write down that the log was closed in order");
        }
    }
}

impl Append {
    fn size(&self) -> usize {
        self.events.iter().map(|posted| posted.event.size()).sum()
    }
}

/// The bytes of events as one group of a segment, and where its frames lie in them.
fn group(
    segment: &Segment<File>,
    head: Offset,
    time: Micros,
    events: &[Posted],
) -> (Vec<u8>, Vec<Span>) {
    let mut group = Group::new(segment.salt, head, time);
    events.iter().for_each(|posted| group.push(posted));
    group.finish()
}

/// What the system refused, and what was undone: another try may succeed.
pub(super) fn refused(error: &io::Error) -> LogError {
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    );
    let message = format!("can't write: {error}");
    if full { LogError::Full(message) } else { LogError::Unavailable(message) }
}
