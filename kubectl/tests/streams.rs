//! `tail`, `publish` and their options against a real sidecar, at a URL.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use kubectl_weir::args::{Args, Command};
use kubectl_weir::output::Screen;
use kubectl_weir::{publish, run, tail};
use tokio::net::TcpListener;
use weir_sidecar::app::{App, Listeners};
use weir_sidecar::config::{Config, PipelineConfig};
use weir_sidecar::log::DataDir;
use weir_sidecar::memory::Memory;
use weir_tests::eventually;

/// Generous on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

const OPEN: &str = "
placement: {gateway: {replicas: 1}}
sources: [{name: app, http: {}}]
endpoints: {sse: {}, websocket: {}, publish: {anonymous: true}}
log: {retention: {maxEvents: 1000}}
";

/// A running sidecar.
struct Sidecar {
    app: App,
    public: SocketAddr,
    publish: SocketAddr,
}

impl Sidecar {
    async fn start(spec: &str) -> Result<Self> {
        Self::start_on(spec, "127.0.0.1:0".parse()?).await
    }

    async fn start_on(spec: &str, address: SocketAddr) -> Result<Self> {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (public, admin, publish) =
            tokio::try_join!(TcpListener::bind(address), bind(), bind())?;
        let addresses = (public.local_addr()?, publish.local_addr()?);
        let listeners = Listeners { public, admin, publish, publish_socket: None };
        let secrets = Path::new("/nonexistent");
        let app = App::start_with(listeners, DataDir::default(), secrets, Memory::unbounded())?;
        let pipeline = PipelineConfig {
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            uid: None,
            generation: None,
            share: None,
            spec: serde_yaml::from_str(spec)?,
            slos: Vec::new(),
        };
        app.apply(Config { pipelines: [("orders".to_owned(), pipeline)].into() });
        Ok(Self { app, public: addresses.0, publish: addresses.1 })
    }
}

/// A place to print to that can be read meanwhile.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse(words: &[&str]) -> Args {
    Args::parse_from([&["kubectl-weir"], words].concat())
}

/// Runs a command to its end; answers what it printed, and what it remarked.
async fn command(words: &[&str]) -> Result<(String, String)> {
    let (out, notes) = (Paper::default(), Paper::default());
    let mut screen = Screen::plain(out.clone(), notes.clone());
    tokio::time::timeout(LIMIT, run(parse(words), &mut screen)).await.context("no end")??;
    Ok((out.text(), notes.text()))
}

/// Publishes these lines as if they came in on standard input.
async fn publish_lines(sidecar: &Sidecar, lines: &str, more: &[&str]) -> Result<String> {
    let url = format!("--url=http://{}", sidecar.publish);
    let args = parse(&[&["publish", "orders", &url], more].concat());
    let Command::Publish(asked) = args.command else { panic!("another command") };
    let out = Paper::default();
    let mut screen = Screen::plain(out.clone(), Paper::default());
    let input = io::Cursor::new(lines.to_owned().into_bytes());
    publish::run(&args.reach, &asked, input, &mut screen).await?;
    Ok(out.text())
}

#[tokio::test]
async fn what_is_published_is_printed_in_order() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    let public = format!("--url=http://{}", sidecar.public);
    let (told, _) = command(&["publish", "orders", &public, "{\"n\": 1}", "\"two\""]).await?;
    ensure!(told.starts_with("2 accepted, 0 duplicates, cursor "), "{told}");
    let told = publish_lines(&sidecar, "3\n\n[4]\n", &[]).await?;
    ensure!(told.starts_with("2 accepted"), "{told}");
    let (printed, _) =
        command(&["tail", "orders", &public, "--from=earliest", "--count=4"]).await?;
    ensure!(printed == "{\"n\": 1}\n\"two\"\n3\n[4]\n", "{printed}");
    Ok(())
}

#[tokio::test]
async fn a_cursor_goes_on_behind_its_event() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    let public = format!("--url=http://{}", sidecar.public);
    publish_lines(&sidecar, "1\n2\n3\n", &[]).await?;
    let all = ["tail", "orders", &public, "--from=earliest", "--format=cursor", "--count=3"];
    let (printed, _) = command(&all).await?;
    let first = printed.lines().next().and_then(|line| line.split_once('\t')).context("a tab")?;
    ensure!(first.1 == "1", "{printed}");
    let cursor = format!("--cursor={}", first.0);
    let (printed, notes) = command(&["tail", "orders", &public, &cursor, "--count=2"]).await?;
    ensure!(printed == "2\n3\n" && !notes.contains("gap"), "{printed} {notes}");
    Ok(())
}

