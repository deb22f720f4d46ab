//! Durable streams: streams that clients create, append to and read by HTTP, as the Durable Streams
//! protocol has it. They are beside the pipeline's log, and know nothing of it but where it is kept.
//!
//! Everything but [`Streams`] is decided without I/O; `edge/durable` speaks HTTP for it.
//!
//! # Laws
//!
//! - What was answered as appended is read by whoever reads afterwards, at its place, until the stream is
//!   deleted or ends by itself.
//! - The number of streams and the memory of all of them are bounded; a fork counts what it inherits,
//!   though it shares it.
//! - A deleted stream that has forks keeps its path until the last of them is gone.
//! - Nothing is served before what is remembered of the streams is there.
//! - Locks are taken in this order: the structure, a stream's writing, the slots, a stream's state.

pub(crate) mod collapse;
pub(crate) mod content;
pub(crate) mod expiry;
pub(crate) mod frames;
pub(crate) mod journal;
pub(crate) mod offset;
pub(crate) mod producer;
pub(crate) mod refusal;
pub(crate) mod request;
pub(crate) mod state;
pub(crate) mod stream;

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;
use weir_crds::v1alpha1::DurableStreams;

use content::{Batch, DEFAULT_TYPE, Kind, is_same_type};
use expiry::Expiry;
use journal::{Change, Forgetful, Journal, Remembered};
use offset::{Anchor, Offset};
use producer::Progress;
use refusal::Refusal;
pub use refusal::Refused;
use state::{Accepted, Append, Decision, State};
use stream::{Asked, Config, Description, Origin, Stream};

use crate::{clock, count::Counter, log::Micros, seldom::Seldom};

/// Streams end each for itself, and each of them may fail to.
static NOT_ENDED: Seldom = Seldom::new();

/// What a stream costs beside its content.
const STREAM_OVERHEAD: u64 = 1_024;

/// The streams of a pipeline.
#[derive(Debug)]
pub struct Streams {
    limits: ArcSwap<Limits>,
    slots: RwLock<HashMap<Box<str>, Slot>>,
    /// Held while a stream is created, deleted or ended.
    structure: tokio::sync::Mutex<()>,
    /// There when the streams are open.
    journal: OnceLock<Box<dyn Journal>>,
    /// Why they are not, or why the last change could not be stored.
    fault: ArcSwapOption<String>,
    closed: CancellationToken,
    /// The memory of all streams.
    bytes: AtomicU64,
    /// The lineage that was given last.
    lineage: AtomicU64,
    /// What was counted.
    pub counts: Counts,
}

/// What is counted for the streams of a pipeline.
#[derive(Debug, Default)]
pub struct Counts {
    /// Appends that were taken.
    pub appends: Counter,
    /// Requests that were refused.
    pub refused: Refused,
    /// Bytes that were read.
    pub read_bytes: Counter,
}

/// A stream in its place.
#[derive(Debug)]
struct Slot {
    stream: Arc<Stream>,
    /// How many forks of it there are.
    forks: usize,
}

/// What a manifest grants to durable streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most streams.
    pub(crate) streams: usize,
    /// The most memory of one stream.
    pub(crate) stream_bytes: u64,
    /// The most memory of all.
    pub(crate) bytes: u64,
    /// The end of a stream for which none is asked.
    pub(crate) expiry: Expiry,
    /// How long a long-poll waits.
    pub(crate) long_poll: std::time::Duration,
}

impl From<&DurableStreams> for Limits {
    fn from(spec: &DurableStreams) -> Self {
        let DurableStreams {
            anonymous: _,
            max_streams,
            max_stream_bytes,
            max_bytes,
            default_ttl,
            long_poll,
        } = spec;
        Self {
            streams: usize::try_from(*max_streams).unwrap_or(0),
            stream_bytes: max_stream_bytes.bytes().min(max_bytes.bytes()),
            bytes: max_bytes.bytes(),
            expiry: Expiry::Idle(default_ttl.get().as_secs()),
            long_poll: long_poll.get(),
        }
    }
}

/// A request to create a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Create {
    /// The media type.
    pub(crate) content_type: Option<Box<str>>,
    /// What else is asked for.
    pub(crate) asked: Asked,
    /// Whether it is to be closed from the beginning.
    pub(crate) closed: bool,
    /// Its first content, behind what it inherits.
    pub(crate) body: Bytes,
}

/// The answer to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The end of the stream.
    pub(crate) end: Offset,
    /// Whether nothing more is taken.
    pub(crate) closed: bool,
    /// How far its producer has come.
    pub(crate) progress: Option<Progress>,
    /// Whether this brought content that was not there before.
    pub(crate) fresh: bool,
}

