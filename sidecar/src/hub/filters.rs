//! The filters of a pipeline's subscribers.
//!
//! # Laws
//!
//! - Subscribers whose filters mean the same share one [`Filter`]: an event is evaluated once for all of
//!   them, whatever their formats, as long as its verdict is remembered.
//! - What subscribers may wish for is bounded in number, all of them and each client; what their tokens say is bounded
//!   by their own. Each filter remembers a bounded number of verdicts, and only those that were asked for of late.
//! - What one fetch evaluates is bounded in steps, so that no filter holds up a shard; and what subscribers wish
//!   for over time, so that all of them together don't ([`wishes`]).

mod verdicts;
mod wishes;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::IpAddr,
    ops::{Deref, Range},
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, task};

use super::{
    Chunk, Passed,
    conflation::{self, Conflation},
    lately::Lately,
    pool::Pool,
    shelf::{self, Shelf},
};
use crate::{
    count::{Accounts, Network, TurnedAway},
    filter::{Claims, ClaimsRead, Evaluated, Expression, Refused, Scope, compile_filter},
    frame::Format,
    log::{Entry, LogId, Offset},
};
pub use verdicts::Known;
use verdicts::Verdicts;
use wishes::{Holder, MAX_OF_ADDRESS, MAX_OF_SOCKET, Wish, Wishes};

/// The most distinct filters that a pipeline's subscribers wish for at once. Each costs an evaluation of
/// every event, for each set of claims that a filter reads.
pub const MAX_FILTERS: usize = 64;

/// How many texts of filters are remembered with what they mean.
const REMEMBERED: usize = 256;

/// For how many seconds at least a verdict is remembered that nobody asks for.
const REMEMBERED_FOR: u32 = 5;

/// Held while an expression is read: who sends many gets one core's worth of them, and keeps no thread
/// from those who read the log.
static READING: Semaphore = Semaphore::const_new(1);

/// Who may wait for that. Each waits for a millisecond or so.
static WAITING: Semaphore = Semaphore::const_new(256);

/// The most steps of one fetch: some hundreds of microseconds.
pub(super) const STEPS_PER_FETCH: u32 = 40_000;

/// How many bytes of a payload are parsed in the time of a step.
pub(super) const PARSED_PER_STEP: u32 = 2;

/// A filter that subscribers share.
pub struct Filter {
    /// What the manifest holds it to.
    granted: Option<Arc<Expression>>,
    /// What its subscribers wish for.
    wished: Option<(Arc<Wish>, Arc<Expression>)>,
    /// Those that the expressions read.
    claims: Claims,
    /// Equal for two that demand the same.
    fingerprint: u64,
    judged: Mutex<Judged>,
    pub(super) chunks: Shelf,
    conflation: Mutex<Conflation>,
}

/// A filter as one subscriber has it, among those with whom it is shared.
#[derive(Debug)]
pub struct OwnFilter {
    filter: Arc<Filter>,
    /// Lets what the subscriber wishes for count among its client's.
    _holder: Option<Box<Holder>>,
}

/// What is remembered of evaluations.
#[derive(Debug, Default)]
struct Judged {
    verdicts: Verdicts,
    lately: Lately,
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
    /// Who asks for it.
    pub client: Client,
}

/// Who wishes for a filter, as far as that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Client {
    /// Where it is.
    pub network: Option<Network>,
    /// The socket, where it has several subscriptions.
    pub socket: Option<u64>,
}

impl Client {
    /// One whose socket has one subscription: its address is all that tells it from others.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        Self { network: Some(address.into()), socket: None }
    }

    /// One with a further socket, which may have several subscriptions.
    #[must_use]
    pub fn of_socket(address: IpAddr) -> Self {
        static SOCKETS: AtomicU64 = AtomicU64::new(0);
        Self { socket: Some(SOCKETS.fetch_add(1, Ordering::Relaxed)), ..Self::at(address) }
    }
}

/// Why a subscriber does not get the filter that it wishes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoFilter {
    /// There are as many as there may be.
    #[error(
        "filter: the subscribers of this pipeline have {MAX_FILTERS} different filters already; use one of \
         theirs, or come back later"
    )]
    TooMany,
    /// There are as many of its socket as there may be.
    #[error(
        "filter: this socket has {MAX_OF_SOCKET} different filters of the pipeline: unsubscribe from some, or \
         use one that others have"
    )]
    TooManyOfSocket,
    /// There are as many of its address as there may be.
    #[error(
        "filter: your address, or the proxy that you come through, has {MAX_OF_ADDRESS} different filters of \
         this pipeline: close some streams, use one that others have, or come back later"
    )]
    TooManyOfAddress,
    /// It was ended a moment ago.
    #[error("{TOO_COSTLY}")]
    TooCostly,
}

