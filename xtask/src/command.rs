//! Runs other programs, each with a limit on its time.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::interrupt;

/// Most tools that are called here answer within milliseconds; one that takes this long hangs.
pub(crate) const QUICK: Duration = Duration::from_secs(30);

/// Short beside the start of a process, long beside a system call.
const POLL: Duration = Duration::from_millis(5);

/// What an ended program left.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command without standard input, so that no program waits for a person.
pub(crate) fn tool(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Runs `command` to its end and returns what it wrote, whatever its exit status.
///
/// # Errors
/// When it cannot be started or is still running after `limit`, in which case it is killed.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let status = wait(&mut spawn(command)?, &name(command), limit)?;
    Ok(Output { status, stdout: rewound(&mut stdout)?, stderr: rewound(&mut stderr)? })
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// As [`output`], and when the exit status is not zero; the error then carries standard error.
pub(crate) fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let output = output(command, limit)?;
    if !output.status.success() {
        bail!("`{}` failed ({}): {}", line(command), output.status, output.stderr.trim());
    }
    Ok(output.stdout)
}

/// Runs `command` with this program's own standard output and error.
///
/// # Errors
/// When it cannot be started, outlives `limit`, or fails.
pub(crate) fn stream(command: &mut Command, limit: Duration) -> Result<()> {
    let status = wait(&mut spawn(command)?, &name(command), limit)?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// The first file of that name in the folders of `PATH`, then in the system's own ones, which an
/// ordinary user's `PATH` leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|p| p.is_file())
}

fn spawn(command: &mut Command) -> Result<Child> {
    let line = line(command);
    command.spawn().with_context(|| format!("could not start `{line}`"))
}

fn wait(child: &mut Child, name: &str, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::ends_waits() {
            child.kill()?;
            child.wait()?;
            bail!("`{name}` was interrupted");
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("`{name}` was still running after {} s and was killed", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

fn rewound(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A command as it is shown: the program by its name, and its arguments.
pub(crate) fn line(command: &Command) -> String {
    let args = command.get_args().map(OsStr::to_string_lossy);
    std::iter::once(name(command).into()).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_outlives_its_limit_is_killed_and_named() {
        let error = output(tool("sleep").arg("60"), Duration::from_millis(20)).err().unwrap();
        assert!(error.to_string().starts_with("`sleep` was still running"), "{error}");
    }

    #[test]
    fn a_failure_carries_the_command_and_its_standard_error() {
        let error = succeed(tool("sh").args(["-c", "echo broken >&2; exit 3"]), QUICK).unwrap_err();
        assert!(error.to_string().contains("sh -c"), "{error}");
        assert!(error.to_string().ends_with("broken"), "{error}");
    }

    #[test]
    fn output_larger_than_a_pipe_does_not_block() {
        let mut command = tool("sh");
        let out = succeed(command.args(["-c", "yes | head -c 300000"]), QUICK).unwrap();
        assert_eq!(out.len(), 300_000);
    }
}
