//! Kills that meet the beginning of a file and the end of another: large events, of which few are kept.

use super::*;

/// More than is published between two kills, so that who was there misses nothing, however slowly it reads.
const WINDOW: u64 = 100;

/// Files of a mebibyte, which is eighteen events.
fn rolling(durability: &str) -> Load {
    let retention = format!("retention: {{maxEvents: {WINDOW}, maxBytes: 8Mi}}");
    let log = format!("log: {{{retention}, storage: {{disk: {{size: 16Mi,");
    let manifest = on_disk(durability).replace("log: {storage: {disk: {size: 128Mi,", &log);
    let manifest = manifest + "delivery: {maxLag: {bytes: 64Mi}}\n";
    Load { manifest, filler: 60_000, window: WINDOW }
}

/// The numbers of the first events of the files that there are.
fn bases(directory: &Path) -> Vec<u64> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut bases = Vec::new();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(!name.starts_with("quarantine-"), "{name}");
        if let Some(base) = name.strip_suffix(".log") {
            bases.push(u64::from_str_radix(base, 16).unwrap());
        } else if path.is_dir() {
            bases.extend(self::bases(&path));
        }
    }
    bases
}

async fn rolls_are_survived(durability: &str) {
    let directory = TempDir::new().unwrap();
    killed_again_and_again(directory.path(), rolling(durability)).await;
    let bases = bases(&directory.path().join("data"));
    assert!((2..=10).contains(&bases.len()) && !bases.contains(&1), "{bases:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_files_come_and_go_loses_and_repeats_nothing_with_fsync() {
    rolls_are_survived("Fsync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_files_come_and_go_loses_and_repeats_nothing_with_an_interval() {
    rolls_are_survived("Interval").await;
}
