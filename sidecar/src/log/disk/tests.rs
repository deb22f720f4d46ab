//! Recovery, from every kind of damage.

mod format;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use weir_crds::v1alpha1::Durability;

use super::{
    DataDir, DiskLog, OpenError, Options, Room,
    meta::{Found, Meta},
    record::HEAD_BYTES,
};
use crate::log::{
    Appended, Log, LogError, LogId, Offset, Read, Retention,
    conformance::{self, Durable, Opened, Subject, UNBOUNDED},
    tests::posted,
};

/// Logs in directories of their own.
struct Disk {
    root: TempDir,
    count: AtomicUsize,
    durability: Durability,
}

impl Disk {
    fn new(durability: Durability) -> Self {
        Self { root: TempDir::new().unwrap(), count: AtomicUsize::new(0), durability }
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join(self.count.load(Ordering::Relaxed).to_string())
    }
}

impl Subject for Disk {
    async fn open(&self, retention: Retention) -> Opened {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.reopen(retention).await
    }
}

impl Durable for Disk {
    async fn reopen(&self, retention: Retention) -> Opened {
        let tail = conformance::tail(retention);
        let options = Options {
            directory: self.directory(),
            room: Room::new(64 << 20),
            durability: self.durability,
            retention,
        };
        let log = DiskLog::open(options, Arc::clone(&tail), Box::new(|_| ())).unwrap();
        Opened { log: Arc::new(log), tail }
    }
}

mod fsync {
    use super::*;
    conformance::suite!(Disk::new(Durability::Fsync), durable);
}

mod interval {
    use super::*;
    conformance::suite!(Disk::new(Durability::Interval), durable);
}

fn try_open(directory: &Path, quota: u64, durability: Durability) -> Result<DiskLog, OpenError> {
    let directory = directory.to_owned();
    let room = Room::new(quota);
    let options = Options { directory, room, durability, retention: UNBOUNDED };
    DiskLog::open(options, conformance::tail(UNBOUNDED), Box::new(|_| ()))
}

fn open(directory: &Path) -> DiskLog {
    try_open(directory, 64 << 20, Durability::Fsync).unwrap()
}

async fn append(log: &DiskLog, ids: &[&str]) -> Appended {
    log.append(ids.iter().map(|id| posted(id, b"{\"n\":1}")).collect()).await.unwrap()
}

async fn ids(log: &DiskLog) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = log.first();
    loop {
        let Read::Entries(entries) = log.read(from, u64::MAX).await.unwrap() else { panic!() };
        let Some(last) = entries.last() else { return found };
        from = last.offset + 1;
        found.extend(entries.iter().map(|entry| entry.posted.event.id.to_string()));
    }
}

/// A log with the groups `a b`, `c` and `d e f`, as a process that is killed leaves it: its directory, and
/// where each group ends.
async fn killed(durability: Durability) -> (TempDir, [u64; 3], LogId) {
    let live = TempDir::new().unwrap();
    let log = try_open(live.path(), 64 << 20, durability).unwrap();
    let mut ends = Vec::new();
    for group in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
        append(&log, group).await;
        ends.push(fs::metadata(segment(live.path(), 1)).unwrap().len());
    }
    let left = TempDir::new().unwrap();
    for entry in fs::read_dir(live.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    let id = log.id();
    log.close().await;
    (left, ends.try_into().unwrap(), id)
}

fn segment(directory: &Path, base: Offset) -> PathBuf {
    directory.join(format!("{base:016x}.log"))
}

fn quarantines(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains("quarantine-")).collect()
}

fn edit_meta(directory: &Path, edit: impl Fn(&Meta) -> Meta) {
    let Found::Meta(meta) = Meta::read(directory).unwrap() else { panic!() };
    edit(&meta).write(directory).unwrap();
}

/// What is left of the groups where the bytes from `end` on are gone.
fn before(ends: [u64; 3], end: u64) -> &'static [&'static str] {
    match ends.iter().filter(|group| **group <= end).count() {
        0 => &[],
        1 => &["a", "b"],
        2 => &["a", "b", "c"],
        _ => &["a", "b", "c", "d", "e", "f"],
    }
}

