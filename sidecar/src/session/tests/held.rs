//! What a session holds for its peer, and for how long.

use super::*;

/// What all sessions of a process with so much memory may keep: a sixteenth.
fn budget(limit: u64) -> Budget {
    Budgets::of(Some(limit)).messages
}

/// The beginning of a text of a mebibyte, of which so much has come.
fn unfinished(bytes: usize) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend_from_slice(&(MAX_MESSAGE as u64).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.resize(frame.len() + bytes, b' ');
    frame
}

#[test]
fn what_is_not_whole_is_kept_within_the_memory_of_all_sessions() {
    let messages = budget(16 * 1_024 * 1_024);
    let (mut one, mut other) = (Peer::within("", messages.clone()), Peer::within("", messages));
    other.say(&json!({"type": "subscribe", "id": "a"}));
    assert_eq!(types(&other.take_all()), ["subscribed"]);
    one.hear(&unfinished(700_000));
    assert!(one.take_all().is_empty());
    other.hear(&unfinished(4_000));
    assert!(other.take_all().is_empty(), "a little is free");
    other.hear(&vec![b' '; 700_000]);
    let told = other.take_all();
    assert_eq!(
        (told[0]["code"].as_str(), told[0]["of"].as_str()),
        (Some("busy"), Some("subscription"))
    );
    assert!(told[0]["cursor"].is_string() && told[0]["retry"].is_u64(), "{told:?}");
    assert_eq!(told[1], 1013);
    // What the other had is free again, and the first goes on.
    one.hear(&vec![b' '; MAX_MESSAGE - 700_000]);
    assert_eq!(one.take_all()[0]["code"], "malformed");
}

#[test]
fn what_is_carried_out_and_what_is_not_read_counts_too() {
    let messages = budget(16 * 64 * 1_024);
    let (mut peer, mut other) = (Peer::within("", messages.clone()), Peer::within("", messages));
    other.hear(&unfinished(20_000));
    let id = "x".repeat(60);
    let ping = frame(&json!({"type": "ping", "id": id}).to_string());
    // It reads none of the answers.
    (0..2_000).for_each(|_| {
        peer.hear(&ping);
        peer.turn();
    });
    assert!(peer.session.leaving);
    let told = peer.take_all();
    assert_eq!(told.last(), Some(&json!(1013)));
}

#[test]
fn a_message_that_has_begun_is_whole_in_a_minute() {
    let mut peer = Peer::new("");
    peer.say(&json!({"type": "subscribe", "id": "a"}));
    peer.take_all();
    peer.session.hear(&unfinished(1), peer.at(1.0));
    for second in 2..=60 {
        let now = peer.at(f64::from(second));
        peer.session.hear(b" ", now);
        assert!(peer.session.tick(None, now) && !peer.session.leaving, "at {second}");
    }
    peer.session.tick(None, peer.at(61.0));
    let told = peer.take_all();
    let failure = told.iter().find(|message| message["type"] == "failure").unwrap();
    assert_eq!((&failure["code"], &failure["id"]), (&json!("slow_message"), &json!("a")));
    assert!(failure["cursor"].is_string());
    assert_eq!(told.last(), Some(&json!(1008)));
}

#[test]
fn messages_that_end_may_come_one_after_the_other_for_as_long_as_they_like() {
    let mut peer = Peer::new("");
    let ping = frame(&json!({"type": "ping"}).to_string());
    // In each piece one ends and the next begins.
    let (first, second) = ping.split_at(10);
    peer.session.hear(first, peer.at(0.0));
    for second_of in 1..200 {
        let now = peer.at(f64::from(second_of));
        peer.session.hear(&[second, first].concat(), now);
        assert!(peer.session.tick(None, now) && !peer.session.leaving, "at {second_of}");
        assert!(types(&peer.take_all()).contains(&"pong"));
    }
}

#[test]
fn who_has_no_subscription_is_told_about_the_connection() {
    let messages = budget(16 * 64 * 1_024);
    let (mut other, mut peer) = (Peer::within("", messages.clone()), Peer::within("", messages));
    other.hear(&unfinished(40_000));
    peer.hear(&unfinished(40_000));
    let told = peer.take_all();
    assert_eq!(
        (told[0]["code"].as_str(), told[0]["of"].as_str()),
        (Some("busy"), Some("connection"))
    );
    assert!(told[0]["retry"].is_u64() && told[0].get("id").is_none(), "{told:?}");
    assert_eq!(told[1], 1013);
}