#[tokio::test]
async fn a_gap_is_told_beside_the_events() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    publish_lines(&sidecar, "1\n", &[]).await?;
    let public = format!("--url=http://{}", sidecar.public);
    let words = ["tail", "orders", &public, "--cursor=0123456789ab-7", "--count=1"];
    let (printed, notes) = command(&words).await?;
    ensure!(printed == "1\n", "{printed}");
    ensure!(notes.contains("gap: events are missing"), "{notes}");
    Ok(())
}

#[tokio::test]
async fn whole_cloudevents_are_printed_with_the_type_that_was_given() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    publish_lines(&sidecar, "{\"n\":1}\n", &["--type=order.placed", "--key=k"]).await?;
    let public = format!("--url=http://{}", sidecar.public);
    let words = ["tail", "orders", &public, "--from=earliest", "--format=cloudevents", "--count=1"];
    let (printed, _) = command(&words).await?;
    let event: serde_json::Value = serde_json::from_str(&printed)?;
    ensure!(event["type"] == "order.placed" && event["data"]["n"] == 1, "{event}");
    ensure!(event["id"].as_str().is_some_and(|id| id.starts_with("k/")), "{event}");
    Ok(())
}

#[tokio::test]
async fn the_same_lines_under_the_same_key_are_taken_once() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    let lines: String = (0..700).map(|n| format!("{n}\n")).collect();
    let first = publish_lines(&sidecar, &lines, &["--key=import-7"]).await?;
    ensure!(first.starts_with("700 accepted, 0 duplicates"), "{first}");
    let again = publish_lines(&sidecar, &lines, &["--key=import-7"]).await?;
    ensure!(again.starts_with("0 accepted, 700 duplicates"), "{again}");
    Ok(())
}

#[tokio::test]
async fn a_line_that_is_no_json_ends_it_behind_those_before() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    let error = publish_lines(&sidecar, "1\n2\noops\n4\n", &[]).await.unwrap_err().to_string();
    ensure!(error.starts_with("line 3 is no JSON"), "{error}");
    let public = format!("--url=http://{}", sidecar.public);
    let (printed, _) =
        command(&["tail", "orders", &public, "--from=earliest", "--count=2"]).await?;
    ensure!(printed == "1\n2\n", "{printed}");
    let error = publish_lines(&sidecar, "\n", &[]).await.unwrap_err().to_string();
    ensure!(error.starts_with("nothing to publish"), "{error}");
    Ok(())
}

#[tokio::test]
async fn what_is_refused_is_told_in_the_servers_words() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    let public = format!("--url=http://{}", sidecar.public);
    let error = command(&["tail", "nothing", &public]).await.unwrap_err().to_string();
    ensure!(error.contains("404") && error.contains("orders"), "{error}");
    let error = command(&["tail", "orders", &public, "--from=yesterday"]).await.unwrap_err();
    ensure!(error.to_string().contains("400"), "{error}");
    let error = command(&["tail", "orders", "--url=http://127.0.0.1:9"]).await.unwrap_err();
    ensure!(error.to_string().starts_with("can't reach 127.0.0.1:9"), "{error}");
    Ok(())
}

/// A server that is gone for a while and comes back with another log: the reader waits, goes on, and says
/// that something may be missing.
#[tokio::test]
async fn a_reader_outlives_the_server() -> Result<()> {
    let sidecar = Sidecar::start(OPEN).await?;
    publish_lines(&sidecar, "1\n", &[]).await?;
    let url = format!("--url=http://{}", sidecar.public);
    let args = parse(&["tail", "orders", &url, "--from=earliest", "--count=2"]);
    let Command::Tail(asked) = args.command else { panic!("another command") };
    let (out, notes) = (Paper::default(), Paper::default());
    let mut screen = Screen::plain(out.clone(), notes.clone());
    let reach = args.reach.clone();
    let reading = tokio::spawn(async move { tail::run(&reach, &asked, &mut screen).await });
    eventually("the first event is printed", LIMIT, async || {
        ensure!(out.text() == "1\n", "{}", out.text());
        Ok(())
    })
    .await?;
    let Sidecar { app, public, .. } = sidecar;
    app.stop().await;
    eventually("the reader misses the server", LIMIT, async || {
        ensure!(!notes.text().is_empty(), "no remark");
        Ok(())
    })
    .await?;
    let sidecar = Sidecar::start_on(OPEN, public).await?;
    publish_lines(&sidecar, "2\n", &[]).await?;
    tokio::time::timeout(LIMIT, reading).await???;
    ensure!(out.text() == "1\n2\n", "{}", out.text());
    ensure!(notes.text().contains("gap: "), "{}", notes.text());
    Ok(())
}
