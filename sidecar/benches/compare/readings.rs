//! Reads what a process has used of the machine, from `/proc`.

use std::{collections::BTreeMap, fs, ops::AddAssign, time::Duration};

use anyhow::{Context as _, Result};

/// The unit of CPU time in `/proc/PID/stat`: 1/100 s on every Linux that Rust runs on.
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The CPU time that a process has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// Of each thread that lives, by its id. To the nanosecond.
    threads: BTreeMap<u32, Used>,
    /// Of all its threads, also those that have ended. To the [`CLOCK_TICK`].
    process: Duration,
}

/// What threads have got of a CPU.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// For how long they ran.
    pub(crate) ran: Duration,
    /// For how long they could have run, had others not been running. Zero where it isn't known.
    pub(crate) waited: Duration,
}

impl AddAssign for Used {
    fn add_assign(&mut self, more: Self) {
        let Self { ran, waited } = more;
        self.ran += ran;
        self.waited += waited;
    }
}

impl CpuTime {
    /// Reads it.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = read(pid, "stat")?;
        let process = in_stat(&stat).context("/proc/PID/stat has an unknown form")?;
        Ok(Self::new(of_threads(pid)?, process))
    }

    pub(crate) const fn new(threads: BTreeMap<u32, Used>, process: Duration) -> Self {
        Self { threads, process }
    }

    /// How much was used since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let still_there = |(thread, _): (&u32, _)| self.threads.contains_key(thread);
        if earlier.threads.is_empty() || !earlier.threads.iter().all(still_there) {
            let ran = self.process.saturating_sub(earlier.process);
            return Used { ran, waited: Duration::ZERO };
        }
        let (now, then) = (self.of_all_threads(), earlier.of_all_threads());
        Used {
            ran: now.ran.saturating_sub(then.ran),
            waited: now.waited.saturating_sub(then.waited),
        }
    }

    fn of_all_threads(&self) -> Used {
        let mut sum = Used::default();
        self.threads.values().for_each(|&used| sum += used);
        sum
    }
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident_memory(pid: u32) -> Result<u64> {
    let rollup = read(pid, "smaps_rollup")?;
    in_rollup(&rollup).context("/proc/PID/smaps_rollup has an unknown form")
}

/// Empty where the kernel keeps no such statistics.
fn of_threads(pid: u32) -> Result<BTreeMap<u32, Used>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        // A thread may end while it is looked at.
        let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let Some(thread) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(time) = in_schedstat(&schedstat) {
            threads.insert(thread, time);
        }
    }
    Ok(threads)
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("can't read {path}"))
}

/// The first two fields are the time on a CPU and the time in its queue, in nanoseconds.
pub(crate) fn in_schedstat(text: &str) -> Option<Used> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
    let mut next = || fields.next().flatten().map(Duration::from_nanos);
    Some(Used { ran: next()?, waited: next()? })
}

/// `utime` and `stime`, the fields 14 and 15. The second is the program's name in parentheses, and may
/// hold anything.
pub(crate) fn in_stat(text: &str) -> Option<Duration> {
    let (_, behind_name) = text.rsplit_once(')')?;
    let mut times = behind_name.split_ascii_whitespace().skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(CLOCK_TICK * user.checked_add(system)?)
}

pub(crate) fn in_rollup(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
