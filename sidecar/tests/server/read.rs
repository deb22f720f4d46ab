//! Pages of the log by GET: ranges, waits, caches, forms.

use tokio::time::{Duration, Instant};

use crate::{
    client::{Answer, Request},
    fixture::{OPEN, Server},
};

fn readable() -> String {
    OPEN.replace("sse: {}", "sse: {}, read: {}")
}

async fn get(server: &Server, query: &str) -> Answer {
    Request::get(&format!("/orders/events{query}")).send(server.public).await
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let line = answer.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.map(str::to_owned)
}

fn numbers(answer: &Answer) -> Vec<u64> {
    let json = answer.json();
    let events = json["events"].as_array().unwrap().iter();
    events.map(|event| event["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_in_a_row_are_the_log_and_the_last_says_so() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..25).await;
    let mut found = Vec::new();
    let mut page = get(&server, "?limit=10").await;
    for expected in [10, 10, 5] {
        let read = numbers(&page);
        assert_eq!(read.len(), expected);
        found.extend(read);
        let json = page.json();
        assert_eq!(json["upToDate"], expected == 5);
        page = get(&server, &format!("?limit=10&after={}", json["next"].as_str().unwrap())).await;
    }
    assert_eq!(found, (0..25).collect::<Vec<_>>());
    assert_eq!(numbers(&page), [0; 0]);
    assert_eq!(server.metric("weir_read_events_total{pipeline=\"orders\"}").await, Some(25));
}

#[tokio::test]
async fn what_can_change_no_more_is_kept_and_the_end_is_asked_for_again() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..3).await;
    let first = get(&server, "?limit=1").await;
    let after = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(header(&first, "cache-control").as_deref(), Some("no-cache"));
    let full = get(&server, &format!("?limit=1&after={after}")).await;
    // What others share is theirs for an hour, should a token be asked for from now on.
    let fixed = "public, max-age=86400, s-maxage=3600, immutable";
    assert_eq!(header(&full, "cache-control").as_deref(), Some(fixed));
    let end = get(&server, &format!("?after={after}")).await;
    assert_eq!(header(&end, "cache-control").as_deref(), Some("no-cache"));
    let tag = header(&end, "etag").unwrap();
    let path = format!("/orders/events?after={after}");
    let again = || Request::get(&path).header("if-none-match", &tag).send(server.public);
    assert_eq!(again().await.status, 304);
    server.post("{\"n\":3}").await;
    let grown = again().await;
    assert_eq!((grown.status, numbers(&grown)), (200, vec![1, 2, 3]));
    let head = Request::new("HEAD", &path).send(server.public).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(header(&head, "etag"), header(&grown, "etag"));
}

#[tokio::test]
async fn a_reader_that_waits_is_answered_by_the_next_event_or_in_time() {
    let server = Server::start(&readable()).await;
    let begin = Instant::now();
    let nothing = get(&server, "?from=latest&wait=200ms").await;
    assert_eq!((nothing.status, numbers(&nothing).len()), (200, 0));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(header(&nothing, "cache-control").as_deref(), Some("no-store"));
    let after = nothing.json()["next"].as_str().unwrap().to_owned();
    let path = format!("?after={after}&wait=20s");
    let (waited, _) = tokio::join!(get(&server, &path), server.post("{\"n\":7}"));
    assert_eq!(numbers(&waited), [7]);
    assert_eq!(header(&waited, "cache-control").as_deref(), Some("public, max-age=1"));
}

#[tokio::test]
async fn a_filter_leaves_events_out_and_the_reader_still_moves_on() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..10).await;
    let page = get(&server, "?filter=event.data.n%20%3E%206&limit=2").await;
    assert_eq!(numbers(&page), [7, 8]);
    let next = page.json()["next"].as_str().unwrap().to_owned();
    let rest = get(&server, &format!("?filter=event.data.n%20%3E%20100&after={next}")).await;
    assert_eq!((numbers(&rest).len(), &rest.json()["upToDate"]), (0, &true.into()));
    assert_ne!(rest.json()["next"], next.as_str());
    // One that waits is not woken for what it doesn't want.
    let after = rest.json()["next"].as_str().unwrap().to_owned();
    let path = format!("?filter=event.data.n%20%3E%20100&after={after}&wait=20s");
    let post = async {
        server.post("{\"n\":1}").await;
        server.post("{\"n\":101}").await;
    };
    let (waited, ()) = tokio::join!(get(&server, &path), post);
    assert_eq!(numbers(&waited), [101]);
    assert_eq!(get(&server, "?filter=event.data.n%20%3E").await.status, 400);
}

#[tokio::test]
async fn what_the_log_no_longer_holds_is_reported_in_the_page() {
    let server =
        Server::start(&format!("{}log: {{retention: {{maxEvents: 2}}}}\n", readable())).await;
    server.post_numbers(0..1).await;
    let after = get(&server, "").await.json()["next"].as_str().unwrap().to_owned();
    server.post_numbers(1..6).await;
    let page = get(&server, &format!("?after={after}")).await;
    assert_eq!(numbers(&page), [4, 5]);
    let gap = &page.json()["gap"];
    assert_eq!((&gap["reason"], &gap["missed"]), (&"evicted".into(), &3.into()));
    // An empty one is none, as for subscribers.
    for none in ["?after=", "?cursor=", "?after=&from=earliest"] {
        let all = get(&server, none).await;
        assert_eq!(numbers(&all), [4, 5], "{none}");
        assert!(all.json().get("gap").is_none(), "{none}: {all:?}");
    }
    let unknown = get(&server, "?after=nonsense").await;
    assert_eq!(unknown.json()["gap"]["reason"], "malformed");
}

