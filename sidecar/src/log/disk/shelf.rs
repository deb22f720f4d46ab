//! What is kept on a disk beside a log: books, each of which is appended to and removed as a whole.
//!
//! A book is one segment in the log's format, and its number is its base. A record is the payload of an
//! event that has nothing else. Everything here blocks.
//!
//! # Laws
//!
//! - Records that were written together are there together or not at all.
//! - What was answered for outlives the process, however that ends; and with [`Durability::Fsync`] the
//!   machine, too.
//! - What was answered for and may be lost is never passed over in silence: it is put aside where there is
//!   something left of it, and the book comes with a [`Doubt`].
//! - After a failed `fdatasync` nothing is taken any more: see the laws of the log on a disk.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use weir_crds::v1alpha1::Durability;

use super::{
    OpenError, Room,
    files::{self, Files, Unwritten},
    meta::Meta,
    record::{Group, HEAD_BYTES, Head},
    recover::left,
    scan::{self, Rest, Scan},
    writer::refused,
};
use crate::{
    clock,
    event::Event,
    intake::Posted,
    log::{LogError, LogId, Offset},
};

/// What a file takes of a disk is a multiple of this, with common file systems.
const BLOCK_BYTES: u64 = 4 * 1_024;

/// The books of one directory.
pub(crate) struct Shelf {
    files: Files,
    /// What the last process wrote down.
    left: Option<Meta>,
    meta: OnceLock<Meta>,
    durability: Durability,
    room: Arc<Room>,
    books: AtomicU64,
    /// Why nothing is taken any more.
    failed: OnceLock<LogError>,
    /// The books that the disk may not have as they are.
    unsynced: Mutex<BTreeSet<u64>>,
    /// Where what is damaged was put.
    aside: Mutex<Option<PathBuf>>,
}

/// One book. Whoever has it appends to it, one after the other.
#[derive(Debug)]
pub(crate) struct Book {
    number: u64,
    salt: u32,
    /// Where its last group ends.
    length: u64,
    /// The offset of its next record.
    next: Offset,
}

/// A book that was there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) book: Book,
    /// What it holds, at least one.
    pub(crate) records: Vec<Bytes>,
    pub(crate) doubt: Doubt,
}

/// Whether a book holds all that was answered for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It does.
    None,
    /// Its end was damaged, and is put aside.
    Damaged,
    /// The machine failed, and the last records of any book may be lost.
    Lossy,
}

impl Book {
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    fn room(&self) -> u64 {
        blocks(self.length)
    }
}

impl Shelf {
    /// Opens a directory, or makes it, and reads all of its books. Nothing is written down of that before
    /// [`Self::begin`], so that a start that fails leaves the doubts to the next.
    pub(crate) fn open(
        directory: &Path,
        durability: Durability,
        room: Arc<Room>,
    ) -> Result<(Self, Vec<Found>), OpenError> {
        let files = Files::open(directory)?;
        let shelf = Self {
            left: left(&files)?,
            files,
            meta: OnceLock::new(),
            durability,
            room,
            books: AtomicU64::new(0),
            failed: OnceLock::new(),
            unsynced: Mutex::default(),
            aside: Mutex::default(),
        };
        let found = shelf.books();
        let found = found.map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        Ok((shelf, found))
    }

    fn books(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for number in self.files.bases()? {
            found.extend(self.book(number)?);
        }
        self.room.set_beside(found.iter().map(|found| found.book.room()).sum());
        let count = found.len() as u64;
        self.books.store(count, Ordering::Relaxed);
        let closed_with = self.left.as_ref().and_then(Meta::closed_at);
        if closed_with.is_some_and(|with| with > count) {
            self.report("some of what was kept is gone");
        }
        Ok(found)
    }

    /// Reads a book; `None` where there is none, or no longer.
    fn book(&self, number: u64) -> io::Result<Option<Found>> {
        let (file, bytes) = self.files.read(number)?;
        let head = Head::decode(&bytes).filter(|head| head.base == number);
        let scan = head.map(|Head { salt, base }| (salt, scan::scan(&bytes, salt, base)));
        let (salt, scan) = match scan {
            Some((salt, scan)) if !scan.frames.is_empty() => (salt, scan),
            Some((_, scan)) if self.is_torn(scan.rest) => return self.never_was(number),
            None if bytes.len() < HEAD_BYTES && self.is_torn(Rest::Cut) => {
                return self.never_was(number);
            }
            Some(_) | None => {
                self.files.put_aside(number, &self.quarantine()?)?;
                return Ok(None);
            }
        };
        let Scan { frames, end, next, rest } = scan;
        let doubt = self.mend(number, &file, end, rest)?;
        let events = frames.into_iter().flat_map(|frame| frame.events);
        Ok(Some(Found {
            book: Book { number, salt, length: end, next },
            records: events.map(|posted| posted.event.data).collect(),
            doubt,
        }))
    }

