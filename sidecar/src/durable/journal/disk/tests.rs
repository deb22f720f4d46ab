//! Streams on a disk are those in memory, whatever becomes of the process, and damage is never silent.

use std::{fs, path::PathBuf, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::durable::{
    Appended, Create, Limits, Streams,
    content::join,
    expiry::Expiry,
    offset::Anchor,
    producer::Producer,
    state::Append,
    stream::{Asked, Description, Origin},
};

const PATHS: [&str; 4] = ["a", "b/c", "d", "e"];

fn limits() -> Limits {
    Limits {
        streams: 3,
        stream_bytes: 2_000,
        bytes: 4_000,
        expiry: Expiry::Idle(24 * 3_600),
        long_poll: Duration::from_secs(1),
    }
}

/// Streams in a directory.
struct Disk {
    directory: TempDir,
    durability: Durability,
    size: u64,
    streams: Arc<Streams>,
}

impl Disk {
    fn new(durability: Durability) -> Self {
        let directory = TempDir::new().unwrap();
        let size = 1 << 20;
        let streams = open(&directory, durability, size);
        Self { directory, durability, size, streams }
    }

    /// Ends the process, so to speak.
    async fn end(&mut self, in_order: bool) {
        if in_order {
            self.streams.close().await;
        }
        // Nothing else holds them, so that the files are closed as they are.
        self.streams = Streams::new(limits());
    }

    async fn restart(&mut self, in_order: bool) {
        self.end(in_order).await;
        self.streams = open(&self.directory, self.durability, self.size);
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        files.sort();
        files
    }

    fn quarantines(&self) -> usize {
        let entries = fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap());
        entries.filter(|e| e.file_name().to_str().unwrap().starts_with("quarantine-")).count()
    }
}

fn open(directory: &TempDir, durability: Durability, size: u64) -> Arc<Streams> {
    let (journal, remembered) =
        OnDisk::open(directory.path(), durability, Room::new(size)).unwrap();
    let streams = Streams::opening(limits());
    streams.open(Box::new(journal), remembered, clock::micros());
    streams
}

