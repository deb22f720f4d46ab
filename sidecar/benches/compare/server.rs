//! Starts the servers that are measured, and ends them.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{Read as _, Seek as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{caller::Caller, machine::Cores};

/// A server that isn't ready by then won't be.
const PATIENCE: Duration = Duration::from_secs(10);

/// Short beside the start of a process.
const POLL: Duration = Duration::from_millis(10);

const PROBE: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// A pipeline of the sidecar: as a user would write it, with every default but the bound of its
/// connections.
fn manifest(pipeline: &str, connections: u32, storage: Storage) -> String {
    let storage = match storage {
        Storage::Memory => "memory",
        Storage::Disk => "disk",
    };
    format!(
        "\
---
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata:
  name: {pipeline}
  namespace: default
spec:
  placement:
    sidecar:
      selector:
        matchLabels:
          app: bench
  sources:
    - name: load
      http: {{}}
  log:
    storage:
      {storage}: {{}}
  endpoints:
    sse: {{}}
    websocket: {{}}
  delivery:
    maxConnections: {connections}
"
    )
}

/// The name of a pipeline.
pub(crate) fn pipeline(place: u64) -> String {
    format!("bench-{place}")
}

/// What a server is to serve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// How many subscribers come to each pipeline.
    pub(crate) connections: u32,
    /// How many pipelines there are.
    pub(crate) pipelines: u64,
    /// Where the sidecar keeps their events. The floor keeps none.
    pub(crate) storage: Storage,
}

/// Where the sidecar keeps events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    /// In memory.
    Memory,
    /// On the disk of the folder for temporary files.
    Disk,
}

impl Setup {
    /// One pipeline, in memory, for so many subscribers.
    pub(crate) const fn of(connections: u32) -> Self {
        Self { connections, pipelines: 1, storage: Storage::Memory }
    }
}

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one that only writes.
    Floor,
    /// The sidecar.
    Sidecar,
}

/// A running server. It ends when this is dropped, and when this process ends.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    kind: Kind,
    addresses: Addresses,
    /// Holds the manifest, and what the server prints.
    folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Addresses {
    public: SocketAddr,
    publish: SocketAddr,
    admin: SocketAddr,
}

impl Kind {
    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Sidecar => "sidecar",
        }
    }
}

impl Server {
    /// Starts a server, and returns when it is ready.
    pub(crate) fn start(kind: Kind, program: &Path, setup: Setup, cores: Cores) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let addresses = match kind {
            Kind::Floor => Addresses::one()?,
            Kind::Sidecar => Addresses::three()?,
        };
        let command = match kind {
            Kind::Floor => floor(addresses)?,
            Kind::Sidecar => sidecar(program, setup, addresses, &folder)?,
        };
        let output = fs::File::create(folder.path().join("output"))?;
        let mut launch = Command::new(env::current_exe()?);
        launch.arg("launch");
        if let Some(core) = cores.server() {
            launch.args(["--core", &core.to_string()]);
        }
        launch.arg("--").args(command);
        launch.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = launch.spawn().context("can't start a server")?;
        let mut server = Self { child, kind, addresses, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where subscribers connect.
    pub(crate) const fn public(&self) -> SocketAddr {
        self.addresses.public
    }

    /// Where events are posted.
    pub(crate) const fn publish(&self) -> SocketAddr {
        self.addresses.publish
    }

    /// What the server printed, to explain a failure.
    pub(crate) fn printed(&self) -> String {
        let mut text = String::new();
        let file = fs::File::open(self.folder.path().join("output"));
        let read = file.and_then(|mut file| {
            file.rewind()?;
            file.read_to_string(&mut text)
        });
        match (read, text.trim()) {
            (Err(error), _) => {
                format!("what the {} printed can't be read: {error}", self.kind.name())
            }
            (Ok(_), "") => format!("the {} printed nothing", self.kind.name()),
            (Ok(_), text) => format!("the {} printed:\n{text}", self.kind.name()),
        }
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let probed = Caller::connect(self.addresses.admin).and_then(|mut it| it.call(PROBE));
            let Err(error) = probed else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                bail!("the {} ended with {status}; {}", self.kind.name(), self.printed());
            }
            if Instant::now() >= deadline {
                let name = self.kind.name();
                return Err(error.context(format!("the {name} isn't ready; {}", self.printed())));
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Addresses {
    fn one() -> Result<Self> {
        let [only] = free()?;
        Ok(Self { public: only, publish: only, admin: only })
    }

    fn three() -> Result<Self> {
        let [public, publish, admin] = free()?;
        Ok(Self { public, publish, admin })
    }
}

/// Addresses that nobody listens on.
fn free<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    // All are held until all are known, so that they differ.
    let mut listeners = Vec::new();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); COUNT];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(addresses)
}

fn floor(addresses: Addresses) -> Result<Vec<OsString>> {
    let listen = addresses.public.to_string();
    Ok(vec![env::current_exe()?.into(), "floor".into(), "--listen".into(), listen.into()])
}

fn sidecar(
    program: &Path,
    setup: Setup,
    addresses: Addresses,
    folder: &TempDir,
) -> Result<Vec<OsString>> {
    let Setup { connections, pipelines, storage } = setup;
    let path = folder.path().join("pipelines.yaml");
    // Some come to rehearse, and may still be there when their successors come.
    let connections = 2 * connections + 100;
    let manifests = (0..pipelines).map(|place| manifest(&pipeline(place), connections, storage));
    fs::write(&path, manifests.collect::<String>())?;
    let Addresses { public, publish, admin } = addresses;
    let mut command = vec![program.into(), "run".into(), path.into()];
    for (flag, address) in [("--public", public), ("--publish", publish), ("--admin", admin)] {
        command.extend([flag.into(), address.to_string().into()]);
    }
    if storage == Storage::Disk {
        command.extend(["--data-dir".into(), folder.path().join("data").into()]);
    }
    command.push("--status=never".into());
    Ok(command)
}
