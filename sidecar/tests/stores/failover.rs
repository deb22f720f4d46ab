//! A failover that loses what was acknowledged: a copy of the store that lags behind takes its place.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    PATIENCE, publisher,
    replica::Pair,
    store::{Kind, Store},
    subscriber,
};

/// An address that leads to one store, and later to another, as that of a Service does.
struct Address {
    at: SocketAddr,
    to: Arc<AtomicU16>,
    switch: watch::Sender<()>,
    _task: AbortOnDropHandle<()>,
}

impl Address {
    async fn of(store: &Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let to = Arc::new(AtomicU16::new(store.port()));
        let switch = watch::Sender::new(());
        let task = tokio::spawn(forward(listener, Arc::clone(&to), switch.subscribe()));
        Self { at, to, switch, _task: AbortOnDropHandle::new(task) }
    }

    /// Leads to another from now on; connections to the one before end.
    fn lead_to(&self, store: &Store) {
        self.to.store(store.port(), Ordering::SeqCst);
        self.switch.send_replace(());
    }
}

async fn forward(listener: TcpListener, to: Arc<AtomicU16>, mut switched: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = switched.changed() => connections.abort_all(),
            accepted = listener.accept() => {
                let (mut client, _) = accepted.unwrap();
                let port = to.load(Ordering::SeqCst);
                connections.spawn(async move {
                    let Ok(mut store) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    // However it ends, it has ended.
                    drop(io::copy_bidirectional(&mut client, &mut store).await);
                });
            }
        }
    }
}

/// Asks a Redis, and returns the first line of its answer.
async fn ask(store: &Store, command: &str) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", store.port())).await.unwrap();
    socket.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "no answer to {command}");
    }
    String::from_utf8(answer).unwrap().trim_end().to_owned()
}

async fn becomes(store: &Store, command: &str, expected: &str) {
    let deadline = time::Instant::now() + PATIENCE;
    loop {
        let answer = ask(store, command).await;
        if answer == expected {
            return;
        }
        assert!(time::Instant::now() < deadline, "{command}: {answer}, not {expected}");
        time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_redis_that_lags_behind_is_told_by_a_gap() {
    let (primary, standby) = (Store::start(Kind::Redis), Store::start(Kind::Redis));
    assert_eq!(ask(&standby, &format!("REPLICAOF 127.0.0.1 {}", primary.port())).await, "+OK");
    let address = Address::of(&primary).await;
    let pair = Pair::start(&format!("{{redis: {{address: '{}'}}}}", address.at)).await;
    let replicas = pair.public();
    let (progress, mut seen) = watch::channel(0);
    let reader =
        tokio::spawn(async move { subscriber::read_until(40, &replicas, 0, progress).await });
    publisher::publish(20, 200, pair.publish()).await;
    becomes(&standby, "XLEN weir:{shop/orders}:log", ":20").await;
    // From here on the copy hears of nothing any more.
    assert_eq!(ask(&standby, "REPLICAOF NO ONE").await, "+OK");
    for number in 21..=30 {
        publisher::post(number, pair.publish()[0]).await.expect("taken");
    }
    time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= 30)).await.unwrap().unwrap();
    address.lead_to(&standby);
    drop(primary);
    for number in 31..=40 {
        let deadline = time::Instant::now() + PATIENCE;
        while publisher::post(number, pair.publish()[1]).await.is_none() {
            assert!(time::Instant::now() < deadline, "{number} was not taken");
            time::sleep(Duration::from_millis(50)).await;
        }
    }
    let seen = reader.await.unwrap();
    assert_eq!(seen.gaps.len(), 1, "{:?}", seen.gaps);
    assert!(seen.gaps[0].contains("unknown_log"), "{:?}", seen.gaps);
    // All that was acknowledged before, and behind the gap what the copy has, and what came since.
    let (before, behind) = seen.numbers.split_at(30);
    assert_eq!(before, (1..=30).collect::<Vec<_>>());
    assert_eq!(behind, (1..=20).chain(31..=40).collect::<Vec<_>>());
}
