//! What goes over a WebSocket whose subscriber is being sent away.

use super::*;

/// A subscriber that was sent an event of two frames and then a small one, and whose socket took so much of them.
fn within(taken: usize) -> Model {
    let mut model = Model::new(SlowConsumer::Block);
    model.take(Step::Join { filtered: false, replays: false, web_socket: true });
    model.take(Step::PublishLarge);
    model.take(Step::Publish(1));
    model.take(Step::Take(0, taken));
    model
}

fn wire(model: &mut Model) -> &mut Pipe {
    model.members[0].0.wire()
}

/// The code of the close, and its reason.
fn closed(model: &mut Model) -> (u16, String) {
    let payload = wire(model).peer.closed.clone().unwrap();
    let (code, reason) = payload.split_at(2);
    (u16::from_be_bytes(code.try_into().unwrap()), String::from_utf8(reason.to_vec()).unwrap())
}

/// How many events it has got.
fn events(model: &mut Model) -> u64 {
    wire(model).peer.events
}

#[test]
fn one_that_asks_whether_anybody_is_there_is_answered_behind_the_frame() {
    for why in [Why::Drain, Why::TokenExpired] {
        let mut model = within(1_000);
        model.take(Step::SendAway(0, why));
        model.take(Step::Hear(0, Word::Ping(0)));
        // The rest of the first frame, and the pong.
        model.take(Step::Take(0, 4 + 65_535 - 1_000 + 6));
        assert_eq!(wire(&mut model).peer.pongs, [1], "{why:?}");
        assert_eq!(events(&mut model), 0);
        model.take(Step::Hear(0, Word::Ping(0)));
        model.finish();
        assert_eq!((wire(&mut model).peer.pongs.len(), events(&mut model)), (2, 1));
        let (code, _) = closed(&mut model);
        assert_eq!(code, if let Why::Drain = why { 1012 } else { 1008 });
        model.take(Step::Hear(0, Word::Ping(0)));
        model.finish();
        assert_eq!(wire(&mut model).peer.pongs, [1, 2], "nothing comes behind the close");
        model.check();
    }
}

#[test]
fn one_that_closes_is_answered_behind_the_frame_and_gets_no_more() {
    let mut model = within(1_000);
    model.take(Step::SendAway(0, Why::Drain));
    model.take(Step::Hear(0, Word::Close));
    model.take(Step::Hear(0, Word::Ping(0)));
    model.take(Step::Hear(0, Word::Close));
    model.finish();
    assert_eq!(closed(&mut model), (1000, String::new()));
    assert_eq!((events(&mut model), wire(&mut model).taken.len()), (0, 4 + 65_535 + 4));
    assert_eq!(model.members[0].0.ends_for, Some(EndReason::Drain));
    model.take(Step::Leave(0));
    model.check();
    assert_eq!(model.hub.cut().deliveries.departed, 2);
}

#[test]
fn what_is_said_when_our_close_is_next_changes_nothing() {
    for word in [Word::Close, Word::Breach] {
        let mut model = within(200_000);
        model.take(Step::Take(0, 0));
        wire(&mut model).room = 0;
        model.take(Step::SendAway(0, Why::Drain));
        model.take(Step::Take(0, 1));
        model.take(Step::Hear(0, word));
        model.take(Step::Hear(0, word));
        model.finish();
        assert_eq!((closed(&mut model).0, events(&mut model)), (1012, 2));
        assert_eq!(breaches(&model), 0, "it isn't closed for that");
    }
}

fn breaches(model: &Model) -> u64 {
    model.hub.accounts().breaches.all().map(|(_, _, count)| count).sum()
}

#[test]
fn a_breach_of_one_that_is_sent_away_counts_where_it_is_closed_for_that() {
    let mut model = within(1_000);
    model.take(Step::SendAway(0, Why::Drain));
    model.take(Step::Hear(0, Word::Breach));
    model.take(Step::Hear(0, Word::Breach));
    model.finish();
    assert_eq!((closed(&mut model).0, breaches(&model)), (1002, 1));
}

#[test]
fn where_there_is_no_time_the_close_says_what_was_to_be_said() {
    for (why, code) in [(Why::Drain, 1012), (Why::TokenExpired, 1008), (Why::End, 1012)] {
        let mut model = within(1_000);
        let cursor = model.hub.cursor(0);
        model.take(Step::SendAway(0, why));
        model.take(Step::SendAway(0, Why::End));
        model.take(Step::SendAway(0, Why::End));
        model.finish();
        let (told, reason) = closed(&mut model);
        assert_eq!((told, events(&mut model)), (code, 0), "{why:?}");
        assert!(reason.contains(&format!("\"cursor\":\"{cursor}\"")), "{reason}");
        model.check();
    }
}

#[test]
fn one_that_talks_too_much_while_it_is_sent_away_is_closed_for_that() {
    let mut model = within(1_000);
    model.take(Step::SendAway(0, Why::Drain));
    for _ in 0..1_001 {
        model.take(Step::Hear(0, Word::Ping(0)));
    }
    model.finish();
    assert_eq!(closed(&mut model).0, 1008);
    let turned_away = &model.hub.accounts().turned_away;
    assert_eq!(turned_away.get(Transport::WebSocket, TurnedAway::TooManyMessages), 1);
}
