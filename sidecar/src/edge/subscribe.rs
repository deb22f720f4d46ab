//! Answers a subscriber: checks what it asks for, finds its place, and writes the opening.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};

use super::{
    browser::is_short_of_connections,
    gate::{self, InUrl},
    later::{self, Acceptable, Later, Refusal},
    problem::{not_found, problem},
    query::{BadQuery, Parameters},
    routes::Service,
    takeover::{Handover, Manner, Takeover},
};
use crate::{
    auth::{Grant, Lease, Right, Shown, Visitor},
    clock,
    count::{Seat, Transport, TurnedAway, retry_soon_ms},
    filter::{Expression, Refused},
    frame::{
        self, Control, Format,
        websocket::{self, CloseCode, Coding, Handshake, HandshakeError, Subprotocol},
    },
    hub::{Client, Framing, Gap, Hub, NoFilter, OwnFilter, Position, Start},
    memory::Comer,
    pipeline::Pipeline,
    session::Access,
};

/// What a subscriber may ask for in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Resume after the event of this cursor.
    cursor: Option<String>,
    /// The same, as clients append it that can set no header: it is newer than `cursor`, with which they
    /// began.
    last_event_id: Option<String>,
    /// The same, in another spelling.
    last_event_id_too: Option<String>,
    /// Start at `earliest`, `latest`, or a time (RFC 3339).
    from: Option<String>,
    /// `cloudevents`: the data of an SSE event is the whole CloudEvent.
    format: Option<String>,
    /// `named`: an SSE event carries the event's type as its name.
    events: Option<String>,
    /// Which events to get, in CEL.
    filter: Option<String>,
}

pub(super) const LAST_EVENT_ID: &str = "last-event-id";

/// A response's `retry` is spread over this many milliseconds, so that subscribers who lost their
/// connection together don't return together.
const RETRY_MS: std::ops::Range<u64> = 1_000..3_000;

/// The parameters by these names.
const PARAMETERS: &[&str] =
    &["cursor", "lastEventId", "last_event_id", "from", "format", "events", "filter"];

impl Query {
    fn read(query: &str) -> Result<Self, BadQuery> {
        let mut given = Parameters::read(query, PARAMETERS)?;
        Ok(Self {
            cursor: given.take("cursor"),
            last_event_id: given.take("lastEventId"),
            last_event_id_too: given.take("last_event_id"),
            from: given.take("from"),
            format: given.take("format"),
            events: given.take("events"),
            filter: given.take("filter"),
        })
    }

    /// Where to start. The header wins over the query: a browser that reconnects sends the last cursor
    /// in the header, and still the first one in the query.
    fn position(&self, headers: &HeaderMap) -> Result<Position, &'static str> {
        let mut sent = headers.get_all(LAST_EVENT_ID).iter();
        let last_event_id = sent.next().filter(|value| !value.is_empty());
        if sent.next().is_some() {
            return Err("the header last-event-id is given twice: send it once");
        }
        if let Some(value) = last_event_id {
            return Ok(Position::of_cursor(value.to_str().unwrap_or_default()));
        }
        let cursors = [&self.last_event_id, &self.last_event_id_too, &self.cursor];
        // An empty one is what a client sends that has none yet.
        let cursor = cursors.into_iter().filter_map(Option::as_deref).find(|text| !text.is_empty());
        Position::asked(cursor, self.from.as_deref(), clock::micros())
    }

    /// The wire format of an SSE response.
    fn sse_format(&self) -> Result<Format, &'static str> {
        match (self.format.as_deref(), self.events.as_deref()) {
            (None | Some("data"), None | Some("message")) => Ok(Format::SseData),
            (None | Some("data"), Some("named")) => Ok(Format::SseNamed),
            (Some("cloudevents"), None | Some("message")) => Ok(Format::SseCloudEvents),
            _ => Err(
                "format must be data or cloudevents, and events must be message or named; only \
                      data can be named",
            ),
        }
    }
}

/// A subscriber's request.
pub(super) struct Subscription {
    /// The query as it stands in the URL.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) in_url: InUrl,
    pub(super) takeover: Takeover,
}