impl Streams {
    /// No streams yet, in memory.
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let streams = Self::opening(limits);
        streams.open(Box::new(Forgetful), Vec::new(), clock::micros());
        streams
    }

    /// Streams that are still to be opened.
    pub(crate) fn opening(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: ArcSwap::from_pointee(limits),
            slots: RwLock::default(),
            structure: tokio::sync::Mutex::default(),
            journal: OnceLock::new(),
            fault: ArcSwapOption::empty(),
            closed: CancellationToken::new(),
            bytes: AtomicU64::new(0),
            lineage: AtomicU64::new(0),
            counts: Counts::default(),
        })
    }

    /// Opens them, with what a journal remembers. That they are read now counts as a use of each.
    pub(crate) fn open(&self, journal: Box<dyn Journal>, remembered: Vec<Remembered>, now: Micros) {
        let mut slots = self.slots.write();
        for Remembered { path, config, state } in remembered {
            self.bytes.fetch_add(STREAM_OVERHEAD + state.bytes(), Ordering::Relaxed);
            self.lineage.fetch_max(state.end().lineage, Ordering::Relaxed);
            let stream = Arc::new(Stream::new(config, state, now));
            slots.insert(path, Slot { stream, forks: 0 });
        }
        let sources = slots.values().filter_map(|slot| slot.stream.config().origin.as_ref());
        let sources: Vec<_> = sources.map(|origin| origin.source.clone()).collect();
        for source in sources {
            if let Some(slot) = slots.get_mut(&source) {
                slot.forks += 1;
            }
        }
        drop(slots);
        self.fault.store(None);
        if self.journal.set(journal).is_err() {
            tracing::error!("durable streams were opened twice");
        }
    }

    /// Says why they are not open.
    pub(crate) fn set_fault(&self, why: String) {
        self.fault.store(Some(Arc::new(why)));
    }

    /// Why they can't be used as they should be.
    pub(crate) fn fault(&self) -> Option<Arc<String>> {
        let opening = || Some(Arc::new("they are being opened".to_owned()));
        let fault = self.fault.load_full();
        if self.journal.get().is_some() { fault } else { fault.or_else(opening) }
    }

    fn journal(&self) -> Result<&dyn Journal, Refusal> {
        let why = || self.fault().map_or_else(Arc::default, |why| Arc::from(why.as_str()));
        self.journal.get().map(AsRef::as_ref).ok_or_else(|| Refusal::NotOpen(why()))
    }

    /// Makes a change last.
    async fn record(&self, change: Change<'_>) -> Result<(), Refusal> {
        let recorded = self.journal()?.record(change).await;
        match &recorded {
            Ok(()) if self.fault.load().is_none() => {}
            Ok(()) => self.fault.store(None),
            Err(refusal) => self.set_fault(refusal.to_string()),
        }
        recorded
    }

    /// Ends: what was answered for is safe when this has returned, and nothing is changed any more.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        if let Some(journal) = self.journal.get() {
            journal.close().await;
        }
    }

    /// Returns when they are no longer wanted.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// What the manifest grants.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        self.limits.load_full()
    }

    /// Takes up other limits. What is there already stays.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// How many streams there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory of all of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The stream at a path.
    pub(crate) fn get(&self, path: &str, now: Micros) -> Result<Arc<Stream>, Refusal> {
        self.journal()?;
        let slots = self.slots.read();
        let Slot { stream, forks } = slots.get(path).ok_or(Refusal::NotFound)?;
        let over = stream.state.read().is_gone() || stream.is_past(now);
        match (over, forks) {
            (false, _) => Ok(Arc::clone(stream)),
            (true, 0) => Err(Refusal::NotFound),
            (true, _) => Err(Refusal::Gone),
        }
    }

    /// Creates a stream, or finds that it is there as it is asked for. The flag says whether it is new.
    pub(crate) async fn create(
        self: Arc<Self>,
        path: Box<str>,
        create: Create,
        now: Micros,
    ) -> Result<(Description, bool), Refusal> {
        // In a task of its own, because a client that leaves must not leave half of a change behind.
        let created = tokio::spawn(async move {
            let _one_at_a_time = self.structure.lock().await;
            self.create_here(path, create, now).await
        });
        created.await.unwrap_or_else(|error| Err(Refusal::Storage(error.to_string())))
    }

    async fn create_here(
        &self,
        path: Box<str>,
        create: Create,
        now: Micros,
    ) -> Result<(Description, bool), Refusal> {
        match self.get(&path, now) {
            Ok(there) => return found(&there, &create).map(|there| (there, false)),
            Err(Refusal::Gone) => return Err(Refusal::Kept),
            Err(refusal @ Refusal::NotOpen(_)) => return Err(refusal),
            // One whose time is over may still stand there.
            Err(_) => self.end(&path).await?,
        }
        let limits = self.limits();
        if self.len() >= limits.streams {
            return Err(Refusal::TooMany { limit: limits.streams });
        }
        let Create { content_type, asked: Asked { expiry: asked, origin }, closed, body } = create;
        let source = origin.as_ref().map(|origin| self.source(origin, now)).transpose()?;
        let inherited = source.as_ref().map(|source| source.config());
        let content_type = match (content_type, inherited) {
            (Some(sent), Some(source)) if !is_same_type(&sent, &source.content_type) => {
                return Err(Refusal::ContentType(source.content_type.clone()));
            }
            (Some(sent), _) => sent,
            (None, Some(source)) => source.content_type.clone(),
            (None, None) => DEFAULT_TYPE.into(),
        };
        let expiry = asked.or(inherited.map(|source| source.expiry)).unwrap_or(limits.expiry);
        let mut state = match source.as_deref().zip(origin.as_ref()) {
            Some((source, origin)) => fork(source, origin)?,
            None => State::new(self.next_lineage(now)),
        };
        let batch = Batch::new(Kind::of(&content_type), body)?;
        state.apply(Accepted { batch, producer: None, seq: None, close: closed });
        self.reserve(state.bytes(), STREAM_OVERHEAD + state.bytes(), &limits)?;
        let config = Config { content_type, asked, expiry, origin };
        let change = Change::Created { path: &path, config: &config, state: &state };
        if let Err(refusal) = self.record(change).await {
            self.release(STREAM_OVERHEAD + state.bytes());
            return Err(refusal);
        }
        let stream = Arc::new(Stream::new(config, state, now));
        let description = stream.describe();
        let mut slots = self.slots.write();
        let source =
            stream.config().origin.as_ref().and_then(|origin| slots.get_mut(&origin.source));
        if let Some(source) = source {
            source.forks += 1;
        }
        slots.insert(path, Slot { stream, forks: 0 });
        Ok((description, true))
    }

    /// The stream that is to be forked.
    fn source(&self, origin: &Origin, now: Micros) -> Result<Arc<Stream>, Refusal> {
        self.get(&origin.source, now).map_err(|refusal| {
            let gone = refusal == Refusal::Gone;
            if gone { Refusal::SourceGone } else { Refusal::NoSource(origin.source.clone()) }
        })
    }

    /// Appends to a stream, or closes it.
    pub(crate) async fn append(
        self: Arc<Self>,
        stream: Arc<Stream>,
        path: Box<str>,
        append: Append,
        now: Micros,
    ) -> Result<Appended, Refusal> {
        // In a task of its own: see `create`.
        let appended = tokio::spawn(async move {
            let _one_at_a_time = stream.writing.lock().await;
            self.append_here(&stream, &path, append, now).await
        });
        appended.await.unwrap_or_else(|error| Err(Refusal::Storage(error.to_string())))
    }

    async fn append_here(
        &self,
        stream: &Stream,
        path: &str,
        append: Append,
        now: Micros,
    ) -> Result<Appended, Refusal> {
        let decision = {
            let state = stream.state.read();
            if state.is_gone() {
                return Err(Refusal::NotFound);
            }
            state.decide(&stream.config().content_type, append)?
        };
        stream.touch(now);
        let accepted = match decision {
            Decision::Done(progress) => return Ok(appended(stream, progress, false)),
            Decision::Accept(accepted) => accepted,
        };
        let (bytes, held) = {
            // As it was decided on: nobody else writes to it.
            let state = stream.state.read();
            (state.cost(&accepted), state.bytes())
        };
        self.reserve(held + bytes, bytes, &self.limits())?;
        if let Err(refusal) = self.record(Change::Appended { path, accepted: &accepted }).await {
            self.release(bytes);
            return Err(refusal);
        }
        let progress = accepted.producer.as_ref().map(producer::Producer::progress);
        let fresh = accepted.batch.len() > 0;
        stream.state.write().apply(accepted);
        stream.tell();
        self.counts.appends.add(u64::from(fresh));
        Ok(appended(stream, progress, fresh))
    }

    /// Deletes a stream.
    pub(crate) async fn delete(
        self: Arc<Self>,
        path: Box<str>,
        now: Micros,
    ) -> Result<(), Refusal> {
        // In a task of its own: see `create`.
        let deleted = tokio::spawn(async move {
            let _one_at_a_time = self.structure.lock().await;
            self.get(&path, now)?;
            self.end(&path).await
        });
        deleted.await.unwrap_or_else(|error| Err(Refusal::Storage(error.to_string())))
    }

    /// Ends the streams whose time is over, and does what is due every second.
    pub async fn expire(&self) {
        if let Some(journal) = self.journal.get() {
            journal.tick().await;
        }
        let now = clock::micros();
        // The process may have ended between the end of the last fork and that of what it kept.
        let is_over = |slot: &Slot| {
            let is_gone = slot.stream.state.read().is_gone();
            if is_gone { slot.forks == 0 } else { slot.stream.is_past(now) }
        };
        let over: Vec<Box<str>> = {
            let slots = self.slots.read();
            let over = slots.iter().filter(|(_, slot)| is_over(slot));
            over.map(|(path, _)| path.clone()).collect()
        };
        for path in over {
            let _one_at_a_time = self.structure.lock().await;
            // It may have been used, or made anew, in between.
            if self.slots.read().get(&path).is_some_and(is_over)
                && let Err(error) = self.end(&path).await
                && NOT_ENDED.is_due()
            {
                tracing::warn!(%path, %error, "can't end a durable stream");
            }
        }
    }

    /// Deletes what stands at a path, if anything does. The structure is locked.
    async fn end(&self, path: &str) -> Result<(), Refusal> {
        let slot = self.slots.read().get(path).map(|slot| (Arc::clone(&slot.stream), slot.forks));
        let Some((stream, forks)) = slot else { return Ok(()) };
        let _no_append = stream.writing.lock().await;
        self.record(if forks == 0 { Change::Gone { path } } else { Change::Kept { path } }).await?;
        stream.state.write().delete();
        stream.tell();
        for path in self.collect(path) {
            if let Err(error) = self.record(Change::Gone { path: &path }).await
                && NOT_ENDED.is_due()
            {
                // A later start finds that nobody needs it.
                tracing::warn!(%path, %error, "can't remove a deleted durable stream");
            }
        }
        Ok(())
    }

    /// Lets go of a deleted stream that has no forks, and then of its source if it was the last one's. Says
    /// which others went with it.
    fn collect(&self, path: &str) -> Vec<Box<str>> {
        let mut slots = self.slots.write();
        let (mut next, mut others) = (Some(Box::from(path)), Vec::new());
        while let Some(path) = next.take() {
            let unused = |slot: &Slot| slot.forks == 0 && slot.stream.state.read().is_gone();
            if !slots.get(&path).is_some_and(unused) {
                break;
            }
            let Some(Slot { stream, forks: _ }) = slots.remove(&path) else { break };
            self.release(STREAM_OVERHEAD + stream.state.read().bytes());
            if let Some(Origin { source, .. }) = &stream.config().origin
                && let Some(slot) = slots.get_mut(source)
            {
                slot.forks = slot.forks.saturating_sub(1);
                next = Some(source.clone());
                others.extend(next.clone());
            }
        }
        // The last one is still needed, unless it is gone.
        others.retain(|path| !slots.contains_key(path));
        others
    }

    /// A lineage that no stream here has had.
    fn next_lineage(&self, now: Micros) -> u64 {
        let next = |last: u64| Some(now.max(last + 1));
        let last =
            self.lineage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
        now.max(last + 1)
    }

    /// Takes memory for a stream that will hold `held` bytes.
    fn reserve(&self, held: u64, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
        if held > limits.stream_bytes {
            return Err(Refusal::StreamFull { limit: limits.stream_bytes });
        }
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limits.bytes);
        let reserved = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        reserved.map(drop).map_err(|_| Refusal::Full { limit: limits.bytes })
    }

    fn release(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Answers a request to create what is there already.
fn found(there: &Stream, create: &Create) -> Result<Description, Refusal> {
    let Create { content_type, asked, closed, body: _ } = create;
    let differs = there.config().difference(content_type.as_deref(), asked);
    let description = there.describe();
    match differs {
        Some(differs) => Err(Refusal::Exists { differs }),
        None if *closed != description.closed => {
            Err(Refusal::Exists { differs: "whether it is closed" })
        }
        None => Ok(description),
    }
}

/// What a fork of `source` begins with.
fn fork(source: &Stream, Origin { source: _, at, sub }: &Origin) -> Result<State, Refusal> {
    let state = source.state.read();
    let rule = "must be an offset of the stream that is forked";
    let at = state.position(at.unwrap_or(Anchor::Now));
    state.fork(at.map_err(|_| Refusal::header("stream-fork-offset", rule))?, *sub)
}

fn appended(stream: &Stream, progress: Option<Progress>, fresh: bool) -> Appended {
    let state = stream.state.read();
    Appended { end: state.end(), closed: state.is_closed(), progress, fresh }
}

#[cfg(test)]
mod tests;
