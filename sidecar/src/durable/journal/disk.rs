//! Remembers streams on a disk: each in a file of its own, which goes with it.
//!
//! # Laws
//!
//! - A file is written by one change at a time: the streams see to that, and a lock makes it sure.
//! - A stream of which something that was answered for may be lost gets another lineage: so no offset that
//!   was given out before leads to other content. Families that had one lineage share the new one, but for
//!   a stream that alone is damaged.
//! - The files are closed when no change is on its way into one.

use std::{collections::HashMap, fmt, io, path::Path, sync::Arc};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::{sync::Semaphore, task};
use weir_crds::v1alpha1::Durability;

use super::{Change, Journal, Remembered, record};
use crate::{
    clock,
    durable::refusal::Refusal,
    log::{Book, Doubt, Found, LogError, OpenError, Pending, Room, Shelf},
};

/// How many files are written at once: enough for a disk to put them down together, and few beside the
/// threads on which all that blocks is done.
const AT_ONCE: usize = 32;

type Books = HashMap<Box<str>, Arc<Mutex<Book>>>;

/// Streams on a disk.
pub(crate) struct OnDisk {
    /// Empty when it is closed.
    shelf: Arc<RwLock<Option<Shelf>>>,
    books: Mutex<Books>,
    /// The number that a book was given last.
    number: Mutex<u64>,
    turns: Semaphore,
}

impl OnDisk {
    /// Opens a directory, and remembers what is in it. Blocks.
    pub(crate) fn open(
        directory: &Path,
        durability: Durability,
        room: Arc<Room>,
    ) -> Result<(Self, Vec<Remembered>), OpenError> {
        let at = |error: LogError| OpenError::Io {
            path: directory.to_owned(),
            source: io::Error::other(error),
        };
        let (shelf, found) = Shelf::open(directory, durability, room)?;
        let mut memory = Memory::default();
        for found in found {
            memory.take(&shelf, found).map_err(at)?;
        }
        memory.settle(&shelf).map_err(at)?;
        shelf.begin().map_err(at)?;
        let Memory { streams, number, doubts: _ } = memory;
        let mut books = Books::new();
        let remembered = streams.into_iter().map(|(path, (book, remembered))| {
            books.insert(path, Arc::new(Mutex::new(book)));
            remembered
        });
        let remembered = remembered.collect();
        let journal = Self {
            shelf: Arc::new(RwLock::new(Some(shelf))),
            books: Mutex::new(books),
            number: Mutex::new(number),
            turns: Semaphore::new(AT_ONCE),
        };
        Ok((journal, remembered))
    }

    async fn write(&self, change: Change<'_>) -> Result<(), Refusal> {
        // It is never closed.
        let _turn = self.turns.acquire().await;
        match change {
            Change::Created { path, config, state } => {
                let (number, records) = (self.next_number(), record::created(path, config, state));
                let book = self.block(move |shelf| shelf.create(number, records)).await?;
                self.books.lock().insert(path.into(), Arc::new(Mutex::new(book)));
                Ok(())
            }
            Change::Appended { path, accepted } => {
                self.append(path, record::appended(accepted)).await
            }
            Change::Kept { path } => self.append(path, record::deleted()).await,
            Change::Gone { path } => {
                let book = self.book(path)?;
                self.block(move |shelf| shelf.remove(&book.lock())).await?;
                self.books.lock().remove(path);
                Ok(())
            }
        }
    }

    async fn append(&self, path: &str, record: Bytes) -> Result<(), Refusal> {
        let book = self.book(path)?;
        self.block(move |shelf| shelf.append(&mut book.lock(), vec![record])).await
    }

    fn book(&self, path: &str) -> Result<Arc<Mutex<Book>>, Refusal> {
        let missing = || Refusal::Storage(format!("there is no file of {path}"));
        self.books.lock().get(path).map(Arc::clone).ok_or_else(missing)
    }

    /// A number that no book has had.
    fn next_number(&self) -> u64 {
        let mut last = self.number.lock();
        *last = clock::micros().max(*last + 1);
        *last
    }

    /// Does what blocks.
    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shelf = Arc::clone(&self.shelf);
        let done = task::spawn_blocking(move || {
            let closed = || LogError::Unavailable("the streams are closed".to_owned());
            shelf.read().as_ref().map_or_else(|| Err(closed()), work)
        });
        let done = done.await.unwrap_or_else(|gone| Err(LogError::Unavailable(gone.to_string())));
        done.map_err(refusal)
    }
}

fn refusal(error: LogError) -> Refusal {
    match error {
        LogError::Full(why) => Refusal::DiskFull(why),
        LogError::Unavailable(why)
        | LogError::NotOpen(why)
        | LogError::SlowConsumer(why)
        | LogError::Damaged(why) => Refusal::Storage(why),
    }
}

impl Journal for OnDisk {
    fn record<'a>(&'a self, change: Change<'a>) -> Pending<'a, Result<(), Refusal>> {
        Box::pin(self.write(change))
    }

    fn tick(&self) -> Pending<'_, ()> {
        Box::pin(async {
            // A failure is kept, and told by the next change.
            let _ = self.block(Shelf::sync).await;
        })
    }

    fn close(&self) -> Pending<'_, ()> {
        let shelf = Arc::clone(&self.shelf);
        Box::pin(async move {
            let closed = task::spawn_blocking(move || {
                let open = shelf.write().take();
                if let Some(open) = open {
                    open.close();
                }
            });
            if closed.await.is_err() {
                tracing::error!("the durable streams could not be closed in order");
            }
        })
    }
}

impl fmt::Debug for OnDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnDisk").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

/// What a start finds.
#[derive(Default)]
struct Memory {
    streams: HashMap<Box<str>, (Book, Remembered)>,
    doubts: Vec<(Box<str>, Doubt)>,
    /// The newest book.
    number: u64,
}

impl Memory {
    fn take(&mut self, shelf: &Shelf, found: Found) -> Result<(), LogError> {
        let Found { book, records, doubt } = found;
        self.number = self.number.max(book.number());
        let Some(remembered) = record::replay(&records) else {
            tracing::error!(
                book = book.number(),
                "a durable stream can't be read, and is put aside"
            );
            return shelf.put_aside(&book);
        };
        let path = remembered.path.clone();
        if doubt != Doubt::None {
            self.doubts.push((path.clone(), doubt));
        }
        if let Some((older, _)) = self.streams.insert(path, (book, remembered)) {
            // The machine failed before the disk had that it was removed.
            shelf.remove(&older)?;
        }
        Ok(())
    }

    /// Gives another lineage to each stream of which something may be lost.
    fn settle(&mut self, shelf: &Shelf) -> Result<(), LogError> {
        let lineages = self.streams.values().map(|(_, stream)| stream.state.end().lineage);
        let mut last = lineages.max().unwrap_or(0).max(clock::micros());
        let mut families = HashMap::new();
        for (path, doubt) in &self.doubts {
            let Some((book, Remembered { path: _, config: _, state })) = self.streams.get_mut(path)
            else {
                continue;
            };
            last += 1;
            let lineage = match doubt {
                Doubt::None => continue,
                Doubt::Damaged => last,
                Doubt::Lossy => *families.entry(state.end().lineage).or_insert(last),
            };
            shelf.renew(book, vec![record::renewed(lineage)])?;
            state.renew(lineage);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