fn text(body: &str) -> Append {
    Append {
        content_type: Some("text/plain".into()),
        producer: None,
        seq: None,
        close: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn create_of(content_type: &str, body: &str) -> Create {
    Create {
        content_type: Some(content_type.into()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..Create::default()
    }
}

fn fork_of(source: &str) -> Asked {
    Asked { expiry: None, origin: Some(Origin { source: source.into(), at: None, sub: 0 }) }
}

async fn create(
    streams: &Arc<Streams>,
    path: &str,
    create: Create,
) -> Result<(Description, bool), Refusal> {
    Arc::clone(streams).create(path.into(), create, clock::micros()).await
}

async fn append(streams: &Arc<Streams>, path: &str, append: Append) -> Result<Appended, Refusal> {
    let now = clock::micros();
    let stream = streams.get(path, now)?;
    Arc::clone(streams).append(stream, path.into(), append, now).await
}

fn content(streams: &Streams, path: &str) -> Result<String, Refusal> {
    let stream = streams.get(path, clock::micros())?;
    let page = stream.read(0, usize::MAX)?;
    Ok(String::from_utf8(join(stream.kind(), &page.parts)).unwrap())
}

/// What is asked of the streams.
#[derive(Debug, Clone)]
enum Step {
    Create {
        path: usize,
        json: bool,
        closed: bool,
        body: u32,
        source: Option<usize>,
    },
    Append {
        path: usize,
        json: bool,
        producer: Option<Producer>,
        seq: Option<u8>,
        close: bool,
        body: u32,
    },
    Delete {
        path: usize,
    },
    Restart {
        in_order: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    let rare = || prop::bool::weighted(0.1);
    let producer = (0..2_u8, 0..2_u64, 0..4_u64).prop_map(|(id, epoch, seq)| Producer {
        id: id.to_string().into(),
        epoch,
        seq,
    });
    prop_oneof![
        3 => (path(), any::<bool>(), rare(), any::<u32>(), prop::option::weighted(0.4, path()))
            .prop_map(|(path, json, closed, body, source)| Step::Create { path, json, closed, body, source }),
        8 => (path(), any::<bool>(), prop::option::of(producer), prop::option::weighted(0.2, any::<u8>()), rare(), any::<u32>())
            .prop_map(|(path, json, producer, seq, close, body)| Step::Append { path, json, producer, seq, close, body }),
        2 => path().prop_map(|path| Step::Delete { path }),
        2 => any::<bool>().prop_map(|in_order| Step::Restart { in_order }),
    ]
}

fn media_type(json: bool) -> &'static str {
    if json { "application/json" } else { "text/plain; charset=utf-8" }
}

/// Of JSON sometimes several messages, and sometimes so much that it doesn't fit.
fn body(json: bool, number: u32) -> String {
    let filler = "x".repeat(if number.is_multiple_of(16) { 900 } else { 3 });
    if json { format!("[{number}, \"{filler}\" ,[1,2]]") } else { format!("<{number}{filler}>") }
}

/// Does a step, and says all that can be seen of it. Lineages are of the clock, and left out.
async fn done(streams: &Arc<Streams>, step: &Step) -> String {
    match step.clone() {
        Step::Create { path, json, closed, body: number, source } => {
            let mut wanted = create_of(media_type(json), &body(json, number));
            wanted.closed = closed;
            if let Some(source) = source {
                wanted.asked = fork_of(PATHS[source]);
            }
            let created = create(streams, PATHS[path], wanted).await;
            let shown =
                created.map(|(Description { content_type, expiry, end, closed }, is_new)| {
                    (content_type, expiry, end.position, closed, is_new)
                });
            format!("{shown:?}")
        }
        Step::Append { path, json, producer, seq, close, body: number } => {
            let wanted = Append {
                content_type: Some(media_type(json).into()),
                producer,
                seq: seq.map(|seq| seq.to_string().into()),
                close,
                body: body(json, number).into(),
            };
            match append(streams, PATHS[path], wanted).await {
                Ok(Appended { end, closed, progress, fresh }) => {
                    format!("{:?}", (end.position, closed, progress, fresh))
                }
                Err(Refusal::Closed { end }) => format!("closed at {}", end.position),
                Err(refusal) => format!("{refusal:?}"),
            }
        }
        Step::Delete { path } => {
            let now = clock::micros();
            format!("{:?}", Arc::clone(streams).delete(PATHS[path].into(), now).await)
        }
        Step::Restart { in_order: _ } => String::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_done_streams_on_a_disk_are_those_in_memory(
        steps in prop::collection::vec(step(), 1..40), fsync: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = Streams::new(limits());
            let durability = if fsync { Durability::Fsync } else { Durability::Interval };
            let mut disk = Disk::new(durability);
            for step in steps {
                if let Step::Restart { in_order } = step {
                    disk.restart(in_order).await;
                }
                let expected = done(&memory, &step).await;
                assert_eq!(done(&disk.streams, &step).await, expected, "{step:?}");
                let seen = |streams: &Arc<Streams>| PATHS.map(|path| content(streams, path));
                assert_eq!(seen(&disk.streams), seen(&memory), "{step:?}");
                let room = |streams: &Streams| (streams.len(), streams.bytes());
                assert_eq!(room(&disk.streams), room(&memory), "{step:?}");
                assert_eq!(disk.files().len(), disk.streams.len(), "one file a stream");
            }
            assert_eq!(disk.quarantines(), 0);
        });
    }
}

/// A stream `a` of the texts `one`, `two` and `three`, and where in its file each of them ends.
async fn written(durability: Durability) -> (Disk, [u64; 3]) {
    let disk = Disk::new(durability);
    create(&disk.streams, "a", create_of("text/plain", "one")).await.unwrap();
    let mut ends = Vec::new();
    for more in [None, Some("two"), Some("three")] {
        if let Some(more) = more {
            append(&disk.streams, "a", text(more)).await.unwrap();
        }
        ends.push(fs::metadata(&disk.files()[0]).unwrap().len());
    }
    (disk, ends.try_into().unwrap())
}

#[tokio::test]
async fn of_a_file_that_ends_anywhere_the_whole_appends_are_left_under_the_same_offsets() {
    let (mut disk, ends) = written(Durability::Fsync).await;
    let end = disk.streams.get("a", clock::micros()).unwrap().describe().end;
    disk.end(false).await;
    let path = disk.files().remove(0);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).rev() {
        fs::write(&path, &whole[..length]).unwrap();
        let streams = open(&disk.directory, disk.durability, disk.size);
        let left = ["one", "onetwo", "onetwothree"];
        let left = ends.iter().zip(left).rev().find(|(end, _)| length as u64 >= **end);
        match left {
            Some((_, left)) => {
                assert_eq!(content(&streams, "a").unwrap(), left, "{length}");
                let now = streams.get("a", clock::micros()).unwrap().describe().end;
                assert_eq!((now.lineage, now.position), (end.lineage, left.len() as u64));
            }
            None => {
                assert_eq!(content(&streams, "a"), Err(Refusal::NotFound), "{length}");
                assert!(disk.files().is_empty(), "{length}");
            }
        }
    }
    assert_eq!(disk.quarantines(), 0);
}

#[tokio::test]
async fn what_is_damaged_is_put_aside_and_its_offsets_are_of_an_earlier_stream() {
    for in_order in [true, false] {
        let (mut disk, ends) = written(Durability::Fsync).await;
        create(&disk.streams, "d", create_of("text/plain", "well")).await.unwrap();
        let [end, well] =
            ["a", "d"].map(|path| disk.streams.get(path, clock::micros()).unwrap().describe().end);
        disk.end(in_order).await;
        let path = disk.files().remove(0);
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(ends[0]).unwrap() + 60] ^= 1;
        fs::write(&path, &bytes).unwrap();
        // The doubt is settled once, and the stream goes on.
        for more in ["1", "2"] {
            let before = content(&open(&disk.directory, disk.durability, disk.size), "a").unwrap();
            disk.restart(true).await;
            assert_eq!(content(&disk.streams, "a").unwrap(), before);
            let stream = disk.streams.get("a", clock::micros()).unwrap();
            assert_eq!(stream.position(Anchor::At(end)), Err(Refusal::EarlierStream));
            append(&disk.streams, "a", text(more)).await.unwrap();
            disk.end(true).await;
        }
        disk.restart(true).await;
        assert_eq!(content(&disk.streams, "a").unwrap(), "one12");
        assert_eq!(disk.quarantines(), 1);
        let stream = disk.streams.get("d", clock::micros()).unwrap();
        assert_eq!(stream.position(Anchor::At(well)), Ok(4));
    }
}

