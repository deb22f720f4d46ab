//! Binds the listeners, and says in one line what is in the way.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

use crate::args::Run;

/// How many connections may wait to be accepted: a storm of reconnections. The kernel caps it by
/// `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is taken.
    #[error("{address} is in use by another process: stop it, or choose another address by {flag}")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// The option that sets it.
        flag: &'static str,
    },
    /// Something else is in the way.
    #[error("can't listen on {address} ({flag}): {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The option that sets it.
        flag: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The Unix socket can't be made.
    #[error("can't listen on {path} (--publish-socket): {source}")]
    Unix {
        /// The path.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Bound listeners.
#[derive(Debug)]
pub struct Listeners {
    /// Where subscribers connect.
    pub public: TcpListener,
    /// Where probes, metrics and samples are served.
    pub admin: TcpListener,
    /// Where the application publishes.
    pub publish: TcpListener,
    /// Where it publishes, too.
    pub publish_socket: Option<UnixListener>,
}

impl Listeners {
    /// Binds what the command line asks for.
    ///
    /// # Errors
    ///
    /// Says which address is in the way, and the option that changes it.
    pub async fn bind(run: &Run) -> Result<Self, BindError> {
        let publish_socket =
            match &run.publish_socket {
                Some(path) => Some(bind_unix(path).await.map_err(|source| BindError::Unix {
                    path: path.display().to_string(),
                    source,
                })?),
                None => None,
            };
        Ok(Self {
            public: bind(run.public, "--public")?,
            admin: bind(run.admin, "--admin")?,
            publish: bind(run.publish, "--publish")?,
            publish_socket,
        })
    }
}

fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    let listening = match listen(address) {
        // `[::]` means every address, also of a machine that has no IPv6.
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED && !has_ipv6() => {
            listen((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        listening => listening,
    };
    listening.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            BindError::InUse { address, flag }
        } else {
            BindError::Tcp { address, flag, source }
        }
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether the machine has IPv6, and not only a kernel that could.
fn has_ipv6() -> bool {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    TcpSocket::new_v6().and_then(|socket| socket.bind(address)).is_ok()
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    // What a killed process left behind answers nobody. Anything but a socket is somebody's file.
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // The containers of a pod run as different users; who may reach the directory may publish.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
