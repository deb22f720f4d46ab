//! `weir.v1`: whatever a client says, in whatever order, each message of the server is one that it may say,
//! a request that can be carried out is, and nothing of the session is left when it is over.

use std::{
    future::poll_fn,
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    task::Poll,
    time::{Duration, Instant},
};

use http::HeaderMap;
use serde_json::Value;
use weir_sidecar::{
    auth::{Grant, Shown},
    count::{EndReason, Seat, Transport},
    frame::websocket::Coding,
    hub::{Client, Hub},
    memory::{Budgets, Memory},
    registry::Registry,
    session::{Access, Conversation as _, Home, Session},
};

use super::{frames, server::Server};

const MANIFEST: &str = "\
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: orders, namespace: shop}
spec:
  placement: {gateway: {}}
  sources: [{name: app, http: {maxEventBytes: 16Ki}}]
  log: {retention: {maxEvents: 50, maxBytes: 64Ki}}
  endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
---
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: quiet, namespace: shop}
spec:
  placement: {gateway: {}}
  sources: [{name: ticks, generator: {rate: 1}}]
  endpoints: {sse: {}, websocket: {}}
";

/// As many as a session takes without waiting for itself.
const MOST_MESSAGES: usize = 16;

/// Much longer than a session takes for all of them.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the last message asks for; no other may have this id, or the law below would not hold.
const LAST: &str = "the last of all";

/// What a server says, by its type.
const SAID: [&str; 11] = [
    "hello",
    "subscribed",
    "unsubscribed",
    "published",
    "pong",
    "failure",
    "events",
    "gap",
    "position",
    "draining",
    "heartbeat",
];

static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(MANIFEST));

pub(super) fn talk(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let messages = text.split('\n').take(MOST_MESSAGES).filter(|message| !message.contains(LAST));
    let Server { runtime, registry, .. } = &*SERVER;
    let pipeline = registry.get("orders").expect("it is served");
    let hub = pipeline.hub();
    let before = hub.accounts().subscribers();
    runtime.block_on(async {
        let seat = hub.take_seat(Transport::WebSocket, None).expect("there is a seat");
        let home = home(registry, hub, seat);
        let mut session = Session::new(home, b"");
        for message in messages {
            session.hear(&framed(message), Instant::now());
        }
        session.hear(&framed(&format!("{{\"type\":\"ping\",\"id\":\"{LAST}\"}}")), Instant::now());
        let mut said = Said::default();
        let answered = poll_fn(|context| {
            loop {
                session.poll(context);
                if !said.take(&mut session) {
                    return if said.is_answered { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        });
        tokio::time::timeout(PATIENCE, answered).await.expect("the last request is answered");
        assert!(session.tick(None, Instant::now()), "the peer was heard a moment ago");
        session.leave(EndReason::Drain);
        while said.take(&mut session) {}
        assert!(session.is_over(), "something is left to say");
    });
    assert_eq!(hub.accounts().subscribers(), before, "a seat is still taken");
}

/// What a client has of whom nothing is asked.
fn home(registry: &Arc<Registry>, hub: &Arc<Hub>, seat: Seat) -> Home {
    let (headers, grant) = (HeaderMap::new(), Grant::default());
    let shown = Shown { headers: &headers, ticket: None, token_in_url: false };
    let pipeline = registry.get("orders").expect("it is served");
    let access = Access {
        registry: Arc::clone(registry),
        secure: false,
        visitor: Arc::new(pipeline.guard().visitor(shown, &grant)),
        client: Client::of_socket(Ipv4Addr::LOCALHOST.into()),
        memory: Memory::unbounded(),
        messages: Budgets::of(None).messages,
    };
    let lease = grant.lease;
    Home { access, hub: Arc::clone(hub), seat, lease, coding: Coding::Plain, part: 0 }
}

/// What the server has said.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    is_answered: bool,
}

impl Said {
    /// Takes what is to be written; `false` where nothing is.
    fn take(&mut self, session: &mut Session) -> bool {
        let written: Vec<u8> =
            session.slices().iter().flat_map(|slice| slice.iter().copied()).collect();
        if written.is_empty() {
            return false;
        }
        session.advance(written.len(), Instant::now());
        self.bytes.extend(written);
        self.read();
        true
    }

    /// Reads the whole frames.
    fn read(&mut self) {
        loop {
            let (header, length) = match self.bytes[..] {
                [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
                [_, 127, a, b, c, d, e, f, g, h, ..] => {
                    (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
                }
                [_, length, ..] if length < 126 => (2, usize::from(length)),
                _ => return,
            };
            if self.bytes.len() < header + length {
                return;
            }
            let frame: Vec<u8> = self.bytes.drain(..header + length).collect();
            match frame[0] {
                0x81 => self.hear(&frame[header..]),
                // A close, or a pong to what was no text.
                0x88 | 0x8a => {}
                other => panic!("the server said {other:#x}"),
            }
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let message: Value = serde_json::from_slice(message).expect("a message is JSON");
        let kind = message["type"].as_str().expect("a message has a type");
        assert!(SAID.contains(&kind), "the server said {kind}");
        self.is_answered |= kind == "pong" && message["id"] == LAST;
    }
}

/// A text message as a client sends it.
fn framed(text: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frames::push(0x81, text.as_bytes(), &mut frame);
    frame
}