#[tokio::test]
async fn a_file_that_is_no_stream_is_put_aside_and_harms_no_other() {
    let (mut disk, _) = written(Durability::Fsync).await;
    create(&disk.streams, "d", create_of("text/plain", "well")).await.unwrap();
    disk.end(true).await;
    fs::write(&disk.files()[0], [0; 100]).unwrap();
    disk.restart(true).await;
    assert_eq!(content(&disk.streams, "a"), Err(Refusal::NotFound));
    assert_eq!(content(&disk.streams, "d").unwrap(), "well");
    assert_eq!(disk.quarantines(), 1);
}

#[tokio::test]
async fn after_the_machine_failed_only_what_an_interval_may_have_lost_is_renewed() {
    for durability in [Durability::Fsync, Durability::Interval] {
        let (mut disk, _) = written(durability).await;
        let fork = Create { asked: fork_of("a"), ..create_of("text/plain", "") };
        create(&disk.streams, "d", fork).await.unwrap();
        let end = disk.streams.get("a", clock::micros()).unwrap().describe().end;
        disk.end(false).await;
        let meta = disk.directory.path().join("log.json");
        let mut written: serde_json::Value =
            serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
        written["boot"] = "another".into();
        fs::write(&meta, written.to_string()).unwrap();
        disk.restart(true).await;
        let [a, d] = ["a", "d"].map(|path| disk.streams.get(path, clock::micros()).unwrap());
        assert_eq!(content(&disk.streams, "a").unwrap(), "onetwothree");
        let kept = durability == Durability::Fsync;
        assert_eq!(a.position(Anchor::At(end)).is_ok(), kept);
        assert_eq!(a.describe().end, d.describe().end, "a family stays one");
    }
}

