//! Answers who reads a range of the log by GET: a page of events, at once or as soon as there is one.

use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time;

use super::{
    accepted::Accepted,
    problem::{problem, respond, set, unavailable},
    query::{BadQuery, Parameters},
    routes::Service,
    subscribe::{bad_query, comer, shared, wished},
    waiting::Place,
};
use crate::{
    auth::Grant,
    clock,
    count::retry_soon_ms,
    event::{push_member, push_number},
    frame::{self, Control, GapReason},
    hub::{Filter, Gap, Hub, Position, SKEW, Start, moment},
    log::{Cursor, Entry, LogError, Micros, Offset, Read},
    pipeline::Pipeline,
};

/// The events of a page for which no number is asked.
const USUAL_EVENTS: usize = 100;

/// The most events of a page.
const MOST_EVENTS: usize = 1_000;

/// The most bytes of a page's events, but one.
const MOST_BYTES: u64 = 1024 * 1024;

/// The longest wait: less than the minute after which many proxies close a silent connection.
const MOST_WAIT: Duration = Duration::from_secs(50);

/// A page that can never change: it ends where it was full, or where it was asked to. But who may read it can:
/// no cache gives it away for long after a token is asked for, or the log has let go of it.
const FIXED: &str = "public, max-age=86400, s-maxage=3600, immutable";

/// The newest page grows, so a cache is to ask whether it has.
const GROWING: &str = "no-cache";

/// Why there is no page now.
const UNAVAILABLE: &str = "unavailable";

/// Readers that waited for the same thing may share one answer; a second later there may be more.
const SHARED: &str = "public, max-age=1";

/// What a reader may ask for in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Read behind the event of this cursor.
    after: Option<String>,
    /// The same, by the name that subscribers know.
    cursor: Option<String>,
    /// Start at `earliest`, `latest`, or a time (RFC 3339).
    from: Option<String>,
    /// Stop behind the event of this cursor, or before the first event accepted at this time or later.
    until: Option<String>,
    /// The most events.
    limit: Option<String>,
    /// An expression that an event must match.
    filter: Option<String>,
    /// How long to wait where there is nothing yet, such as `30s`.
    wait: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    position: Position,
    until: Option<Until>,
    limit: usize,
    wait: Option<Duration>,
}

/// Where a page ends at the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Behind the event of this cursor.
    Event(Cursor),
    /// Before the first event accepted then or later.
    Time(Micros),
}

impl Until {
    fn asked(text: &str) -> Result<Self, &'static str> {
        let cursor = || text.parse().map(Self::Event).ok();
        moment(text)
            .map(Self::Time)
            .or_else(cursor)
            .ok_or("until must be a cursor, or a time such as 2026-01-31T12:00:00Z")
    }

    /// Whether there is nothing more between an offset and here: because it lies behind, or because the log has
    /// no more and the time is over.
    fn is_reached(self, end: Offset, up_to_date: bool, now: Micros) -> bool {
        match self {
            Self::Event(cursor) => end > cursor.offset,
            Self::Time(time) => up_to_date && now > time.saturating_add(SKEW),
        }
    }

    const fn is_before(self, entry: &Entry) -> bool {
        match self {
            Self::Event(cursor) => entry.offset > cursor.offset,
            Self::Time(time) => entry.time >= time,
        }
    }

    /// When a wait ends at the latest.
    fn bound(self, deadline: time::Instant) -> time::Instant {
        match self {
            Self::Event(_) => deadline,
            Self::Time(time) => {
                let left = time.saturating_add(SKEW + 1_000).saturating_sub(clock::micros());
                deadline.min(time::Instant::now() + Duration::from_micros(left))
            }
        }
    }

    /// Whether no page of this log ends there, because the cursor is of another one.
    fn is_elsewhere(self, hub: &Hub) -> bool {
        match self {
            Self::Event(cursor) => cursor.log != hub.cursor(0).log,
            Self::Time(_) => false,
        }
    }
}

/// The parameters by these names.
const PARAMETERS: &[&str] = &["after", "cursor", "from", "until", "limit", "filter", "wait"];

impl Query {
    pub(super) fn read(query: &str) -> Result<Self, BadQuery> {
        let mut given = Parameters::read(query, PARAMETERS)?;
        Ok(Self {
            after: given.take("after"),
            cursor: given.take("cursor"),
            from: given.take("from"),
            until: given.take("until"),
            limit: given.take("limit"),
            filter: given.take("filter"),
            wait: given.take("wait"),
        })
    }

