//! The NATS log against real servers.

use std::{path::Path, process::Command, time::Duration};

use super::*;
use crate::log::conformance::{
    self, Server, UNBOUNDED,
    replicas::{Shared, event, insist, reaches},
};

/// A NATS server of one's own.
pub(super) struct Nats(Server);

impl Nats {
    pub(super) fn start() -> Self {
        Self(Server::start(program))
    }

    fn config(&self, name: &str) -> NatsConfig {
        NatsConfig {
            address: format!("127.0.0.1:{}", self.0.port),
            stream: format!("weir_shop_{name}"),
            replicas: 1,
            user: None,
            password: None,
        }
    }
}

fn program(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("nats-server");
    command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
    command.arg("--store_dir").arg(folder);
    command
}

impl Shared for Nats {
    type Log = NatsLog;

    const REPEATS: bool = false;

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    async fn try_open(
        &self,
        name: &str,
        tail: Arc<Tail>,
        retention: Retention,
    ) -> Result<NatsLog, LogError> {
        // JetStream sets the room aside that a stream may take.
        let retention = Retention { max_bytes: retention.max_bytes.min(1 << 24), ..retention };
        NatsLog::open(&self.config(name), tail, retention).await
    }

    fn health(log: &NatsLog) -> watch::Receiver<Health> {
        log.health()
    }
}

conformance::shared_suite!(Nats::start());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_followed_as_soon_as_it_is_back() {
    let mut nats = Nats::start();
    let (log, tail) = nats.open("a", UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    nats.0.kill();
    nats.0.restart();
    insist(&*log, event("b")).await;
    let taken = std::time::Instant::now();
    reaches(&tail, 3).await;
    // A consumer that died with the server is waited for three times as long.
    assert!(taken.elapsed() < Duration::from_secs(5), "{:?}", taken.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_is_known_to_a_replica_though_the_broker_has_forgotten_it() {
    let nats = Nats::start();
    let (log, tail) = nats.open("a", UNBOUNDED).await;
    log.append(vec![event("a"), event("b")]).await.unwrap();
    reaches(&tail, 3).await;
    // The window passes: JetStream takes one of a tenth of a second.
    let info = log.core.stream.get_info().await.unwrap();
    let duplicate_window = Duration::from_millis(100);
    let narrow = async_nats::jetstream::stream::Config { duplicate_window, ..info.config };
    log.core.context.update_stream(narrow).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (other, _) = nats.open("a", UNBOUNDED).await;
    for log in [&log, &other] {
        let appended = log.append(vec![event("a")]).await.unwrap();
        assert_eq!(appended, Appended { accepted: 0, duplicates: 1, last: 1 });
    }
    assert_eq!(log.head().await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_is_left_alone() {
    let nats = Nats::start();
    let config = nats.config("a");
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
