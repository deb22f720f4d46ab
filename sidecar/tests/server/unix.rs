//! The Unix socket on which the application publishes, as the command line names it.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use clap::Parser as _;
use tokio::net::UnixStream;
use weir_sidecar::{
    app::{BindError, Listeners},
    args::{Args, Command},
};

use crate::{
    client::{Answer, Request},
    fixture::{OPEN, Server, config},
};

/// Binds as `run` does with this socket.
async fn bind(socket: &Path) -> Result<Listeners, BindError> {
    let (free, socket) = ("127.0.0.1:0", socket.to_str().unwrap());
    let ports = ["--public", free, "--admin", free, "--publish", free];
    let line = [&["weir-sidecar", "run", "x.yaml"], &ports[..], &["--publish-socket", socket]];
    match Args::try_parse_from(line.concat()).unwrap().command {
        Command::Run(run) => Listeners::bind(&run).await,
        other @ Command::Drain(_) => panic!("{other:?}"),
    }
}

async fn serve(socket: &Path) -> Server {
    Server::start_on_listeners(bind(socket).await.unwrap(), config(OPEN, None))
}

async fn send(request: Request, socket: &Path) -> Answer {
    request.send_over(UnixStream::connect(socket).await.unwrap()).await
}

fn post() -> Request {
    Request::post("/orders/events").header("content-type", "application/json").body("1")
}

#[tokio::test]
async fn the_application_publishes_through_a_unix_socket_and_nothing_else_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("publish.sock");
    let server = serve(&socket).await;
    let mut sse = server.sse("").await;
    assert_eq!(send(post(), &socket).await.status, 200);
    assert_eq!(sse.next_data().await, "1");
    // The containers of a pod run as different users.
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(send(Request::get("/orders/sse"), &socket).await.status, 404);
    let from_a_page = post().header("origin", "https://evil.example");
    assert_eq!(send(from_a_page, &socket).await.status, 403);
    server.app.stop().await;
    assert!(UnixStream::connect(&socket).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_socket_that_a_killed_process_has_left_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("publish.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "it is left behind");
    let _server = serve(&socket).await;
    assert_eq!(send(post(), &socket).await.status, 200);
}

#[tokio::test]
async fn what_is_no_socket_or_still_answers_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("publish.sock");
    let _living = UnixListener::bind(&socket).unwrap();
    let refused = bind(&socket).await.unwrap_err().to_string();
    assert!(refused.contains("publish.sock (--publish-socket)"), "{refused}");
    assert!(UnixStream::connect(&socket).await.is_ok(), "it answers as before");
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(bind(&file).await.is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}