    /// Whether what stands behind the last whole group was never answered for.
    fn is_torn(&self, rest: Rest) -> bool {
        let is_closed = self.left.as_ref().is_some_and(|left| left.closed_at().is_some());
        let by_machine = self.left.as_ref().is_some_and(Meta::machine_failed);
        match rest {
            Rest::Nothing | Rest::Cut => !is_closed,
            Rest::Wrong => !is_closed && by_machine,
            Rest::Damaged => false,
        }
    }

    /// Removes the file of a book whose process ended while it made it.
    fn never_was(&self, number: u64) -> io::Result<Option<Found>> {
        self.files.remove(number)?;
        Ok(None)
    }

    fn mend(&self, number: u64, file: &File, end: u64, rest: Rest) -> io::Result<Doubt> {
        let lossy = self.left.as_ref().is_some_and(Meta::may_have_lost);
        let doubt = if rest == Rest::Nothing || self.is_torn(rest) {
            if rest != Rest::Nothing {
                file.set_len(end)?;
                file.sync_all()?;
            }
            if lossy { Doubt::Lossy } else { Doubt::None }
        } else {
            // The wrong end stays until something is written in its place: see `renew`.
            self.files.copy_aside(number, &self.quarantine()?)?;
            Doubt::Damaged
        };
        if self.left.as_ref().is_none_or(|left| left.closed_at().is_none()) {
            // A killed process may not have come to it, and from here on the records are shown.
            file.sync_data()?;
        }
        Ok(doubt)
    }

    /// Writes down that the books are in use. Call it when all doubts are settled.
    pub(crate) fn begin(&self) -> Result<(), LogError> {
        let meta = Meta::opened(LogId::random(), self.durability);
        meta.write(self.files.directory()).map_err(|error| refused(&error))?;
        // It is begun once.
        let _ = self.meta.set(meta);
        Ok(())
    }

    /// Makes a book. Its number must be one that no book has had.
    pub(crate) fn create(&self, number: u64, records: Vec<Bytes>) -> Result<Book, LogError> {
        self.check()?;
        let head = Head { salt: fastrand::u32(..), base: number };
        let (groups, next) = group(head.salt, number, records);
        let book =
            Book { number, salt: head.salt, length: (HEAD_BYTES + groups.len()) as u64, next };
        self.take(book.room())?;
        if let Err(error) = self.files.create_with(head, &groups, self.durability) {
            self.room.give_back(book.room());
            return Err(refused(&error));
        }
        self.note(number);
        self.books.fetch_add(1, Ordering::Relaxed);
        Ok(book)
    }

    /// Appends records to a book.
    pub(crate) fn append(&self, book: &mut Book, records: Vec<Bytes>) -> Result<(), LogError> {
        self.check()?;
        let (groups, next) = group(book.salt, book.next, records);
        let length = book.length + groups.len() as u64;
        let more = blocks(length) - book.room();
        self.take(more)?;
        if let Err(error) = self.put(book, &groups) {
            self.room.give_back(more);
            return Err(error);
        }
        (book.length, book.next) = (length, next);
        Ok(())
    }

    /// Writes records in place of a wrong end: from then on a start has no doubt about the book.
    pub(crate) fn renew(&self, book: &mut Book, records: Vec<Bytes>) -> Result<(), LogError> {
        let (groups, next) = group(book.salt, book.next, records);
        let length = book.length + groups.len() as u64;
        // Not by `put`, which would cut off the wrong end where it fails.
        let written = self.files.write(book.number).and_then(|file| {
            file.write_all_at(&groups, book.length)?;
            file.sync_data()?;
            file.set_len(length)?;
            file.sync_all()
        });
        written.map_err(|error| refused(&error))?;
        (book.length, book.next) = (length, next);
        Ok(())
    }

