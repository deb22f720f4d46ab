//! A real browser: its own `EventSource` and `WebSocket`, from a page of another origin.
//!
//! It needs Chromium. `cargo xtask test` finds these tests by the name of it, and leaves them out where there is none.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    client::Request,
    crash::{exchange, free_ports},
};

const PAGE: &str = include_str!("browser/page.html");

/// A browser that starts on a busy machine, and one that waits before it comes back.
const LONG: Duration = Duration::from_secs(90);

/// What the page has got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Seen {
    sse: Vec<u64>,
    ws: Vec<u64>,
    closes: Vec<u16>,
}

impl Seen {
    fn len(&self) -> usize {
        let Self { sse, ws, closes } = self;
        sse.len() + ws.len() + closes.len()
    }
}

/// The server of the page, to which the page tells what it has got.
struct Site {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Site {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::default());
        let told = Arc::clone(&seen);
        // It ends with the process. A browser also opens connections on which it asks for nothing.
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let told = Arc::clone(&told);
                thread::spawn(move || answer(socket, &told));
            }
        });
        Self { address, seen }
    }

    /// Waits until the page has got all events before `end` in both ways.
    async fn until(&self, end: u64) -> Seen {
        let expected: Vec<_> = (0..end).collect();
        let deadline = Instant::now() + LONG;
        loop {
            let seen = self.seen.lock().unwrap().clone();
            for got in [&seen.sse, &seen.ws] {
                assert_eq!(got[..], expected[..got.len().min(expected.len())], "lost or twice");
            }
            if seen.sse == expected && seen.ws == expected {
                return seen;
            }
            assert!(Instant::now() < deadline, "of {end} events the page got {seen:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Answers one request.
fn answer(mut socket: TcpStream, told: &Mutex<Seen>) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.to_ascii_lowercase());
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let page = match lines[0].split(' ').nth(1).unwrap() {
        "/" => PAGE,
        "/report" => {
            let seen: Seen = serde_json::from_slice(&body).unwrap();
            let mut told = told.lock().unwrap();
            // Reports may overtake each other.
            if seen.len() > told.len() {
                *told = seen;
            }
            ""
        }
        _ => "",
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length:";
    // The browser may have been closed.
    let _ = write!(socket, "{head} {}\r\n\r\n{page}", page.len());
}

/// A process that a drop kills.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn browse(url: &str, profile: &TempDir) -> Running {
    let mut chromium = Command::new("chromium");
    chromium
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(chromium.spawn().expect("needs chromium: run `cargo xtask setup` as root"))
}

/// The program, always at the same addresses and with the same log.
struct Program {
    directory: TempDir,
    manifest: PathBuf,
    addresses: [SocketAddr; 3],
}

impl Program {
    fn new(origin: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("orders.yaml");
        let text = format!(
            "apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {{name: orders}}
spec:
  placement: {{gateway: {{}}}}
  sources: [{{name: app, http: {{}}}}]
  log: {{storage: {{disk: {{size: 128Mi}}}}}}
  endpoints:
    sse: {{}}
    websocket: {{}}
    publish: {{anonymous: true}}
    cors: {{allowedOrigins: ['http://{origin}']}}
  delivery: {{drain: {{window: 1s}}}}
"
        );
        fs::write(&manifest, text).unwrap();
        Self { directory, manifest, addresses: free_ports() }
    }

    async fn start(&self) -> Running {
        let [public, admin, publish] = self.addresses;
        let program = Command::new(env!("CARGO_BIN_EXE_weir-sidecar"))
            .arg("run")
            .arg(&self.manifest)
            .arg("--data-dir")
            .arg(self.directory.path().join("data"))
            .args([format!("--public={public}"), format!("--admin={admin}")])
            .args([format!("--publish={publish}"), "--status=never".to_owned()])
            .spawn()
            .unwrap();
        let running = Running(program);
        self.metric_becomes("weir_log_healthy{", 1).await;
        running
    }

    async fn metric_becomes(&self, start: &str, wanted: u64) {
        let [_, admin, _] = self.addresses;
        let request = "GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let deadline = Instant::now() + LONG;
        loop {
            let metrics = exchange(admin, request).await.unwrap_or_default();
            let line = metrics.lines().find(|line| line.starts_with(start));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            if value == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{start} is {value:?}, and not {wanted}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn publish(&self, numbers: Range<u64>) {
        let [_, _, publish] = self.addresses;
        for n in numbers {
            let request =
                Request::post("/orders/events").header("content-type", "application/json");
            let answer = request.body(&format!("{{\"n\":{n}}}")).send(publish).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    /// Sends the subscribers away, as a pod's preStop hook does.
    fn drain(&self) {
        let [_, admin, _] = self.addresses;
        let mut drain = Command::new(env!("CARGO_BIN_EXE_weir-sidecar"));
        assert!(drain.args(["drain", &format!("--admin={admin}")]).status().unwrap().success());
    }
}

#[tokio::test]
async fn chromium_gets_each_event_once_over_a_drain_a_restart_and_a_crash() {
    let (site, profile) = (Site::open(), tempfile::tempdir().unwrap());
    let program = Program::new(site.address);
    let mut running = program.start().await;
    let [public, ..] = program.addresses;
    let _browser = browse(&format!("http://{}/#{public}", site.address), &profile);
    for transport in ["sse", "websocket"] {
        let subscribers =
            format!("weir_subscribers{{pipeline=\"orders\",transport=\"{transport}\"}} ");
        program.metric_becomes(&subscribers, 1).await;
    }
    program.publish(0..40).await;
    assert!(site.until(40).await.closes.is_empty());

    program.drain();
    // Who comes back is asked to wait; the application's last events are taken.
    program.publish(40..60).await;
    kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
    assert!(running.0.wait().unwrap().success());
    let running = program.start().await;
    program.publish(60..100).await;
    let seen = site.until(100).await;
    assert_eq!(seen.closes[0], 1012, "{:?}", seen.closes);

    drop(running);
    let _running = program.start().await;
    program.publish(100..120).await;
    site.until(120).await;
}
