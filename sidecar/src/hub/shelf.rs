//! The chunks that were encoded last, for all subscribers of one filter, or without one.
//!
//! # Laws
//!
//! - A chunk is made once, by whichever shard asks first; who wants the same waits for it.
//! - One that nobody has asked for of late is let go of: whoever is still being sent it holds it by itself.
//! - Chunks are kept within a bound in number, and the filters' in bytes for all of them. A filter that one
//!   subscriber has keeps none: nobody would ask for them.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    chunk::Chunk,
    pool::{Part, Pool},
};
use crate::{frame::Format, log::Offset};

/// How many chunks are kept for each format of those who have no filter: enough for the subscribers that are
/// a few passes behind to share theirs, too.
const KEPT: usize = 4;

/// How many are kept of a filter.
const KEPT_OF_FILTER: usize = 4;

/// The most bytes of those who have no filter, but for the newest chunk.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of all filters of a pipeline, but for those that many have.
pub(super) const MOST_BYTES_OF_FILTERS: usize = 16 * 1024 * 1024;

/// Of a filter that so many have the newest chunk is kept whatever others keep: that is four kibibytes a
/// subscriber, as a rule.
const MANY: usize = 16;

/// How many chunks are made at once, of different formats.
const MAKERS: usize = 4;

/// Chunks, the newest first.
#[derive(Debug)]
pub(super) struct Shelf {
    cache: Mutex<Cache>,
    /// Held while a chunk of a format is made.
    making: [Mutex<()>; MAKERS],
}

#[derive(Debug)]
struct Cache {
    kept: VecDeque<Kept>,
    most: usize,
    part: Part,
}

#[derive(Debug)]
struct Kept {
    format: Format,
    chunk: Arc<Chunk>,
    /// Whether it was asked for since the last look at the time.
    asked: bool,
}

impl Shelf {
    /// The shelf of those who have no filter.
    pub(super) fn of_all() -> Self {
        Self::new(KEPT * Format::ALL.len(), Arc::new(Pool::new(MOST_BYTES)))
    }

    /// The shelf of a filter, which shares its bound in bytes with the others.
    pub(super) fn of_filter(pool: Arc<Pool>) -> Self {
        Self::new(KEPT_OF_FILTER, pool)
    }

    fn new(most: usize, pool: Arc<Pool>) -> Self {
        let cache = Cache { kept: VecDeque::new(), most, part: Part::of(pool) };
        Self { cache: Mutex::new(cache), making: Default::default() }
    }

    /// The chunk from `from` on for one of so many subscribers, which `make` makes where it is not there.
    pub(super) fn get_or_make<E>(
        &self,
        format: Format,
        from: Offset,
        subscribers: usize,
        head: impl Fn() -> Offset,
        make: impl FnOnce() -> Result<Chunk, E>,
    ) -> Result<Arc<Chunk>, E> {
        if let Some(chunk) = self.cache.lock().get(format, from, head()) {
            return Ok(chunk);
        }
        let _turn = self.making.get(maker(format)).map(Mutex::lock);
        if let Some(chunk) = self.cache.lock().get(format, from, head()) {
            return Ok(chunk);
        }
        let chunk = Arc::new(make()?);
        if subscribers > 1 {
            self.cache.lock().put(format, &chunk, subscribers);
        }
        Ok(chunk)
    }

    /// Lets go of what nobody has asked for of late. To be called when time has passed.
    pub(super) fn age(&self) {
        self.cache.lock().age();
    }

    pub(super) fn clear(&self) {
        self.cache.lock().clear();
    }
}

fn maker(format: Format) -> usize {
    let mut hasher = DefaultHasher::new();
    format.hash(&mut hasher);
    usize::try_from(hasher.finish() % MAKERS as u64).unwrap_or(0)
}

impl Cache {
    /// A chunk that starts at `from`, if it can't be outdone: it is full, or reaches the head.
    fn get(&mut self, format: Format, from: Offset, head: Offset) -> Option<Arc<Chunk>> {
        let useful = |kept: &&mut Kept| kept.format == format && kept.chunk.is_all(from, head);
        let found = self.kept.iter_mut().find(useful)?;
        found.asked = true;
        Some(Arc::clone(&found.chunk))
    }

    /// Keeps a chunk in the place of the oldest.
    fn put(&mut self, format: Format, chunk: &Arc<Chunk>, subscribers: usize) {
        let kept = Kept { format, chunk: Arc::clone(chunk), asked: true };
        self.kept.truncate(self.most - 1);
        self.kept.push_front(kept);
        self.settle();
        let least = usize::from(subscribers >= MANY);
        while self.part.is_over() && self.kept.len() > least {
            self.kept.pop_back();
            self.settle();
        }
    }

