//! The log on a disk: segments of checksummed groups of events, written by one thread.
//!
//! Every append goes through a bounded queue to the writer (`writer.rs`), which takes all that waits,
//! writes it as one group, makes it safe by one `fdatasync`, and answers all. Reads go past it.
//!
//! # Laws
//!
//! - An answered append outlives the process, however that ends; and with [`Durability::Fsync`] the
//!   machine, too.
//! - A group is in the log as a whole or not at all.
//! - After a failed `fdatasync` nobody knows what is on the disk, and to ask again would be told that all
//!   is well. So the log takes no more until it is opened anew.
//! - What waits to be written is bounded, in number and in bytes: a publisher waits instead.

mod files;
mod index;
mod meta;
mod record;
mod recover;
mod room;
mod scan;
mod shelf;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task,
};
use weir_crds::v1alpha1::Durability;

use super::{
    Appended, Entry, Held, Log, LogError, LogId, Micros, Offset, Pending, Read, Retention, Tail,
    instant_of,
};
use crate::intake::Posted;
use files::Files;
use index::{Index, Plan};
pub use room::Room;
pub(crate) use shelf::{Book, Doubt, Found, Shelf};
use writer::{Append, Command, Writer};

/// How many appends may wait for the writer.
const QUEUE: usize = 1_024;

/// How many bytes of events may wait for the writer: two of the largest requests, or half a second of a
/// slow disk.
const QUEUE_BYTES: usize = 64 << 20;

/// What a permit to wait stands for, in bytes: their number fits into 32 bits.
const ROOM_UNIT: usize = 1_024;

/// What a log on a disk is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory of its own.
    pub directory: PathBuf,
    /// The room that its files take, with what lies beside it.
    pub room: Arc<Room>,
    /// What an answer promises.
    pub durability: Durability,
    /// When events leave.
    pub retention: Retention,
}

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another log, of this process or of another, has the directory.
    #[error("{} is in use: another process serves from it, or this one is about to let go of it", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// What was written by a program of a later version.
    #[error("{} was written by a newer version: run that, or choose another --data-dir", path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("can't open {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Is told why the log can't take events, and when it can again.
pub type Report = Box<dyn Fn(Option<String>) + Send + Sync>;

/// A log on a disk.
pub struct DiskLog {
    id: LogId,
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    /// The bytes that may still wait for the writer.
    room: Arc<Semaphore>,
}

/// What the writer and the readers share.
#[derive(Debug)]
struct Shared {
    index: RwLock<Index<File>>,
    retention: Mutex<Retention>,
    tail: Arc<Tail>,
    /// How many groups were written.
    groups: AtomicU64,
}

impl DiskLog {
    /// Opens the log, or makes a new one. Reads everything that it holds, so it may take a while.
    ///
    /// # Errors
    ///
    /// Says what is in the way.
    pub fn open(options: Options, tail: Arc<Tail>, report: Report) -> Result<Self, OpenError> {
        let Options { directory, room, durability, retention } = options;
        let at = |source| OpenError::Io { path: directory.clone(), source };
        let files = Files::open(&directory)?;
        let recover::Recovered { index, identities, meta } = recover::recover(&files, durability)?;
        tail.start_at(index.head());
        let shared = Arc::new(Shared {
            index: RwLock::new(index),
            retention: Mutex::new(retention),
            tail,
            groups: AtomicU64::new(0),
        });
        let (commands, queue) = mpsc::channel(QUEUE);
        let id = meta.id();
        let mut writer =
            Writer::new(files, meta, identities, Arc::clone(&shared), room, durability, report);
        writer.expire();
        let thread = thread::Builder::new().name("weir-log".to_owned());
        thread.spawn(move || writer.run(queue)).map_err(at)?;
        Ok(Self { id, shared, commands, room: Arc::new(Semaphore::new(QUEUE_BYTES / ROOM_UNIT)) })
    }

