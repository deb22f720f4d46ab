//! Reads an issuer's keys, from its URL or from a mounted file.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;
use weir_crds::names::OF_SECRETS_DIR;

/// The largest set of keys; one of an issuer has a few KiB.
const MOST_BYTES: usize = 256 * 1024;

/// How long a reading may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where keys are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// By HTTP.
    Url {
        url: String,
        /// The file with the authorities that vouch for the server; those that browsers trust, where there is
        /// none.
        ca: Option<PathBuf>,
    },
    /// From a file.
    File(PathBuf),
}

/// Why keys can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the URL can't be understood")]
    Url,
    #[error("this build has no TLS: build it with --features full")]
    #[cfg(not(feature = "tls"))]
    NoTls,
    #[cfg(feature = "tls")]
    #[error(
        "{}: {error}: spec.auth.jwt.ca names this key of a Secret{OF_SECRETS_DIR}",
        path.display()
    )]
    Authorities { path: PathBuf, error: std::io::Error },
    #[error(
        "{}: {error}: spec.auth.jwt.jwks names this key of a Secret{OF_SECRETS_DIR}",
        path.display()
    )]
    File { path: PathBuf, error: std::io::Error },
    #[error("it took longer than 5 s")]
    Timeout,
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}, not 200; redirections are not followed")]
    Status(StatusCode),
    #[error("it has more than 256 KiB, or broke off")]
    Body,
}

impl Origin {
    /// Reads all there is.
    pub(super) async fn read(&self) -> Result<Vec<u8>, FetchError> {
        let read = async {
            match self {
                Self::Url { url, ca } => get(url, ca.as_deref()).await,
                Self::File(path) => file(path).await,
            }
        };
        timeout(PATIENCE, read).await.unwrap_or(Err(FetchError::Timeout))
    }
}

async fn file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let read = async {
        let file = tokio::fs::File::open(path).await?;
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).await
    };
    let read = read.await.map_err(|error| FetchError::File { path: path.to_owned(), error })?;
    if read > MOST_BYTES { Err(FetchError::Body) } else { Ok(bytes) }
}

async fn get(url: &str, ca: Option<&Path>) -> Result<Vec<u8>, FetchError> {
    let url: Uri = url.parse().map_err(|_| FetchError::Url)?;
    let host = url.host().ok_or(FetchError::Url)?;
    let is_https = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    // In a URL an address of IPv6 has brackets, and to the resolver it has none.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((name, port)).await?;
    if is_https { over_tls(socket, name, &url, ca).await } else { exchange(socket, &url).await }
}

#[cfg(feature = "tls")]
async fn over_tls(
    socket: TcpStream,
    name: &str,
    url: &Uri,
    ca: Option<&Path>,
) -> Result<Vec<u8>, FetchError> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned());
    let name = name.map_err(|_| FetchError::Url)?;
    let connector = match ca {
        None => super::trust::usual()?,
        Some(path) => {
            // Read anew each time: an authority may be exchanged, too.
            let fail = |error| FetchError::Authorities { path: path.to_owned(), error };
            let certificates = tokio::fs::read(path).await.map_err(fail)?;
            super::trust::of(&certificates).map_err(fail)?
        }
    };
    let socket = connector.connect(name, socket).await?;
    exchange(socket, url).await
}

#[cfg(not(feature = "tls"))]
async fn over_tls(_: TcpStream, _: &str, _: &Uri, _: Option<&Path>) -> Result<Vec<u8>, FetchError> {
    Err(FetchError::NoTls)
}

/// Asks on a connection, and reads the answer.
async fn exchange<I>(socket: I, url: &Uri) -> Result<Vec<u8>, FetchError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Ends with the exchange, whatever becomes of it.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|_| FetchError::Url)?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
    Ok(body.map_err(|_| FetchError::Body)?.to_bytes().into())
}