    fn age(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        self.kept.retain_mut(|kept| mem::take(&mut kept.asked));
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
        self.settle();
    }

    fn clear(&mut self) {
        self.kept = VecDeque::new();
        self.settle();
    }

    fn settle(&mut self) {
        self.part.set(self.kept.iter().map(|kept| kept.chunk.weight()).sum());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::websocket::Coding,
        hub::chunk::tests::{chunk, chunk_in},
    };

    #[test]
    fn shards_that_ask_at_once_make_a_chunk_once() {
        use std::sync::{Barrier, atomic::AtomicUsize, atomic::Ordering};
        const SHARDS: usize = 8;
        for _ in 0..50 {
            let (shelf, made, start) = (Shelf::of_all(), AtomicUsize::new(0), Barrier::new(SHARDS));
            let ask = || {
                start.wait();
                let make = || {
                    made.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, ()>(chunk(&[b"1", b"2"]))
                };
                shelf.get_or_make(Format::SseData, 1, SHARDS, || 3, make).unwrap()
            };
            std::thread::scope(|scope| {
                let asking: Vec<_> = (0..SHARDS).map(|_| scope.spawn(ask)).collect();
                let got: Vec<_> = asking.into_iter().map(|asks| asks.join().unwrap()).collect();
                assert!(got.windows(2).all(|two| Arc::ptr_eq(&two[0], &two[1])));
            });
            assert_eq!(made.into_inner(), 1);
        }
    }

    #[test]
    fn a_chunk_is_reused_until_the_log_has_more() {
        let mut cache = Shelf::of_all().cache.into_inner();
        cache.put(Format::SseData, &Arc::new(chunk(&[b"1", b"2"])), 2);
        assert!(cache.get(Format::SseData, 1, 3).is_some());
        assert!(cache.get(Format::SseData, 1, 4).is_none(), "a third event is missing");
        assert!(cache.get(Format::SseData, 2, 3).is_none(), "it starts elsewhere");
        assert!(
            cache.get(Format::WsCloudEvents(Coding::Plain), 1, 3).is_none(),
            "it is in another format"
        );
    }

    const DATA: &[u8] = &[b'1'; 40_000];

    /// Asks for a chunk of some forty kibibytes. Says whether it had to be made.
    fn makes(shelf: &Shelf, format: Format, from: Offset, subscribers: usize) -> bool {
        let mut made = false;
        let make = || {
            made = true;
            let mut chunk = chunk_in(format, &[DATA]);
            chunk.start = from;
            Ok::<_, ()>(chunk)
        };
        shelf.get_or_make(format, from, subscribers, || 2, make).unwrap();
        made
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_let_go_of() {
        let pool = Arc::new(Pool::new(MOST_BYTES_OF_FILTERS));
        let shelf = Shelf::of_filter(Arc::clone(&pool));
        assert!(makes(&shelf, Format::SseData, 1, 2));
        shelf.age();
        assert!(!makes(&shelf, Format::SseData, 1, 2));
        shelf.age();
        assert!(pool.taken() > 40_000, "it was asked for a moment ago");
        shelf.age();
        assert_eq!((pool.taken(), shelf.cache.lock().kept.capacity()), (0, 0));
        assert!(makes(&shelf, Format::SseData, 1, 2));
    }

    #[test]
    fn who_is_alone_leaves_nothing_behind() {
        let pool = Arc::new(Pool::new(MOST_BYTES_OF_FILTERS));
        let shelf = Shelf::of_filter(Arc::clone(&pool));
        assert!(makes(&shelf, Format::SseData, 1, 1) && makes(&shelf, Format::SseData, 1, 1));
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn filters_keep_so_many_chunks_and_together_so_many_bytes_but_for_the_newest_of_many() {
        let pool = Arc::new(Pool::new(500_000));
        let shelves: Vec<_> = (0..50).map(|_| Shelf::of_filter(Arc::clone(&pool))).collect();
        for format in Format::ALL {
            makes(&shelves[0], format, 1, 2);
        }
        assert_eq!(shelves[0].cache.lock().kept.len(), KEPT_OF_FILTER);
        shelves.iter().for_each(|shelf| assert!(makes(shelf, Format::SseNamed, 1, 2)));
        assert!((450_000..=500_000).contains(&pool.taken()), "{}", pool.taken());
        assert!(makes(&shelves[49], Format::SseNamed, 1, 2), "there was no room for it");
        assert!(makes(&shelves[49], Format::SseNamed, 1, MANY));
        assert!(!makes(&shelves[49], Format::SseNamed, 1, MANY));
        drop(shelves);
        assert_eq!(pool.taken(), 0);
    }
}
