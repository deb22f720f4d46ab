//! A publisher that repeats what was not answered, with the same id, to whichever replica answers.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{self, Instant, MissedTickBehavior},
};

use crate::PATIENCE;

/// How long one answer is waited for before another replica is asked.
const ANSWER: Duration = Duration::from_secs(10);

/// What became of the events.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Those that were answered as accepted or as known.
    pub(crate) acknowledged: u64,
    /// How often an event was sent once more.
    pub(crate) repeated: usize,
}

/// Publishes the numbers from 1 to `last`, one after the other, at this rate.
pub(crate) async fn publish(last: u64, a_second: u32, replicas: Vec<SocketAddr>) -> Published {
    let mut published = Published::default();
    let mut ticks = time::interval(Duration::from_secs(1) / a_second);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut place = 0;
    for number in 1..=last {
        ticks.tick().await;
        let deadline = Instant::now() + PATIENCE;
        while !time::timeout(ANSWER, post(number, replicas[place]))
            .await
            .is_ok_and(|ok| ok.is_some())
        {
            assert!(Instant::now() < deadline, "event {number} was not taken");
            published.repeated += 1;
            place = (place + 1) % replicas.len();
            time::sleep(Duration::from_millis(20)).await;
        }
        published.acknowledged = number;
        // To both in turn, so that each has to hear of what the other took.
        place = (place + 1) % replicas.len();
    }
    published
}

/// Posts one event; `None` where it was not acknowledged.
pub(crate) async fn post(number: u64, to: SocketAddr) -> Option<()> {
    let body = format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"/test","type":"test","data":{{"n":{number}}}}}"#
    );
    let mut socket = TcpStream::connect(to).await.ok()?;
    let head = "POST /orders/events HTTP/1.1\r\nhost: test\r\nconnection: close\r\n";
    let kind = "content-type: application/cloudevents+json";
    let request = format!("{head}{kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok()?;
    answer.starts_with(b"HTTP/1.1 200").then_some(())
}
