//! What the log on a disk takes, beside what the disk itself takes.
//!
//! `cargo bench -p weir-sidecar --bench append -- --publishers 64` appends events from so many publishers,
//! each of which waits for its answer. The floor does nothing but write as many bytes in as many pieces
//! into one file, each followed by `fdatasync`. Both run in turns, on the same disk, and their ratio is
//! what counts.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use weir_crds::v1alpha1::Durability;
use weir_sidecar::{
    count::Accounts,
    engine::Wakers,
    event::Event,
    intake::Posted,
    log::{DiskLog, DiskOptions, Log as _, Retention, Room, Tail},
};

/// Measures the log on a disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many events each run appends.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// How many bytes of payload each of them has.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// How many publishers append at once; each waits for its answer.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    publishers: Vec<usize>,
    /// How many events are in one append.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How many runs there are of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// What an answer promises.
    #[arg(long, value_enum, default_value_t = Promise::Fsync)]
    durability: Promise,
    /// Where to write. A new directory in it is made, and removed.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Promise {
    Fsync,
    Interval,
}

/// What one run of the log came to.
struct Appended {
    rate: f64,
    groups: u64,
    bytes: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let place = tempfile::TempDir::new_in(&arguments.directory)?;
    println!(
        "{:>10} {:>12} {:>12} {:>7} {:>14}",
        "publishers", "log ev/s", "floor ev/s", "ratio", "events/group"
    );
    for publishers in &arguments.publishers {
        let (mut logs, mut floors, mut ratios, mut sizes) = (vec![], vec![], vec![], vec![]);
        for run in 0..arguments.runs.max(1) {
            let directory = place.path().join(format!("{publishers}-{run}"));
            let log = runtime.block_on(log(&arguments, *publishers, &directory))?;
            let floor = floor(&arguments, &log, &place.path().join("floor"))?;
            fs::remove_dir_all(directory)?;
            logs.push(log.rate);
            floors.push(floor);
            ratios.push(log.rate / floor);
            sizes.push(arguments.events as f64 / log.groups as f64);
        }
        let [log, floor, ratio, size] = [logs, floors, ratios, sizes].map(median);
        println!("{publishers:>10} {log:>12.0} {floor:>12.0} {ratio:>7.2} {size:>14.1}");
    }
    Ok(())
}

async fn log(arguments: &Arguments, publishers: usize, directory: &Path) -> Result<Appended> {
    let retention =
        Retention { max_age: Duration::MAX, max_events: usize::MAX, max_bytes: u64::MAX };
    let bounds = Retention { max_bytes: 8 << 20, ..retention };
    let accounts = Arc::new(Accounts::new(1));
    let tail = Arc::new(Tail::new(bounds, accounts, Wakers::none()));
    let durability = match arguments.durability {
        Promise::Fsync => Durability::Fsync,
        Promise::Interval => Durability::Interval,
    };
    let options = DiskOptions {
        directory: directory.to_owned(),
        room: Room::new(64 << 30),
        durability,
        retention,
    };
    let log = Arc::new(DiskLog::open(options, tail, Box::new(|_| ()))?);
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for publisher in 0..publishers {
        let (log, size, batch) = (Arc::clone(&log), arguments.size, arguments.batch.max(1));
        let share = arguments.events / publishers;
        tasks.spawn(async move {
            let mut next = 0;
            while next < share {
                let numbers = next..share.min(next + batch);
                next = numbers.end;
                log.append(numbers.map(|n| event(publisher, n, size)).collect()).await?;
            }
            anyhow::Ok(())
        });
    }
    tasks.join_all().await.into_iter().collect::<Result<()>>()?;
    let rate = arguments.events as f64 / started.elapsed().as_secs_f64();
    let groups = log.groups();
    log.close().await;
    let mut bytes = 0;
    for file in fs::read_dir(directory)? {
        bytes += file?.metadata()?.len();
    }
    Ok(Appended { rate, groups, bytes })
}

fn event(publisher: usize, number: usize, size: usize) -> Posted {
    let event = Event {
        id: format!("{publisher}-{number}").into(),
        type_: "bench".into(),
        source: "/bench".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        data_content_type: Some("application/octet-stream".into()),
        data_schema: None,
        extensions: Vec::new(),
        data: vec![b'x'; size].into(),
    };
    Posted { event, idempotent: true }
}

/// Writes what the log wrote, in as many pieces.
fn floor(arguments: &Arguments, log: &Appended, path: &Path) -> Result<f64> {
    let piece = vec![b'x'; usize::try_from(log.bytes / log.groups.max(1))?];
    let mut file = File::create(path)?;
    let started = Instant::now();
    for _ in 0..log.groups {
        file.write_all(&piece)?;
        if arguments.durability == Promise::Fsync {
            file.sync_data()?;
        }
    }
    let rate = arguments.events as f64 / started.elapsed().as_secs_f64();
    fs::remove_file(path).context("can't remove the floor's file")?;
    Ok(rate)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
