//! The filters of a pipeline's subscribers.
//!
//! # Laws
//!
//! - Subscribers whose filters mean the same share one [`Filter`]: an event is evaluated once for all of
//!   them, whatever their formats, as long as its verdict is remembered.
//! - There is a bounded number of filters, and each remembers a bounded number of verdicts.
//! - What one fetch evaluates is bounded in steps, so that no filter holds up a shard.

mod verdicts;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    ops::Range,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::task;

use super::{
    Chunk,
    chunk::{Cache, Passed},
    conflation::Conflation,
};
use crate::{
    count::Accounts,
    filter::{Claims, Expression, Refused, Scope, compile},
    frame::Format,
    log::{Entry, LogId, Offset},
};
pub use verdicts::Known;
use verdicts::Verdicts;

/// The most distinct filters that a pipeline's subscribers have at once. Each costs an evaluation of
/// every event.
pub const MAX_FILTERS: usize = 64;

/// How many texts of filters are remembered with what they mean.
const REMEMBERED: usize = 256;

/// The most steps of one fetch: some hundreds of microseconds.
const STEPS_PER_FETCH: u32 = 40_000;

/// A filter that subscribers share.
pub struct Filter {
    /// All of them must be true.
    expressions: Vec<Arc<Expression>>,
    claims: Claims,
    verdicts: Mutex<Verdicts>,
    pub(super) chunks: Mutex<Cache>,
    conflation: Mutex<Conflation>,
}

/// What a subscriber is to be sent.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// What it asks for.
    pub wished: Option<Arc<Expression>>,
    /// What it may have at most.
    pub granted: Option<Arc<Expression>>,
    /// What its token says about it.
    pub claims: Claims,
}

/// The pipeline has as many filters as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "filter: the subscribers of this pipeline have {MAX_FILTERS} different filters already; use one of \
     theirs, or come back later"
)]
pub struct TooMany;

/// The filters of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// What was compiled, by its text; the newest first.
    compiled: Mutex<VecDeque<(Box<str>, Arc<Expression>)>>,
    /// What subscribers have, by its meaning.
    shared: Mutex<HashMap<String, Weak<Filter>>>,
}

impl Filters {
    /// Compiles an expression, unless its text is remembered.
    pub(super) async fn compile(&self, source: &str) -> Result<Arc<Expression>, Refused> {
        let known = |compiled: &VecDeque<(Box<str>, Arc<Expression>)>| {
            let found = compiled.iter().find(|(text, _)| **text == *source);
            found.map(|(_, expression)| Arc::clone(expression))
        };
        if let Some(expression) = known(&self.compiled.lock()) {
            return Ok(expression);
        }
        let text = source.to_owned();
        let compiled = task::spawn_blocking(move || compile(&text)).await;
        let expression = Arc::new(compiled.unwrap_or(Err(Refused::Busy))?);
        let mut compiled = self.compiled.lock();
        compiled.push_front((source.into(), Arc::clone(&expression)));
        compiled.truncate(REMEMBERED);
        Ok(expression)
    }

    /// The shared filter of a demand; `None` where everything is demanded.
    pub(super) fn share(&self, demand: Demand) -> Result<Option<Arc<Filter>>, TooMany> {
        let Demand { wished, granted, claims } = demand;
        let expressions: Vec<_> = granted.into_iter().chain(wished).collect();
        if expressions.is_empty() {
            return Ok(None);
        }
        let mut key: String = expressions.iter().map(|part| format!("{part}\n")).collect();
        if expressions.iter().any(|part| part.reads_claims()) {
            key.push_str(&claims.to_string());
        }
        let mut shared = self.shared.lock();
        if let Some(filter) = shared.get(&key).and_then(Weak::upgrade) {
            return Ok(Some(filter));
        }
        shared.retain(|_, filter| filter.strong_count() > 0);
        if shared.len() >= MAX_FILTERS {
            return Err(TooMany);
        }
        let filter = Arc::new(Filter {
            expressions,
            claims,
            verdicts: Mutex::default(),
            chunks: Mutex::default(),
            conflation: Mutex::default(),
        });
        shared.insert(key, Arc::downgrade(&filter));
        Ok(Some(filter))
    }

    /// Forgets what was conflated by another key.
    pub(super) fn forget_conflation(&self) {
        let filters: Vec<_> = self.shared.lock().values().filter_map(Weak::upgrade).collect();
        filters.iter().for_each(|filter| *filter.conflation.lock() = Conflation::default());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shared.lock().values().filter(|filter| filter.strong_count() > 0).count()
    }
}

