//! What every log must do, whatever keeps it: one suite, which each implementation's tests name.

#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) mod replicas;
#[cfg(any(feature = "nats", feature = "redis"))]
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Appended, Log, Offset, Read, Retention, Tail, tests::posted};
use crate::{clock, count::Accounts, engine::Wakers, intake::Posted};

/// How long to wait for what is done behind an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const UNBOUNDED: Retention =
    Retention { max_age: Duration::from_secs(86_400), max_events: 1_000_000, max_bytes: 1 << 40 };

/// A log under test, with the tail that it fills.
pub(crate) struct Opened {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) tail: Arc<Tail>,
}

/// What opens logs of one kind.
pub(crate) trait Subject {
    /// A new, empty log. Each call gives another.
    async fn open(&self, retention: Retention) -> Opened;
}

/// A kind of log that outlives the process.
pub(crate) trait Durable: Subject {
    /// The log that was opened last, as a process finds it that starts after it was closed.
    async fn reopen(&self, retention: Retention) -> Opened;
}

/// A tail that nobody is woken by.
pub(crate) fn tail(bounds: Retention) -> Arc<Tail> {
    let accounts = Arc::new(Accounts::new(1));
    Arc::new(Tail::new(bounds, accounts, Wakers::none()))
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn events(ids: &[&str]) -> Vec<Posted> {
    ids.iter().map(|id| posted(id, b"{}")).collect()
}

impl Opened {
    async fn append(&self, ids: &[&str]) -> Appended {
        self.log.append(events(ids)).await.unwrap()
    }

    async fn ids(&self, from: Offset) -> Vec<(Offset, String)> {
        let mut found = Vec::new();
        let mut from = from;
        loop {
            let entries = match self.log.read(from, u64::MAX).await.unwrap() {
                Read::Entries(entries) => entries,
                Read::Evicted { first } => panic!("{from} was evicted up to {first}"),
            };
            let Some(last) = entries.last() else { return found };
            from = last.offset + 1;
            found.extend(entries.iter().map(|e| (e.offset, e.posted.event.id.to_string())));
        }
    }

    async fn tail_reaches(&self, head: Offset) {
        eventually("the tail reaches the head", || self.tail.head() >= head).await;
    }
}

fn numbered(ids: &[(Offset, &str)]) -> Vec<(Offset, String)> {
    ids.iter().map(|(offset, id)| (*offset, (*id).to_owned())).collect()
}

pub(crate) async fn events_are_read_in_the_order_of_their_appends(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    assert_eq!((log.log.first(), log.log.head().await.unwrap()), (1, 1));
    log.append(&["a", "b"]).await;
    let appended = log.append(&["c"]).await;
    assert_eq!(appended, Appended { accepted: 1, duplicates: 0, last: 3 });
    log.tail_reaches(4).await;
    assert_eq!(log.ids(1).await, numbered(&[(1, "a"), (2, "b"), (3, "c")]));
    assert_eq!(log.ids(3).await, numbered(&[(3, "c")]));
    assert!(log.ids(4).await.is_empty());
    assert_eq!(log.log.head().await.unwrap(), 4);
    assert_eq!(log.log.held().events, 3);
}

pub(crate) async fn an_event_comes_back_as_it_went_in(subject: &impl Subject) {
    use crate::event::Extension;
    let log = subject.open(UNBOUNDED).await;
    let mut full = posted("full", b"\x00\xff\r\n\"");
    full.event.subject = Some("a/b".into());
    full.event.data_content_type = Some("application/octet-stream".into());
    full.event.data_schema = Some("https://example.com/schema".into());
    full.event.extensions = vec![
        ("traceparent".into(), Extension::Text("00-1-2-01".into())),
        ("n".into(), Extension::Integer(-7)),
        ("truth".into(), Extension::Boolean(true)),
    ];
    let mut bare = posted("bare", b"");
    bare.event.data_content_type = None;
    bare.idempotent = false;
    log.log.append(vec![full.clone(), bare.clone()]).await.unwrap();
    log.tail_reaches(3).await;
    let Read::Entries(read) = log.log.read(1, u64::MAX).await.unwrap() else { panic!() };
    let Read::Entries(tailed) = log.tail.read(1, u64::MAX) else { panic!() };
    for entries in [read, tailed] {
        let events: Vec<_> = entries.iter().map(|entry| entry.posted.event.clone()).collect();
        assert_eq!(events, [full.event.clone(), bare.event.clone()]);
    }
}

pub(crate) async fn a_read_is_bounded_in_bytes_but_makes_progress(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    log.append(&["a", "b", "c"]).await;
    log.tail_reaches(4).await;
    let one = super::size_of_event(&posted("a", b"{}").event);
    for (bytes, most) in [(0, 1), (2 * one, 2)] {
        let Read::Entries(entries) = log.log.read(1, bytes).await.unwrap() else { panic!() };
        assert!((1..=most).contains(&entries.len()), "{} in {bytes} bytes", entries.len());
    }
}

pub(crate) async fn a_duplicate_is_answered_with_the_first_ones_offset(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    log.append(&["a", "b"]).await;
    let appended = log.append(&["c", "a"]).await;
    assert_eq!(appended, Appended { accepted: 1, duplicates: 1, last: 1 });
    let appended = log.append(&["d", "d"]).await;
    assert_eq!(appended, Appended { accepted: 1, duplicates: 1, last: 4 });
    log.tail_reaches(5).await;
    assert_eq!(log.ids(3).await, numbered(&[(3, "c"), (4, "d")]));
}

pub(crate) async fn an_event_without_a_given_id_is_no_duplicate(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    let anonymous = Posted { idempotent: false, ..posted("a", b"{}") };
    log.log.append(vec![anonymous.clone()]).await.unwrap();
    let appended = log.log.append(vec![anonymous]).await.unwrap();
    assert_eq!(appended, Appended { accepted: 1, duplicates: 0, last: 2 });
}

pub(crate) async fn the_oldest_leave_when_there_are_too_many(subject: &impl Subject) {
    let log = subject.open(Retention { max_events: 2, ..UNBOUNDED }).await;
    log.append(&["a", "b"]).await;
    log.append(&["c"]).await;
    log.log.expire();
    eventually("two are left", || log.log.first() == 2).await;
    assert!(matches!(log.log.read(1, u64::MAX).await.unwrap(), Read::Evicted { first: 2 }));
    assert_eq!(log.ids(2).await, numbered(&[(2, "b"), (3, "c")]));
    // What has left may come again.
    let again = log.append(&["a"]).await;
    assert_eq!(again, Appended { accepted: 1, duplicates: 0, last: 4 });
}

pub(crate) async fn the_oldest_leave_when_they_are_too_large(subject: &impl Subject) {
    let one = super::size_of_event(&posted("a", b"{}").event);
    let log = subject.open(Retention { max_bytes: 2 * one, ..UNBOUNDED }).await;
    log.append(&["a", "b", "c"]).await;
    log.log.expire();
    eventually("two are left", || log.log.first() == 2).await;
    assert_eq!(log.log.held().events, 2);
}

pub(crate) async fn the_oldest_leave_when_they_are_too_old(subject: &impl Subject) {
    let log = subject.open(Retention { max_age: Duration::from_millis(300), ..UNBOUNDED }).await;
    log.append(&["a", "b"]).await;
    log.tail_reaches(3).await;
    eventually("both are gone", || {
        log.log.expire();
        log.log.first() == 3
    })
    .await;
    assert_eq!((log.log.held().events, log.log.head().await.unwrap()), (0, 3));
    let appended = log.append(&["c"]).await;
    assert_eq!(appended.last, 3);
}

pub(crate) async fn a_narrower_bound_is_taken_up(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    log.append(&["a", "b", "c"]).await;
    log.log.set_retention(Retention { max_events: 1, ..UNBOUNDED });
    log.log.expire();
    eventually("one is left", || log.log.first() == 3).await;
}

pub(crate) async fn a_time_is_found_by_acceptance(subject: &impl Subject) {
    let log = subject.open(UNBOUNDED).await;
    let before = clock::micros();
    log.append(&["a"]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = clock::micros();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.append(&["b"]).await;
    log.tail_reaches(3).await;
    let after = clock::micros() + 1_000_000;
    let mut found = Vec::new();
    for time in [0, before, between, after] {
        found.push(log.log.offset_at(time).await.unwrap());
    }
    assert_eq!(found, [1, 1, 2, 3]);
}

pub(crate) async fn appends_at_once_lose_nothing_and_keep_each_writers_order(
    subject: &impl Subject,
) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let log = subject.open(UNBOUNDED).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let log = Arc::clone(&log.log);
        writers.spawn(async move {
            let mut offsets = Vec::new();
            for n in 0..EACH {
                let event = posted(&format!("{writer}-{n}"), b"{}");
                offsets.push(log.append(vec![event]).await.unwrap().last);
            }
            (writer, offsets)
        });
    }
    let written = writers.join_all().await;
    let total = (WRITERS * EACH) as u64;
    log.tail_reaches(total + 1).await;
    let ids = log.ids(1).await;
    assert_eq!(ids.len() as u64, total);
    assert!(ids.iter().map(|(offset, _)| *offset).eq(1..=total));
    for (writer, offsets) in written {
        assert!(offsets.is_sorted());
        for (n, offset) in offsets.iter().enumerate() {
            let at = usize::try_from(offset - 1).unwrap();
            assert_eq!(ids[at].1, format!("{writer}-{n}"));
        }
    }
}