/// What is said of a filter that costs too much.
pub const TOO_COSTLY: &str = "filter: it has taken more steps than the filters of a pipeline may take \
     together; test what is cheap first, such as event.type, and loop over less";

impl NoFilter {
    /// What is counted.
    #[must_use]
    pub const fn reason(self) -> TurnedAway {
        match self {
            Self::TooMany => TurnedAway::TooManyFilters,
            Self::TooManyOfSocket | Self::TooManyOfAddress => TurnedAway::TooManyFiltersOfClient,
            Self::TooCostly => TurnedAway::FilterTooCostly,
        }
    }
}

/// The filters of a pipeline.
#[derive(Debug)]
pub(super) struct Filters {
    /// What was compiled, by its text; the newest first.
    compiled: Mutex<VecDeque<(Box<str>, Arc<Expression>)>>,
    shared: Mutex<Shared>,
    /// The memory of what is conflated.
    indices: Arc<Pool>,
    /// The memory of encoded chunks.
    pub(super) chunks: Arc<Pool>,
    /// How often it was looked at the time.
    looks: AtomicU32,
}

impl Default for Filters {
    fn default() -> Self {
        let indices = Arc::new(Pool::new(conflation::MOST_BYTES_OF_ALL));
        let chunks = Arc::new(Pool::new(shelf::MOST_BYTES_OF_FILTERS));
        let (compiled, shared, looks) = Default::default();
        Self { compiled, shared, indices, chunks, looks }
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// What subscribers have, by its meaning.
    filters: HashMap<String, Weak<Filter>>,
    wishes: Wishes,
    /// With how many filters those that nobody has any more are forgotten.
    full: usize,
}

impl Shared {
    fn put(&mut self, key: String, filter: &Arc<Filter>) {
        if self.filters.len() >= self.full {
            self.filters.retain(|_, filter| filter.strong_count() > 0);
            // So that the sweeps are few, however many subscribers come.
            self.full = (self.filters.len() * 2).max(MAX_FILTERS);
        }
        self.filters.insert(key, Arc::downgrade(filter));
    }
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
        let Ok(_place) = WAITING.try_acquire() else { return Err(Refused::Busy) };
        let Ok(_turn) = READING.acquire().await else { return Err(Refused::Busy) };
        // Whoever was before may have sent the same.
        if let Some(expression) = known(&self.compiled.lock()) {
            return Ok(expression);
        }
        let text = source.to_owned();
        let compiled = task::spawn_blocking(move || compile_filter(&text)).await;
        let expression = Arc::new(compiled.unwrap_or(Err(Refused::Busy))?);
        let mut compiled = self.compiled.lock();
        compiled.push_front((source.into(), Arc::clone(&expression)));
        compiled.truncate(REMEMBERED);
        Ok(expression)
    }

    /// The filter of a demand, shared with those of others; `None` where everything is demanded.
    pub(super) fn share(&self, demand: Demand) -> Result<Option<OwnFilter>, NoFilter> {
        let Demand { wished, granted, claims, client } = demand;
        let expressions = || granted.iter().chain(&wished);
        if expressions().next().is_none() {
            return Ok(None);
        }
        let mut key: String = expressions().map(|part| format!("{part}\n")).collect();
        let read =
            expressions().fold(ClaimsRead::default(), |read, part| read.or(part.claims_read()));
        let claims = if read.is_none() { Claims::Null } else { read.pick(claims) };
        key.push_str(&claims.to_string());
        let mut shared = self.shared.lock();
        if let Some(filter) = shared.filters.get(&key).and_then(Weak::upgrade) {
            let ended = filter.is_too_costly();
            let own = || Some(OwnFilter::new(filter, client));
            return if ended { Err(NoFilter::TooCostly) } else { Ok(own()) };
        }
        let wished = match wished {
            Some(wished) => Some((shared.wishes.get(&wished, client)?, wished)),
            None => None,
        };
        let filter = Arc::new(Filter {
            granted,
            wished,
            claims,
            fingerprint: fingerprint(&key),
            judged: Mutex::default(),
            chunks: Shelf::of_filter(Arc::clone(&self.chunks)),
            conflation: Mutex::new(self.index()),
        });
        shared.put(key, &filter);
        Ok(Some(OwnFilter::new(filter, client)))
    }