impl Filter {
    /// Whether an event matches.
    pub(super) fn matches(&self, entry: &Entry, accounts: &Accounts) -> bool {
        self.judge(entry, accounts).0
    }

    /// What is conflated of the events that match.
    pub(super) const fn conflation(&self) -> &Mutex<Conflation> {
        &self.conflation
    }

    /// Whether an event matches, and the steps that it took to find out.
    fn judge(&self, entry: &Entry, accounts: &Accounts) -> (bool, u32) {
        if let Some(known) = self.verdicts.lock().get(entry.offset) {
            return (known, 0);
        }
        let scope = Scope::new(&entry.posted.event, &self.claims);
        let mut steps = 0;
        let matches = self.expressions.iter().all(|expression| {
            let evaluated = expression.evaluate(&scope);
            steps += evaluated.steps;
            accounts.evaluated(evaluated.outcome.err());
            evaluated.outcome == Ok(true)
        });
        self.verdicts.lock().put(entry.offset, matches);
        (matches, steps)
    }

    /// Encodes those of these neighbouring entries that match; or says how many don't, where none does.
    /// Looks at one entry at least.
    pub(super) fn select(
        &self,
        format: Format,
        log: LogId,
        entries: &[Arc<Entry>],
        accounts: &Accounts,
    ) -> Option<Result<Chunk, Passed>> {
        let start = entries.first()?.offset;
        let (mut end, mut steps) = (start, 0);
        let mut matching = Vec::new();
        for entry in entries {
            let (matches, cost) = self.judge(entry, accounts);
            end = entry.offset + 1;
            steps += cost;
            if matches {
                matching.push(entry);
            }
            if steps > STEPS_PER_FETCH {
                break;
            }
        }
        let picked = matching.into_iter().map(|entry| (entry, 0));
        let none = Passed { filtered: end - start, conflated: 0 };
        Some(Chunk::pick(format, log, start..end, picked).ok_or(none))
    }

    /// Evaluates these entries, as far as one fetch looks.
    pub(super) fn learn(&self, entries: &[Arc<Entry>], accounts: &Accounts) {
        let mut steps = 0;
        for entry in entries {
            steps += self.judge(entry, accounts).1;
            if steps > STEPS_PER_FETCH {
                return;
            }
        }
    }

    /// What is known of a range of events.
    #[must_use]
    pub fn known(&self, range: Range<Offset>) -> Known {
        self.verdicts.lock().known(range)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("expressions", &self.expressions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(source: &str) -> Demand {
        let wished = Some(Arc::new(compile(source).unwrap()));
        Demand { wished, ..Demand::default() }
    }

    #[tokio::test]
    async fn a_text_is_compiled_once() {
        let filters = Filters::default();
        let first = filters.compile("event.type == 'a'").await.unwrap();
        let second = filters.compile("event.type == 'a'").await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(filters.compile("event.type ==").await.is_err());
    }

    #[test]
    fn filters_that_mean_the_same_are_one() {
        let filters = Filters::default();
        let share = |source| filters.share(demand(source)).unwrap().unwrap();
        let (a, b) = (share("event.type == 'a'"), share("event.type=='a'"));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(filters.len(), 1);
        assert!(filters.share(Demand::default()).unwrap().is_none());
    }

    #[test]
    fn claims_tell_filters_apart_where_they_are_read() {
        let filters = Filters::default();
        let share =
            |source, claims| filters.share(Demand { claims, ..demand(source) }).unwrap().unwrap();
        let [ada, bob] = ["ada", "bob"].map(|sub| serde_json::json!({"sub": sub}));
        let source = "event.subject == claims.sub";
        assert!(!Arc::ptr_eq(&share(source, ada.clone()), &share(source, bob.clone())));
        assert!(Arc::ptr_eq(&share("event.id == '1'", ada), &share("event.id == '1'", bob)));
    }

    #[test]
    fn there_is_a_bounded_number_and_one_that_nobody_has_makes_room() {
        let filters = Filters::default();
        let share = |n: usize| filters.share(demand(&format!("event.id == '{n}'")));
        let mut held: Vec<_> = (0..MAX_FILTERS).map(|n| share(n).unwrap()).collect();
        assert_eq!(share(MAX_FILTERS).unwrap_err(), TooMany);
        assert!(share(0).is_ok(), "one that is there is shared");
        held.pop();
        assert!(share(MAX_FILTERS).is_ok());
    }
}
