//! Subscriptions with filters: what counts for them, and what they may cost.

use super::*;
use crate::hub::Demand;

#[test]
fn a_bound_counts_what_the_filter_matches() {
    let mut peer = Peer::new("maxLag: {events: 5}");
    let filter = "event.data % 10 == 0";
    peer.say(&json!({"type": "subscribe", "id": "a", "filter": filter}));
    peer.take_all();
    peer.publish(&peer.hub, 0..1);
    peer.turn();
    peer.publish(&peer.hub, 1..31);
    assert!(peer.session.tick(Some(peer.start), peer.start));
    assert_eq!(peer.hub.accounts().cut_off.get(), 0, "four events wait, and no more");
    peer.publish(&peer.hub, 31..61);
    assert!(peer.session.tick(Some(peer.start), peer.start));
    let messages = peer.take_all();
    assert_eq!(types(&messages), ["failure"]);
    assert_eq!(sums(&peer.hub), (0, 54, 7, 0));
}

#[test]
fn a_subscription_loses_of_what_leaves_the_log_only_what_its_filter_matches() {
    for (filter, lost) in [("event.data % 10 == 0", 3), ("event.data == 0", 0)] {
        let mut peer = Peer::with_log("", "{retention: {maxEvents: 30}}");
        peer.say(&json!({"type": "subscribe", "id": "a", "filter": filter, "window": 1}));
        peer.take_all();
        peer.publish(&peer.hub, 0..1);
        let first = peer.take_all();
        assert_eq!(numbers(&first), [0]);
        // The client acknowledges nothing, while 30 further events leave the log.
        peer.publish(&peer.hub, 1..31);
        assert!(peer.session.tick(None, peer.start));
        peer.publish(&peer.hub, 31..61);
        let cursor = first[0]["events"][0]["cursor"].clone();
        peer.say(&json!({"type": "ack", "id": "a", "cursor": cursor}));
        let messages = peer.take_all();
        let gaps: Vec<_> = messages.iter().filter(|message| message["type"] == "gap").collect();
        assert_eq!(gaps.len(), usize::from(lost > 0), "{messages:?}");
        assert!(gaps.iter().all(|gap| gap["missed"] == lost), "{messages:?}");
        assert_eq!(peer.hub.cut().deliveries.dropped, lost);
        assert_eq!(peer.hub.accounts().unjudged.get(), 0);
    }
}

#[test]
fn a_subscription_whose_filter_costs_too_much_ends_and_the_others_go_on() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a", "filter": "event.data < 2"}));
    peer.say(&json!({"type": "subscribe", "id": "b"}));
    let cursor = peer.take_all()[0]["cursor"].clone();
    let wished = Some(peer.runtime.block_on(peer.hub.expression("event.data < 2")).unwrap());
    let filter = peer.hub.filter(Demand { wished, ..Demand::default() });
    filter.unwrap().unwrap().charge(1_000_000_000);
    peer.hub.expire();
    assert!(peer.session.tick(None, peer.start));
    peer.publish(&peer.hub, 0..1);
    let messages = peer.take_all();
    assert_eq!(types(&messages), ["failure", "events"]);
    let failure = &messages[0];
    assert_eq!((&failure["id"], &failure["code"]), (&json!("a"), &json!("filter_too_costly")));
    assert_eq!((&failure["cursor"], &messages[1]["id"]), (&cursor, &json!("b")));
    peer.say(&json!({"type": "subscribe", "id": "c", "filter": "event.data<2"}));
    assert_eq!(peer.take_all()[0]["code"], "filter_too_costly");
    let turned_away = &peer.hub.accounts().turned_away;
    assert_eq!(turned_away.get(Transport::WebSocket, TurnedAway::FilterTooCostly), 2);
}