    fn asked(&self) -> Result<Asked, &'static str> {
        let Self { after, cursor, from, until, limit, filter: _, wait } = self;
        let after = match (after.as_deref(), cursor.as_deref()) {
            (Some(_), Some(_)) => {
                return Err("after and cursor are two names of one thing: give one of them");
            }
            (after, cursor) => after.or(cursor),
        };
        let from = from.as_deref().unwrap_or("earliest");
        let position = Position::asked(after, Some(from), clock::micros())?;
        let until = until.as_deref().map(Until::asked);
        let limit = limit.as_deref().map_or(Ok(USUAL_EVENTS), |limit| {
            let limit = limit.parse().ok().filter(|limit| (1..=MOST_EVENTS).contains(limit));
            limit.ok_or("limit must be a number from 1 to 1000")
        });
        let wait = wait.as_deref().map(|wait| {
            let wait = wait.parse::<weir_crds::scalar::Duration>().map(|wait| wait.get()).ok();
            wait.filter(|wait| *wait <= MOST_WAIT)
                .ok_or("wait must be a duration of at most 50s, such as 30s")
        });
        Ok(Asked { position, until: until.transpose()?, limit: limit?, wait: wait.transpose()? })
    }

    /// The query of the page behind the event of a cursor: with all that was asked for but the start.
    fn behind(&self, cursor: &str) -> String {
        let Self { after: _, cursor: _, from: _, until, limit, filter, wait } = self;
        let others = [("until", until), ("limit", limit), ("filter", filter), ("wait", wait)];
        let others = others.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let others =
            others.map(|(name, value)| format!("&{name}={}", utf8_percent_encode(value, VALUE)));
        format!("after={cursor}{}", others.collect::<String>())
    }
}

/// What a value of a query may hold as it is (RFC 3986, section 3.4), and is no separator.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One object with the events and what is to be said of them.
    Page,
    /// An event a line, as over WebSocket.
    Lines,
    /// CloudEvents in their own batch format.
    Batch,
}

impl Form {
    const ALL: [Self; 3] = [Self::Page, Self::Lines, Self::Batch];

    const fn media_type(self) -> &'static str {
        match self {
            Self::Page => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Batch => "application/cloudevents-batch+json",
        }
    }

    /// The form that the client names, of several the one that weighs most, and then the first; where it takes
    /// anything, the first that it doesn't refuse.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let Accepted { named, refused } = Accepted::by(headers);
        let of = |range: &String| Self::ALL.into_iter().find(|form| form.media_type() == range);
        let any = |range: &String| matches!(range.as_str(), "*/*" | "application/*" | "");
        let is_free = |form: &Self| !refused.iter().any(|range| range == form.media_type());
        let free = || Self::ALL.into_iter().find(is_free);
        let anything = !headers.contains_key(header::ACCEPT) || named.iter().any(any);
        named.iter().find_map(of).or_else(|| anything.then(free).flatten())
    }
}

/// A part of the log.
#[derive(Debug)]
struct Page {
    /// What the reader must be told first.
    gap: Option<Gap>,
    /// The offset of the first event.
    first: Offset,
    entries: Vec<Arc<Entry>>,
    /// The offset behind the last event that was looked at: where to go on.
    end: Offset,
    /// Whether there is nothing behind it yet.
    up_to_date: bool,
    /// Whether it is the last of what was asked for.
    ended: bool,
}

/// How many steps a page's filter takes at most: some ten milliseconds. The next page goes on from there.
const MOST_STEPS: u32 = 1_000_000;

/// After how many steps other tasks get their turn; an event that takes none counts as some, too.
const STEPS_A_TURN: u32 = 40_000;
const STEPS_AN_EVENT: u32 = STEPS_A_TURN / 1_000;