#[tokio::test]
async fn a_log_that_was_killed_has_every_answered_event_and_goes_on() {
    let (left, _, id) = killed(Durability::Fsync).await;
    let log = open(left.path());
    assert_eq!(log.id(), id);
    let appended = append(&log, &["e", "g"]).await;
    assert_eq!(appended, Appended { accepted: 1, duplicates: 1, last: 7 });
    assert_eq!(ids(&log).await, ["a", "b", "c", "d", "e", "f", "g"]);
}

#[tokio::test]
async fn an_end_that_is_cut_anywhere_loses_only_the_group_that_was_being_written() {
    let (left, ends, id) = killed(Durability::Fsync).await;
    let whole = fs::read(segment(left.path(), 1)).unwrap();
    let meta = fs::read(left.path().join("log.json")).unwrap();
    for length in (HEAD_BYTES as u64..=ends[2]).step_by(13).chain(ends) {
        let cut = TempDir::new().unwrap();
        fs::write(cut.path().join("log.json"), &meta).unwrap();
        let kept = usize::try_from(length).unwrap();
        fs::write(segment(cut.path(), 1), &whole[..kept]).unwrap();
        let log = open(cut.path());
        assert_eq!(log.id(), id);
        assert_eq!(ids(&log).await, before(ends, length), "cut at {length}");
        append(&log, &["new"]).await;
        log.close().await;
        drop(log);
        let log = open(cut.path());
        assert_eq!(ids(&log).await.last().unwrap(), "new");
        assert!(quarantines(cut.path()).is_empty());
    }
}

#[tokio::test]
async fn a_flipped_bit_keeps_what_is_before_it_and_begins_a_new_incarnation() {
    let (left, ends, id) = killed(Durability::Fsync).await;
    let whole = fs::read(segment(left.path(), 1)).unwrap();
    let meta = fs::read(left.path().join("log.json")).unwrap();
    for at in (0..whole.len()).step_by(29) {
        let damaged = TempDir::new().unwrap();
        fs::write(damaged.path().join("log.json"), &meta).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(segment(damaged.path(), 1), &bytes).unwrap();
        let log = open(damaged.path());
        assert_ne!(log.id(), id, "flipped at {at}");
        assert_eq!(ids(&log).await, before(ends, at as u64), "flipped at {at}");
        let aside = quarantines(damaged.path());
        assert_eq!(fs::read(segment(&aside[0], 1)).unwrap(), bytes);
        append(&log, &["new"]).await;
        let new = log.id();
        log.close().await;
        drop(log);
        assert_eq!(open(damaged.path()).id(), new, "once is enough");
    }
}

#[tokio::test]
async fn when_the_machine_failed_the_last_group_may_be_wrong_but_no_earlier_one() {
    let (left, ends, id) = killed(Durability::Fsync).await;
    edit_meta(left.path(), Meta::of_another_boot);
    let whole = fs::read(segment(left.path(), 1)).unwrap();
    let flip = |at: u64| {
        let mut bytes = whole.clone();
        bytes[usize::try_from(at).unwrap()] ^= 4;
        fs::write(segment(left.path(), 1), bytes).unwrap();
    };
    flip(ends[1] + 60);
    let log = open(left.path());
    assert_eq!(
        (log.id(), ids(&log).await),
        (id, before(ends, ends[1]).iter().map(|id| (*id).to_owned()).collect())
    );
    log.close().await;
    drop(log);
    edit_meta(left.path(), |meta| Meta::opened(meta.id(), Durability::Fsync).of_another_boot());
    flip(ends[0] + 60);
    let log = open(left.path());
    assert_ne!(log.id(), id);
    assert_eq!(ids(&log).await, ["a", "b"]);
}

#[tokio::test]
async fn without_fsync_a_failed_machine_is_a_new_incarnation_of_the_same_events() {
    for (durability, boot, same) in [
        (Durability::Interval, true, true),
        (Durability::Interval, false, false),
        (Durability::Fsync, false, true),
    ] {
        let (left, ends, id) = killed(durability).await;
        if !boot {
            edit_meta(left.path(), Meta::of_another_boot);
        }
        let log = try_open(left.path(), 64 << 20, durability).unwrap();
        assert_eq!(log.id() == id, same, "{durability:?}");
        assert_eq!(ids(&log).await, before(ends, ends[2]));
    }
}

