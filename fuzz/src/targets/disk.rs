//! A log on a disk whose file was damaged: it opens, what it gives was once put into it or passes for
//! that by its checksums, and it goes on. What was only cut off is a beginning, under the same cursors.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use weir_crds::v1alpha1::Durability;
use weir_sidecar::{
    count::Accounts,
    engine::Wakers,
    event::Event,
    intake::Posted,
    log::{DiskLog, DiskOptions, Log as _, LogId, Offset, Read, Retention, Room, Tail},
};

/// No event leaves, whatever time a file says that it has.
const RETENTION: Retention =
    Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };

/// More edits show no more.
const MOST_EDITS: usize = 64;

/// What precedes the frames of a file, and the events of a frame.
const HEAD: usize = 32;
const HEADER: usize = 48;

struct Base {
    runtime: Runtime,
    root: TempDir,
    /// What a process leaves that was killed, and one that ended in order.
    left: [Left; 2],
    ids: Vec<String>,
    log: LogId,
}

/// The files of a log.
struct Left {
    segment: Vec<u8>,
    meta: Vec<u8>,
}

impl Left {
    fn read(directory: &Path) -> Self {
        let read = |path: PathBuf| fs::read(path).expect("a file of the log can be read");
        Self { segment: read(segment(directory)), meta: read(directory.join("log.json")) }
    }
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let root = root.expect("a folder can be made");
    let runtime = Builder::new_current_thread().build().expect("there is a runtime");
    let directory = root.path().join("base");
    let (left, log) = runtime.block_on(async {
        let log = open(&directory);
        for group in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
            let group = group.iter().map(|id| posted(id)).collect();
            log.append(group).await.expect("events are taken");
        }
        let (id, killed) = (log.id(), Left::read(&directory));
        log.close().await;
        ([killed, Left::read(&directory)], id)
    });
    let ids = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    Base { runtime, root, left, ids, log }
});

static COUNT: AtomicU64 = AtomicU64::new(0);

pub(super) fn recover(input: &[u8]) {
    let Some((&kind, edits)) = input.split_first() else { return };
    let Base { runtime, root, left, ids, log } = &*BASE;
    let was_killed = kind & 1 == 0;
    let Left { segment: whole, meta } = &left[usize::from(!was_killed)];
    let mut bytes = whole.clone();
    edit(&mut bytes, edits);
    let directory = root.path().join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&directory).expect("a folder can be made");
    fs::write(segment(&directory), &bytes).expect("a file can be written");
    fs::write(directory.join("log.json"), meta).expect("a file can be written");
    let is_cut = was_killed && whole.starts_with(&bytes);
    runtime.block_on(async {
        let opened = open(&directory);
        let mut found = read(&opened).await;
        if is_cut {
            assert!(ids.starts_with(&found), "{found:?} is no beginning");
            assert!(opened.id() == *log || bytes.len() <= HEAD, "its cursors lead nowhere");
        }
        opened.append(vec![posted("later")]).await.expect("the log goes on");
        found.push("later".to_owned());
        assert_eq!(read(&opened).await, found, "the event that was appended");
        opened.close().await;
        let again = open(&directory);
        assert_eq!(read(&again).await, found, "opened again");
        assert_eq!(again.id(), opened.id(), "closed in order");
        again.close().await;
    });
    fs::remove_dir_all(&directory).expect("a folder can be removed");
}

fn segment(directory: &Path) -> PathBuf {
    directory.join(format!("{:016x}.log", 1))
}

fn open(directory: &Path) -> DiskLog {
    let tail = Arc::new(Tail::new(RETENTION, Arc::new(Accounts::new(1)), Wakers::none()));
    let options = DiskOptions {
        directory: directory.to_owned(),
        room: Room::new(64 << 20),
        durability: Durability::Fsync,
        retention: RETENTION,
    };
    DiskLog::open(options, tail, Box::new(|_| ())).expect("a damaged log opens")
}

/// The ids of all events, whose offsets have no hole.
async fn read(log: &DiskLog) -> Vec<String> {
    let (mut ids, mut next): (_, Offset) = (Vec::new(), log.first());
    loop {
        let Read::Entries(entries) = log.read(next, u64::MAX).await.expect("it can be read") else {
            panic!("the oldest event has left");
        };
        if entries.is_empty() {
            return ids;
        }
        for entry in entries {
            assert_eq!(entry.offset, next, "a hole");
            ids.push(entry.posted.event.id.to_string());
            next += 1;
        }
    }
}

fn posted(id: &str) -> Posted {
    let event = Event {
        id: id.into(),
        type_: "order.placed".into(),
        source: "/shop".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        data_content_type: None,
        data_schema: None,
        extensions: Vec::new(),
        data: Bytes::from_static(b"{\"n\":1}"),
    };
    Posted { event, idempotent: false }
}

/// Damages a file as the input says.
fn edit(bytes: &mut Vec<u8>, mut edits: &[u8]) {
    for _ in 0..MOST_EDITS {
        let [what, low, high, rest @ ..] = edits else { return };
        let at = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
        edits = rest;
        match what % 5 {
            0 => bytes.truncate(at),
            1 => {
                let Some((value, rest)) = rest.split_first() else { return };
                edits = rest;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *value;
                }
            }
            2 => {
                let Some((length, rest)) = rest.split_first() else { return };
                let (more, rest) = rest.split_at(usize::from(*length).min(rest.len()));
                edits = rest;
                bytes.splice(at..at, more.iter().copied());
            }
            3 => {
                let copy = bytes[at..].to_vec();
                bytes.extend(copy);
            }
            _ => reseal(bytes),
        }
    }
}

/// Makes the checksums right, so that what stands behind them is looked at.
fn reseal(bytes: &mut [u8]) {
    if bytes.len() < HEAD {
        return;
    }
    seal(&mut bytes[..HEAD], 0);
    let number = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let salt = number(bytes, 8);
    let mut at = HEAD;
    while bytes.len() - at >= HEADER {
        let length = number(bytes, at + 8) as usize;
        let end = (at + HEADER).saturating_add(length).min(bytes.len());
        let sum = crc32(&bytes[at + HEADER..end], salt);
        bytes[at + 40..at + 44].copy_from_slice(&sum.to_le_bytes());
        seal(&mut bytes[at..at + HEADER], salt);
        at = end;
    }
}

/// Writes the checksum of what stands before the last four bytes into these.
fn seal(bytes: &mut [u8], salt: u32) {
    let end = bytes.len() - 4;
    let sum = crc32(&bytes[..end], salt);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
}

fn crc32(bytes: &[u8], from: u32) -> u32 {
    !bytes.iter().fold(!from, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(sum & 1))
        })
    })
}