/// Answers a reader.
pub(super) async fn serve(
    pipeline: &Pipeline,
    query: &Query,
    headers: &HeaderMap,
    (grant, address): (&Grant, IpAddr),
    service: &Service,
) -> Response<Vec<u8>> {
    let hub = pipeline.hub();
    let asked = match query.asked() {
        Ok(asked) => asked,
        Err(detail) => return bad_query(detail),
    };
    if asked.until.is_some_and(|until| until.is_elsewhere(hub)) {
        let detail =
            "until is a cursor of another log, which has been lost or replaced: ask without it";
        return problem("query", StatusCode::BAD_REQUEST, detail);
    }
    let Some(form) = Form::accepted(headers) else {
        let detail = "a page comes as application/json, application/x-ndjson or \
                      application/cloudevents-batch+json: accept one of these";
        return problem("not_acceptable", StatusCode::NOT_ACCEPTABLE, detail);
    };
    let wished = match wished(hub, query.filter.as_deref(), |later| later.by_status()).await {
        Ok(wished) => wished,
        Err(refusal) => return refusal,
    };
    let filter = match shared(pipeline, (grant, address), wished) {
        Ok(filter) => filter,
        Err(none) => return unavailable(UNAVAILABLE, none.to_string(), retry_soon_ms()),
    };
    let range = Range {
        hub,
        query,
        asked: &asked,
        filter: filter.as_deref(),
        expires_at: grant.lease.expires_at,
        address,
    };
    match range.page(service).await {
        Ok(Ok(page)) => range.answer(form, &page, headers),
        Ok(Err(refused)) => refused,
        Err(error) => unavailable(UNAVAILABLE, error.to_string(), retry_soon_ms()),
    }
}

/// What one reader is to get.
struct Range<'a> {
    hub: &'a Hub,
    query: &'a Query,
    asked: &'a Asked,
    filter: Option<&'a Filter>,
    /// When the reader's grant ends.
    expires_at: Option<Instant>,
    /// Where it is.
    address: IpAddr,
}

