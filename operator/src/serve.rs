//! Serves HTTP/1.1, with or without TLS: an accept loop of our own under a tower service.
//!
//! # Laws
//!
//! - At most [`MOST_CONNECTIONS`] are open; further ones wait in the kernel's queue.
//! - A client that sends nothing, or half a request, holds its connection for seconds, not for ever; no
//!   connection lives longer than [`LONGEST_CONNECTION`].
//! - When `shutdown` is cancelled no connection is accepted any more, requests under way are answered,
//!   and [`serve`] returns after at most [`LONGEST_FAREWELL`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use warp::http::Request;
use warp::reply::Response;

/// An API server keeps a few connections, a scraper one; this leaves room for many of both.
const MOST_CONNECTIONS: usize = 256;
/// Longer than the API server waits for an admission; a handshake takes milliseconds.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);
/// For the head of a request, from its first byte.
const LONGEST_HEAD: Duration = Duration::from_secs(10);
/// For a request from its head to its answer. An API server waits for an admission for 30 seconds at most.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// After this the connection ends with the next answer; a client connects anew.
const LONGEST_CONNECTION: Duration = Duration::from_mins(10);
/// For requests under way at the end: an admission takes milliseconds.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);
/// Where no file descriptor is left, looking again at once would only burn CPU.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why an address can't be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "can't listen on {address} for {purpose}: {source}; free the port, or choose another by {flag}"
)]
pub struct BindError {
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
    source: std::io::Error,
}

/// Opens a port, named in the error by its purpose and by the flag that sets it.
///
/// # Errors
///
/// Fails where the port is taken or forbidden.
pub async fn bind(
    address: SocketAddr,
    purpose: &'static str,
    flag: &'static str,
) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| BindError { address, purpose, flag, source })
}

/// Serves until `shutdown` is cancelled.
pub async fn serve<S>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Some((stream, permit)) = next(&listener, &room, &shutdown).await {
        let (tls, service, shutdown) = (tls.clone(), service.clone(), shutdown.clone());
        connections.spawn(async move {
            converse(stream, tls, service, shutdown).await;
            drop(permit);
        });
    }
    connections.close();
    if timeout(LONGEST_FAREWELL, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections cut off");
    }
}

/// The next connection; `None` once no more are wanted.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(room).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // No part of an answer is to wait until the one before is acknowledged: the creation of
                    // a pod waits for it.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "answers may be slow");
                    }
                    return Some((stream, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        connection = accept => connection,
        () = shutdown.cancelled() => None,
    }
}

async fn converse<S>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let Some(acceptor) = tls else { return exchange(stream, service, shutdown).await };
    match timeout(LONGEST_HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => exchange(stream, service, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake too slow"),
    }
}

async fn exchange<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: S,
    shutdown: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send,
    S::Future: Send,
{
    let service = TowerToHyperService::new(service);
    // The connection ends with a request that takes longer, most likely as its body doesn't come.
    let service = service_fn(move |request| {
        timeout(LONGEST_REQUEST, service.call(request)).map_ok(|Ok(answer)| answer)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        () = end(&shutdown) => {
            connection.as_mut().graceful_shutdown();
            // Its client may not read the last answer.
            match timeout(LONGEST_REQUEST, connection).await {
                Ok(result) => result,
                Err(_) => return tracing::debug!("connection cut off"),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection broken");
    }
}

async fn end(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = sleep(LONGEST_CONNECTION) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use warp::Filter;

    use super::*;

    async fn start(shutdown: CancellationToken) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "tests", "--none").await.unwrap();
        let address = listener.local_addr().unwrap();
        let route = warp::path("hello").map(|| "hello".to_owned());
        (address, tokio::spawn(serve(listener, None, warp::service(route), shutdown)))
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_request_is_answered_by_the_route() {
        let (address, _) = start(CancellationToken::new()).await;
        let answer =
            ask(address, "GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hello"), "{answer}");
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_end() {
        let shutdown = CancellationToken::new();
        let (address, server) = start(shutdown.clone()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.unwrap();
        shutdown.cancel();
        timeout(Duration::from_secs(4), server).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_ends_its_connection() {
        let (mut client, server) = tokio::io::duplex(1_024);
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf";
        client.write_all(head).await.unwrap();
        let route = warp::body::bytes().map(|_| "whole".to_owned());
        let served = exchange(server, warp::service(route), CancellationToken::new());
        timeout(LONGEST_REQUEST * 2, served).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_one_clear_line() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(address, "metrics", "--admin-address").await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
        assert!(error.ends_with("free the port, or choose another by --admin-address"), "{error}");
    }
}
