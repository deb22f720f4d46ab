//! The books balance in every scrape, whatever is going on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    client::Frame,
    fixture::{Server, config, start_in},
    h2_client::Http2,
};

/// What one scrape says of the deliveries.
#[derive(Debug, Clone, Copy, Default)]
struct Books {
    accepted: u64,
    due: u64,
    written: u64,
    filtered: u64,
    conflated: u64,
    dropped: u64,
    departed: u64,
    lagging: u64,
}

impl Books {
    async fn scrape(server: &Server) -> Self {
        let text = server.admin("/metrics").await.text();
        let sum = |name: &str| {
            let start = format!("{name}{{pipeline=\"orders\"");
            let lines = text.lines().filter(|line| line.starts_with(&start));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        Self {
            accepted: sum("weir_events_accepted_total"),
            due: sum("weir_deliveries_due_total"),
            written: sum("weir_deliveries_written_total"),
            filtered: sum("weir_deliveries_filtered_total"),
            conflated: sum("weir_deliveries_conflated_total"),
            dropped: sum("weir_deliveries_dropped_total"),
            departed: sum("weir_deliveries_departed_total"),
            lagging: sum("weir_deliveries_lagging"),
        }
    }

    fn ended(self) -> u64 {
        self.written + self.filtered + self.conflated + self.dropped + self.departed
    }
}

fn pipeline(policy: &str) -> String {
    format!(
        "placement: {{gateway: {{}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{anonymous: true}}}}
delivery: {{slowConsumer: {policy}, maxLag: {{events: 40}}}}"
    )
}

/// A connection with little room for what isn't read.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.connect(server.public).await.unwrap()
}

const ODD: &str = "filter=event.data.n%20%25%202%20%3D%3D%201";

/// How many subscribers [`subscribe`] makes.
const SUBSCRIBERS: u64 = 11;

/// Reads less than is posted, so that it falls behind and goes on.
async fn read_slowly(mut socket: TcpStream) {
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let mut some = [0; 1_024];
    while socket.read(&mut some).await.is_ok_and(|count| count > 0) {
        pace.tick().await;
    }
}

