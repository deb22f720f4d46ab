//! One stream of HTTP/2: a request, and its answer or the stream that it becomes.

use std::{future::poll_fn, mem};

use bytes::Bytes;
use h2::{Reason, ext::Protocol, server::SendResponse};
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Body as _;

use super::{
    super::{
        accept::{Caller, answer},
        arrivals::Fault,
        head,
        line::{Answering, Until},
        takeover::{Handover, Manner, Taken, Takeover},
    },
    Shared,
    body::{self, Leftover, Received},
    load::Admitted,
};

/// A stream whose request has come.
pub(super) struct Exchange {
    shared: Shared,
    respond: SendResponse<Bytes>,
    /// Its room, until it is answered or is a stream.
    _admitted: Admitted,
}

impl Exchange {
    pub(super) fn new(shared: &Shared, respond: SendResponse<Bytes>, admitted: Admitted) -> Self {
        Self { shared: shared.clone(), respond, _admitted: admitted }
    }

    /// Answers the request, or gives its stream away.
    pub(super) async fn run(mut self, request: Request<Received>) {
        let answering = Answering::begin(&self.shared.line);
        let Caller { peer, secure } = self.shared.caller;
        let (version, tunnel) = (request.version(), is_tunnel(&request));
        let manner = Manner { version, tunnel, secure, address: peer.0 };
        if request.method() == Method::CONNECT && !manner.tunnel {
            // This is no proxy, and knows no other protocol.
            return self.respond.send_reset(Reason::REFUSED_STREAM);
        }
        let is_head = request.method() == Method::HEAD;
        let (mut request, leftover) = body::lend(request);
        if manner.tunnel {
            // What RFC 6455 opens by a GET.
            *request.method_mut() = Method::GET;
        }
        let (takeover, taken) = Takeover::channel();
        let takeover = takeover.with_manner(manner);
        let answered = answer(self.shared.routes.clone(), takeover, self.shared.caller, request);
        tokio::select! {
            biased;
            Ok(taken) = taken => match taken {
                Taken::Stream(handover) => {
                    drop(answering);
                    self.hand_to_lane(*handover, &leftover);
                }
                Taken::Farewell(farewell) => {
                    farewell.say_inside(&mut self.respond, leftover.take()).await;
                }
            },
            response = answered => tokio::select! {
                biased;
                () = self.send(response, is_head) => {}
                never = leftover.discard() => match never {},
            },
            // Nobody waits for the answer any more.
            _ = poll_fn(|context| self.respond.poll_reset(context)) => {}
            never = leftover.discard() => match never {},
        }
    }

    async fn send(mut self, response: warp::reply::Response, is_head: bool) {
        let (mut parts, body) = response.into_parts();
        let until = parts.extensions.get::<Until>().map(|Until(moment)| *moment);
        head::http2(&mut parts.headers);
        if let Some(size) = body.size_hint().exact() {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
        }
        let ended = is_head || body.is_end_stream();
        let head = Response::from_parts(parts, ());
        let Ok(mut stream) = self.respond.send_response(head, ended) else { return };
        if !ended && !body::send(body, &mut stream, until).await {
            self.shared.acceptor.arrivals.note(Fault::Unread);
            stream.send_reset(Reason::CANCEL);
        }
    }

    fn hand_to_lane(mut self, mut handover: Handover, leftover: &Leftover) {
        let mut head = mem::take(&mut handover.head);
        head::http2(head.headers_mut());
        let Some(receive) = leftover.take() else { return };
        let Ok(send) = self.respond.send_response(head, false) else { return };
        let token = self.shared.subscribers.token();
        // From here on its seat bounds the connection.
        drop(self.shared.slot.lock().take());
        let adoption = handover.adopt_begun((send, receive, token));
        self.shared.acceptor.engine.lane().adopt_http2(adoption);
    }
}

/// Whether a request opens a WebSocket inside its stream (RFC 8441).
fn is_tunnel<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}
