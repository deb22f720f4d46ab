//! A log on a disk: what is left when the program is killed, and when there is no more room.

mod full;
mod rolls;
mod streams;

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    client::{Request, Sse, find},
    fixture::{PATIENCE, Server, config, start_in},
};

/// How often the program is killed.
const KILLS: usize = 24;
const PUBLISHERS: usize = 4;
/// How many events each of them publishes between two kills at most.
const A_ROUND: u64 = 20;

fn on_disk(durability: &str) -> String {
    format!(
        "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
log: {{storage: {{disk: {{size: 128Mi, durability: {durability}}}}}}}
endpoints: {{sse: {{}}, websocket: {{}}, publish: {{anonymous: true}}}}
"
    )
}

/// The real program, which a drop kills.
struct Program {
    child: Child,
    public: SocketAddr,
    publish: SocketAddr,
    admin: SocketAddr,
    /// What it says. A pipe, so that no bound on files is one on that.
    said: JoinHandle<String>,
}

impl Program {
    /// Starts it on free ports, and waits until its log is open.
    async fn start(directory: &Path, manifest: &str) -> Self {
        let file = Self::write(directory, manifest);
        loop {
            let mut program = Self::spawn(directory, &file, "");
            if program.until_healthy().await {
                return program;
            }
            let said = program.end();
            // Between two steps of this test a connection of another may take a port that was free.
            assert!(
                said.contains("in use by another process: stop it"),
                "it does not open: {said}"
            );
        }
    }

    /// Writes the manifest of a pipeline.
    fn write(directory: &Path, manifest: &str) -> PathBuf {
        let file = directory.join("orders.yaml");
        let spec = manifest.lines().map(|line| format!("  {line}\n")).collect::<String>();
        let head = "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {name: orders}\nspec:\n";
        fs::write(&file, format!("{head}{spec}")).unwrap();
        file
    }