/// Subscribers over every transport, with and without filters, of whom some read slowly, and one nothing.
/// They go on until they are dropped.
async fn subscribe(server: &Server) -> (JoinSet<()>, Vec<TcpStream>) {
    let mut reading = JoinSet::new();
    for query in ["".to_owned(), "".to_owned(), format!("?{ODD}")] {
        let mut sse = server.sse(&query).await;
        reading.spawn(async move { while sse.next().await.is_some() {} });
        let mut socket = server.web_socket(&query).await;
        reading.spawn(async move { while socket.next().await.is_some() {} });
    }
    let client = Http2::connect(server.public).await;
    let mut inside = client.sse("/orders/sse", &[]).await;
    inside.until_line("").await;
    reading.spawn(async move {
        while inside.next().await.is_some() {}
        drop(client);
    });
    let mut session = server.web_socket_with(&[("sec-websocket-protocol", "weir.v1")]).await;
    session.send(1, br#"{"type":"subscribe","id":"a"}"#).await;
    let (hello, subscribed) = (session.next().await, session.next().await);
    assert!(matches!((hello, subscribed), (Some(Frame::Text(_)), Some(Frame::Text(_)))));
    reading.spawn(async move { while session.next().await.is_some() {} });
    let mut stalled = Vec::new();
    for query in ["", "?from=earliest", &format!("?{ODD}")] {
        let mut socket = narrow(server).await;
        let request = format!(
            "GET /orders/sse{query} HTTP/1.1\r\nhost: t\r\naccept: text/event-stream\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        // Whoever gets a head is there: its shard writes it.
        socket.read_u8().await.unwrap();
        if query == "?from=earliest" {
            stalled.push(socket);
        } else {
            reading.spawn(read_slowly(socket));
        }
    }
    let [sse, sockets] = [("sse", 3 + 1 + 3), ("websocket", 3 + 1)];
    for (transport, count) in [sse, sockets] {
        let metric = format!("weir_subscribers{{pipeline=\"orders\",transport=\"{transport}\"}} ");
        server.metric_becomes(&metric, count).await;
    }
    (reading, stalled)
}

/// Posts so many events, about two kibibytes each, in batches.
async fn post(server: &Server, events: u64) {
    let filler = "x".repeat(2_000);
    for batch in 0..events / 10 {
        let numbers = batch * 10..(batch + 1) * 10;
        let lines: Vec<_> = numbers.map(|n| format!("{{\"n\":{n},\"f\":\"{filler}\"}}")).collect();
        let request = crate::client::Request::post("/orders/events")
            .header("content-type", "application/x-ndjson");
        assert_eq!(request.body(&lines.join("\n")).send(server.publish).await.status, 200);
    }
}

/// Scrapes until this is set, and holds each scrape to `check`. Returns the scrapes.
async fn watch(server: &Server, over: &AtomicBool, check: impl Fn(Books)) -> Vec<Books> {
    let mut scrapes: Vec<Books> = Vec::new();
    while !over.load(Ordering::Acquire) {
        let books = Books::scrape(server).await;
        assert_eq!(books.due, books.ended() + books.lagging, "{books:?}");
        let last = scrapes.last().copied().unwrap_or_default();
        assert!(books.due >= last.due && books.ended() >= last.ended(), "{last:?} {books:?}");
        check(books);
        scrapes.push(books);
    }
    scrapes
}

/// Returns what the last scrape says.
async fn balances_in_every_scrape(policy: &str) -> Books {
    const EVENTS: u64 = 3_000;
    let server = Arc::new(Server::start_with(config(&pipeline(policy), None)).await);
    let (_reading, _stalled) = subscribe(&server).await;
    let over = AtomicBool::new(false);
    let publishing = async {
        post(&server, EVENTS).await;
        over.store(true, Ordering::Release);
    };
    // Nobody comes or goes: so each accepted event is due to each of them.
    let each_has_its_place = |books: Books| {
        assert_eq!(books.accepted * SUBSCRIBERS, books.ended() + books.lagging, "{books:?}");
    };
    let ((), scrapes) = tokio::join!(publishing, watch(&server, &over, each_has_its_place));
    let last = Books::scrape(&server).await;
    each_has_its_place(last);
    assert_eq!((last.accepted, last.departed), (EVENTS, 0), "{last:?}");
    assert!(last.written > EVENTS && last.filtered > 0, "{last:?}");
    assert!(scrapes.iter().any(|books| books.lagging > 0), "{} scrapes", scrapes.len());
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn while_slow_subscribers_are_conflated() {
    let last = balances_in_every_scrape("Conflate").await;
    assert!(last.conflated > 0, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_slow_subscribers_skip_the_oldest() {
    let last = balances_in_every_scrape("DropOldest").await;
    assert!(last.dropped > 0, "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_subscribers_come_go_and_are_cut_off() {
    let server = Arc::new(Server::start_with(config(&pipeline("Disconnect"), None)).await);
    let over = Arc::new(AtomicBool::new(false));
    let churn = {
        let (server, over) = (Arc::clone(&server), Arc::clone(&over));
        async move {
            for _ in 0..6 {
                let (mut reading, stalled) = subscribe(&server).await;
                post(&server, 300).await;
                reading.shutdown().await;
                drop(stalled);
                for transport in ["sse", "websocket"] {
                    let metric = format!(
                        "weir_subscribers{{pipeline=\"orders\",transport=\"{transport}\"}} "
                    );
                    server.metric_becomes(&metric, 0).await;
                }
            }
            over.store(true, Ordering::Release);
        }
    };
    let ((), scrapes) = tokio::join!(churn, watch(&server, &over, |_| {}));
    let last = Books::scrape(&server).await;
    assert_eq!((last.lagging, last.due), (0, last.ended()), "{last:?}");
    assert!(last.departed > 0 && scrapes.len() > 10, "{} scrapes, {last:?}", scrapes.len());
}

#[tokio::test]
async fn while_a_session_unsubscribes_in_the_middle_of_a_backlog() {
    let server = Server::start_with(config(&pipeline("Disconnect"), None)).await;
    post(&server, 2_000).await;
    for _ in 0..5 {
        let mut session = server.web_socket_with(&[("sec-websocket-protocol", "weir.v1")]).await;
        session.send(1, br#"{"type":"subscribe","id":"a","from":"earliest"}"#).await;
        for _ in 0..3 {
            assert!(matches!(session.next().await, Some(Frame::Text(_))));
        }
        session.send(1, br#"{"type":"unsubscribe","id":"a"}"#).await;
        let books = Books::scrape(&server).await;
        assert_eq!(books.due, books.ended() + books.lagging, "{books:?}");
    }
    let metric = "weir_subscribers{pipeline=\"orders\",transport=\"websocket\"} ";
    server.metric_becomes(metric, 0).await;
    server.metric_becomes("weir_deliveries_lagging{pipeline=\"orders\"} ", 0).await;
    let books = Books::scrape(&server).await;
    assert_eq!(books.due, books.ended(), "{books:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_pipeline_gets_another_log() {
    let directory = tempfile::tempdir().unwrap();
    let in_memory = pipeline("DropOldest");
    let on_disk = format!("{in_memory}\nlog: {{storage: {{disk: {{size: 1Gi}}}}}}");
    let logs = [config(&on_disk, None), config(&in_memory, None)];
    let server = Arc::new(start_in(config(&in_memory, None), directory.path()).await);
    let over = AtomicBool::new(false);
    let changing = async {
        for log in logs.into_iter().cycle().take(4) {
            let (mut reading, stalled) = subscribe(&server).await;
            post(&server, 100).await;
            server.app.apply(log);
            // The old log's subscribers are sent away, and the new one's come meanwhile.
            server.metric_becomes("weir_log_healthy{pipeline=\"orders\"} ", 1).await;
            let mut other = server.sse("").await;
            post(&server, 10).await;
            assert!(other.next_data().await.contains("\"n\":0"));
            reading.shutdown().await;
            drop((stalled, other));
            for transport in ["sse", "websocket"] {
                let metric =
                    format!("weir_subscribers{{pipeline=\"orders\",transport=\"{transport}\"}} ");
                server.metric_becomes(&metric, 0).await;
            }
        }
        over.store(true, Ordering::Release);
    };
    let ((), scrapes) = tokio::join!(changing, watch(&server, &over, |_| {}));
    let last = Books::scrape(&server).await;
    assert_eq!((last.accepted, last.lagging, last.due), (440, 0, last.ended()), "{last:?}");
    assert!(last.due > 440 * 5 && scrapes.len() > 10, "{} scrapes, {last:?}", scrapes.len());
}
