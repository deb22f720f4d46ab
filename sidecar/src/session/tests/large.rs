//! What else goes over a socket while a large batch does.

use super::*;

const SUBSCRIBE: &str = r#"{"type":"subscribe","id":"a"}"#;

/// A control frame of a client.
fn control(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// A client whose socket has taken so many bytes of a batch with one event of 200,000.
fn within(taken: usize) -> Peer {
    let mut peer = Peer::new("");
    peer.say(&serde_json::from_str(SUBSCRIBE).unwrap());
    peer.take_all();
    let mut large = numbered(0);
    large.event.data = format!("\"{}\"", "x".repeat(200_000)).into();
    peer.runtime.block_on(peer.hub.publish(vec![large])).unwrap();
    peer.turn();
    peer.take(taken);
    peer
}

fn kinds(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message["type"].as_str().or(message.as_str()).unwrap_or("close"))
        .collect()
}

#[test]
fn a_pong_goes_within_a_batch_and_overtakes_a_message() {
    for taken in [1, 3, 4, 5, 70_000, 131_000] {
        let mut peer = within(taken);
        peer.say(&json!({"type": "ping"}));
        peer.hear(&control(0x89, b"?"));
        let messages = peer.take_all();
        assert_eq!(kinds(&messages), ["pong", "events", "pong"], "at {taken}");
        assert_eq!(messages[0], "pong", "the control frame is the first");
        assert_eq!(sums(&peer.hub), (1, 0, 0, 0));
    }
}

#[test]
fn a_client_that_closes_within_a_batch_gets_no_more_of_it() {
    let mut peer = within(70_000);
    peer.hear(&control(0x88, b"\x03\xe8"));
    peer.turn();
    peer.take(usize::MAX);
    let end = peer.taken.len() - 4;
    assert_eq!(peer.taken[end..], *b"\x88\x02\x03\xe8");
    // Two frames, of four.
    assert!((131_000..131_200).contains(&end), "{end} bytes");
    assert!(peer.session.is_over());
    let Peer { hub, session, .. } = peer;
    drop(session);
    assert_eq!(sums(&hub), (0, 0, 0, 1));
}

#[test]
fn one_that_is_sent_away_gets_its_batch_unless_there_is_no_time() {
    let mut peer = within(70_000);
    peer.session.leave(EndReason::Drain);
    let messages = peer.take_all();
    assert_eq!(kinds(&messages), ["events", "draining", "close"]);
    assert_eq!(messages[2], 1012);
    let mut peer = within(70_000);
    peer.session.leave(EndReason::Drain);
    peer.session.hurry();
    peer.session.hurry();
    peer.turn();
    peer.take(usize::MAX);
    let close =
        peer.taken[131_000..].windows(4).position(|at| at[0] == 0x88 && at[2..] == [3, 0xf4]);
    assert!(close.is_some_and(|at| at < 200), "{close:?}");
    assert!(peer.taken.len() < 131_300 && peer.session.is_over());
}
