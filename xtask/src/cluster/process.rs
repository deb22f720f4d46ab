//! Long-lived processes: starts them, knows them again later, and ends them.
//!
//! Laws: every process of a cluster carries the cluster's name in its environment, and so do the
//! processes it starts; it is found again by that name even when the one that started it was killed
//! before it could write anything down. A process id alone identifies nothing, as ids are reused: a
//! recorded one counts only together with the time its process started. A zombie counts as ended, once
//! its last thread is.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use super::layout::Layout;
use crate::interrupt;

/// In the environment of every process of a cluster, with the instance's name as its value.
const MARK: &str = "WEIR_CLUSTER_MEMBER_OF";

/// What is shown of a log when a component fails: the last error and what led to it.
const TAIL_BYTES: u64 = 4096;

/// The kernel kills within milliseconds; a process that waits for a disk takes longer.
const KILL_LIMIT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// The processes that one `up` starts.
pub(crate) struct Components<'a> {
    layout: &'a Layout,
    started: Vec<(String, Child)>,
}

impl<'a> Components<'a> {
    pub(crate) fn new(layout: &'a Layout) -> Self {
        Self { layout, started: Vec::new() }
    }

    /// Starts a component, whose output goes to its log and which outlives this program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(&mut self, name: &str, mut command: Command) -> Result<()> {
        use std::os::unix::process::CommandExt as _;
        let log = File::create(self.layout.log(name))?;
        // A group of its own: an interrupt at the terminal is not meant for it.
        command.process_group(0).env(MARK, self.layout.instance());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("could not start {name}"))?;
        let pid = child.id();
        let start = stat(pid).map_or(0, |stat| stat.start);
        std::fs::write(self.layout.pids().join(name), format!("{pid} {start}"))?;
        self.started.push((name.to_owned(), child));
        Ok(())
    }

    /// # Errors
    /// When a component has ended, with the end of its log, or the user wants to stop.
    pub(crate) fn check(&mut self) -> Result<()> {
        if interrupt::ends_waits() {
            bail!("interrupted");
        }
        for (name, child) in &mut self.started {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{name} ended ({status}); its log ends with\n{}",
                    tail(&self.layout.log(name))
                );
            }
        }
        Ok(())
    }

    /// Polls `probe` until it holds, for at most `limit`.
    ///
    /// # Errors
    /// When time runs out, with the end of the log of `component`, or when any component ends.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        component: &str,
        limit: Duration,
        mut probe: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !probe() {
            self.check()?;
            if Instant::now() >= deadline {
                let (seconds, tail) = (limit.as_secs(), tail(&self.layout.log(component)));
                bail!("{what}: not so after {seconds} s; the log of {component} ends with\n{tail}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// The end of a log, or why it cannot be shown.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", log.display()))
}

/// The recorded components and whether each is running, sorted by name.
pub(crate) fn recorded(layout: &Layout) -> Vec<(String, u32, bool)> {
    let entries = layout.pids().read_dir().into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let record = std::fs::read_to_string(entry.path()).ok()?;
            let (pid, start) = parse_record(&record)?;
            Some((entry.file_name().to_string_lossy().into_owned(), pid, running(pid, start)))
        })
        .collect();
    found.sort();
    found
}

/// Ends every process of the cluster, recorded or not, and waits until none is left: until two looks in a
/// row find none, because a process that is being started shows no environment for a moment.
///
/// # Errors
/// When one is still there after half a minute.
pub(crate) fn end_all(layout: &Layout) -> Result<()> {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut none_before = false;
    loop {
        let left = living(layout);
        if left.is_empty() && none_before {
            return Ok(());
        }
        none_before = left.is_empty();
        if Instant::now() >= deadline {
            bail!("processes {left:?} of {} do not end", layout.instance());
        }
        for pid in left {
            kill(pid);
        }
        thread::sleep(POLL);
    }
}