    /// An index of what is conflated, which shares its bound with those of all filters.
    pub(super) fn index(&self) -> Conflation {
        Conflation::new(Arc::clone(&self.indices))
    }

    /// Lets go of chunks and verdicts that nobody has asked for of late, and ends the filters that cost too
    /// much. To be called every second.
    pub(super) fn age(&self) {
        self.shared.lock().wishes.age();
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        for filter in self.all() {
            filter.chunks.age();
            if looks.is_multiple_of(REMEMBERED_FOR) {
                filter.judged.lock().age();
            }
        }
    }

    /// Those that subscribers have.
    pub(super) fn all(&self) -> Vec<Arc<Filter>> {
        self.shared.lock().filters.values().filter_map(Weak::upgrade).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let shared = self.shared.lock();
        shared.filters.values().filter(|filter| filter.strong_count() > 0).count()
    }
}

/// Without a secret, so that all replicas have the same.
fn fingerprint(key: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
}

impl OwnFilter {
    fn new(filter: Arc<Filter>, client: Client) -> Self {
        let holder = filter.wished.as_ref().map(|(wish, _)| Box::new(Holder::new(wish, client)));
        Self { filter, _holder: holder }
    }

    /// What is shared.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Filter> {
        &self.filter
    }
}

impl Deref for OwnFilter {
    type Target = Filter;

    fn deref(&self) -> &Filter {
        &self.filter
    }
}

impl Filter {
    /// Whether it costs more than it may, so that its subscribers are to be sent away.
    #[must_use]
    pub fn is_too_costly(&self) -> bool {
        self.wished.as_ref().is_some_and(|(wish, _)| wish.is_ended())
    }

    /// Lets it have cost so many steps.
    #[cfg(test)]
    pub(crate) fn charge(&self, steps: u32) {
        self.wished.iter().for_each(|(wish, _)| wish.note(steps));
    }

    /// What is conflated of the events that match.
    pub(super) const fn conflation(&self) -> &Mutex<Conflation> {
        &self.conflation
    }

