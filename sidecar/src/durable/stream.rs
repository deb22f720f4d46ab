//! One stream: its configuration, its state, and the news that it has changed.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::{Notify, futures::Notified};

use super::{
    content::{Kind, is_same_type},
    expiry::Expiry,
    offset::{Anchor, Offset, Position},
    refusal::Refusal,
    state::{Page, State},
};
use crate::log::Micros;

/// What a stream is, from its creation on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The media type, as it was given.
    pub(crate) content_type: Box<str>,
    /// The end that was asked for.
    pub(crate) asked: Option<Expiry>,
    /// The end that it has: that which was asked for, its source's, or the manifest's.
    pub(crate) expiry: Expiry,
    /// Where its first content comes from.
    pub(crate) origin: Option<Origin>,
}

/// What a fork was asked to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The path of the stream that was forked.
    pub(crate) source: Box<str>,
    /// Where; its end where none was given.
    pub(crate) at: Option<Anchor>,
    /// How much further.
    pub(crate) sub: u64,
}

impl Config {
    /// What of this differs from the stream of `other`, if that was asked for again. A request without an
    /// origin means whatever stream is there, be it a fork.
    pub(crate) fn difference(
        &self,
        content_type: Option<&str>,
        other: &Asked,
    ) -> Option<&'static str> {
        let Asked { expiry, origin } = other;
        if content_type.is_some_and(|sent| !is_same_type(sent, &self.content_type)) {
            Some("the content-type")
        } else if *expiry != self.asked {
            Some("stream-ttl or stream-expires-at")
        } else if origin.is_some() && *origin != self.origin {
            Some("what it was forked from")
        } else {
            None
        }
    }
}

/// What a request to create a stream asks for besides its media type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// When it is to end.
    pub(crate) expiry: Option<Expiry>,
    /// What it is to begin with.
    pub(crate) origin: Option<Origin>,
}

/// What is said of a stream without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) content_type: Box<str>,
    pub(crate) expiry: Expiry,
    pub(crate) end: Offset,
    pub(crate) closed: bool,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    config: Config,
    kind: Kind,
    pub(super) state: RwLock<State>,
    /// Held while an append is decided, recorded and applied.
    pub(super) writing: tokio::sync::Mutex<()>,
    changed: Notify,
    /// When it was last read or written.
    used: AtomicU64,
}

impl Stream {
    pub(super) fn new(config: Config, state: State, now: Micros) -> Self {
        Self {
            kind: Kind::of(&config.content_type),
            config,
            state: RwLock::new(state),
            writing: tokio::sync::Mutex::default(),
            changed: Notify::new(),
            used: AtomicU64::new(now),
        }
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    /// Notes that it is used, which postpones its end.
    pub(crate) fn touch(&self, now: Micros) {
        self.used.fetch_max(now, Ordering::Relaxed);
    }

    /// Whether its time is over.
    pub(super) fn is_past(&self, now: Micros) -> bool {
        self.config.expiry.is_past(self.used.load(Ordering::Relaxed), now)
    }

    pub(crate) fn describe(&self) -> Description {
        let state = self.state.read();
        Description {
            content_type: self.config.content_type.clone(),
            expiry: self.config.expiry,
            end: state.end(),
            closed: state.is_closed(),
        }
    }

    /// The position that is meant.
    pub(crate) fn position(&self, from: Anchor) -> Result<Position, Refusal> {
        self.state.read().position(from)
    }

    pub(crate) fn offset(&self, position: Position) -> Offset {
        self.state.read().offset(position)
    }

    /// Reads from a position on, unless the stream was deleted.
    pub(crate) fn read(&self, from: Position, max_bytes: usize) -> Result<Page, Refusal> {
        let state = self.state.read();
        if state.is_gone() { Err(Refusal::NotFound) } else { Ok(state.read(from, max_bytes)) }
    }

    /// Comes when there is something to look for: content, or an end.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }
}