#[tokio::test]
async fn what_was_closed_in_order_and_is_shorter_now_is_a_new_incarnation() {
    let (left, ends, id) = killed(Durability::Fsync).await;
    open(left.path()).close().await;
    let file = fs::OpenOptions::new().write(true).open(segment(left.path(), 1)).unwrap();
    file.set_len(ends[1]).unwrap();
    let log = open(left.path());
    assert_ne!(log.id(), id);
    assert_eq!(ids(&log).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_log_that_does_not_say_who_it_is_is_a_new_incarnation_of_the_same_events() {
    let (left, ends, id) = killed(Durability::Fsync).await;
    for text in [None, Some("{}")] {
        let meta = left.path().join("log.json");
        match text {
            Some(text) => fs::write(meta, text).unwrap(),
            None => fs::remove_file(meta).unwrap(),
        }
        let log = open(left.path());
        assert_ne!(log.id(), id);
        assert_eq!(ids(&log).await, before(ends, ends[2]));
        log.close().await;
    }
}

#[tokio::test]
async fn a_directory_is_opened_once_and_only_by_who_can_read_it() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    let again = try_open(directory.path(), 64 << 20, Durability::Fsync).unwrap_err();
    assert!(again.to_string().contains("is in use"), "{again}");
    log.close().await;
    drop(open(directory.path()));
    let newer = "{\"format\":2,\"log\":1,\"boot\":null,\"durability\":\"Fsync\",\"closedAt\":null}";
    let other = TempDir::new().unwrap();
    fs::write(other.path().join("log.json"), newer).unwrap();
    let newer = try_open(other.path(), 64 << 20, Durability::Fsync).unwrap_err();
    assert!(matches!(newer, OpenError::Newer { .. }), "{newer}");
}

#[test]
fn a_data_directory_is_for_one_process() {
    let directory = TempDir::new().unwrap();
    let first = DataDir::new(directory.path().to_owned());
    assert_eq!(first.claim().unwrap(), directory.path());
    first.claim().unwrap();
    let second = DataDir::new(directory.path().to_owned()).claim().unwrap_err().to_string();
    assert!(second.contains("another process"), "{second}");
    assert!(DataDir::default().claim().unwrap_err().to_string().contains("--data-dir"));
}

/// Waits until what is before this offset is put aside.
async fn until_first(log: &DiskLog, first: Offset) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while log.first() != first {
        assert!(Instant::now() < deadline, "the damaged segment is not put aside");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_found_damaged_by_a_reader_becomes_a_gap_and_the_rest_goes_on() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    append(&log, &["a"]).await;
    append(&log, &["b"]).await;
    let file = fs::OpenOptions::new().write(true).open(segment(directory.path(), 1)).unwrap();
    file.write_all_at(b"?", HEAD_BYTES as u64 + 70).unwrap();
    assert!(matches!(log.read(1, u64::MAX).await, Err(LogError::Damaged(_))));
    until_first(&log, 3).await;
    assert!(matches!(log.read(1, u64::MAX).await, Ok(Read::Evicted { first: 3 })));
    assert_eq!(append(&log, &["a"]).await.last, 3);
    assert_eq!(ids(&log).await, ["a"]);
    assert!(segment(&quarantines(directory.path())[0], 1).exists());
}

#[tokio::test]
async fn a_file_that_was_cut_off_under_the_log_becomes_a_gap_too() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    append(&log, &["a"]).await;
    append(&log, &["b"]).await;
    let file = fs::OpenOptions::new().write(true).open(segment(directory.path(), 1)).unwrap();
    file.set_len(HEAD_BYTES as u64 + 20).unwrap();
    assert!(matches!(log.read(1, u64::MAX).await, Err(LogError::Damaged(_))));
    until_first(&log, 3).await;
    assert!(matches!(log.read(1, u64::MAX).await, Ok(Read::Evicted { first: 3 })));
    assert_eq!(append(&log, &["a"]).await.last, 3);
    assert_eq!(ids(&log).await, ["a"]);
}

fn large(n: usize) -> crate::intake::Posted {
    let mut large = posted(&n.to_string(), b"");
    large.event.data = vec![b'1'; 300_000].into();
    large
}