pub(crate) async fn a_reopened_log_is_the_same(subject: &impl Durable) {
    let log = subject.open(UNBOUNDED).await;
    log.append(&["a", "b", "c"]).await;
    let id = log.log.id();
    log.log.close().await;
    drop(log);
    let log = subject.reopen(UNBOUNDED).await;
    assert_eq!(log.log.id(), id);
    log.tail_reaches(4).await;
    assert_eq!(log.log.first(), 1);
    assert_eq!(log.ids(1).await, numbered(&[(1, "a"), (2, "b"), (3, "c")]));
    let appended = log.append(&["b", "d"]).await;
    assert_eq!(appended, Appended { accepted: 1, duplicates: 1, last: 4 });
    log.tail_reaches(5).await;
}

pub(crate) async fn a_log_reopened_with_narrower_bounds_evicts(subject: &impl Durable) {
    let log = subject.open(UNBOUNDED).await;
    log.append(&["a", "b", "c"]).await;
    log.log.close().await;
    drop(log);
    let log = subject.reopen(Retention { max_events: 1, ..UNBOUNDED }).await;
    log.log.expire();
    eventually("one is left", || log.log.first() == 3).await;
    assert_eq!(log.ids(3).await, numbered(&[(3, "c")]));
}

/// Tests of one kind of log. `Subject` is an expression that makes the [`Subject`]; `durable` adds what
/// only a log that outlives the process must do.
macro_rules! suite {
    (@tests $subject:expr; $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::log::conformance::$name(&$subject).await;
            }
        )+
    };
    ($subject:expr) => {
        $crate::log::conformance::suite!(@tests $subject;
            events_are_read_in_the_order_of_their_appends
            an_event_comes_back_as_it_went_in
            a_read_is_bounded_in_bytes_but_makes_progress
            a_duplicate_is_answered_with_the_first_ones_offset
            an_event_without_a_given_id_is_no_duplicate
            the_oldest_leave_when_there_are_too_many
            the_oldest_leave_when_they_are_too_large
            the_oldest_leave_when_they_are_too_old
            a_narrower_bound_is_taken_up
            a_time_is_found_by_acceptance
            appends_at_once_lose_nothing_and_keep_each_writers_order
        );
    };
    ($subject:expr, durable) => {
        $crate::log::conformance::suite!($subject);
        $crate::log::conformance::suite!(@tests $subject;
            a_reopened_log_is_the_same
            a_log_reopened_with_narrower_bounds_evicts
        );
    };
}

#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) use replicas::shared_suite;
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) use server::Server;
pub(crate) use suite;
