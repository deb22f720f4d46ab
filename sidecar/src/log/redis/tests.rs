//! The Redis log against real servers.

use std::{path::Path, process::Command};

use super::*;
use crate::log::conformance::{
    self, Server, UNBOUNDED,
    replicas::{Shared, anonymous, ends, event, reaches},
};

/// A Redis of one's own, with everything on its disk before it answers.
struct Redis(Server);

impl Redis {
    fn start() -> Self {
        Self(Server::start(program))
    }
}

fn program(port: u16, folder: &Path) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(folder);
    command
}

impl Shared for Redis {
    type Log = RedisLog;

    const REPEATS: bool = true;

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    async fn try_open(
        &self,
        name: &str,
        tail: Arc<Tail>,
        retention: Retention,
    ) -> Result<RedisLog, LogError> {
        let config = RedisConfig {
            host: "127.0.0.1".to_owned(),
            port: self.0.port,
            user: None,
            password: None,
            keys: format!("weir:{{shop/{name}}}"),
        };
        RedisLog::open(&config, tail, retention).await
    }

    fn health(log: &RedisLog) -> watch::Receiver<Health> {
        log.health()
    }
}

conformance::shared_suite!(Redis::start());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_is_repeated_is_answered_and_not_done_again() {
    let redis = Redis::start();
    let (log, tail) = redis.open("a", UNBOUNDED).await;
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
async fn an_older_server_to_which_others_have_appended_since_ends_the_incarnation() {
    let mut redis = Redis::start();
    let (log, tail) = redis.open("a", UNBOUNDED).await;
    log.append(vec![event("a")]).await.unwrap();
    reaches(&tail, 2).await;
    // As a disk that is restored from a backup: what came after it is gone.
    redis.0.kill();
    let backup = redis.0.back_up();
    redis.0.restart();
    log.append(vec![event("b"), event("c")]).await.unwrap();
    reaches(&tail, 4).await;
    redis.0.kill();
    redis.0.restore(backup);
    // Elsewhere at first, so that only a replica that knows nothing of the rest finds it.
    let port = redis.0.move_away();
    redis.0.restart();
    let (other, _) = redis.open("a", UNBOUNDED).await;
    assert_eq!(other.id(), log.id());
    let appended = other.append(vec![event("d"), event("e"), event("f")]).await.unwrap();
    assert_eq!(appended.last, 4, "the offsets of what was lost are given anew");
    redis.0.kill();
    redis.0.port = port;
    redis.0.restart();
    ends::<Redis>(&log).await;
    let (next, _) = redis.open("a", UNBOUNDED).await;
    assert_ne!(next.id(), log.id());
    assert_eq!((next.first(), next.head().await.unwrap()), (1, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_far_behind_gets_the_log_in_answers_that_it_can_hold() {
    const EVENTS: u64 = 40;
    const SIZE: usize = 300_000;
    let redis = Redis::start();
    let (log, tail) = redis.open("a", UNBOUNDED).await;
    for n in 0..EVENTS {
        let mut large = event(&n.to_string());
        large.event.data = vec![b'1'; SIZE].into();
        log.append(vec![large]).await.unwrap();
    }
    let mut follower = follow::Follower::connect(&log.core).await.unwrap();
    let (mut seen, mut answers) = (0, 0);
    while seen < EVENTS {
        let stored = follower.next(seen).await.unwrap().unwrap();
        let bytes: usize = stored.iter().map(|stored| stored.event.len()).sum();
        assert!(bytes < 4 * (SIZE + 1_000), "{bytes} bytes at once");
        for stored in stored {
            assert_eq!(stored.offset, seen + 1);
            seen += 1;
        }
        answers += 1;
    }
    assert!(answers <= 15, "{answers} answers");
    reaches(&tail, EVENTS + 1).await;
    // And then it waits for more.
    log.append(vec![event("last")]).await.unwrap();
    assert_eq!(follower.next(seen).await.unwrap().unwrap().len(), 1);
}
