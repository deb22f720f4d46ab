//! An echo server over WebSocket, of the parts that serve subscribers: the handshake, the decoder and the
//! encoder, compression, the closing handshake, and the engine that reads and writes. Any conformance suite can
//! be pointed at it:
//!
//! ```sh
//! cargo run --release -p weir-sidecar --example ws_echo -- 9001
//! ```

use std::{
    convert::Infallible,
    env,
    error::Error,
    io::IoSlice,
    net::Ipv4Addr,
    sync::Arc,
    task::Context,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use weir_sidecar::{
    count::EndReason,
    engine::{Engine, Lane},
    frame::websocket::{
        CloseCode, Coding, Data, Dialogue, Handshake, Heard, encode_close, encode_data, handshake,
    },
    session::Conversation,
};

/// The largest message: suites go up to 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

/// How much waits for the peer before no more of it is read.
const MOST_WAITING: usize = 64 << 10;

/// A peer that takes nothing for this long is gone.
const STALL: Duration = Duration::from_secs(30);

type Answer = Response<Empty<Bytes>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).unwrap_or_else(|| "9001".to_owned()).parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    println!("an echo at ws://{}", listener.local_addr()?);
    let engine = Engine::start(1)?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(serve(socket, Arc::clone(engine.lane())));
    }
}

async fn serve(socket: TcpStream, lane: Arc<Lane>) {
    // It only fails with a socket that is gone.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request| answer(request, Arc::clone(&lane)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    if let Err(error) = connection.with_upgrades().await {
        eprintln!("no handshake: {error}");
    }
}

async fn answer(request: Request<Incoming>, lane: Arc<Lane>) -> Result<Answer, Infallible> {
    Ok(match handshake(request.headers()) {
        Ok(handshake) => accept(request, &handshake, lane),
        Err(error) => {
            eprintln!("refused a handshake: {error}");
            let mut refusal = Response::new(Empty::new());
            *refusal.status_mut() = StatusCode::BAD_REQUEST;
            refusal
        }
    })
}

fn accept(request: Request<Incoming>, handshake: &Handshake, lane: Arc<Lane>) -> Answer {
    let agreement = handshake.offer.agree();
    let coding = agreement.map_or(Coding::Plain, |agreement| agreement.coding(0));
    tokio::spawn(async move {
        match upgrade::on(request).await {
            Ok(upgraded) => lane.hold(TokioIo::new(upgraded), &[], Echo::new(coding)),
            Err(error) => eprintln!("no upgrade: {error}"),
        }
    });
    handshake.answer(None, agreement).map(|()| Empty::new())
}

/// Says every message back, until one side closes.
struct Echo {
    coding: Coding,
    dialogue: Dialogue,
    out: Vec<u8>,
    /// How much of `out` is written.
    written: usize,
    over: bool,
}

impl Echo {
    fn new(coding: Coding) -> Self {
        let dialogue = Dialogue::new(MAX_MESSAGE, coding);
        Self { coding, dialogue, out: Vec::new(), written: 0, over: false }
    }
}

impl Conversation for Echo {
    fn wants_input(&self) -> bool {
        !self.over && self.out.len() - self.written < MOST_WAITING
    }

    fn hear(&mut self, mut bytes: &[u8], _: Instant) {
        while !self.over {
            match self.dialogue.hear(&mut bytes, &mut self.out) {
                Heard::Text(text) => encode_data(Data::Text(&text), self.coding, &mut self.out),
                Heard::Binary(data) => encode_data(Data::Binary(&data), self.coding, &mut self.out),
                Heard::Farewell => self.over = true,
                Heard::Nothing => return,
            }
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) {}

    fn slices(&self) -> [IoSlice<'_>; 4] {
        let rest = self.out.get(self.written..).unwrap_or_default();
        [rest, &[], &[], &[]].map(IoSlice::new)
    }

    fn advance(&mut self, count: usize, _: Instant) {
        self.written += count;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
    }

    fn tick(&mut self, blocked: Option<Instant>, now: Instant) -> bool {
        blocked.is_none_or(|since| now.saturating_duration_since(since) < STALL)
    }

    fn is_restless(&self, _: Instant) -> bool {
        false
    }

    fn ends_for(&mut self, _: EndReason) {}

    fn leave(&mut self, _: EndReason) {
        if !self.over {
            self.over = true;
            encode_close(CloseCode::ServiceRestart, "", &mut self.out);
        }
    }

    fn hurry(&mut self) {}

    fn is_over(&self) -> bool {
        self.over && self.out.is_empty()
    }

    fn lifetime(&self) -> Option<Duration> {
        None
    }

    fn shed(&mut self) -> Option<Duration> {
        None
    }

    fn drain_window(&self) -> Duration {
        Duration::ZERO
    }
}
