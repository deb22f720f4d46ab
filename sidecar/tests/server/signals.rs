//! By which signals the program ends, and how.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::{
    client::{Request, Sse},
    program::Program,
};

/// A pipeline whose subscribers leave over this time.
fn leaving_over(window: &str) -> String {
    format!(
        "placement: {{gateway: {{}}}}\nsources: [{{name: app, http: {{}}}}]\n\
         endpoints: {{sse: {{}}, publish: {{anonymous: true}}}}\n\
         delivery: {{drain: {{window: {window}}}}}"
    )
}

async fn subscribers(program: &Program, count: usize) -> Vec<Sse> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(program.sse().await);
    }
    all
}

/// When each of them was sent away.
async fn leave(subscribers: Vec<Sse>) -> Vec<Instant> {
    let mut leaving = JoinSet::new();
    for mut sse in subscribers {
        leaving.spawn(async move {
            while sse.next().await.unwrap().name != "draining" {}
            Instant::now()
        });
    }
    leaving.join_all().await
}

fn spread(moments: &[Instant]) -> Duration {
    let (first, last) = (moments.iter().min().unwrap(), moments.iter().max().unwrap());
    last.saturating_duration_since(*first)
}

#[tokio::test]
async fn who_is_told_to_end_sends_subscribers_away_one_after_the_other_and_still_takes_events() {
    let program = Program::start(&leaving_over("4s"), &[]).await;
    let all = subscribers(&program, 40).await;
    program.signal(Signal::TERM);
    let last = async {
        while program.takes_subscribers().await {}
        program.post("\"last words\"").await.status
    };
    let (left, published) = tokio::join!(leave(all), last);
    assert_eq!(published, 200);
    // Of forty, all in one second of the four are not seen in the life of this universe.
    assert!(spread(&left) > Duration::from_secs(1), "{:?}", spread(&left));
    program.ends().await;
}

#[tokio::test]
async fn it_takes_no_longer_for_that_than_it_has() {
    let program = Program::start(&leaving_over("10m"), &["--stop-window=2s"]).await;
    let all = subscribers(&program, 10).await;
    let told = Instant::now();
    program.signal(Signal::TERM);
    leave(all).await;
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    program.ends().await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_so_does_an_interrupt() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::INT]] {
        let program = Program::start(&leaving_over("10m"), &["--stop-window=10m"]).await;
        let all = subscribers(&program, 10).await;
        program.signal(signals[0]);
        for signal in &signals[1..] {
            // The same signal twice is one, until the first was taken.
            while program.takes_subscribers().await {}
            program.signal(*signal);
        }
        let left = leave(all).await;
        assert!(spread(&left) < Duration::from_secs(2), "{:?}", spread(&left));
        program.ends().await;
    }
}

#[tokio::test]
async fn what_was_drained_before_ends_at_once() {
    let program = Program::start(&leaving_over("10m"), &["--stop-window=10m"]).await;
    let all = subscribers(&program, 3).await;
    let drain = tokio::spawn(Request::post("/drain").send(program.admin));
    while program.takes_subscribers().await {}
    program.signal(Signal::TERM);
    leave(all).await;
    program.ends().await;
    drain.abort();
}
