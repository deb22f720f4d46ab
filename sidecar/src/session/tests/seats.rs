//! The places that a session has among the connections of its pipelines.

use super::*;

/// How many connections there are to a pipeline, and how many have ended for these reasons.
fn places<const N: usize>(hub: &Hub, reasons: [EndReason; N]) -> (u64, [u64; N]) {
    let ended = |reason| hub.accounts().ended.get(Transport::WebSocket, reason);
    let all: u64 = EndReason::ALL.into_iter().map(ended).sum();
    let ended = reasons.map(ended);
    assert_eq!(all, ended.iter().sum::<u64>(), "for no other reason");
    (hub.accounts().subscribers().websocket, ended)
}

fn subscribe(peer: &mut Peer, id: &str, pipeline: &str) {
    peer.say(&json!({"type": "subscribe", "id": id, "pipeline": pipeline}));
    assert_eq!(types(&peer.take_all()), ["subscribed"]);
}

fn unsubscribe(peer: &mut Peer, id: &str) {
    peer.say(&json!({"type": "unsubscribe", "id": id}));
    assert_eq!(types(&peer.take_all()), ["unsubscribed"]);
}

#[test]
fn each_subscription_has_one_and_the_socket_where_there_is_none() {
    let mut peer = Peer::new("");
    let (hub, other) = (Arc::clone(&peer.hub), peer.other());
    let client = [EndReason::Client];
    assert_eq!(places(&hub, client), (1, [0]), "the socket's");
    for (id, pipeline) in [("a", "orders"), ("b", "orders"), ("c", "returns")] {
        subscribe(&mut peer, id, pipeline);
    }
    assert_eq!((places(&hub, client), places(&other, client)), ((2, [0]), (1, [0])));
    unsubscribe(&mut peer, "a");
    assert_eq!(places(&hub, client), (1, [1]));
    unsubscribe(&mut peer, "b");
    assert_eq!(places(&hub, client), (1, [1]), "the socket's again");
    subscribe(&mut peer, "d", "orders");
    unsubscribe(&mut peer, "c");
    assert_eq!((places(&hub, client), places(&other, client)), ((1, [1]), (0, [1])));
    subscribe(&mut peer, "e", "returns");
    peer.session.leave(EndReason::Age);
    drop(peer);
    let reasons = [EndReason::Client, EndReason::Age];
    assert_eq!((places(&hub, reasons), places(&other, reasons)), ((0, [1, 1]), (0, [1, 1])));
}

#[test]
fn whoever_is_refused_has_had_none() {
    let mut peer = Peer::new("");
    let (hub, other) = (Arc::clone(&peer.hub), peer.other());
    for pipeline in ["orders", "returns"] {
        let bad = json!({"type": "subscribe", "id": "a", "pipeline": pipeline, "filter": "event."});
        peer.say(&bad);
        assert_eq!(types(&peer.take_all()), ["failure"]);
    }
    assert_eq!((places(&hub, []), places(&other, [])), ((1, []), (0, [])));
    // Nor has one that was about to be let in when the session ended.
    for pipeline in ["orders", "returns"] {
        let slow = json!({"type": "subscribe", "id": "a", "pipeline": pipeline, "filter": "true"});
        peer.hear(&frame(&slow.to_string()));
        let inside = peer.runtime.enter();
        peer.session.poll(&mut Context::from_waker(Waker::noop()));
        drop(inside);
        peer.session.job = None;
    }
    drop(peer);
    let client = [EndReason::Client];
    assert_eq!((places(&hub, client), places(&other, [])), ((0, [1]), (0, [])));
}

#[test]
fn one_that_ends_by_itself_has_ended_for_what_it_did() {
    let mut peer = Peer::new("maxLag: {events: 5}");
    let (hub, other) = (Arc::clone(&peer.hub), peer.other());
    subscribe(&mut peer, "a", "orders");
    subscribe(&mut peer, "b", "returns");
    peer.publish(&other, 0..9);
    peer.turn();
    peer.take(1);
    assert!(peer.session.tick(Some(peer.start), peer.start));
    assert_eq!(places(&other, [EndReason::SlowConsumer]), (0, [1]));
    assert!(!peer.session.tick(Some(peer.start), peer.at(30.0)));
    drop(peer);
    assert_eq!(places(&hub, [EndReason::Stalled]), (0, [1]));
}
