//! What every log must do that replicas share by a server: two of them at once, and the server's death.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time};

use super::{Durable, Opened, PATIENCE, Server, Subject, UNBOUNDED, eventually, posted};
use crate::{
    intake::Posted,
    log::{Appended, Health, Log, LogError, Offset, Read, Retention, Tail},
};

/// A kind of log that a server keeps.
pub(crate) trait Shared {
    type Log: Log + 'static;

    /// Whether the log repeats an append by itself when the server dies under it, so that a publisher
    /// needs no ids for that.
    const REPEATS: bool;

    /// The server.
    fn server(&mut self) -> &mut Server;

    /// Opens a log by its name, once.
    async fn try_open(
        &self,
        name: &str,
        tail: Arc<Tail>,
        retention: Retention,
    ) -> Result<Self::Log, LogError>;

    /// How a log does.
    fn health(log: &Self::Log) -> watch::Receiver<Health>;

    /// Opens a log by its name.
    async fn open(&self, name: &str, retention: Retention) -> (Arc<Self::Log>, Arc<Tail>) {
        let tail = super::tail(retention);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_open(name, Arc::clone(&tail), retention).await {
                Ok(log) => return (Arc::new(log), tail),
                // The server may still be recovering.
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Logs of one server, told apart by number.
pub(crate) struct Numbered<S> {
    shared: S,
    opened: AtomicU64,
}

impl<S: Shared> Numbered<S> {
    pub(crate) const fn new(shared: S) -> Self {
        Self { shared, opened: AtomicU64::new(0) }
    }
}

impl<S: Shared> Subject for Numbered<S> {
    async fn open(&self, retention: Retention) -> Opened {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.reopen(retention).await
    }
}

impl<S: Shared> Durable for Numbered<S> {
    async fn reopen(&self, retention: Retention) -> Opened {
        let name = self.opened.load(Ordering::Relaxed).to_string();
        let (log, tail) = self.shared.open(&name, retention).await;
        Opened { log, tail }
    }
}

pub(crate) async fn reaches(tail: &Tail, head: Offset) {
    eventually("the tail reaches the head", || tail.head() >= head).await;
}

pub(crate) fn event(id: &str) -> Posted {
    posted(id, b"{}")
}

pub(crate) fn anonymous(id: &str) -> Posted {
    Posted { idempotent: false, ..event(id) }
}

/// Comes when the log is found to be lost.
pub(crate) async fn ends<S: Shared>(log: &S::Log) {
    let mut health = S::health(log);
    let deadline = Instant::now() + PATIENCE;
    while *health.borrow_and_update() != Health::Lost {
        assert!(Instant::now() < deadline, "not found lost in time");
        // As once a second.
        log.expire();
        time::sleep(Duration::from_millis(20)).await;
    }
}

/// Appends as a publisher does that comes again while the log can't be reached.
pub(crate) async fn insist<L: Log>(log: &L, posted: Posted) -> Appended {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match log.append(vec![posted.clone()]).await {
            Ok(appended) => return appended,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

fn ids(tail: &Tail) -> Vec<(Offset, String)> {
    let Read::Entries(entries) = tail.read(tail.first(), u64::MAX) else { panic!() };
    entries.iter().map(|entry| (entry.offset, entry.posted.event.id.to_string())).collect()
}

pub(crate) async fn two_replicas_see_one_order<S: Shared>(shared: S) {
    let (one, first) = shared.open("a", UNBOUNDED).await;
    let (two, second) = shared.open("a", UNBOUNDED).await;
    assert_eq!(one.id(), two.id());
    for n in 0..50 {
        let (left, right) = tokio::join!(
            one.append(vec![event(&format!("1-{n}")), anonymous("x")]),
            two.append(vec![event(&format!("2-{n}"))]),
        );
        assert_eq!((left.unwrap().accepted, right.unwrap().accepted), (2, 1));
    }
    reaches(&first, 151).await;
    reaches(&second, 151).await;
    assert_eq!(ids(&first), ids(&second));
    // A third finds all of it in the log.
    let (three, third) = shared.open("a", UNBOUNDED).await;
    assert_eq!((third.head(), three.head().await.unwrap()), (151, 151));
    let again = three.append(vec![event("1-7"), event("2-7")]).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (0, 2));
}

pub(crate) async fn a_server_killed_while_events_are_published_costs_none_and_doubles_none<S>(
    mut shared: S,
) where
    S: Shared,
{
    let (log, tail) = shared.open("a", UNBOUNDED).await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let log = Arc::clone(&log);
        writers.spawn(async move {
            for n in 0..150 {
                let id = format!("{writer}-{n}");
                if S::REPEATS {
                    log.append(vec![anonymous(&id)]).await.unwrap();
                } else {
                    insist(&*log, event(&id)).await;
                }
                time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    for _ in 0..3 {
        time::sleep(Duration::from_millis(fastrand::u64(40..120))).await;
        shared.server().kill();
        time::sleep(Duration::from_millis(50)).await;
        shared.server().restart();
    }
    writers.join_all().await;
    reaches(&tail, 601).await;
    let mut seen: Vec<_> = ids(&tail).into_iter().map(|(_, id)| id).collect();
    assert_eq!((seen.len(), log.head().await.unwrap()), (600, 601));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 600);
}

pub(crate) async fn while_the_server_is_down_publishers_are_told_and_the_tail_is_kept<S>(
    mut shared: S,
) where
    S: Shared,
{
    let (log, tail) = shared.open("a", UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    shared.server().kill();
    let refused = log.append(vec![event("b")]).await.unwrap_err();
    assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    assert_eq!(ids(&tail), [(1, "a".to_owned())]);
    shared.server().restart();
    insist(&*log, event("b")).await;
    reaches(&tail, 3).await;
    assert_eq!(ids(&tail), [(1, "a".to_owned()), (2, "b".to_owned())]);
}

pub(crate) async fn a_server_that_comes_back_empty_ends_the_incarnation<S: Shared>(mut shared: S) {
    let (log, tail) = shared.open("a", UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    shared.server().kill();
    shared.server().empty();
    shared.server().restart();
    ends::<S>(&log).await;
    assert!(log.append(vec![event("b")]).await.is_err());
    let (next, _) = shared.open("a", UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!(next.append(vec![event("a")]).await.unwrap().last, 1);
}

pub(crate) async fn a_server_that_comes_back_older_ends_the_incarnation<S: Shared>(mut shared: S) {
    let (log, tail) = shared.open("a", UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    // As a disk that is restored from a backup: what came after it is gone.
    shared.server().kill();
    let backup = shared.server().back_up();
    shared.server().restart();
    insist(&*log, event("b")).await;
    reaches(&tail, 3).await;
    shared.server().kill();
    shared.server().restore(backup);
    shared.server().restart();
    ends::<S>(&log).await;
    let (next, _) = shared.open("a", UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!(next.append(vec![event("c")]).await.unwrap().last, 2);
}

/// Tests of one kind of log that replicas share: those of every log, and those of a server.
macro_rules! shared_suite {
    (@tests $shared:expr; $($name:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::log::conformance::replicas::$name($shared).await;
            }
        )+
    };
    ($shared:expr) => {
        $crate::log::conformance::suite!(
            $crate::log::conformance::replicas::Numbered::new($shared), durable
        );
        $crate::log::conformance::shared_suite!(@tests $shared;
            two_replicas_see_one_order
            a_server_killed_while_events_are_published_costs_none_and_doubles_none
            while_the_server_is_down_publishers_are_told_and_the_tail_is_kept
            a_server_that_comes_back_empty_ends_the_incarnation
            a_server_that_comes_back_older_ends_the_incarnation
        );
    };
}

pub(crate) use shared_suite;