    /// Starts it behind a command of the shell.
    fn spawn(directory: &Path, manifest: &Path, first: &str) -> Self {
        let [public, admin, publish] = free_ports();
        // A file that grows beyond the limit is an error to the program, and not its end.
        let script = format!("trap '' XFSZ; {first}\nexec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_weir-sidecar")])
            .arg("run")
            .arg(manifest)
            .arg("--data-dir")
            .arg(directory.join("data"))
            .arg(format!("--public={public}"))
            .arg(format!("--admin={admin}"))
            .arg(format!("--publish={publish}"))
            .arg("--status=never")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = thread::spawn(move || {
            let mut said = String::new();
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        Self { child, public, publish, admin, said }
    }

    /// Waits until its log is open; `false` where it has ended, or waits too long.
    async fn until_healthy(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.health().await != Some(1) {
            if Instant::now() > deadline || self.child.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(10)).await;
        }
        true
    }

    async fn health(&self) -> Option<u64> {
        self.metric("weir_log_healthy{").await
    }

    /// The first value of a metric.
    async fn metric(&self, start: &str) -> Option<u64> {
        let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let metrics = exchange(self.admin, request).await?;
        let line = metrics.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn kill(self) {
        self.end();
    }

    /// Kills it, if that is still to be done, and returns what it has said.
    fn end(mut self) -> String {
        // Where it has ended there is nothing to kill.
        let _ = self.child.kill();
        self.child.wait().unwrap();
        let nothing = thread::spawn(String::new);
        std::mem::replace(&mut self.said, nothing).join().unwrap()
    }

    /// Bounds how large a file it may write.
    fn limit_files(&self, bytes: Option<u64>) {
        let pid = Pid::from_child(&self.child);
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // After a kill there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_ports() -> [SocketAddr; 3] {
    let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// One request, and the whole answer; `None` where the server is gone in between.
pub(crate) async fn exchange(to: SocketAddr, request: &str) -> Option<String> {
    let mut socket = TcpStream::connect(to).await.ok()?;
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().ok()?;
    let length = find(&answer, b"\r\n\r\n")?;
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_at(length + 4);
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    announced.is_none_or(|announced| announced == body.len()).then_some(text)
}

/// Posts one event with an id; whether it was answered for.
async fn post(to: SocketAddr, id: &str, filler: usize) -> bool {
    let body = format!("{{\"id\":\"{id}\",\"x\":\"{}\"}}", "x".repeat(filler));
    let request = format!(
        "POST /orders/events HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\nce-specversion: 1.0\r\nce-id: {id}\r\nce-type: test\r\n\
         ce-source: /test\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(to, &request).await;
    answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What is published between two kills, and what the log keeps of it.
struct Load {
    manifest: String,
    /// How large each event is, about.
    filler: usize,
    /// How many events the log holds at most.
    window: u64,
}

/// What was answered for, in the order of the answers of each publisher.
type Acknowledged = Arc<Mutex<BTreeMap<usize, Vec<u64>>>>;

/// Publishes numbered events one after the other until the server is gone. What was not answered for is
/// published again by the next.
async fn publish(
    to: SocketAddr,
    publisher: usize,
    filler: usize,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
) {
    for _ in 0..A_ROUND {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let next = acknowledged.lock().unwrap().entry(publisher).or_default().len() as u64;
        if post(to, &format!("{publisher}-{next}"), filler).await {
            acknowledged.lock().unwrap().get_mut(&publisher).unwrap().push(next);
        } else {
            return;
        }
    }
}

fn number(data: &str) -> (usize, u64) {
    let value: serde_json::Value = serde_json::from_str(data).unwrap();
    let (publisher, n) = value["id"].as_str().unwrap().split_once('-').unwrap();
    (publisher.parse().unwrap(), n.parse().unwrap())
}

/// What a subscriber has seen: of each publisher the number that comes next.
#[derive(Default)]
struct Seen {
    next: BTreeMap<usize, u64>,
    cursor: String,
    /// How many events.
    events: u64,
    /// Whether what came before may have left the log.
    in_midst: bool,
}

impl Seen {
    async fn subscribe(&self, to: SocketAddr) -> Sse {
        let headers = [("last-event-id", self.cursor.as_str())];
        let headers: &[_] = if self.cursor.is_empty() { &[] } else { &headers };
        Sse::open(to, "/orders/sse?from=earliest", headers).await
    }

    fn count(&self, publisher: usize) -> u64 {
        self.next.get(&publisher).copied().unwrap_or(0)
    }

    /// Reads until each publisher's events were seen up to `until`, or the stream ends.
    async fn read(&mut self, sse: &mut Sse, until: Option<&BTreeMap<usize, u64>>) {
        while until.is_none_or(|until| until.iter().any(|(p, n)| self.count(*p) < *n)) {
            if !self.read_one(sse).await {
                return;
            }
        }
    }

    /// Reads an event; `false` where the stream ends.
    async fn read_one(&mut self, sse: &mut Sse) -> bool {
        let Some(event) = sse.next().await else { return false };
        assert_eq!(event.name, "message", "{:.200}", event.data);
        let (publisher, n) = number(&event.data);
        let first = if self.in_midst { n } else { 0 };
        let next = self.next.entry(publisher).or_insert(first);
        assert_eq!(n, *next, "of publisher {publisher}: once each, in order");
        *next += 1;
        self.events += 1;
        self.cursor = event.id;
        true
    }
}

async fn killed_again_and_again(directory: &Path, load: Load) {
    let Load { manifest, filler, window } = load;
    let acknowledged = Acknowledged::default();
    let mut follower = Seen::default();
    for round in 0..=KILLS {
        let program = Program::start(directory, &manifest).await;
        let answered: BTreeMap<_, _> =
            acknowledged.lock().unwrap().iter().map(|(p, all)| (*p, all.len() as u64)).collect();
        // Everything that was answered for is there, exactly once and in order, as far as it is kept.
        let held = program.metric("weir_log_events{").await.unwrap();
        let total = answered.values().sum::<u64>();
        assert!((total.min(window)..=window).contains(&held), "{held} of {total}");
        let mut all = Seen { in_midst: held == window, ..Seen::default() };
        let mut sse = all.subscribe(program.public).await;
        while all.events < held {
            assert!(all.read_one(&mut sse).await, "the stream ended");
        }
        // And who was there before goes on with its cursor.
        let mut sse = follower.subscribe(program.public).await;
        follower.read(&mut sse, Some(&answered)).await;
        for (publisher, n) in &answered {
            // Of who was slow, all may have left.
            let kept = all.count(*publisher) >= *n || !all.next.contains_key(publisher);
            assert!(kept && follower.count(*publisher) >= *n, "round {round}");
        }
        if round == KILLS {
            break;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|p| {
                let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
                tokio::spawn(publish(program.publish, p, filler, acknowledged, stop))
            })
            .collect();
        let moment = total + fastrand::u64(1..A_ROUND * PUBLISHERS as u64);
        let count =
            || acknowledged.lock().unwrap().values().map(|all| all.len() as u64).sum::<u64>();
        let load = async {
            while count() < moment {
                sleep(Duration::from_micros(fastrand::u64(100..3_000))).await;
            }
        };
        tokio::select! {
            () = follower.read(&mut sse, None) => panic!("the stream ended before the kill"),
            () = load => {}
        }
        program.kill();
        // What was on its way to the subscriber is seen, too.
        follower.read(&mut sse, None).await;
        stop.store(true, Ordering::Relaxed);
        for publisher in publishers {
            publisher.await.unwrap();
        }
    }
    assert!(acknowledged.lock().unwrap().values().map(Vec::len).sum::<usize>() >= KILLS);
}

/// Small events, of which none leaves.
fn all_of(durability: &str) -> Load {
    Load { manifest: on_disk(durability), filler: 100, window: 1_000_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_and_repeats_nothing_with_fsync() {
    let directory = TempDir::new().unwrap();
    killed_again_and_again(directory.path(), all_of("Fsync")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_loses_and_repeats_nothing_with_an_interval() {
    let directory = TempDir::new().unwrap();
    killed_again_and_again(directory.path(), all_of("Interval")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_publishers_are_told_readers_are_served_and_room_is_found() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path(), &on_disk("Fsync")).await;
    program.limit_files(Some(256 * 1_024));
    let mut taken = 0;
    while post(program.publish, &format!("0-{taken}"), 20_000).await {
        taken += 1;
        assert!(taken < 20, "the limit is no limit");
    }
    let refused = Request::post("/orders/events").header("content-type", "application/json");
    let refused = refused.body(&format!("\"{}\"", "x".repeat(200_000))).send(program.publish).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("log_full"), "{}", refused.text());
    assert_eq!(program.health().await, Some(0));
    let mut seen = Seen::default();
    let mut sse = seen.subscribe(program.public).await;
    seen.read(&mut sse, Some(&[(0, taken)].into())).await;
    program.limit_files(None);
    assert!(post(program.publish, &format!("0-{taken}"), 20_000).await, "there is room again");
    seen.read(&mut sse, Some(&[(0, taken + 1)].into())).await;
    assert_eq!(program.health().await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_program_is_kept_out_in_one_line() {
    let directory = TempDir::new().unwrap();
    let mut program = Program::start(directory.path(), &on_disk("Fsync")).await;
    let [public, admin, publish] = free_ports();
    let second = Command::new(env!("CARGO_BIN_EXE_weir-sidecar"))
        .arg("run")
        .arg(directory.path().join("orders.yaml"))
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .args([format!("--public={public}"), format!("--admin={admin}")])
        .arg(format!("--publish={publish}"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.lines().count() == 1 && said.contains("another process"), "{said}");
    assert!(program.until_healthy().await);
}

#[tokio::test]
async fn a_restart_in_order_finds_everything() {
    let directory = TempDir::new().unwrap();
    let server = start_in(config(&on_disk("Fsync"), None), directory.path()).await;
    until_open(&server).await;
    server.post_numbers(0..1_000).await;
    let mut sse = server.sse("?from=earliest").await;
    for n in 0..10 {
        assert_eq!(sse.next_data().await, format!("{{\"n\":{n}}}"));
    }
    let cursor = sse.last_event_id.clone();
    server.app.stop().await;
    let server = start_in(config(&on_disk("Fsync"), None), directory.path()).await;
    until_open(&server).await;
    let mut again = server.sse(&format!("?cursor={cursor}")).await;
    for n in 10..1_000 {
        assert_eq!(again.next_data().await, format!("{{\"n\":{n}}}"));
    }
}

#[tokio::test]
async fn the_stages_of_a_log_are_measured() {
    let directory = TempDir::new().unwrap();
    let manifest = on_disk("Fsync").replace("log: {", "log: {retention: {maxEvents: 3}, ");
    let server = start_in(config(&manifest, None), directory.path()).await;
    until_open(&server).await;
    server.post_numbers(0..5).await;
    server.post_numbers(5..6).await;
    evicted(&server, "retention", 3).await;
    for metric in ["append_seconds", "sync_seconds", "group_events"] {
        let count = format!("weir_log_{metric}_count{{pipeline=\"orders\"}}");
        assert_eq!(server.metric(&count).await, Some(2), "{metric}");
    }
    let metrics = server.admin("/metrics").await.text();
    let mut groups =
        metrics.lines().filter(|line| line.starts_with("weir_log_group_events_bucket{"));
    let four = groups.find(|line| line.contains("le=\"4.0\"")).unwrap();
    assert!(four.ends_with(" 1"), "of 5 and of 1 events: {four}");
}

#[tokio::test]
async fn a_file_that_is_cut_off_under_a_running_log_is_told_by_a_gap_and_counted() {
    let directory = TempDir::new().unwrap();
    let server = start_in(config(&on_disk("Fsync"), None), directory.path()).await;
    until_open(&server).await;
    server.post_numbers(0..5).await;
    server.app.stop().await;
    // What was there before a start is read from the disk.
    let server = start_in(config(&on_disk("Fsync"), None), directory.path()).await;
    until_open(&server).await;
    let file = directory.path().join("shop/orders/0000000000000001.log");
    fs::OpenOptions::new().write(true).open(file).unwrap().set_len(40).unwrap();
    let mut sse = server.sse("?from=earliest").await;
    assert_eq!(sse.next().await.unwrap().name, "gap");
    server.post_numbers(5..6).await;
    assert_eq!(sse.next_data().await, "{\"n\":5}");
    evicted(&server, "damaged", 5).await;
    assert_eq!(server.metric("weir_log_reads_failed_total{pipeline=\"orders\"}").await, Some(1));
}

/// Waits until so many events have left for this reason.
async fn evicted(server: &Server, reason: &str, count: u64) {
    let metric =
        format!("weir_log_events_evicted_total{{pipeline=\"orders\",reason=\"{reason}\"}}");
    server.metric_becomes(&metric, count).await;
}

#[tokio::test]
async fn another_storage_is_another_log_and_the_counters_go_on() {
    let directory = TempDir::new().unwrap();
    let server = start_in(config(&on_disk("Fsync"), None), directory.path()).await;
    until_open(&server).await;
    server.post_numbers(0..3).await;
    let mut sse = server.sse("").await;
    server.app.apply(config(&on_disk("Interval"), None));
    assert_eq!(sse.next().await.unwrap().name, "draining");
    until_open(&server).await;
    // The same directory, so the same log.
    let mut again = server.sse(&format!("?cursor={}", sse.last_event_id)).await;
    server.post_numbers(3..4).await;
    assert_eq!(again.next_data().await, "{\"n\":3}");
    let memory =
        on_disk("Interval").replace("{disk: {size: 128Mi, durability: Interval}}", "{memory: {}}");
    server.app.apply(config(&memory, None));
    assert_eq!(again.next().await.unwrap().name, "draining");
    let mut other = server.sse(&format!("?cursor={}", again.last_event_id)).await;
    assert_eq!(other.next().await.unwrap().name, "gap");
    let samples = server.admin("/samples").await.json();
    assert_eq!(samples["pipelines"][0]["deliveries"]["accepted"], 4);
    assert_eq!(samples["pipelines"][0]["log"]["healthy"], true);
}

#[tokio::test]
async fn a_log_that_can_not_be_opened_says_why_and_is_tried_again() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fs::write(&data, "a file").unwrap();
    let server = start_in(config(&on_disk("Fsync"), None), &data).await;
    let refused = server.post("1").await;
    assert_eq!(refused.status, 503);
    server.metric_becomes("weir_log_healthy{pipeline=\"orders\"}", 0).await;
    let samples = server.admin("/samples").await.json();
    assert_eq!(samples["pipelines"][0]["log"]["healthy"], false);
    fs::remove_file(&data).unwrap();
    until_open(&server).await;
    assert_eq!(server.post("1").await.status, 200);
}

async fn until_open(server: &Server) {
    server.metric_becomes("weir_log_healthy{pipeline=\"orders\"}", 1).await;
}