#[tokio::test]
async fn a_page_comes_in_the_form_that_is_accepted() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..2).await;
    let accept = |form: &'static str| {
        Request::get("/orders/events").header("accept", form).send(server.public)
    };
    let lines = accept("application/x-ndjson").await.text();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["data"]["n"]), (2, &1.into()));
    let batch = accept("application/cloudevents-batch+json").await;
    assert_eq!(
        header(&batch, "content-type").as_deref(),
        Some("application/cloudevents-batch+json")
    );
    assert_eq!(batch.json()[1]["specversion"], "1.0");
    assert!(header(&batch, "link").unwrap().ends_with("rel=\"next\""));
    let batch = Request::get("/orders/events?after=nonsense")
        .header("accept", "application/cloudevents-batch+json");
    let gap = header(&batch.send(server.public).await, "weir-gap").unwrap();
    assert!(gap.contains("\"reason\":\"malformed\""), "{gap}");
    assert_eq!(accept("image/png").await.status, 406);
}

#[tokio::test]
async fn a_range_ends_before_its_time_and_a_bad_one_is_refused() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..2).await;
    let none = get(&server, "?until=2020-01-01T00:00:00Z").await;
    assert_eq!((numbers(&none).len(), &none.json()["upToDate"]), (0, &false.into()));
    let all = get(&server, "?from=2020-01-01T00:00:00Z&until=2999-01-01T00:00:00Z").await;
    assert_eq!(numbers(&all), [0, 1]);
    let cursors: Vec<_> =
        (0..2).map(|n| all.json()["events"][n]["cursor"].as_str().unwrap().to_owned()).collect();
    let first = get(&server, &format!("?until={}", cursors[0])).await;
    assert_eq!((numbers(&first), &first.json()["upToDate"]), (vec![0], &false.into()));
    let second = get(&server, &format!("?after={}&until={}", cursors[0], cursors[1])).await;
    assert_eq!(numbers(&second), [1]);
    let elsewhere = get(&server, "?until=0123456789ab-1").await;
    assert_eq!(elsewhere.status, 400);
    assert!(elsewhere.text().contains("of another log"), "{elsewhere:?}");
    for bad in ["?limit=0", "?wait=5m", "?until=now", "?limit=1&limit=2"] {
        let refused = get(&server, bad).await;
        assert_eq!(refused.status, 400, "{bad}: {refused:?}");
    }
    let closed = Server::start(OPEN).await;
    let refused = get(&closed, "").await;
    assert_eq!(refused.status, 404);
    assert!(refused.text().contains("spec.endpoints.read"));
}

#[tokio::test]
async fn what_the_filter_of_one_page_costs_is_bounded_and_the_pages_lead_through_all() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..300).await;
    // Some eight thousand steps for each event, and true of every seventh.
    let list = format!("[{}]", vec!["0"; 40].join(","));
    let filter = format!("{list}.all(a,{list}.all(b,a==b))%26%26event.data.n%257==0");
    let evaluations = "weir_filter_evaluations_total{pipeline=\"orders\"} ";
    let (mut found, mut query) = (Vec::new(), format!("?filter={filter}"));
    loop {
        let before = server.metric(evaluations).await.unwrap();
        let page = get(&server, &query).await;
        let judged = server.metric(evaluations).await.unwrap() - before;
        assert!(judged < 200, "{judged} events were looked at");
        found.extend(numbers(&page));
        let json = page.json();
        if json["upToDate"] == true {
            break;
        }
        query = format!("?filter={filter}&after={}", json["next"].as_str().unwrap());
    }
    assert_eq!(found, (0..300).step_by(7).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_range_that_is_read_to_its_end_says_so_and_a_wait_behind_it_is_over() {
    let server = Server::start(&readable()).await;
    server.post_numbers(0..12).await;
    let all = get(&server, "").await.json();
    let cursor = |n: usize| all["events"][n]["cursor"].as_str().unwrap().to_owned();
    for (last, until) in [(7, cursor(7)), (11, cursor(11)), (11, "2020-01-01T00:00:00Z".to_owned())]
    {
        let from = if until.starts_with("2020") {
            format!("after={}", cursor(11))
        } else {
            "limit=3".to_owned()
        };
        let (mut query, mut found) = (format!("?{from}&until={until}&wait=20s"), Vec::new());
        loop {
            let begin = Instant::now();
            let page = get(&server, &query).await;
            assert!(begin.elapsed() < Duration::from_secs(10), "nothing can come: {query}");
            found.extend(numbers(&page));
            if page.json()["end"] == true {
                assert_eq!(header(&page, "weir-end").as_deref(), Some("true"));
                assert_eq!(header(&page, "link"), None);
                break;
            }
            let link = header(&page, "link").unwrap();
            query = link.split(['<', '>']).nth(1).unwrap().to_owned();
            assert!(found.len() <= 12, "it has no end: {query}");
        }
        let expected: Vec<_> = if from == "limit=3" { (0..=last).collect() } else { Vec::new() };
        assert_eq!(found, expected);
    }
    let open = get(&server, "?until=2999-01-01T00:00:00Z").await;
    assert_eq!((&open.json()["end"], header(&open, "weir-end")), (&serde_json::Value::Null, None));
    assert!(header(&open, "link").is_some());
}

#[tokio::test]
async fn what_a_reader_refuses_it_does_not_get() {
    let server = Server::start(&readable()).await;
    let accept = |form: &'static str| {
        Request::get("/orders/events").header("accept", form).send(server.public)
    };
    assert_eq!(accept("application/json;q=0").await.status, 406);
    let lines = accept("application/json;q=0, */*").await;
    assert_eq!(header(&lines, "content-type").as_deref(), Some("application/x-ndjson"));
}