    /// How many groups of appends were written since it was opened.
    #[must_use]
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(Ordering::Relaxed)
    }

    async fn append_events(&self, events: Vec<Posted>) -> Result<Appended, LogError> {
        let size: usize = events.iter().map(|posted| posted.event.size()).sum();
        // One that is larger than all the room waits until it is alone.
        let units = (size / ROOM_UNIT + 1).min(QUEUE_BYTES / ROOM_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(units).await;
        let room = room.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let append = Append { events, answer, room };
        self.commands.send(Command::Append(append)).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn read_events(&self, from: Offset, max_bytes: u64) -> Result<Read, LogError> {
        let plan = self.shared.index.read().plan(from, max_bytes);
        let (file, salt, bytes) = match plan {
            Plan::Frames { file, salt, bytes } => (file, salt, bytes),
            Plan::Nothing => return Ok(Read::Entries(Vec::new())),
            Plan::Evicted { first } => return Ok(Read::Evicted { first }),
        };
        let read = task::spawn_blocking(move || {
            let mut place = vec![0; usize::try_from(bytes.end - bytes.start).unwrap_or(0)];
            match file.read_exact_at(&mut place, bytes.start) {
                Ok(()) => Ok(scan::frames(&place.into(), salt)),
                // It was cut off under the log: what is gone is damage, and comes back by no other try.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                Err(error) => Err(error),
            }
        });
        let read: io::Result<_> = read.await.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        let unreadable =
            |error: io::Error| LogError::Unavailable(format!("can't read it: {error}"));
        match read.map_err(unreadable)? {
            Some(frames) => Ok(Read::Entries(entries(frames, from, max_bytes))),
            None => {
                // Whoever reads on is told by a gap what is missing.
                let _ = self.commands.send(Command::PutAside(from)).await;
                Err(LogError::Damaged(format!(
                    "the events from {from} on are cut off, or fail their checksum"
                )))
            }
        }
    }
}

/// The entries from `from` on that fit into `max_bytes`, at least one.
fn entries(frames: Vec<scan::Body>, from: Offset, max_bytes: u64) -> Vec<Arc<Entry>> {
    let frames = frames.into_iter().flat_map(|scan::Body { first, time, events }| {
        let accepted_at = instant_of(time);
        let entry = move |(posted, offset)| Entry { offset, accepted_at, time, posted };
        events.into_iter().zip(first..).map(entry)
    });
    let mut bytes = 0;
    let wanted = frames.skip_while(|entry| entry.offset < from);
    let fitting = wanted.take_while(|entry| {
        let first = bytes == 0;
        bytes += entry.size();
        first || bytes <= max_bytes
    });
    fitting.map(Arc::new).collect()
}

fn closed() -> LogError {
    LogError::Unavailable("it is closed".to_owned())
}

impl Log for DiskLog {
    fn id(&self) -> LogId {
        self.id
    }

    fn first(&self) -> Offset {
        self.shared.index.read().first()
    }

    fn held(&self) -> Held {
        self.shared.index.read().held()
    }

    fn append(&self, events: Vec<Posted>) -> Pending<'_, Result<Appended, LogError>> {
        Box::pin(self.append_events(events))
    }

    fn read(&self, from: Offset, max_bytes: u64) -> Pending<'_, Result<Read, LogError>> {
        Box::pin(self.read_events(from, max_bytes))
    }

    fn offset_at(&self, time: Micros) -> Pending<'_, Result<Offset, LogError>> {
        let offset = self.shared.index.read().offset_at(time);
        Box::pin(async move { Ok(offset) })
    }

    fn head(&self) -> Pending<'_, Result<Offset, LogError>> {
        let head = self.shared.index.read().head();
        Box::pin(async move { Ok(head) })
    }

    fn set_retention(&self, retention: Retention) {
        *self.shared.retention.lock() = retention;
    }

    fn expire(&self) {
        // Where the queue is full, the writer has work, and expires of itself.
        let _ = self.commands.try_send(Command::Tick);
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            if self.commands.send(Command::Close(answer)).await.is_ok() {
                // An error is that it was closed already.
                let _ = answered.await;
            }
        })
    }
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The directory in which this process keeps logs, and no other one.
#[derive(Debug, Default)]
pub struct DataDir {
    path: Option<PathBuf>,
    /// Set as soon as a log is to be kept.
    lock: Mutex<Option<File>>,
}

impl DataDir {
    /// Logs are kept in `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path: Some(path), lock: Mutex::default() }
    }

    /// Makes the directory and keeps other processes out of it.
    ///
    /// # Errors
    ///
    /// Says what is in the way.
    pub fn claim(&self) -> Result<&Path, OpenError> {
        let nowhere = || OpenError::Io {
            path: PathBuf::from("a data directory"),
            source: io::Error::other("none was given: set --data-dir"),
        };
        let path = self.path.as_deref().ok_or_else(nowhere)?;
        let mut lock = self.lock.lock();
        if lock.is_none() {
            let io = |source| OpenError::Io { path: path.to_owned(), source };
            let locked = files::lock(path).map_err(io)?;
            *lock = Some(locked.ok_or_else(|| OpenError::InUse { path: path.to_owned() })?);
        }
        Ok(path)
    }
}