impl Range<'_> {
    /// The page that is asked for, with a wait where that is asked for, too; or why it may not wait.
    async fn page(&self, service: &Service) -> Result<Result<Page, Response<Vec<u8>>>, LogError> {
        let Self { hub, query: _, asked, filter: _, expires_at, address } = self;
        let Start { next, gap } = hub.start(&asked.position).await?;
        let mut page = self.look(next, gap).await?;
        let Some(wait) = asked.wait else { return Ok(Ok(page)) };
        if page.is_an_answer() {
            return Ok(Ok(page));
        }
        let comer = comer(hub, &asked.position);
        let _place = match Place::take(service, hub, *address, comer) {
            Ok(place) => place,
            Err(refused) => return Ok(Err(*refused)),
        };
        let deadline = time::Instant::now() + wait;
        let deadline = expires_at.map_or(deadline, |at| deadline.min(at.into()));
        let deadline = asked.until.map_or(deadline, |until| until.bound(deadline));
        let mut over = pin!(async {
            tokio::select! {
                () = time::sleep_until(deadline) => {}
                () = service.leaving() => {}
            }
        });
        loop {
            let mut grown = pin!(hub.tail().grown());
            // From here on no event is missed.
            grown.as_mut().enable();
            if hub.head() > page.end {
                page = self.look(page.end, None).await?;
                if page.is_an_answer() {
                    return Ok(Ok(page));
                }
            }
            tokio::select! {
                () = grown => {}
                // Once more, because by now what was asked for may be over.
                () = &mut over => return self.look(page.end, None).await.map(Ok),
            }
        }
    }

    /// What there is from `next` on.
    async fn look(&self, next: Offset, gap: Option<Gap>) -> Result<Page, LogError> {
        let Self { hub, query: _, asked, filter: _, expires_at: _, address: _ } = self;
        let (first, gap, found) = match hub.read(next, MOST_BYTES).await? {
            Read::Entries(entries) => (next, gap, entries),
            // It left the log in between.
            Read::Evicted { first } => {
                let missed = Some(first.saturating_sub(next));
                let from = Some(hub.cursor(next.saturating_sub(1)));
                let gap = Gap { from, missed, reason: GapReason::Evicted };
                (first, Some(gap), Vec::new())
            }
        };
        let entries = Vec::new();
        let mut page = Page { gap, first, entries, end: first, up_to_date: false, ended: false };
        page.up_to_date = self.fill(&mut page, found).await;
        let now = clock::micros();
        let reached = |until: Until| until.is_reached(page.end, page.up_to_date, now);
        page.ended |= asked.until.is_some_and(reached);
        Ok(page)
    }

    /// Takes the events for a page; says whether there is none behind it.
    async fn fill(&self, page: &mut Page, found: Vec<Arc<Entry>>) -> bool {
        let Self { hub, query: _, asked, filter, expires_at: _, address: _ } = self;
        let (mut steps, mut turn) = (0, 0);
        for entry in found {
            page.ended = asked.until.is_some_and(|until| until.is_before(&entry));
            if page.ended || page.entries.len() == asked.limit || steps > MOST_STEPS {
                return false;
            }
            page.end = entry.offset + 1;
            let (takes, took) = filter.map_or((true, 0), |filter| hub.takes(filter, &entry));
            if takes {
                page.entries.push(entry);
            }
            (steps, turn) = (steps + took, turn + took + STEPS_AN_EVENT);
            if turn > STEPS_A_TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        page.end >= hub.head()
    }

    /// Answers with a page.
    fn answer(&self, form: Form, page: &Page, headers: &HeaderMap) -> Response<Vec<u8>> {
        let Self { hub, query, asked, filter, expires_at: _, address: _ } = self;
        let next = hub.cursor(page.end - 1).to_string();
        // Whoever may see less of the same range has another page of it.
        let of = filter.map_or_else(String::new, |filter| format!("-{:x}", filter.fingerprint()));
        let (from, ended) = (hub.cursor(page.first - 1), if page.ended { "-end" } else { "" });
        let tag = format!("\"{from}-{}-{}{of}{ended}\"", page.end, form as u8);
        let accounts = hub.accounts();
        accounts.reads.add(1);
        let is_empty = page.entries.is_empty();
        let keep = match (asked.wait.is_some(), is_empty || page.gap.is_some()) {
            (true, true) => "no-store",
            (_, false) if !page.up_to_date && is_fixed(asked.position) => FIXED,
            (true, false) => SHARED,
            (false, _) => GROWING,
        };
        let known = page.gap.is_none() && is_known(headers, &tag);
        let mut response = if known {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            accounts.read_events.add(page.entries.len() as u64);
            page.gap.into_iter().for_each(|gap| accounts.gaps.count(gap.reason));
            respond(StatusCode::OK, form.media_type(), body(hub, form, page, &next))
        };
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::CACHE_CONTROL, keep);
        set(&mut response, header::VARY, "accept");
        if page.ended {
            response.headers_mut().insert("weir-end", HeaderValue::from_static("true"));
        } else {
            let behind = format!("<?{}>; rel=\"next\"", query.behind(&next));
            set(&mut response, header::LINK, &behind);
        }
        if let Some(gap) = page.gap {
            let mut said = Vec::new();
            push_gap(hub, gap, page.first, &mut said);
            // It holds cursors, a number and words.
            if let Ok(said) = HeaderValue::from_bytes(&said) {
                response.headers_mut().insert("weir-gap", said);
            }
        }
        if page.up_to_date {
            response.headers_mut().insert("weir-up-to-date", HeaderValue::from_static("true"));
        }
        response
    }
}

impl Page {
    /// Whether there is something to say before there is another event.
    const fn is_an_answer(&self) -> bool {
        !self.entries.is_empty() || self.gap.is_some() || !self.up_to_date || self.ended
    }
}

/// Whether the start of a page is the same whenever it is asked for.
const fn is_fixed(position: Position) -> bool {
    match position {
        Position::After(_) => true,
        Position::Latest | Position::Earliest | Position::At(_) | Position::Malformed => false,
    }
}

/// Whether the client has what this tag names (RFC 9110, section 13.1.2).
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let sent =
        headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = sent.flat_map(|tags| tags.split(',')).map(str::trim);
    tags.any(|sent| sent == "*" || sent.strip_prefix("W/").unwrap_or(sent) == tag)
}

fn body(hub: &Hub, form: Form, page: &Page, next: &str) -> Vec<u8> {
    let mut out = Vec::new();
    match form {
        Form::Page => {
            out.push(b'{');
            if let Some(gap) = page.gap {
                out.extend_from_slice(b"\"gap\":");
                push_gap(hub, gap, page.first, &mut out);
                out.push(b',');
            }
            out.extend_from_slice(b"\"events\":[");
            separated(page, b",", &mut out, |entry, out| push_event(hub, entry, out));
            out.push(b']');
            push_member(&mut out, "next", next);
            out.extend_from_slice(b",\"upToDate\":");
            push_number(&mut out, page.up_to_date);
            if page.ended {
                out.extend_from_slice(b",\"end\":true");
            }
            out.push(b'}');
        }
        Form::Lines => {
            if let Some(gap) = page.gap {
                push_gap(hub, gap, page.first, &mut out);
                out.push(b'\n');
            }
            separated(page, b"", &mut out, |entry, out| {
                push_event(hub, entry, out);
                out.push(b'\n');
            });
        }
        Form::Batch => {
            out.push(b'[');
            separated(page, b",", &mut out, |entry, out| entry.posted.event.to_json(out));
            out.push(b']');
        }
    }
    out
}

