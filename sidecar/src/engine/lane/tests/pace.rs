//! What happens with time: drains, signs of life, and peers that give none. Time is virtual, and chance has a
//! seed.

use time::Instant;

use super::*;

/// How many subscribers are served at once.
const MANY: usize = 200;

/// How much later than it is due something may happen: a connection looks at the time once a second, and
/// counts it in quarters.
const LATE: Duration = Duration::from_millis(1_250);

/// How much earlier it may seem to happen.
const EARLY: Duration = TICK;

fn subscribe_many(
    transport: Transport,
    engine: &Engine,
    settings: impl Fn() -> Settings,
) -> Vec<(Arc<Hub>, DuplexStream)> {
    fastrand::seed(7);
    (0..MANY).map(|_| subscribe_by(transport, engine, settings(), 4096)).collect()
}

/// Whether a time is an interval, give or take a tenth.
fn is_about(time: Duration, interval: Duration) -> bool {
    (interval * 9 / 10 - EARLY..=interval * 11 / 10 + LATE).contains(&time)
}

/// Whether times are not all the same: at least the tenths of their interval are among them.
fn are_spread(times: &[Duration], interval: Duration) -> bool {
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    *most - *least >= interval / 10
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_one_after_the_other_and_spreads_their_return() {
    let engine = Engine::start(1).unwrap();
    let window = Duration::from_secs(20);
    let drained = || Settings { drain: window, ..settings() };
    let peers = subscribe_many(Transport::Sse, &engine, drained);
    let start = Instant::now();
    engine.drain(Duration::MAX);
    let leaving = peers.into_iter().map(|(_hub, mut peer)| {
        tokio::spawn(async move {
            let mut told = String::new();
            peer.read_to_string(&mut told).await.unwrap();
            let (_, retry) = told.rsplit_once("retry: ").unwrap();
            (start.elapsed(), retry.lines().next().unwrap().parse::<u64>().unwrap())
        })
    });
    let (mut left, mut retries) = (Vec::new(), Vec::new());
    for one in leaving.collect::<Vec<_>>() {
        let (at, retry) = one.await.unwrap();
        left.push(at);
        retries.push(retry);
    }
    let whole = window + LATE;
    for quarter in 0..4 {
        let within = whole * quarter / 4..whole * (quarter + 1) / 4;
        let count = left.iter().filter(|at| within.contains(*at)).count();
        assert!((MANY / 4 - 20..=MANY / 4 + 20).contains(&count), "{count} in {within:?}");
    }
    assert!(left.iter().all(|at| *at < whole), "{:?}", left.iter().max());
    assert!(retries.iter().all(|retry| (100..1_000).contains(retry)), "{retries:?}");
    let (least, most) = (retries.iter().min().unwrap(), retries.iter().max().unwrap());
    assert!(*least < 200 && *most > 900, "from {least} to {most}");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_comes_at_its_interval_give_or_take_a_tenth() {
    let engine = Engine::start(1).unwrap();
    let interval = Duration::from_secs(15);
    let beating = || Settings { heartbeat: Some(interval), ..settings() };
    let peers = subscribe_many(Transport::Sse, &engine, beating);
    let listening = peers.into_iter().map(|(_hub, mut peer)| {
        tokio::spawn(async move {
            until(&mut peer, "opening ").await;
            let (mut last, mut times) = (Instant::now(), Vec::new());
            for _ in 0..3 {
                assert_eq!(until(&mut peer, ":\n\n").await, ":\n\n");
                times.push(last.elapsed());
                last = Instant::now();
            }
            times
        })
    });
    let mut times = Vec::new();
    for one in listening.collect::<Vec<_>>() {
        times.extend(one.await.unwrap());
    }
    assert!(times.iter().all(|time| is_about(*time, interval)), "{times:?}");
    assert!(are_spread(&times, interval));
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_pinged_and_given_up_when_it_never_answers() {
    let engine = Engine::start(1).unwrap();
    let interval = Duration::from_secs(25);
    let pinging = || Settings { ping: Some(interval), ..settings() };
    let peers = subscribe_many(Transport::WebSocket, &engine, pinging);
    let listening = peers.into_iter().enumerate().map(|(n, (_hub, mut peer))| {
        tokio::spawn(async move {
            until(&mut peer, "opening ").await;
            let (mut last, mut ping) = (Instant::now(), [0; 2]);
            let answers = if n % 2 == 0 { 3 } else { 0 };
            for _ in 0..answers {
                peer.read_exact(&mut ping).await.unwrap();
                assert_eq!(ping, [0x89, 0]);
                assert!(is_about(last.elapsed(), interval), "{:?}", last.elapsed());
                last = Instant::now();
                peer.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
            }
            peer.read_exact(&mut ping).await.unwrap();
            assert_eq!(ping, [0x89, 0]);
            let pinged = last.elapsed();
            assert!(is_about(pinged, interval), "{pinged:?}");
            assert_eq!(peer.read(&mut ping).await.unwrap(), 0, "it is given up");
            assert!(is_about(last.elapsed(), interval * 2), "{:?}", last.elapsed());
            pinged
        })
    });
    let mut pinged = Vec::new();
    for one in listening.collect::<Vec<_>>() {
        pinged.push(one.await.unwrap());
    }
    assert!(are_spread(&pinged, interval));
    assert_eq!(engine.connections(), 0);
}
