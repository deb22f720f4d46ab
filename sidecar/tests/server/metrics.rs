//! The reference of the metrics is made from what a server says of itself.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use crate::{
    client::Request,
    fixture::{Server, config},
    tls::{ORDERS, mount},
};

/// A pipeline that has all of which there are series.
const ALL: &str = "
placement: {gateway: {replicas: 1}}
sources: [{name: app, http: {}}]
endpoints:
  sse: {}
  websocket: {}
  publish: {anonymous: true}
  durableStreams: {anonymous: true}
  tls: {secretName: orders-tls}
auth:
  anonymous: true
  jwt: {issuer: https://id.example, audiences: [orders], jwks: {secretName: keys, key: jwks.json}}
";

const SLO: &str = "
pipelineRef: {name: orders}
timeWindow: {duration: 5m}
objectives: [{name: errors, target: \"99.9\", errorRate: {}}]
";

const INTRODUCTION: &str = "# Metrics

What the sidecar answers to `GET /metrics` on its admin port, in OpenMetrics. This page is made from that
answer; `WEIR_WRITE=1 cargo test -p weir-sidecar --all-features --test server metrics` makes it anew.

A counter's name ends in `_total` in a scrape. Every series of a pipeline has the label `pipeline`.

| metric | type | labels | what |
|---|---|---|---|
";

/// One family of a scrape.
#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

/// The page for a scrape.
fn page(scrape: &str) -> String {
    let mut families: Vec<(String, Family)> = Vec::new();
    for line in scrape.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                families
                    .push((name.to_owned(), Family { help: help.to_owned(), ..Family::default() }));
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (known, family) = families.last_mut().unwrap();
                assert_eq!(known, name);
                kind.clone_into(&mut family.kind);
            }
            _ => {
                let Some((_, labels)) = line.split_once('{') else { continue };
                let Some((_, family)) = families.last_mut() else { continue };
                let labels = labels.split_once('}').unwrap().0.split(',');
                let names = labels.filter_map(|label| label.split_once('=')).map(|(name, _)| name);
                family.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
            }
        }
    }
    let mut page = INTRODUCTION.to_owned();
    for (name, Family { kind, help, labels }) in families {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    page
}

#[tokio::test]
async fn the_reference_of_the_metrics_is_that_of_this_version() {
    let secrets = tempfile::tempdir().unwrap();
    mount(secrets.path(), "orders-tls", ORDERS);
    fs::create_dir(secrets.path().join("keys")).unwrap();
    let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AQAB"}]}"#;
    fs::write(secrets.path().join("keys/jwks.json"), keys).unwrap();
    let server = Server::start_with_secrets(config(ALL, Some(SLO)), secrets.path()).await;
    let read = "weir_auth_key_readings_total{pipeline=\"orders\",result=\"read\"} ";
    server.metric_becomes(read, 1).await;
    // What has no series before it happens.
    for path in ["/orders/sse", "/nothing"] {
        Request::get(path).send(server.public).await;
    }
    let made = page(&server.admin("/metrics").await.text());
    for family in ["weir_durable_", "weir_tls_", "weir_auth_", "weir_requests_"] {
        let mut rows = made.lines().filter(|row| row.contains(family));
        assert!(rows.all(|row| !row.contains("|  |")), "{family} without labels:\n{made}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os("WEIR_WRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written == made, "docs/metrics.md is stale; its head says how it is made anew");
}

#[test]
fn a_page_has_a_row_for_each_family() {
    let scrape = "# HELP a_b What it is.\n# TYPE a_b counter\na_b_total{pipeline=\"x\",reason=\"y\"} 1\n# EOF\n";
    let page = page(scrape);
    assert!(page.ends_with("| `a_b` | counter | `pipeline`, `reason` | What it is. |\n"), "{page}");
}