fn separated(page: &Page, comma: &[u8], out: &mut Vec<u8>, push: impl Fn(&Entry, &mut Vec<u8>)) {
    for (index, entry) in page.entries.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(comma);
        }
        push(entry, out);
    }
}

fn push_event(hub: &Hub, entry: &Entry, out: &mut Vec<u8>) {
    frame::push_json_event(&hub.cursor(entry.offset).to_string(), &entry.posted.event, out);
}

fn push_gap(hub: &Hub, Gap { from, missed, reason }: Gap, first: Offset, out: &mut Vec<u8>) {
    let from = from.map(|cursor: Cursor| cursor.to_string());
    let to = hub.cursor(first - 1).to_string();
    frame::push_json_control(&Control::Gap { from: from.as_deref(), to: &to, missed, reason }, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Asked, &'static str> {
        Query::read(text).unwrap().asked()
    }

    #[test]
    fn without_a_wish_a_reader_gets_the_oldest_events() {
        let asked =
            Asked { position: Position::Earliest, until: None, limit: USUAL_EVENTS, wait: None };
        assert_eq!(query(""), Ok(asked));
        // An empty cursor is what a client has that has none yet.
        for none in ["after=", "cursor=", "after=&from=earliest"] {
            assert_eq!(query(none), Ok(asked), "{none}");
        }
        assert!(query("after=a&cursor=b").unwrap_err().contains("two names"));
    }

    #[test]
    fn a_range_has_ends_a_size_and_a_patience() {
        let asked = query("from=1970-01-01T00:00:01Z&until=1970-01-01T00:00:02Z&limit=7&wait=30s");
        let expected = Asked {
            position: Position::At(1_000_000),
            until: Some(Until::Time(2_000_000)),
            limit: 7,
            wait: Some(Duration::from_secs(30)),
        };
        assert_eq!(asked, Ok(expected));
        for bad in
            ["from=then", "until=latest", "limit=0", "limit=1001", "limit=x", "wait=51s", "wait=1"]
        {
            assert!(query(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_of_the_same_range() {
        let query = Query {
            after: Some("x".to_owned()),
            limit: Some("2".to_owned()),
            filter: Some("event.data.n > 6 && true".to_owned()),
            ..Query::default()
        };
        let filter = "event.data.n%20%3E%206%20%26%26%20true";
        assert_eq!(query.behind("log.7"), format!("after=log.7&limit=2&filter={filter}"));
    }

    #[test]
    fn the_form_is_the_one_that_the_client_likes_best_and_then_the_first() {
        let form = |accept: &'static str| {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))];
            Form::accepted(&headers.into_iter().collect())
        };
        assert_eq!(Form::accepted(&HeaderMap::new()), Some(Form::Page));
        assert_eq!(form("*/*"), Some(Form::Page));
        assert_eq!(form("text/html, application/x-ndjson;q=0.9, */*;q=0.1"), Some(Form::Lines));
        assert_eq!(form("Application/CloudEvents-Batch+JSON"), Some(Form::Batch));
        assert_eq!(form("image/png"), None);
        assert_eq!(form("application/json;q=0.1, application/x-ndjson"), Some(Form::Lines));
        assert_eq!(form("application/json;q=0.5, application/x-ndjson; q=0.4"), Some(Form::Page));
        assert_eq!(form("application/x-ndjson;q=0.5, application/json;q=.5"), Some(Form::Lines));
        assert_eq!(form("application/x-ndjson;q=2, application/json;q=none"), Some(Form::Lines));
        assert_eq!(form("application/json;q=0, */*"), Some(Form::Lines));
        assert_eq!(form("application/json; q=0.000"), None);
        assert_eq!(form("application/x-ndjson;q=0.001"), Some(Form::Lines));
    }
}
