//! Runs a program of a stage, counts its tests, and ends all that it started.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::tally::Tally;
use crate::{command, interrupt};

/// Short beside anything that a stage does.
const POLL: Duration = Duration::from_millis(20);

/// Cargo and the tests end at once when they are asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `program`, passes its output on, and returns what it tested, whether or not it succeeded.
///
/// # Errors
/// When it cannot be started, fails, outlives `limit` or is interrupted.
pub(crate) fn run(program: &mut Command, limit: Duration) -> (Tally, Result<()>) {
    // A group of its own can be ended as a whole, with what a test left running.
    let child = program.process_group(0).stdout(Stdio::piped()).spawn();
    let line = command::line(program);
    let mut child = match child.with_context(|| format!("could not start `{line}`")) {
        Ok(child) => child,
        Err(error) => return (Tally::default(), Err(error)),
    };
    let output = child.stdout.take();
    let reader = thread::spawn(move || output.map_or_else(Tally::default, pass_on));
    let status = wait(&mut child, limit);
    signal(&child, Signal::KILL);
    let tally = reader.join().unwrap_or_default();
    let failed = |status: ExitStatus| -> Result<()> {
        ensure!(status.success(), "`{line}` failed ({status})");
        Ok(())
    };
    (tally, status.and_then(failed))
}

fn pass_on(output: impl Read) -> Tally {
    let mut tally = Tally::default();
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        tally.count(text.trim_end());
        line.clear();
    }
    tally
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::ends_waits() {
            end(child)?;
            bail!("interrupted");
        }
        if Instant::now() >= deadline {
            end(child)?;
            bail!("still running after {} s, and ended", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

fn end(child: &mut Child) -> Result<()> {
    signal(child, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
    signal(child, Signal::KILL);
    child.wait()?;
    Ok(())
}

/// Sends a signal to the program and to all that it started. There may be nobody left.
fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _nobody_left = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::tool;

    fn shell(script: &str, limit: Duration) -> (Tally, Result<()>) {
        run(tool("sh").args(["-c", script]), limit)
    }

    const RESULT: &str = "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured'";

    #[test]
    fn the_tests_of_a_program_that_fails_are_counted() {
        let (tally, outcome) = shell(&format!("{RESULT}; exit 101"), GRACE);
        assert_eq!(tally, Tally { passed: 2, failed: 1, ignored: 0 });
        assert!(outcome.unwrap_err().to_string().contains("101"));
    }

    #[test]
    fn what_a_program_left_running_is_ended_with_it() {
        let begin = Instant::now();
        // Holds the output open, which would otherwise be read to its end.
        let (tally, outcome) = shell(&format!("sleep 600 & {RESULT}"), GRACE);
        outcome.unwrap();
        assert_eq!(tally.passed, 2);
        assert!(begin.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended() {
        let (_, outcome) = shell("sleep 600", Duration::from_millis(50));
        assert!(outcome.unwrap_err().to_string().contains("still running"));
    }
}
