//! Opens the directory of a log as its last process has left it.
//!
//! # Laws
//!
//! - Only what was never answered for is cut off: the start of a group at the very end.
//! - What was answered for and is damaged is never skipped in silence. It is put into a quarantine with
//!   all that came after it, and what is left begins a new incarnation: so each subscriber whose place is
//!   gone is told, and no cursor means two events.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use weir_crds::v1alpha1::Durability;

use super::{
    OpenError,
    files::Files,
    index::{Index, Segment, Slot},
    meta::{Found, Meta},
    record::{HEAD_BYTES, Head},
    scan::{self, Rest, Scan},
};
use crate::log::{LogId, Offset, identities::Identities, size_of_event};

/// What there is.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) index: Index<File>,
    pub(super) identities: Identities,
    pub(super) meta: Meta,
}

/// Reads everything that is there, repairs its end, and writes down that it is open now.
pub(super) fn recover(files: &Files, durability: Durability) -> Result<Recovered, OpenError> {
    let at = |source| OpenError::Io { path: files.directory().to_owned(), source };
    let left = left(files)?;
    let mut recovery = Recovery {
        files,
        left: left.as_ref(),
        index: Index::new(1),
        identities: Identities::default(),
        aside: None,
        lost: false,
    };
    recovery.segments().map_err(at)?;
    recovery.begin().map_err(at)?;
    let id = recovery.incarnation();
    let Recovery { files: _, left: _, index, identities, aside: _, lost: _ } = recovery;
    let meta = Meta::opened(id, durability);
    meta.write(files.directory()).map_err(at)?;
    Ok(Recovered { index, identities, meta })
}

/// What the last process wrote down of the log in a directory.
pub(super) fn left(files: &Files) -> Result<Option<Meta>, OpenError> {
    let path = || files.directory().to_owned();
    match Meta::read(files.directory()).map_err(|source| OpenError::Io { path: path(), source })? {
        Found::Meta(meta) => Ok(Some(meta)),
        Found::Nothing | Found::Damaged => Ok(None),
        Found::Newer => Err(OpenError::Newer { path: path() }),
    }
}

struct Recovery<'a> {
    files: &'a Files,
    /// What the last process wrote down.
    left: Option<&'a Meta>,
    index: Index<File>,
    identities: Identities,
    /// Where what is damaged was put.
    aside: Option<PathBuf>,
    /// Whether events are gone that were answered for.
    lost: bool,
}

impl Recovery<'_> {
    fn segments(&mut self) -> io::Result<()> {
        let bases = self.files.bases()?;
        let mut bases = bases.into_iter().peekable();
        while let Some(base) = bases.next() {
            let last = bases.peek().is_none();
            if !self.segment(base, last)? {
                bases.try_for_each(|base| self.put_aside(base))?;
                break;
            }
        }
        let closed_at = self.left.and_then(Meta::closed_at);
        if closed_at.is_some_and(|head| head != self.index.head()) {
            self.report();
        }
        Ok(())
    }

    /// Makes the first segment where there is none, before anything says that there is a log.
    fn begin(&mut self) -> io::Result<()> {
        if self.index.active().is_some() {
            return Ok(());
        }
        if self.left.is_some() && !self.lost {
            self.report();
        }
        self.index.roll(self.files.create(self.index.head())?);
        Ok(())
    }

    /// Takes up a segment. Says whether the next one may follow.
    fn segment(&mut self, base: Offset, last: bool) -> io::Result<bool> {
        let (file, bytes) = self.files.read(base)?;
        let follows = self.index.active().is_none() || base == self.index.head();
        let head = Head::decode(&bytes).filter(|head| head.base == base && follows);
        let Some(Head { salt, base }) = head else {
            if last && bytes.len() <= HEAD_BYTES && !self.is_closed() {
                // Its process ended while it made the file.
                self.files.remove(base)?;
            } else {
                self.put_aside(base)?;
            }
            return Ok(false);
        };
        let scan = scan::scan(&bytes, salt, base);
        if self.index.active().is_none() {
            self.index = Index::new(base);
        }
        let file = Arc::new(file);
        self.index.roll(Segment { base, salt, length: scan.end, file: Arc::clone(&file) });
        if scan.rest != Rest::Nothing {
            self.mend(&scan, bytes.len() as u64, last)?;
        }
        if last {
            // A killed process may not have come to it, and from here on the events are shown.
            file.sync_data()?;
        }
        let whole = scan.rest == Rest::Nothing;
        self.take(scan);
        Ok(whole)
    }

    /// Cuts off what stands behind the last whole group of the segment.
    fn mend(&mut self, scan: &Scan, size: u64, last: bool) -> io::Result<()> {
        let Scan { frames: _, end, next, rest } = scan;
        let Some(Segment { base, salt: _, length: _, file }) = self.index.active().cloned() else {
            return Ok(());
        };
        let torn = last && !self.is_closed();
        let by_machine = self.left.is_some_and(Meta::machine_failed);
        match rest {
            Rest::Nothing => return Ok(()),
            Rest::Cut if torn => {}
            Rest::Wrong if torn && by_machine => {}
            Rest::Cut | Rest::Wrong | Rest::Damaged => {
                let aside = self.quarantine()?;
                self.files.copy_aside(base, &aside)?;
            }
        }
        tracing::warn!(
            directory = %self.files.directory().display(),
            bytes = size - end,
            next,
            "cut off the end of the log, which was no whole group of events"
        );
        file.set_len(*end)?;
        file.sync_all()
    }

    fn take(&mut self, scan: Scan) {
        for scan::Frame { span, time, events } in scan.frames {
            let identities = &mut self.identities;
            let slots = events.iter().zip(span.first..).map(|(posted, offset)| {
                let key = identities.key_of(posted);
                if let Some(key) = key {
                    identities.insert(key, offset);
                }
                Slot { size: counted(size_of_event(&posted.event)), key }
            });
            self.index.add(span, time, slots);
        }
    }

    fn is_closed(&self) -> bool {
        self.left.is_some_and(|left| left.closed_at().is_some())
    }

    fn put_aside(&mut self, base: Offset) -> io::Result<()> {
        let aside = self.quarantine()?;
        self.files.put_aside(base, &aside)
    }

    /// Where what is damaged is put.
    fn quarantine(&mut self) -> io::Result<PathBuf> {
        if let Some(aside) = &self.aside {
            return Ok(aside.clone());
        }
        let aside = self.files.quarantine()?;
        self.aside = Some(aside.clone());
        self.report();
        Ok(aside)
    }

    fn report(&mut self) {
        self.lost = true;
        tracing::error!(
            directory = %self.files.directory().display(),
            quarantine = self.aside.as_ref().map(|aside| tracing::field::display(aside.display())),
            "the log was damaged: what can't be read and all that came after it is put aside, and what is \
             left begins a new incarnation"
        );
    }

    fn incarnation(&self) -> LogId {
        match self.left {
            Some(left) if !self.lost && !left.may_have_lost() => left.id(),
            Some(_) | None => LogId::random(),
        }
    }
}

/// The size of an event as its slot has it.
pub(super) fn counted(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
