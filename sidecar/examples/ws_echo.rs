//! An echo server over WebSocket, of the parts that serve subscribers: the handshake, the decoder and the
//! encoder, compression, and the closing handshake. Any conformance suite can be pointed at it:
//!
//! ```sh
//! cargo run --release -p weir-sidecar --example ws_echo -- 9001
//! ```

use std::{convert::Infallible, env, error::Error, net::Ipv4Addr};

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use weir_sidecar::frame::websocket::{
    Coding, Data, Dialogue, Handshake, Heard, encode_data, handshake,
};

/// The largest message: suites go up to 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

type Answer = Response<Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).unwrap_or_else(|| "9001".to_owned()).parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("an echo at ws://{}", listener.local_addr()?);
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(serve(socket));
    }
}

async fn serve(socket: TcpStream) {
    // It only fails with a socket that is gone.
    let _ = socket.set_nodelay(true);
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service_fn(answer))
        .with_upgrades();
    if let Err(error) = connection.await {
        eprintln!("no handshake: {error}");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(match handshake(request.headers()) {
        Ok(handshake) => accept(request, &handshake),
        Err(error) => {
            eprintln!("refused a handshake: {error}");
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            refusal
        }
    })
}

fn accept(request: Request<Incoming>, handshake: &Handshake) -> Answer {
    let agreement = handshake.offer.agree();
    let coding = agreement.map_or(Coding::Plain, |agreement| agreement.coding(0));
    tokio::spawn(async move {
        match upgrade::on(request).await {
            // A peer that is gone is no news.
            Ok(upgraded) => drop(echo(TokioIo::new(upgraded), coding).await),
            Err(error) => eprintln!("no upgrade: {error}"),
        }
    });
    handshake.answer(None, agreement).map(|()| Empty::new())
}

/// Sends every message back, until one side closes.
async fn echo(mut socket: TokioIo<upgrade::Upgraded>, coding: Coding) -> std::io::Result<()> {
    let mut dialogue = Dialogue::new(MAX_MESSAGE, coding);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut input = buffer.get(..count).unwrap_or_default();
        loop {
            let mut out = Vec::new();
            let heard = dialogue.hear(&mut input, &mut out);
            match &heard {
                Heard::Text(text) => encode_data(Data::Text(text), coding, &mut out),
                Heard::Binary(bytes) => encode_data(Data::Binary(bytes), coding, &mut out),
                Heard::Nothing | Heard::Farewell => {}
            }
            socket.write_all(&out).await?;
            match heard {
                Heard::Nothing => break,
                Heard::Farewell => return socket.shutdown().await,
                Heard::Text(_) | Heard::Binary(_) => {}
            }
        }
    }
}