/// Serves a subscriber. Returns only if it can't.
pub(super) async fn serve(
    transport: Transport,
    service: &Service,
    pipeline: &Pipeline,
    subscription: Subscription,
) -> Response<Vec<u8>> {
    let Subscription { query, headers, in_url, takeover } = subscription;
    let manner = takeover.manner();
    let query = match Query::read(&query) {
        Ok(query) => query,
        Err(error) => return bad_query(&error.to_string()),
    };
    let mut grant = match enter(transport, pipeline, &headers, &in_url, manner).await {
        Ok(grant) => grant,
        Err(Refusal::Answer(response)) => return response,
        Err(Refusal::Farewell(farewell)) => match takeover.take(farewell).await {},
    };
    let answered = match transport {
        Transport::Sse => sse(service, pipeline, &grant, &query, &headers, manner).await,
        Transport::WebSocket => {
            web_socket(service, pipeline, &grant, &query, in_url.beside(&headers), manner).await
        }
    };
    match answered {
        Ok(mut handover) => {
            handover.lease = grant.lease;
            grant.spend();
            if transport == Transport::Sse {
                let (guard, head) = (pipeline.guard(), handover.head.headers_mut());
                gate::keep_private(guard, head);
                if let Some(cors) = guard.cors() {
                    cors.allow(&headers, head);
                }
            }
            match takeover.take(handover).await {}
        }
        Err(Refusal::Answer(response)) => response,
        Err(Refusal::Farewell(farewell)) => {
            // A ticket that opened nothing is as good as before.
            drop(grant);
            match takeover.take(farewell).await {}
        }
    }
}

/// Lets a subscriber in, or answers it. A condition that passes ends no client for good.
async fn enter(
    transport: Transport,
    pipeline: &Pipeline,
    headers: &HeaderMap,
    in_url: &InUrl,
    manner: Manner,
) -> Result<Grant, Refusal> {
    let guard = pipeline.guard();
    let page = match transport {
        // A browser lets a page read the answer, or doesn't, by what its head says.
        Transport::Sse => Ok(()),
        Transport::WebSocket => guard.admit_page(headers),
    };
    let granted = match page {
        Ok(()) => guard.authorize(in_url.beside(headers), Right::Subscribe).await,
        Err(refusal) => Err(refusal),
    };
    granted.map_err(|refusal| match transport {
        Transport::Sse if refusal.is_passing() && later::asks_for_events(headers) => {
            later::come_back(headers, refusal.label(), &refusal.to_string(), retry_soon_ms()).into()
        }
        Transport::WebSocket if refusal.is_passing() => match shake_hands(manner, headers) {
            Ok(handshake) => acceptable(pipeline.hub(), &handshake, headers).farewell(
                refusal.label(),
                &refusal.to_string(),
                retry_soon_ms(),
                CloseCode::TryAgainLater,
            ),
            Err(error) => refuse_handshake(error).into(),
        },
        Transport::Sse | Transport::WebSocket => gate::refuse(guard, refusal).into(),
    })
}

async fn sse(
    service: &Service,
    pipeline: &Pipeline,
    grant: &Grant,
    query: &Query,
    headers: &HeaderMap,
    manner: Manner,
) -> Result<Handover, Refusal> {
    let hub = pipeline.hub();
    if !offers_sse(pipeline) {
        return Err(not_served(pipeline, "sse").into());
    }
    if manner.tunnel {
        return Err(no_web_socket().into());
    }
    let position = query.position(headers).map_err(bad_query)?;
    let format = query.sse_format().map_err(bad_query)?;
    let refuse = |later: Later| later.answer(hub, headers);
    let wished = wished(hub, query.filter.as_deref(), refuse).await?;
    let comer = comer(hub, &position);
    let seat = take_seat(service, hub, Transport::Sse, manner, comer).await.map_err(refuse)?;
    let seat = with_filter(pipeline, (grant, manner.address), seat, wished).map_err(refuse)?;
    let framing = framing(manner.version);
    let open = |cursor: &str, opening: &mut Vec<u8>| {
        frame::sse_open(cursor, fastrand::u64(RETRY_MS), opening);
    };
    let start = start(hub, &position).await.map_err(refuse)?;
    if is_short_of_connections(manner.version, headers) {
        hub.accounts().browsers_over_http1.add(1);
    }
    Ok(hand_over(hub, seat, start, format, framing, sse_head(), open))
}