fn living(layout: &Layout) -> Vec<u32> {
    let recorded = recorded(layout).into_iter().filter(|(_, _, running)| *running);
    let mut pids: Vec<u32> = recorded.map(|(_, pid, _)| pid).collect();
    pids.extend(marked(&layout.instance()));
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Processes that carry the instance's name. A process of another user cannot be read, nor ended.
fn marked(instance: &str) -> Vec<u32> {
    let mark = format!("{MARK}={instance}");
    let carries = |pid: &u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    let entries = Path::new("/proc").read_dir().into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(carries)
        .filter(|pid| stat(*pid).is_some_and(|stat| stat.alive))
        .collect()
}

fn kill(pid: u32) {
    // One that has ended meanwhile is what is wanted; one that may not be killed is reported when time
    // runs out.
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ended_or_reported_later = rustix::process::kill_process(pid, Signal::KILL);
    }
}

fn running(pid: u32, start: u64) -> bool {
    if Path::new("/proc/self/stat").exists() {
        return stat(pid).is_some_and(|stat| stat.alive && stat.start == start);
    }
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn parse_record(record: &str) -> Option<(u32, u64)> {
    let (pid, start) = record.trim().split_once(' ')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    alive: bool,
    /// In clock ticks since the machine started.
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads state, number of threads and start time, fields 3, 20 and 22 of `proc_pid_stat(5)`. The second
/// field, the program's name, may itself hold spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let start = fields.nth(1)?.parse().ok()?;
    // The first thread of a process that is being killed may end before those that hold its ports.
    Some(Stat { alive: !ended || threads > 1, start })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tool;

    fn layout(dir: &Path) -> Layout {
        let layout = Layout::in_folder(dir);
        layout.make_folders().unwrap();
        layout
    }

    fn stat_of(state: &str, threads: u32) -> Option<Stat> {
        let line =
            format!("7 (a) b) {state} 1 7 7 0 -1 4 1 0 0 0 3 4 0 0 20 0 {threads} 0 4242 99");
        parse_stat(&line)
    }

    #[test]
    fn a_zombie_counts_as_ended_once_its_last_thread_is() {
        assert_eq!(stat_of("S", 9), Some(Stat { alive: true, start: 4242 }));
        assert_eq!(stat_of("Z", 9), Some(Stat { alive: true, start: 4242 }));
        assert_eq!(stat_of("Z", 1), Some(Stat { alive: false, start: 4242 }));
    }

    #[test]
    fn a_component_is_known_again_and_ended_even_without_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let mut components = Components::new(&layout);
        let mut shell = tool("sh");
        // The shell's own child carries the mark as well.
        shell.args(["-c", "sleep 1000 & wait"]);
        components.start("shell", shell).unwrap();
        components.check().unwrap();
        assert!(recorded(&layout).iter().any(|(name, _, running)| name == "shell" && *running));
        std::fs::remove_file(layout.pids().join("shell")).unwrap();
        end_all(&layout).unwrap();
        assert!(components.check().is_err());
        assert!(marked(&layout.instance()).is_empty());
    }

    #[test]
    fn a_record_of_another_process_with_the_same_id_is_not_running() {
        let own = std::process::id();
        let start = stat(own).unwrap().start;
        assert!(running(own, start));
        assert!(!running(own, start + 1));
    }

    #[test]
    fn a_component_that_ends_is_reported_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let mut components = Components::new(&layout);
        let mut shell = tool("sh");
        shell.args(["-c", "echo address in use >&2; exit 1"]);
        components.start("etcd", shell).unwrap();
        let wait = components.wait_until("etcd answers", "etcd", KILL_LIMIT, || false);
        let error = wait.unwrap_err().to_string();
        assert!(error.contains("etcd ended") && error.contains("address in use"), "{error}");
    }

    #[test]
    fn time_running_out_is_reported_with_the_end_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        std::fs::write(layout.log("kubelet"), "no runtime").unwrap();
        let mut components = Components::new(&layout);
        let error = components.wait_until("node is Ready", "kubelet", POLL, || false).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("node is Ready") && error.ends_with("no runtime"), "{error}");
    }
}
