//! A server of one's own, which a test kills, starts again, and robs of its disk.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::PATIENCE;

/// How a server is started that listens on a port and keeps its data in a folder.
pub(crate) type Program = fn(u16, &Path) -> Command;

/// A running server, and its folder.
pub(crate) struct Server {
    program: Program,
    child: Child,
    pub(crate) port: u16,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start(program: Program) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        Self { program, child: serve(program, port, folder.path()), port, folder }
    }

    /// As a crash does: nothing is written any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = serve(self.program, self.port, self.folder.path());
    }

    /// Takes its disk away. It must not be running.
    pub(crate) fn empty(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
    }

    /// A copy of its disk. It must not be running.
    pub(crate) fn back_up(&self) -> TempDir {
        let backup = tempfile::tempdir().unwrap();
        copy(self.folder.path(), backup.path());
        backup
    }

    /// Gives it another disk. It must not be running.
    pub(crate) fn restore(&mut self, backup: TempDir) {
        self.folder = backup;
    }

    /// From now on it is found elsewhere. Returns where it was. It must not be running.
    #[cfg(feature = "redis")]
    pub(crate) fn move_away(&mut self) -> u16 {
        std::mem::replace(&mut self.port, free_port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(program: Program, port: u16, folder: &Path) -> Child {
    let mut command = program(port, folder);
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap_or_else(|error| {
        panic!("{name}, which this test talks to ({error}): `cargo xtask setup` installs it on Debian")
    });
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{name} did not start");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
