//! A store of one's own, which ends with the test.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::PATIENCE;

/// The kinds of stores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Redis,
    Nats,
}

/// A running server.
pub(crate) struct Store {
    kind: Kind,
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Store {
    pub(crate) fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        Self { kind, child: serve(kind, port, &folder), port, folder }
    }

    /// What stands under `log.storage` of a manifest.
    pub(crate) fn storage(&self) -> String {
        let kind = match self.kind {
            Kind::Redis => "redis",
            Kind::Nats => "natsJetStream",
        };
        format!("{{{kind}: {{address: '127.0.0.1:{}'}}}}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a power cut does, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = serve(self.kind, self.port, &self.folder);
    }

    /// Ends it as a power cut does; its disk is gone when it comes back.
    pub(crate) fn restart_empty(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder = tempfile::tempdir().unwrap();
        self.child = serve(self.kind, self.port, &self.folder);
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn serve(kind: Kind, port: u16, folder: &TempDir) -> Child {
    let number = port.to_string();
    let mut command = match kind {
        Kind::Redis => Command::new("redis-server"),
        Kind::Nats => Command::new("nats-server"),
    };
    match kind {
        Kind::Redis => {
            command.args(["--bind", "127.0.0.1", "--port", &number, "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"])
        }
        Kind::Nats => {
            command.args(["--addr", "127.0.0.1", "--port", &number, "--jetstream", "--store_dir"])
        }
    };
    command.arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| {
        panic!("{kind:?}: {error}: `cargo xtask setup` installs the server on Debian")
    });
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{kind:?} did not start");
        thread::sleep(Duration::from_millis(10));
    }
    child
}