#[tokio::test]
async fn streams_take_no_more_of_the_disk_than_there_is_and_give_it_back() {
    let directory = TempDir::new().unwrap();
    // Two files of one block each.
    let streams = open(&directory, Durability::Fsync, 8 * 1_024);
    for path in ["a", "d"] {
        create(&streams, path, create_of("text/plain", "x")).await.unwrap();
    }
    let refused = create(&streams, "e", create_of("text/plain", "x")).await;
    assert!(
        matches!(&refused, Err(Refusal::DiskFull(why)) if why.contains("disk.size")),
        "{refused:?}"
    );
    assert!(streams.fault().is_some());
    let bytes = streams.bytes();
    append(&streams, "a", text("fits into the block")).await.unwrap();
    assert!(streams.fault().is_none() && streams.bytes() > bytes);
    Arc::clone(&streams).delete("d".into(), clock::micros()).await.unwrap();
    create(&streams, "e", create_of("text/plain", "x")).await.unwrap();
}

#[tokio::test]
async fn before_they_are_open_and_after_they_are_closed_streams_take_nothing() {
    let mut disk = Disk::new(Durability::Interval);
    let opening = Streams::opening(limits());
    let refused = create(&opening, "a", create_of("text/plain", "x")).await;
    assert!(matches!(refused, Err(Refusal::NotOpen(_))), "{refused:?}");
    create(&disk.streams, "a", create_of("text/plain", "x")).await.unwrap();
    disk.streams.close().await;
    let refused = append(&disk.streams, "a", text("y")).await;
    assert!(matches!(refused, Err(Refusal::Storage(_))), "{refused:?}");
    disk.restart(false).await;
    assert_eq!(content(&disk.streams, "a").unwrap(), "x");
}

#[tokio::test]
async fn a_directory_is_opened_by_one_at_a_time() {
    let disk = Disk::new(Durability::Fsync);
    let second = OnDisk::open(disk.directory.path(), disk.durability, Room::new(1 << 20));
    assert!(matches!(second, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn what_a_deleted_stream_kept_for_its_forks_goes_with_the_last_of_them() {
    let mut disk = Disk::new(Durability::Fsync);
    create(&disk.streams, "a", create_of("text/plain", "1")).await.unwrap();
    create(&disk.streams, "d", Create { asked: fork_of("a"), ..create_of("text/plain", "2") })
        .await
        .unwrap();
    Arc::clone(&disk.streams).delete("a".into(), clock::micros()).await.unwrap();
    disk.restart(false).await;
    assert_eq!(content(&disk.streams, "a"), Err(Refusal::Gone));
    assert_eq!(content(&disk.streams, "d").unwrap(), "12");
    let source = disk.files().remove(0);
    let kept = fs::read(&source).unwrap();
    Arc::clone(&disk.streams).delete("d".into(), clock::micros()).await.unwrap();
    assert!(disk.files().is_empty());
    // As if the process had ended before the second file was removed.
    disk.end(false).await;
    fs::write(&source, kept).unwrap();
    disk.restart(false).await;
    disk.streams.expire().await;
    assert_eq!((disk.streams.len(), disk.streams.bytes()), (0, 0));
    assert!(disk.files().is_empty());
}
