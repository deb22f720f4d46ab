//! What holds of all streams of a pipeline together: bounds, forks and ends.

use std::time::Duration;

use super::*;

const NOW: Micros = 1_700_000_000_000_000;

fn limits() -> Limits {
    Limits {
        streams: 4,
        stream_bytes: 1_000,
        bytes: 8_000,
        expiry: Expiry::Idle(60),
        long_poll: Duration::from_secs(1),
    }
}

fn text(body: &str) -> Create {
    Create {
        content_type: Some("text/plain".into()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Create::default()
    }
}

fn fork_of(source: &str, body: &str) -> Create {
    let origin = Origin { source: source.into(), at: None, sub: 0 };
    Create { asked: Asked { expiry: None, origin: Some(origin) }, ..text(body) }
}

async fn create(streams: &Arc<Streams>, path: &str, create: Create) -> Result<bool, Refusal> {
    let created = Arc::clone(streams).create(path.into(), create, NOW).await;
    created.map(|(_, is_new)| is_new)
}

async fn append(streams: &Arc<Streams>, path: &str, body: &str) -> Result<Appended, Refusal> {
    let stream = streams.get(path, NOW)?;
    let append = Append {
        content_type: Some("text/plain".into()),
        producer: None,
        seq: None,
        close: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Arc::clone(streams).append(stream, path.into(), append, NOW).await
}

async fn delete(streams: &Arc<Streams>, path: &str) -> Result<(), Refusal> {
    Arc::clone(streams).delete(path.into(), NOW).await
}

fn content(streams: &Streams, path: &str) -> String {
    let page = streams.get(path, NOW).unwrap().read(0, 10_000).unwrap();
    String::from_utf8(content::join(Kind::Text, &page.parts)).unwrap()
}

#[tokio::test]
async fn streams_are_bounded_in_number_and_in_bytes() {
    let streams = Streams::new(limits());
    for path in ["a", "b", "c", "d"] {
        assert_eq!(create(&streams, path, text("x")).await, Ok(true));
    }
    assert_eq!(create(&streams, "e", text("")).await, Err(Refusal::TooMany { limit: 4 }));
    let long = "x".repeat(900);
    assert_eq!(append(&streams, "a", &long).await, Err(Refusal::StreamFull { limit: 1_000 }));
    for path in ["a", "b", "c"] {
        append(&streams, path, &"x".repeat(600)).await.unwrap();
    }
    streams.set_limits(Limits { stream_bytes: 10_000, ..limits() });
    assert_eq!(
        append(&streams, "d", &"x".repeat(6_000)).await,
        Err(Refusal::Full { limit: 8_000 })
    );
    // What was refused takes no room, and what is deleted gives its back.
    for path in ["a", "b", "c", "d"] {
        delete(&streams, path).await.unwrap();
    }
    assert_eq!((streams.len(), streams.bytes()), (0, 0));
}

#[tokio::test]
async fn to_create_what_is_there_is_no_mistake_and_to_create_another_is() {
    let streams = Streams::new(limits());
    assert_eq!(create(&streams, "a", text("x")).await, Ok(true));
    assert_eq!(create(&streams, "a", text("ignored")).await, Ok(false));
    assert_eq!(content(&streams, "a"), "x");
    let json = Create { content_type: Some("application/json".into()), ..Create::default() };
    let closed = Create { closed: true, ..text("") };
    let mut short = text("");
    short.asked.expiry = Some(Expiry::Idle(1));
    for other in [json, closed, short, fork_of("a", "")] {
        assert!(matches!(create(&streams, "a", other).await, Err(Refusal::Exists { .. })));
    }
}

#[tokio::test]
async fn a_fork_goes_its_own_way_and_outlives_its_source() {
    let streams = Streams::new(limits());
    create(&streams, "a", text("1")).await.unwrap();
    create(&streams, "b", fork_of("a", "2")).await.unwrap();
    create(&streams, "c", fork_of("b", "3")).await.unwrap();
    append(&streams, "a", "x").await.unwrap();
    assert_eq!(["a", "b", "c"].map(|path| content(&streams, path)), ["1x", "12", "123"]);
    delete(&streams, "a").await.unwrap();
    delete(&streams, "b").await.unwrap();
    assert_eq!(streams.get("a", NOW).unwrap_err(), Refusal::Gone);
    assert_eq!(create(&streams, "a", text("")).await, Err(Refusal::Kept));
    assert_eq!(create(&streams, "d", fork_of("a", "")).await, Err(Refusal::SourceGone));
    assert_eq!(content(&streams, "c"), "123");
    // With the last fork, all that it kept goes.
    delete(&streams, "c").await.unwrap();
    assert_eq!((streams.len(), streams.bytes()), (0, 0));
    assert_eq!(streams.get("a", NOW).unwrap_err(), Refusal::NotFound);
}

#[tokio::test]
async fn a_fork_that_is_refused_keeps_nothing_of_its_source() {
    let streams = Streams::new(limits());
    create(&streams, "a", text("1")).await.unwrap();
    let json = Create { content_type: Some("application/json".into()), ..fork_of("a", "") };
    assert!(matches!(create(&streams, "b", json).await, Err(Refusal::ContentType(_))));
    delete(&streams, "a").await.unwrap();
    assert!(streams.is_empty());
}

#[tokio::test]
async fn an_offset_of_an_earlier_stream_at_the_path_is_not_taken_for_one_of_this() {
    let streams = Streams::new(limits());
    create(&streams, "a", text("old")).await.unwrap();
    let old = streams.get("a", NOW).unwrap().describe().end;
    delete(&streams, "a").await.unwrap();
    create(&streams, "a", text("newer")).await.unwrap();
    let new = streams.get("a", NOW).unwrap();
    assert_eq!(new.position(Anchor::At(old)), Err(Refusal::EarlierStream));
    assert!(new.describe().end > old);
}

#[tokio::test]
async fn a_stream_ends_when_it_was_not_used_for_its_time() {
    let streams = Streams::new(limits());
    create(&streams, "a", text("x")).await.unwrap();
    let later = NOW + 60_000_000;
    assert!(streams.get("a", later - 1).is_ok());
    assert_eq!(streams.get("a", later).unwrap_err(), Refusal::NotFound);
    // Its path is free although nobody has cleaned up, and what was there is gone.
    let again = Arc::clone(&streams).create("a".into(), text("y"), later).await.unwrap();
    assert!(again.1);
    assert_eq!(streams.len(), 1);
    // Long past by the wall clock.
    streams.expire().await;
    assert_eq!((streams.len(), streams.bytes()), (0, 0));
}

#[tokio::test]
async fn of_many_appends_at_once_each_is_taken_once() {
    let streams = Streams::new(Limits { stream_bytes: 100_000, bytes: 100_000, ..limits() });
    create(&streams, "a", text("")).await.unwrap();
    let appends = (0..50).map(|number| {
        let streams = Arc::clone(&streams);
        tokio::spawn(async move { append(&streams, "a", &format!("<{number}>")).await })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap().unwrap();
    }
    let content = content(&streams, "a");
    assert!(
        (0..50).all(|number| content.matches(&format!("<{number}>")).count() == 1),
        "{content}"
    );
}
