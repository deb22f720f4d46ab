//! The program and its files: those that it is given, and how many it may open.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use tempfile::TempDir;

use crate::fixture::PATIENCE;

/// The program, which a drop kills, and what it says.
struct Program {
    child: Child,
    said: mpsc::Receiver<String>,
    directory: TempDir,
}

impl Program {
    /// Starts it on whatever ports are free, after the shell has done this.
    fn start_after(shell: &str, most_connections: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("orders.yaml");
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{name: orders}}\nspec:\n  \
             placement: {{gateway: {{}}}}\n  sources: [{{name: app, generator: {{rate: 1}}}}]\n  \
             delivery: {{maxConnections: {most_connections}}}\n"
        );
        fs::write(&manifest, text).unwrap();
        Self::start(shell, directory, "orders.yaml")
    }

    /// Starts it with what has this name in the directory.
    fn start(shell: &str, directory: TempDir, name: &str) -> Self {
        let command = format!("{shell} && exec \"$0\" \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_weir-sidecar"), "run"])
            .arg(directory.path().join(name))
            .args(["--public=127.0.0.1:0", "--admin=127.0.0.1:0", "--publish=127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, said) = mpsc::channel();
        let (out, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(error)] {
            let say = say.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = say.send(line);
                }
            });
        }
        Self { child, said, directory }
    }

    /// Reads what it says until a line holds this; returns all lines.
    fn until(&self, words: &str) -> String {
        let mut lines = String::new();
        while !lines.contains(words) {
            let line = self.said.recv_timeout(PATIENCE);
            lines.push_str(&line.unwrap_or_else(|_| panic!("no {words:?} in:\n{lines}")));
            lines.push('\n');
        }
        lines
    }

    /// The soft and the hard limit.
    fn limits(&self) -> (String, String) {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let mut words = line.split_whitespace().skip(3).map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const GOOD: &str = "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {name: orders}\nspec:\n  \
                    placement: {gateway: {}}\n  sources: [{name: app, generator: {rate: 1}}]\n";

#[test]
fn a_file_with_a_mistake_ends_the_program_that_was_given_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("orders.yaml"), GOOD.replace("rate", "rat")).unwrap();
    let mut program = Program::start("true", directory, "orders.yaml");
    let said = program.until("nothing was started");
    assert!(
        said.contains("orders.yaml:6:37: spec.sources[0].generator: unknown field `rat`"),
        "{said}"
    );
    assert_eq!(program.child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_directory_with_a_mistake_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("orders.yaml"), GOOD.replace("rate", "rat")).unwrap();
    let mut program = Program::start("true", directory, "");
    program.until("serving nothing until these files are mended");
    program.until("unknown field `rat`");
    fs::write(program.directory.path().join("orders.yaml"), GOOD).unwrap();
    program.until("took up a changed configuration");
    assert!(program.child.try_wait().unwrap().is_none(), "it has ended");
}

#[test]
fn the_program_takes_as_many_files_as_it_is_granted() {
    let program = Program::start_after("ulimit -Sn 100", 10);
    let said = program.until("/orders/sse");
    assert!(!said.contains("WARN"), "{said}");
    let (soft, hard) = program.limits();
    assert_eq!(soft, hard);
    assert_ne!(soft, "100");
}

#[test]
fn it_warns_where_the_pipelines_promise_more_connections_than_that() {
    let program = Program::start_after("ulimit -n 1000", 1_234);
    let said = program.until("maxConnections");
    for part in ["have 1000 files", "needs 1490", "1234 for the connections", "to 744 in all"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