async fn web_socket(
    service: &Service,
    pipeline: &Pipeline,
    grant: &Grant,
    query: &Query,
    shown: Shown<'_>,
    manner: Manner,
) -> Result<Handover, Refusal> {
    let (hub, headers) = (pipeline.hub(), shown.headers);
    if hub.settings().ping.is_none() {
        return Err(not_served(pipeline, "ws").into());
    }
    let handshake = shake_hands(manner, headers).map_err(refuse_handshake)?;
    let position = query.position(headers).map_err(bad_query)?;
    let acceptable = acceptable(hub, &handshake, headers);
    let refuse = |later: Later| acceptable.refuse(hub, later);
    let wished = wished(hub, query.filter.as_deref(), refuse).await?;
    let comer = match acceptable.face {
        Subprotocol::Json | Subprotocol::CloudEvents => comer(hub, &position),
        // Each of its subscriptions says where it starts.
        Subprotocol::Multiplexed => Comer::Resuming,
    };
    let seat =
        take_seat(service, hub, Transport::WebSocket, manner, comer).await.map_err(refuse)?;
    if acceptable.face == Subprotocol::Multiplexed {
        let visitor = pipeline.guard().visitor(shown, grant);
        let access = reach(service, visitor, manner);
        return Ok(hand_over_session(access, hub, seat, acceptable));
    }
    let seat = with_filter(pipeline, (grant, manner.address), seat, wished).map_err(refuse)?;
    let start = start(hub, &position).await.map_err(refuse)?;
    let Acceptable { head, face: _, format } = acceptable;
    let open =
        |cursor: &str, opening: &mut Vec<u8>| websocket::encode_open(format, cursor, opening);
    Ok(hand_over(hub, seat, start, format, Framing::Bare, head, open))
}

/// What a WebSocket will be, from what its client can do.
fn acceptable(hub: &Hub, handshake: &Handshake, headers: &HeaderMap) -> Acceptable {
    let subprotocol = websocket::offered(headers).subprotocol;
    let compression = hub.settings().compression;
    let agreement = compression.and_then(|min_size| Some((handshake.offer.agree()?, min_size)));
    let coding =
        agreement.map_or(Coding::Plain, |(agreement, min_size)| agreement.coding(min_size));
    let head = handshake.answer(subprotocol, agreement.map(|(agreement, _)| agreement));
    let face = subprotocol.unwrap_or_default();
    let format = match face {
        Subprotocol::Json | Subprotocol::Multiplexed => Format::WsJson(coding),
        Subprotocol::CloudEvents => Format::WsCloudEvents(coding),
    };
    Acceptable { head, face, format }
}

pub(super) fn comer(hub: &Hub, position: &Position) -> Comer {
    if hub.can_resume(position) { Comer::Resuming } else { Comer::New }
}

/// A place among the pipeline's connections, unless there is none, or this replica takes nobody.
async fn take_seat(
    service: &Service,
    hub: &Hub,
    transport: Transport,
    manner: Manner,
    comer: Comer,
) -> Result<Seat, Later> {
    let seat = async {
        if !service.memory.pressure().admits(comer) {
            let message = "this replica is short of memory";
            return Err(Later::new(TurnedAway::MemoryPressure, &message));
        }
        let seat = hub.seat(transport, manner.address).await;
        seat.map_err(|none| Later::new(none.reason(), &none))
    };
    tokio::select! {
        biased;
        () = service.draining.cancelled() => {
            Err(Later::new(TurnedAway::Draining, &"this replica is stopping"))
        }
        seat = seat => seat,
    }
}

fn with_filter(
    pipeline: &Pipeline,
    who: (&Grant, IpAddr),
    seat: Seat,
    wished: Option<Arc<Expression>>,
) -> Result<Seat, Later> {
    let filter = shared(pipeline, who, wished);
    let filter = filter.map_err(|none| Later::new(none.reason(), &none))?;
    Ok(seat.with_filter(filter))
}

/// Where a subscriber with this position starts to read.
async fn start(hub: &Hub, position: &Position) -> Result<Start, Later> {
    let started = hub.start(position).await;
    started.map_err(|error| Later::new(TurnedAway::LogUnavailable, &error))
}

/// What a session may reach that this visitor opens.
fn reach(service: &Service, visitor: Visitor, manner: Manner) -> Access {
    Access {
        registry: Arc::clone(&service.registry),
        secure: manner.secure,
        visitor: Arc::new(visitor),
        client: Client::of_socket(manner.address),
        memory: service.memory.clone(),
        messages: service.budgets.messages.clone(),
    }
}

