//! The NATS log against real servers.

use std::{
    path::Path,
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

const PATIENCE: Duration = Duration::from_secs(30);

/// A NATS server of one's own.
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

    fn config(&self, name: &str) -> NatsConfig {
        NatsConfig {
            address: format!("127.0.0.1:{}", self.port),
            stream: format!("weir_shop_{name}"),
            replicas: 1,
            user: None,
            password: None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn serve(port: u16, folder: &Path) -> Child {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
    command.arg("--store_dir").arg(folder);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let child = command
        .spawn()
        .expect("nats-server, which this test talks to: `cargo xtask setup` installs it on Debian");
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nats-server did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

async fn open(config: &NatsConfig, retention: Retention) -> (NatsLog, Arc<Tail>) {
    // JetStream sets the room aside that a stream may take.
    let retention = Retention { max_bytes: retention.max_bytes.min(1 << 24), ..retention };
    let tail = conformance::tail(retention);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match NatsLog::open(config, Arc::clone(&tail), retention).await {
            Ok(log) => return (log, tail),
            // It may still be recovering.
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Nats {
    server: Server,
    opened: AtomicU64,
}

impl Nats {
    fn start() -> Self {
        Self { server: Server::start(), opened: AtomicU64::new(0) }
    }

    async fn open_last(&self, retention: Retention) -> Opened {
        let name = self.opened.load(Ordering::Relaxed).to_string();
        let (log, tail) = open(&self.server.config(&name), retention).await;
        Opened { log: Arc::new(log), tail }
    }
}

impl Subject for Nats {
    async fn open(&self, retention: Retention) -> Opened {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open_last(retention).await
    }
}

impl Durable for Nats {
    async fn reopen(&self, retention: Retention) -> Opened {
        self.open_last(retention).await
    }
}

conformance::suite!(Nats::start(), durable);

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

async fn ends(log: &NatsLog) {
    let mut health = log.health();
    let deadline = Instant::now() + PATIENCE;
    while *health.borrow_and_update() != Health::Lost {
        assert!(Instant::now() < deadline, "not found lost in time");
        // As once a second.
        log.expire();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
async fn a_duplicate_is_known_to_a_replica_though_the_broker_has_forgotten_it() {
    let server = Server::start();
    let config = server.config("a");
    let (log, tail) = open(&config, UNBOUNDED).await;
    log.append(vec![event("a"), event("b")]).await.unwrap();
    reaches(&tail, 3).await;
    // The window passes: JetStream takes one of a tenth of a second.
    let info = log.core.stream.get_info().await.unwrap();
    let duplicate_window = Duration::from_millis(100);
    let narrow = async_nats::jetstream::stream::Config { duplicate_window, ..info.config };
    log.core.context.update_stream(narrow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (other, _) = open(&config, UNBOUNDED).await;
    for log in [&log, &other] {
        let appended = log.append(vec![event("a")]).await.unwrap();
        assert_eq!(appended, Appended { accepted: 0, duplicates: 1, last: 1 });
    }
    assert_eq!(log.head().await.unwrap(), 3);
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
                // As a publisher does that is told to come again: with the same id.
                let event = event(&format!("{writer}-{n}"));
                let deadline = Instant::now() + PATIENCE;
                while let Err(error) = log.append(vec![event.clone()]).await {
                    assert!(Instant::now() < deadline, "{error}");
                }
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
    assert_eq!((seen.len(), log.head().await.unwrap()), (600, 601));
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
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.append(vec![event("b")]).await {
        assert!(Instant::now() < deadline, "{error}");
    }
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
async fn a_server_that_comes_back_older_ends_the_incarnation() {
    let mut server = Server::start();
    let (log, tail) = open(&server.config("a"), UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    // As a disk that is restored from a backup: what came after it is gone.
    server.kill();
    let backup = tempfile::tempdir().unwrap();
    copy(server.folder.path(), backup.path());
    server.restart();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = log.append(vec![event("b")]).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    reaches(&tail, 3).await;
    server.kill();
    server.folder = backup;
    server.restart();
    ends(&log).await;
    let (next, _) = open(&server.config("a"), UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!(next.append(vec![event("c")]).await.unwrap().last, 2);
}

fn copy(from: &Path, to: &Path) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_is_left_alone() {
    let server = Server::start();
    let config = server.config("a");
    let client = connect(&config).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let theirs = async_nats::jetstream::stream::Config {
        name: config.stream.clone(),
        subjects: vec!["theirs".to_owned()],
        ..Default::default()
    };
    context.create_stream(theirs).await.unwrap();
    let tail = conformance::tail(UNBOUNDED);
    let refused = NatsLog::open(&config, tail, UNBOUNDED).await.unwrap_err();
    assert!(matches!(refused, LogError::Damaged(_)), "{refused}");
}
