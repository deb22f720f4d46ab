//! Logs in stores that ask for a password, which lies in a file as a mounted Secret does.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::fixture::{PATIENCE, Server, config};

/// A store of one's own, and the Secrets.
struct Store {
    child: Child,
    port: u16,
    secrets: TempDir,
    _folder: TempDir,
}

impl Store {
    /// Starts a program with these options, among which PORT and FOLDER are replaced.
    fn start(program: &str, options: &str) -> Self {
        let (folder, secrets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.replace("PORT", &port.to_string());
        let options = options.replace("FOLDER", folder.path().to_str().unwrap());
        let mut command = Command::new(program);
        command.args(options.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("`cargo xtask setup` installs it on Debian");
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{program} did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::create_dir(secrets.path().join("store")).unwrap();
        Self { child, port, secrets, _folder: folder }
    }

    fn write(&self, password: &str) {
        fs::write(self.secrets.path().join("store/password"), password).unwrap();
    }

    /// Serves a pipeline whose log is here; `rest` says how it is let in.
    async fn serve(&self, storage: &str, rest: &str) -> Server {
        let spec = format!(
            "
placement: {{gateway: {{replicas: 1}}}}
sources: [{{name: app, http: {{}}}}]
endpoints: {{sse: {{}}, publish: {{anonymous: true}}}}
log:
  storage: {{{storage}: {{address: '127.0.0.1:{}', {rest}}}}}
",
            self.port
        );
        Server::start_with_secrets(config(&spec, None), self.secrets.path()).await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const REDIS: &str = "--bind 127.0.0.1 --port PORT --dir FOLDER --requirepass s3cret";
const NATS: &str = "--addr 127.0.0.1 --port PORT --jetstream --store_dir FOLDER";
const PASSWORD: &str = "password: {secretName: store, key: password}";
const HEALTHY: &str = "weir_log_healthy{pipeline=\"orders\"} ";

/// The log opens with the right password, which may come later than the pipeline.
async fn is_let_in(store: &Store, storage: &str, rest: &str) {
    store.write("wrong");
    let server = store.serve(storage, rest).await;
    server.metric_becomes(HEALTHY, 0).await;
    store.write("s3cret\n");
    server.metric_becomes(HEALTHY, 1).await;
    assert_eq!(server.post("1").await.status, 200);
}

#[tokio::test]
async fn redis_asks_for_a_password() {
    let store = Store::start("redis-server", REDIS);
    is_let_in(&store, "redis", PASSWORD).await;
    is_let_in(&store, "redis", &format!("username: default, {PASSWORD}")).await;
}

#[tokio::test]
async fn nats_asks_for_a_user_and_a_password() {
    let store = Store::start("nats-server", &format!("{NATS} --user weir --pass s3cret"));
    is_let_in(&store, "natsJetStream", &format!("username: weir, {PASSWORD}")).await;
}

#[tokio::test]
async fn nats_asks_for_a_token() {
    let store = Store::start("nats-server", &format!("{NATS} --auth s3cret"));
    is_let_in(&store, "natsJetStream", PASSWORD).await;
}