fn room(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

#[tokio::test]
async fn the_quota_is_kept_by_letting_the_oldest_leave() {
    const QUOTA: u64 = 16 << 20;
    let directory = TempDir::new().unwrap();
    let log = try_open(directory.path(), QUOTA, Durability::Interval).unwrap();
    for n in 0..150 {
        log.append(vec![large(n)]).await.unwrap();
        assert!(room(directory.path()) <= QUOTA + 4_096, "{}", room(directory.path()));
    }
    let (first, head) = (log.first(), log.head().await.unwrap());
    assert_eq!(head, 151);
    assert!((90..125).contains(&first), "{first}");
    let kept: Vec<_> = (first - 1..150).map(|n| n.to_string()).collect();
    assert_eq!(ids(&log).await, kept);
    log.close().await;
    drop(log);
    let log = try_open(directory.path(), QUOTA, Durability::Interval).unwrap();
    assert_eq!((log.first(), ids(&log).await), (first, kept));
}

/// A log of which so much of the room is taken by what lies beside it.
fn beside(directory: &Path, quota: u64, taken: u64, retention: Retention) -> DiskLog {
    let room = Room::new(quota);
    assert!(room.take(taken));
    let directory = directory.to_owned();
    let options = Options { directory, room, durability: Durability::Interval, retention };
    DiskLog::open(options, conformance::tail(retention), Box::new(|_| ())).unwrap()
}

#[tokio::test]
async fn where_there_is_room_for_one_segment_only_its_events_leave_and_new_ones_are_taken() {
    let directory = TempDir::new().unwrap();
    // A segment may have 4 MiB, of which there are 2.
    let log = beside(directory.path(), 64 << 20, 62 << 20, UNBOUNDED);
    for n in 0..20 {
        let appended = log.append(vec![large(n)]).await;
        assert_eq!(appended.unwrap().last, n as u64 + 1);
        assert!(room(directory.path()) <= (2 << 20) + 4_096, "{}", room(directory.path()));
    }
    let first = usize::try_from(log.first()).unwrap();
    let kept: Vec<_> = (first - 1..20).map(|n| n.to_string()).collect();
    assert_eq!(ids(&log).await, kept);
    // What has left is no repetition any more, and what is held is one.
    let again = log.append(vec![large(0), large(19)]).await.unwrap();
    assert_eq!((again.accepted, again.duplicates), (1, 1));
    log.close().await;
    drop(log);
    let log = open(directory.path());
    assert_eq!(ids(&log).await.last().unwrap(), "0");
    assert!(quarantines(directory.path()).is_empty());
}

#[tokio::test]
async fn what_the_retention_grants_is_kept_though_streams_take_all_that_is_theirs() {
    let directory = TempDir::new().unwrap();
    // As a manifest may have it: twice what is kept, and the streams' part.
    let retention = Retention { max_bytes: 4 << 20, ..UNBOUNDED };
    let log = beside(directory.path(), 136 << 20, 128 << 20, retention);
    for n in 0..100 {
        log.append(vec![large(n)]).await.unwrap();
        // What is past a bound leaves right behind the answer.
        let held = log.held().events;
        assert!((13..=14).contains(&held) || held == n as u64 + 1, "{held} after {n}");
    }
}

#[tokio::test]
async fn a_group_that_can_never_fit_is_refused_and_the_next_is_taken() {
    let directory = TempDir::new().unwrap();
    let log = try_open(directory.path(), 1 << 20, Durability::Fsync).unwrap();
    append(&log, &["a"]).await;
    let refused = log.append((0..5).map(large).collect()).await;
    assert!(matches!(refused, Err(LogError::Full(_))), "{refused:?}");
    // What was refused may come again, in parts.
    let appended = log.append(vec![large(0)]).await.unwrap();
    assert_eq!(appended, Appended { accepted: 1, duplicates: 0, last: 2 });
    assert_eq!(ids(&log).await, ["a", "0"]);
}

#[tokio::test]
async fn what_has_left_is_off_the_disk_soon() {
    let directory = TempDir::new().unwrap();
    let log = open(directory.path());
    log.append(vec![large(0)]).await.unwrap();
    log.set_retention(Retention { max_age: Duration::ZERO, ..UNBOUNDED });
    let deadline = Instant::now() + Duration::from_secs(20);
    while room(directory.path()) > 4_096 {
        log.expire();
        assert!(Instant::now() < deadline, "the file is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((log.first(), append(&log, &["b"]).await.last), (2, 2));
}