    fn put(&self, book: &Book, groups: &[u8]) -> Result<(), LogError> {
        let file = self.files.write(book.number).map_err(|error| refused(&error))?;
        match files::put(&file, book.length, groups, self.durability) {
            Ok(_) => {
                self.note(book.number);
                Ok(())
            }
            Err(Unwritten::Refused(error)) => Err(refused(&error)),
            Err(Unwritten::Uncertain(error)) => Err(self.fail(&error)),
        }
    }

    /// Removes a book.
    pub(crate) fn remove(&self, book: &Book) -> Result<(), LogError> {
        self.files.remove(book.number).map_err(|error| refused(&error))?;
        self.room.give_back(book.room());
        self.books.fetch_sub(1, Ordering::Relaxed);
        self.unsynced.lock().remove(&book.number);
        match self.durability {
            Durability::Fsync => self.files.sync().map_err(|error| self.fail(&error)),
            Durability::Interval => Ok(()),
        }
    }

    /// Takes a book off that its owner can't read, and keeps it for people to look at.
    pub(crate) fn put_aside(&self, book: &Book) -> Result<(), LogError> {
        let aside = self.quarantine().and_then(|aside| self.files.put_aside(book.number, &aside));
        aside.map_err(|error| refused(&error))?;
        self.room.give_back(book.room());
        self.books.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts on the disk what it may not have.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        if unsynced.is_empty() {
            return Ok(());
        }
        let one = |number| match self.files.write(number).and_then(|file| file.sync_data()) {
            // It was removed in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let synced = unsynced.into_iter().try_for_each(one).and_then(|()| self.files.sync());
        synced.map_err(|error| self.fail(&error))
    }

    /// Ends in order. What there is still takes its room.
    pub(crate) fn close(self) {
        let count = self.books.load(Ordering::Relaxed);
        let (None, Ok(()), Some(meta)) = (self.failed.get(), self.sync(), self.meta.get()) else {
            return;
        };
        if let Err(error) = meta.closed(count).write(self.files.directory()) {
            // The next start looks closer, and finds the same.
            tracing::warn!(%error, "can't write down that what is kept beside the log was closed in order");
        }
    }

    fn check(&self) -> Result<(), LogError> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn take(&self, bytes: u64) -> Result<(), LogError> {
        let size = self.room.size();
        let full = || {
            LogError::Full(format!(
                "spec.log.storage.disk.size of {size} bytes has no room for {bytes} more"
            ))
        };
        if self.room.take(bytes) { Ok(()) } else { Err(full()) }
    }

    /// Notes that the disk may not have a book as it is.
    fn note(&self, number: u64) {
        match self.durability {
            Durability::Fsync => {}
            Durability::Interval => {
                self.unsynced.lock().insert(number);
            }
        }
    }

    /// Takes no more: what is on the disk is not known any more.
    fn fail(&self, error: &io::Error) -> LogError {
        let message = format!(
            "the disk failed ({error}), and what it holds of the newest records is uncertain: mend it, and \
             start this replica anew"
        );
        tracing::error!(directory = %self.files.directory().display(), "{message}");
        self.failed.get_or_init(|| LogError::Unavailable(message)).clone()
    }

    fn quarantine(&self) -> io::Result<PathBuf> {
        let mut place = self.aside.lock();
        if let Some(aside) = &*place {
            return Ok(aside.clone());
        }
        let aside = self.files.quarantine()?;
        self.report("some of what was kept is damaged, and put aside");
        Ok(place.insert(aside).clone())
    }

    fn report(&self, what: &str) {
        tracing::error!(directory = %self.files.directory().display(), "{what}");
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What a file of so many bytes takes.
const fn blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// The group of some records, and the offset behind them.
fn group(salt: u32, first: Offset, records: Vec<Bytes>) -> (Vec<u8>, Offset) {
    let next = first + records.len() as u64;
    let mut group = Group::new(salt, first, clock::micros());
    records.into_iter().for_each(|record| group.push(&posted(record)));
    (group.finish().0, next)
}

/// A record as an event.
fn posted(data: Bytes) -> Posted {
    let event = Event {
        id: Box::default(),
        type_: Box::default(),
        source: Box::default(),
        subject: None,
        time: Box::default(),
        data_content_type: None,
        data_schema: None,
        extensions: Vec::new(),
        data,
    };
    Posted { event, idempotent: false }
}
