//! A hub and what it remembers for those who have filters.

use tokio::runtime::Runtime;

use super::*;
use crate::{
    engine::Wakers,
    frame::Format,
    log::{MemoryLog, tests::posted},
};

/// A hub in memory within these bounds, whose slow subscribers are conflated.
pub(super) fn hub(retention: &str) -> (Runtime, Arc<Hub>) {
    let spec = format!(
        "{{placement: {{gateway: {{}}}}, sources: [{{name: app, http: {{}}}}], \
         log: {{retention: {{{retention}}}}}, delivery: {{slowConsumer: Conflate}}}}"
    );
    let settings = Settings::from(&serde_yaml::from_str(&spec).unwrap());
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hub = runtime.block_on(async {
        let hub = Arc::new(Hub::new("orders", settings, Wakers::none()));
        hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
        hub
    });
    (runtime, hub)
}

/// An event whose key is one of so many.
pub(super) fn event(n: u64, keys: u64, size: usize) -> Posted {
    let mut posted = posted(&n.to_string(), b"");
    posted.event.subject = Some((n % keys).to_string().into());
    posted.event.data = vec![b'1'; size].into();
    posted
}

/// The filter of a subscriber.
pub(super) fn filter(runtime: &Runtime, hub: &Hub, source: &str) -> Arc<Filter> {
    let wished = Some(runtime.block_on(hub.expression(source)).unwrap());
    let own = hub.filter(Demand { wished, ..Demand::default() }).unwrap().unwrap();
    Arc::clone(own.shared())
}

/// A filter that takes some eight thousand steps on each event.
pub(super) fn costly() -> String {
    let list = format!("[{}]", vec!["0"; 40].join(","));
    format!("{list}.all(a, {list}.all(b, a == b))")
}

/// Reads all that there is, as a subscriber of this filter does.
fn read_on(hub: &Arc<Hub>, format: Format, filter: &Arc<Filter>) {
    let mut next = 1;
    while next < hub.head() {
        match hub.fetch_filtered(format, filter, next) {
            Fetch::Chunk(chunk) => next = chunk.end(),
            Fetch::Skipped(passed) => next += passed.count(),
            other @ (Fetch::Empty | Fetch::Loading | Fetch::Evicted { .. }) => panic!("{other:?}"),
        }
    }
}

#[test]
fn filters_keep_nothing_for_one_subscriber_and_for_several_no_more_than_a_bound_and_not_for_long() {
    let (runtime, hub) = hub("maxBytes: 64Mi");
    let events = (0..8).map(|n| event(n, 3, 60 * 1024)).collect();
    runtime.block_on(hub.publish(events)).unwrap();
    let alone: Vec<_> =
        (0..MAX_FILTERS).map(|n| filter(&runtime, &hub, &format!("event.id != 'x{n}'"))).collect();
    let read_all = |filters: &[Arc<Filter>]| {
        for filter in filters {
            read_on(&hub, Format::SseData, filter);
            read_on(&hub, Format::WsList, filter);
        }
    };
    read_all(&alone);
    assert_eq!(hub.filters.chunks.taken(), 0);
    let shared = alone.clone();
    read_all(&shared);
    let most = shelf::MOST_BYTES_OF_FILTERS;
    let taken = hub.filters.chunks.taken();
    assert!((most / 2..=most).contains(&taken), "{taken}");
    (0..2).for_each(|_| hub.expire());
    assert_eq!(hub.filters.chunks.taken(), 0);
    // Nor what they say of events, in the end.
    let all = 1..hub.head();
    let seen = |filter: &Filter| filter.known(all.clone());
    assert_eq!(seen(&shared[0]), Known { matched: 8, unmatched: 0 });
    (0..11).for_each(|_| hub.expire());
    assert_eq!(seen(&shared[0]), Known::default());
}

#[test]
fn no_fetch_takes_more_steps_than_so_many_whatever_it_is_for() {
    let (runtime, hub) = hub("maxBytes: 64Mi");
    let events = (0..100).map(|n| event(n, 3, 1)).collect();
    runtime.block_on(hub.publish(events)).unwrap();
    let evaluations = || hub.accounts().evaluations.get();
    let source = costly();
    let judged = |fetch: &dyn Fn(&Arc<Filter>)| {
        let (filter, before) = (filter(&runtime, &hub, &source), evaluations());
        fetch(&filter);
        let judged = evaluations() - before;
        assert!((2..=8).contains(&judged), "{judged}");
    };
    judged(&|filter| drop(hub.fetch_filtered(Format::SseData, filter, 1)));
    judged(&|filter| drop(hub.fetch_conflated(Format::SseData, Some(filter), 1..101)));
    judged(&|filter| {
        hub.learn(filter, 1..101);
    });
    judged(&|filter| hub.look_ahead(filter, 1..101));
    // The key is the manifest's.
    hub.keys.store(Arc::new(Keys::new(Some(Arc::new(compile(&source).unwrap())))));
    hub.fetch_conflated(Format::SseData, None, 1..101);
    assert!((2..=8).contains(&hub.conflation.lock().end()), "{}", hub.conflation.lock().end());
}

#[test]
fn a_filter_that_costs_too_much_is_ended_and_refused_for_a_while() {
    let (runtime, hub) = hub("maxBytes: 64Mi");
    let [dear, cheap] =
        ["event.id != 'a'", "event.id != 'b'"].map(|source| filter(&runtime, &hub, source));
    dear.charge(1_000_000_000);
    cheap.charge(1_000_000);
    hub.expire();
    assert!(dear.is_too_costly() && !cheap.is_too_costly());
    let wished = Some(runtime.block_on(hub.expression("event.id!='a'")).unwrap());
    let again = || hub.filter(Demand { wished: wished.clone(), ..Demand::default() });
    assert_eq!(again().unwrap_err(), NoFilter::TooCostly);
    drop(dear);
    (0..60).for_each(|_| hub.expire());
    assert!(!again().unwrap().unwrap().is_too_costly());
}
