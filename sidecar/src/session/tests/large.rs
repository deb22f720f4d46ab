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
fn a_ping_goes_within_a_batch_and_is_not_held_up_by_it() {
    let mut peer = within(70_000);
    assert!(peer.session.tick(None, peer.at(12.0)));
    assert_eq!(kinds(&peer.take_all()), ["ping", "events"]);
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
fn one_that_is_sent_away_is_answered_until_it_has_got_its_batch() {
    for (taken, kinds_of) in [
        (1, ["pong", "events", "draining", "close"]),
        (70_000, ["pong", "events", "draining", "close"]),
        (131_000, ["pong", "events", "draining", "close"]),
        (199_000, ["events", "pong", "draining", "close"]),
    ] {
        let mut peer = within(taken);
        peer.session.leave(EndReason::Drain);
        assert!(peer.session.wants_input());
        peer.hear(&control(0x89, b"?"));
        assert_eq!(kinds(&peer.take_all()), kinds_of, "at {taken}");
        assert!(peer.session.is_over() && !peer.session.wants_input());
    }
    // Where no batch is being written, a pong comes before the close all the same.
    let mut peer = Peer::new("");
    peer.say(&serde_json::from_str(SUBSCRIBE).unwrap());
    peer.take_all();
    peer.session.leave(EndReason::Drain);
    peer.take(1);
    peer.hear(&control(0x89, b"?"));
    assert_eq!(kinds(&peer.take_all()), ["draining", "pong", "close"]);
}

#[test]
fn one_that_closes_while_it_is_sent_away_gets_no_more_of_its_batch() {
    let mut peer = within(70_000);
    peer.session.leave(EndReason::Drain);
    peer.hear(&control(0x88, b"\x03\xe8"));
    assert!(!peer.session.wants_input(), "it has said its last");
    peer.hear(&control(0x89, b"?"));
    peer.turn();
    peer.take(usize::MAX);
    let end = peer.taken.len() - 4;
    assert_eq!(peer.taken[end..], *b"\x88\x02\x03\xe8", "and nothing comes behind it");
    assert!((131_000..131_200).contains(&end), "{end} bytes");
    assert!(peer.session.is_over());
    let Peer { hub, session, .. } = peer;
    drop(session);
    assert_eq!(sums(&hub), (0, 0, 0, 1));
}

#[test]
fn what_one_was_saying_when_it_was_sent_away_is_passed_over() {
    let mut peer = within(70_000);
    let data = "x".repeat(100_000);
    let publish = frame(&json!({"type": "publish", "id": "p", "data": data}).to_string());
    let (first, rest) = publish.split_at(50_000);
    peer.hear(first);
    peer.session.leave(EndReason::Drain);
    assert_eq!(peer.session.dialogue.held(), 0);
    let head = peer.hub.head();
    peer.hear(rest);
    peer.hear(&frame(&json!({"type": "ping"}).to_string()));
    peer.hear(&control(0x89, b"?"));
    assert_eq!(kinds(&peer.take_all()), ["pong", "events", "draining", "close"]);
    assert_eq!(peer.hub.head(), head, "nothing was published");
}

#[test]
fn one_that_is_sent_away_may_not_send_more_than_others() {
    let mut peer = within(70_000);
    peer.session.leave(EndReason::Drain);
    peer.hear(&control(0x89, b"?").repeat(1_500));
    assert!(!peer.session.wants_input());
    assert!(peer.session.tick(None, peer.at(0.2)) && !peer.session.wants_input());
    assert!(peer.session.tick(None, peer.at(1.0)) && peer.session.wants_input());
    let turned_away = &peer.hub.accounts().turned_away;
    assert_eq!(turned_away.get(Transport::WebSocket, TurnedAway::TooManyMessages), 0);
}

#[test]
fn a_breach_of_one_that_is_sent_away_counts_where_it_is_closed_for_that() {
    for (taken, code, breaches) in [(70_000, 1002, 1), (usize::MAX, 1012, 0)] {
        let mut peer = within(taken);
        peer.session.leave(EndReason::Drain);
        peer.hear(b"\x81\x01x");
        peer.turn();
        peer.take(usize::MAX);
        let told = peer.taken.split_off(peer.taken.windows(2).rposition(is_close).unwrap());
        assert_eq!(told[2..4], u16::to_be_bytes(code));
        assert!(peer.session.is_over());
        let counted = peer.hub.accounts().breaches.all().map(|(_, _, count)| count).sum::<u64>();
        assert_eq!(counted, breaches);
    }
}

fn is_close(bytes: &[u8]) -> bool {
    bytes[0] == 0x88 && bytes[1] < 126
}

/// The last frame, which is a close: its code, and its reason.
fn last_close(peer: &Peer) -> (u16, Value) {
    let start = peer.taken.windows(2).rposition(is_close).unwrap();
    let [_, length, high, low, reason @ ..] = &peer.taken[start..] else { panic!("no close") };
    assert_eq!(usize::from(*length), reason.len() + 2, "it is the last");
    (u16::from_be_bytes([*high, *low]), serde_json::from_slice(reason).unwrap())
}

#[test]
fn where_there_is_no_time_the_close_says_what_it_was_to_say() {
    let mut peer = within(70_000);
    peer.session.expires_at = Some(peer.start);
    assert!(peer.session.tick(None, peer.at(1.0)));
    // As whoever drives it does when the process ends.
    peer.session.leave(EndReason::Drain);
    peer.session.hurry();
    peer.turn();
    peer.take(usize::MAX);
    let (code, reason) = last_close(&peer);
    assert_eq!(code, 1008, "the token has expired");
    assert!(reason["retry"].is_u64(), "{reason}");
    assert!(peer.taken.len() < 131_300 && peer.session.is_over());
    // Nothing is in the way: then all of it is said.
    let mut peer = within(usize::MAX);
    peer.session.expires_at = Some(peer.start);
    assert!(peer.session.tick(None, peer.at(1.0)));
    peer.session.leave(EndReason::Drain);
    peer.session.hurry();
    let messages = peer.take_all();
    assert_eq!(kinds(&messages), ["events", "failure", "close"]);
    assert_eq!((&messages[1]["code"], &messages[2]), (&json!("token_expired"), &json!(1008)));
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