/// Gives a connection to a session, which begins by itself.
fn hand_over_session(
    access: Access,
    hub: &Arc<Hub>,
    seat: Seat,
    acceptable: Acceptable,
) -> Handover {
    let Acceptable { head, face: _, format } = acceptable;
    Handover {
        head,
        opening: Vec::new(),
        hub: Arc::clone(hub),
        seat: seat.occupied(),
        format,
        framing: Framing::Bare,
        next: hub.head(),
        lease: Lease::default(),
        session: Some(access),
    }
}

/// The filter that the subscriber asks for. `busy` answers where it can't be read just now.
pub(super) async fn wished<R: From<Response<Vec<u8>>>>(
    hub: &Hub,
    filter: Option<&str>,
    busy: impl FnOnce(Later) -> R,
) -> Result<Option<Arc<Expression>>, R> {
    let Some(source) = filter.filter(|source| !source.trim().is_empty()) else {
        return Ok(None);
    };
    hub.expression(source).await.map(Some).map_err(|refused| {
        hub.accounts().filters_refused.count(&refused);
        let message = format!("filter: {refused}");
        match refused {
            Refused::Busy => busy(Later::new(TurnedAway::TooManyFilters, &message)),
            Refused::Length { .. }
            | Refused::Syntax { .. }
            | Refused::Meaning { .. }
            | Refused::Absent => problem("filter", StatusCode::BAD_REQUEST, message).into(),
        }
    })
}

/// The filter that a subscriber gets: what it asks for of what it may have.
pub(super) fn shared(
    pipeline: &Pipeline,
    (grant, address): (&Grant, IpAddr),
    wished: Option<Arc<Expression>>,
) -> Result<Option<OwnFilter>, NoFilter> {
    let hub = pipeline.hub();
    hub.filter(pipeline.demand(grant, Client::at(address), wished))
        .inspect_err(|error| hub.accounts().filters_refused.turned_away(error.reason()))
}

/// Writes the opening: the position first, then what is missing.
fn hand_over(
    hub: &Arc<Hub>,
    seat: Seat,
    start: Start,
    format: Format,
    framing: Framing,
    head: Response<()>,
    open: impl FnOnce(&str, &mut Vec<u8>),
) -> Handover {
    let cursor = hub.cursor(start.next - 1).to_string();
    let mut opening = Vec::new();
    open(&cursor, &mut opening);
    tell_gap(hub, format, start, &cursor, &mut opening);
    let hub = Arc::clone(hub);
    Handover {
        head,
        opening,
        hub,
        seat: seat.occupied(),
        format,
        framing,
        next: start.next,
        lease: Lease::default(),
        session: None,
    }
}

pub(super) fn bad_query(detail: &str) -> Response<Vec<u8>> {
    problem("query", StatusCode::BAD_REQUEST, detail)
}

/// Appends what a start has to say about missing events.
///
/// They are no delivery that failed: they left the log, or the log left, while nobody was there to
/// read them, and a cursor is only what its bearer says it is.
fn tell_gap(hub: &Hub, format: Format, start: Start, to: &str, opening: &mut Vec<u8>) {
    let Some(Gap { from, missed, reason }) = start.gap else { return };
    hub.accounts().gaps.count(reason);
    let from = from.map(|cursor| cursor.to_string());
    let control = Control::Gap { from: from.as_deref(), to, missed, reason };
    frame::encode_control(format, &control, opening);
}

fn framing(version: Version) -> Framing {
    if version == Version::HTTP_11 { Framing::Chunked } else { Framing::Bare }
}

