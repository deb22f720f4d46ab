//! The Redis log against real servers.

use std::{
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::log::{
    conformance::{self, Durable, Opened, Subject, UNBOUNDED},
    tests::posted,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A Redis of one's own, with everything on its disk before it answers.
struct Server {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { child: serve(port, folder.path()), port, folder }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = serve(self.port, self.folder.path());
    }

    fn config(&self, name: &str) -> RedisConfig {
        RedisConfig {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: None,
            password: None,
            keys: format!("weir:{{shop/{name}}}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn serve(port: u16, folder: &std::path::Path) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(folder);
    let child = command.stdout(Stdio::null()).spawn().expect(
        "redis-server, which this test talks to: `cargo xtask setup` installs it on Debian",
    );
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

async fn open(config: &RedisConfig, retention: Retention) -> (RedisLog, Arc<Tail>) {
    let tail = conformance::tail(retention);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match RedisLog::open(config, Arc::clone(&tail), retention).await {
            Ok(log) => return (log, tail),
            // It may still be loading.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Redis {
    server: Server,
    opened: AtomicU64,
}

impl Redis {
    fn start() -> Self {
        Self { server: Server::start(), opened: AtomicU64::new(0) }
    }

    async fn open_last(&self, retention: Retention) -> Opened {
        let name = self.opened.load(Ordering::Relaxed).to_string();
        let (log, tail) = open(&self.server.config(&name), retention).await;
        Opened { log: Arc::new(log), tail }
    }
}

impl Subject for Redis {
    async fn open(&self, retention: Retention) -> Opened {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open_last(retention).await
    }
}

impl Durable for Redis {
    async fn reopen(&self, retention: Retention) -> Opened {
        self.open_last(retention).await
    }
}

conformance::suite!(Redis::start(), durable);

async fn reaches(tail: &Tail, head: Offset) {
    let deadline = Instant::now() + PATIENCE;
    while tail.head() < head {
        assert!(Instant::now() < deadline, "the tail is at {}, not {head}", tail.head());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ids(tail: &Tail) -> Vec<(Offset, String)> {
    let Read::Entries(entries) = tail.read(tail.first(), u64::MAX) else { panic!() };
    entries.iter().map(|entry| (entry.offset, entry.posted.event.id.to_string())).collect()
}

fn event(id: &str) -> Posted {
    posted(id, b"{}")
}

fn anonymous(id: &str) -> Posted {
    Posted { idempotent: false, ..event(id) }
}

async fn ends(log: &RedisLog) {
    let mut health = log.health();
    let lost = health.wait_for(|health| *health == Health::Lost);
    tokio::time::timeout(PATIENCE, lost).await.expect("found lost in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_see_one_order() {
    let server = Server::start();
    let (one, first) = open(&server.config("a"), UNBOUNDED).await;
    let (two, second) = open(&server.config("a"), UNBOUNDED).await;
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
    let (three, third) = open(&server.config("a"), UNBOUNDED).await;
    assert_eq!((third.head(), three.head().await.unwrap()), (151, 151));
    let again = three.append(vec![event("1-7"), event("2-7")]).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_repeated_is_answered_and_not_done_again() {
    let server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    let core = &log.core;
    let stored = codec::encode(&anonymous("a"), Origin { replica: 1, accepted: 2 });
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut script = script::APPENDING.prepare_invoke();
        core.keys.name(&mut script);
        script.key("weir:{shop/a}:batch:1").arg(core.id()).arg(1);
        bounds(&mut script, UNBOUNDED);
        script.arg(60_000).arg("").arg(300).arg(&stored);
        let mut parts = core.insist(&script, APPEND).await.unwrap();
        answers.push([(); 3].map(|()| answer::number(&mut parts).unwrap()));
    }
    assert_eq!(answers, [[1, 0, 1]; 3]);
    assert_eq!(log.head().await.unwrap(), 2);
    reaches(&tail, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_events_are_published_costs_none_and_doubles_none() {
    let mut server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    let log = Arc::new(log);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let log = Arc::clone(&log);
        writers.spawn(async move {
            for n in 0..150 {
                // Without ids of their own: only the log's own care keeps them from being doubled.
                let event = anonymous(&format!("{writer}-{n}"));
                log.append(vec![event]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(40..120))).await;
        server.kill();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.restart();
    }
    writers.join_all().await;
    reaches(&tail, 601).await;
    let mut seen: Vec<_> = ids(&tail).into_iter().map(|(_, id)| id).collect();
    assert_eq!(seen.len(), 600);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_down_publishers_are_told_and_the_tail_is_kept() {
    let mut server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    server.kill();
    let refused = log.append(vec![event("b")]).await.unwrap_err();
    assert!(matches!(refused, LogError::Unavailable(_)), "{refused}");
    assert_eq!(ids(&tail), [(1, "a".to_owned())]);
    server.restart();
    log.append(vec![event("b")]).await.unwrap();
    reaches(&tail, 3).await;
    assert_eq!(ids(&tail), [(1, "a".to_owned()), (2, "b".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_ends_the_incarnation() {
    let mut server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    server.kill();
    server.folder = tempfile::tempdir().unwrap();
    server.restart();
    ends(&log).await;
    assert!(log.append(vec![event("b")]).await.is_err());
    let (next, _) = open(&server.config("a"), UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!(next.append(vec![event("a")]).await.unwrap().last, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_older_ends_the_incarnation_though_others_have_appended_since() {
    let mut server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    // As a disk that is restored from a backup: what came after it is gone.
    server.kill();
    let backup = tempfile::tempdir().unwrap();
    copy(server.folder.path(), backup.path());
    server.restart();
    log.append(vec![event("b"), event("c")]).await.unwrap();
    reaches(&tail, 4).await;
    server.kill();
    server.folder = backup;
    // Elsewhere at first, so that only a replica that knows nothing of the rest finds it.
    let port = server.port;
    server.port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    server.restart();
    let (other, _) = open(&server.config("a"), UNBOUNDED).await;
    assert_eq!(other.id(), log.id());
    let appended = other.append(vec![event("d"), event("e"), event("f")]).await.unwrap();
    assert_eq!(appended.last, 4, "the offsets of what was lost are given anew");
    server.kill();
    server.port = port;
    server.restart();
    ends(&log).await;
    let (next, _) = open(&server.config("a"), UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!((next.first(), next.head().await.unwrap()), (1, 5));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