    /// Whether an event matches, and what it took to find out, in steps.
    pub(super) fn judge(&self, entry: &Entry, accounts: &Accounts) -> (bool, u32) {
        // Held meanwhile: whoever else wants to know waits, and doesn't evaluate it a second time.
        let mut judged = self.judged.lock();
        let Judged { verdicts, lately } = &mut *judged;
        lately.note(entry.offset);
        if let Some(known) = verdicts.get(entry.offset) {
            return (known, 0);
        }
        let scope = Scope::new(&entry.posted.event, &self.claims);
        let truth = |expression: &Expression| {
            let Evaluated { outcome, steps } = expression.evaluate(&scope);
            accounts.evaluated(outcome.err());
            (outcome == Ok(true), steps)
        };
        let (mut matches, mut steps) = self.granted.as_deref().map_or((true, 0), truth);
        if matches && let Some((wish, wished)) = &self.wished {
            let (wanted, more) = truth(wished);
            wish.note(more);
            (matches, steps) = (wanted, steps + more);
        }
        verdicts.put(entry.offset, matches);
        (matches, steps + scope.parsed() / PARSED_PER_STEP)
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

    /// Evaluates these entries, as far as one fetch looks. Returns the steps that it took.
    pub(super) fn learn(&self, entries: &[Arc<Entry>], accounts: &Accounts) -> u32 {
        let mut steps = 0;
        for entry in entries {
            steps += self.judge(entry, accounts).1;
            if steps > STEPS_PER_FETCH {
                break;
            }
        }
        steps
    }

    /// Takes note that somebody needs the verdicts from an offset on.
    pub(super) fn remember(&self, from: Offset) {
        self.judged.lock().lately.note(from);
    }

    /// The first event of a range that it was not evaluated on, and whose verdict would be remembered.
    pub(super) fn first_unknown(&self, range: Range<Offset>) -> Option<Offset> {
        self.judged.lock().verdicts.first_unknown(range)
    }

    /// A number by which two that demand the same are known, in any process of this build.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What is known of a range of events.
    #[must_use]
    pub fn known(&self, range: Range<Offset>) -> Known {
        let mut judged = self.judged.lock();
        judged.lately.note(range.start);
        judged.verdicts.known(range)
    }
}

impl Judged {
    /// Forgets what nobody has asked for of late.
    fn age(&mut self) {
        self.lately.turn();
        self.verdicts.forget_before(self.lately.least());
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wished = self.wished.as_ref().map(|(_, wished)| wished);
        let mut filter = f.debug_struct("Filter");
        filter.field("granted", &self.granted).field("wished", &wished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(source: &str) -> Demand {
        let wished = Some(Arc::new(compile_filter(source).unwrap()));
        Demand { wished, ..Demand::default() }
    }

    fn is_one(a: &OwnFilter, b: &OwnFilter) -> bool {
        Arc::ptr_eq(a.shared(), b.shared())
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
        assert!(is_one(&a, &b));
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
        assert!(!is_one(&share(source, ada.clone()), &share(source, bob.clone())));
        assert!(is_one(&share("event.id == '1'", ada), &share("event.id == '1'", bob)));
    }

    #[test]
    fn claims_that_a_filter_does_not_read_tell_nobody_apart() {
        let filters = Filters::default();
        let share = |source, id| {
            let claims = serde_json::json!({"sub": "ada", "groups": ["a"], "jti": id});
            filters.share(Demand { claims, ..demand(source) }).unwrap().unwrap()
        };
        for (source, same) in [
            ("event.subject == claims.sub", true),
            ("event.subject == claims['sub'] || 'a' in claims.groups", true),
            ("has(claims.sub) && claims.groups.exists(g, g == event.type)", true),
            ("event.subject == claims.jti", false),
            ("claims[event.type] == 'a'", false),
        ] {
            let (a, b) = (share(source, 1), share(source, 2));
            assert_eq!(is_one(&a, &b), same, "{source}");
            assert_eq!(a.fingerprint() == b.fingerprint(), same, "{source}");
        }
    }

    #[test]
    fn what_tokens_say_takes_no_filter_from_those_who_wish_for_one() {
        let filters = Filters::default();
        let granted = Some(Arc::new(compile_filter("event.subject == claims.sub").unwrap()));
        let share = |sub: usize, wished: &str| {
            let claims = serde_json::json!({"sub": sub});
            filters.share(Demand { granted: granted.clone(), claims, ..demand(wished) })
        };
        let held: Vec<_> =
            (0..2 * MAX_FILTERS).map(|n| share(n, "event.id == '1'").unwrap()).collect();
        assert_eq!(filters.len(), held.len());
        let mut others: Vec<_> =
            (1..MAX_FILTERS).map(|n| share(0, &format!("event.type == '{n}'")).unwrap()).collect();
        assert_eq!(share(0, "event.type == 'x'").unwrap_err(), NoFilter::TooMany);
        others.pop();
        assert!(share(0, "event.type == 'x'").is_ok());
    }

    #[test]
    fn whoever_shares_a_filter_has_it_until_it_lets_go_of_it() {
        let filters = Filters::default();
        let share = |n: usize, socket: u64, sub: &str| {
            let client = Client { network: None, socket: Some(socket) };
            // Those who differ in their claims share the wish, if not the filter.
            let granted = Some(Arc::new(compile_filter("claims.sub != ''").unwrap()));
            let claims = serde_json::json!({"sub": sub});
            filters.share(Demand {
                granted,
                claims,
                client,
                ..demand(&format!("event.id == '{n}'"))
            })
        };
        let all = |socket, sub| {
            (0..MAX_OF_SOCKET).map(|n| share(n, socket, sub).unwrap()).collect::<Vec<_>>()
        };
        let (first, second, third) = (all(1, "ada"), all(2, "ada"), all(3, "bob"));
        for socket in [1, 2, 3] {
            let refused = share(MAX_OF_SOCKET, socket, "ada").unwrap_err();
            assert_eq!(refused, NoFilter::TooManyOfSocket, "{socket}");
        }
        drop(first);
        assert!(share(MAX_OF_SOCKET, 1, "ada").is_ok(), "the others have those");
        drop((second, third));
        assert!(share(MAX_OF_SOCKET, 3, "bob").is_ok());
    }

    #[test]
    fn there_is_a_bounded_number_and_one_that_nobody_has_makes_room() {
        let filters = Filters::default();
        let share = |n: usize| filters.share(demand(&format!("event.id == '{n}'")));
        let mut held: Vec<_> = (0..MAX_FILTERS).map(|n| share(n).unwrap()).collect();
        assert_eq!(share(MAX_FILTERS).unwrap_err(), NoFilter::TooMany);
        assert!(share(0).is_ok(), "one that is there is shared");
        held.pop();
        assert!(share(MAX_FILTERS).is_ok());
    }
}