/// The head of an SSE response. No cache may keep it, no proxy transform or buffer it.
fn sse_head() -> Response<()> {
    let mut head = Response::new(());
    let headers = head.headers_mut();
    let text = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, text("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, text("no-cache, no-transform"));
    headers.insert("x-accel-buffering", text("no"));
    head
}

/// Checks a request for a WebSocket, in the manner in which it came.
fn shake_hands(manner: Manner, headers: &HeaderMap) -> Result<Handshake, HandshakeError> {
    if manner.tunnel {
        websocket::tunnel_handshake(headers)
    } else if manner.version == Version::HTTP_2 {
        Err(HandshakeError::NotATunnel)
    } else if manner.version < Version::HTTP_11 {
        // RFC 6455, section 4.1.
        Err(HandshakeError::NotAnUpgrade)
    } else {
        websocket::handshake(headers)
    }
}

fn no_web_socket() -> Response<Vec<u8>> {
    problem(
        "handshake",
        StatusCode::BAD_REQUEST,
        "Server-Sent Events are asked for by a GET: a WebSocket is at /{pipeline}/ws",
    )
}

/// Whether the pipeline is subscribed to over SSE.
pub(super) fn offers_sse(pipeline: &Pipeline) -> bool {
    pipeline.hub().settings().heartbeat.is_some()
}

pub(super) fn not_served(pipeline: &Pipeline, endpoint: &str) -> Response<Vec<u8>> {
    let name = &pipeline.config().name;
    not_found(format!("the pipeline {name} doesn't serve /{name}/{endpoint}"))
}

fn refuse_handshake(error: HandshakeError) -> Response<Vec<u8>> {
    let (status, name, value) = match error {
        HandshakeError::NotAnUpgrade => {
            (StatusCode::UPGRADE_REQUIRED, header::UPGRADE, "websocket")
        }
        HandshakeError::Version => {
            (StatusCode::UPGRADE_REQUIRED, header::SEC_WEBSOCKET_VERSION, "13")
        }
        HandshakeError::Key | HandshakeError::NotATunnel | HandshakeError::Extensions(_) => {
            (StatusCode::BAD_REQUEST, header::CONNECTION, "close")
        }
    };
    let mut response = problem("handshake", status, error.to_string());
    let names_a_protocol = name == header::UPGRADE;
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    if names_a_protocol {
        // RFC 9110, section 7.8.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Cursor, LogId};

    fn query(text: &str) -> Query {
        Query::read(text).unwrap()
    }

    #[test]
    fn the_header_wins_over_the_query() {
        let [a, b] = [1, 2].map(|offset| Cursor { log: LogId::random(), offset });
        let mut headers = HeaderMap::new();
        let query = query(&format!("cursor={a}&from=earliest"));
        assert_eq!(query.position(&headers), Ok(Position::After(a)));
        headers.insert(LAST_EVENT_ID, HeaderValue::from_str(&b.to_string()).unwrap());
        assert_eq!(query.position(&headers), Ok(Position::After(b)));
        headers.append(LAST_EVENT_ID, HeaderValue::from_static(""));
        assert!(query.position(&headers).unwrap_err().contains("given twice"));
    }

    #[test]
    fn what_a_client_appends_wins_over_what_it_began_with() {
        let [a, b] = [1, 2].map(|offset| Cursor { log: LogId::random(), offset });
        for name in ["lastEventId", "last_event_id"] {
            let both = query(&format!("cursor={a}&{name}={b}"));
            assert_eq!(both.position(&HeaderMap::new()), Ok(Position::After(b)));
            let empty = query(&format!("cursor={a}&{name}="));
            assert_eq!(empty.position(&HeaderMap::new()), Ok(Position::After(a)));
        }
        assert_eq!(query("cursor=").position(&HeaderMap::new()), Ok(Position::Latest));
    }

    #[test]
    fn without_a_wish_a_subscriber_starts_at_the_next_event() {
        assert_eq!(query("").position(&HeaderMap::new()), Ok(Position::Latest));
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, HeaderValue::from_static(""));
        assert_eq!(query("").position(&headers), Ok(Position::Latest));
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        let from = |text: &str| query(&format!("from={text}")).position(&HeaderMap::new());
        assert_eq!(from("earliest"), Ok(Position::Earliest));
        assert_eq!(from("1970-01-01T00:00:01.5Z"), Ok(Position::At(1_500_000)));
        assert_eq!(from("1969-01-01T00:00:00Z"), Ok(Position::At(0)));
        assert!(from("yesterday").is_err());
    }

    #[test]
    fn an_unreadable_cursor_is_no_error_but_a_gap() {
        assert_eq!(query("cursor=nonsense").position(&HeaderMap::new()), Ok(Position::Malformed));
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert_eq!(query("").sse_format(), Ok(Format::SseData));
        assert_eq!(query("events=named").sse_format(), Ok(Format::SseNamed));
        assert_eq!(query("format=cloudevents").sse_format(), Ok(Format::SseCloudEvents));
        for bad in ["format=xml", "events=all", "format=cloudevents&events=named"] {
            assert!(query(bad).sse_format().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_that_speaks_http_1_0_gets_no_chunks() {
        assert_eq!(framing(Version::HTTP_10), Framing::Bare);
        assert_eq!(framing(Version::HTTP_11), Framing::Chunked);
    }
}
