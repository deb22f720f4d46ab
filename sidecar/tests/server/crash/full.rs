//! No room on the disk for another file: for the next segment, for what the log says of itself, for anything.

use rustix::process::{Signal, kill_process};

use super::*;

/// Less than what a file of the log begins with.
const NOTHING: Option<u64> = Some(16);

/// Files of a mebibyte, which is eleven of the events that [`fill`] posts.
fn small() -> String {
    on_disk("Fsync")
        .replace("128Mi", "16Mi")
        .replace("log: {", "log: {retention: {maxBytes: 8Mi}, ")
}

/// Posts so many events, from this number on.
async fn fill(program: &Program, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert!(post(program.publish, &format!("0-{n}"), 100_000).await, "{n}");
    }
}

async fn sees(program: &Program, seen: &mut Seen, count: u64) {
    let mut sse = seen.subscribe(program.public).await;
    seen.read(&mut sse, Some(&[(0, count)].into())).await;
    assert_eq!(seen.count(0), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_the_next_file_publishers_are_told_and_it_is_made_later() {
    let directory = TempDir::new().unwrap();
    let program = Program::start(directory.path(), &small()).await;
    fill(&program, 0..11).await;
    program.limit_files(NOTHING);
    for _ in 0..2 {
        let refused = Request::post("/orders/events").header("content-type", "application/json");
        let refused = refused.body("1").send(program.publish).await;
        assert_eq!(refused.status, 503);
        assert!(refused.text().contains("log_full"), "{}", refused.text());
    }
    assert_eq!(program.health().await, Some(0));
    let mut seen = Seen::default();
    sees(&program, &mut seen, 11).await;
    program.limit_files(None);
    fill(&program, 11..23).await;
    assert_eq!(program.health().await, Some(1));
    program.limit_files(NOTHING);
    assert!(!post(program.publish, "0-23", 100_000).await);
    // What was refused, and undone, is nothing to the next start.
    program.kill();
    let program = Program::start(directory.path(), &small()).await;
    sees(&program, &mut seen, 23).await;
    fill(&program, 23..24).await;
    sees(&program, &mut Seen::default(), 24).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_can_not_write_down_that_it_was_closed_is_whole_all_the_same() {
    let directory = TempDir::new().unwrap();
    let mut program = Program::start(directory.path(), &small()).await;
    fill(&program, 0..13).await;
    let mut seen = Seen::default();
    sees(&program, &mut seen, 12).await;
    program.limit_files(NOTHING);
    kill_process(Pid::from_child(&program.child), Signal::TERM).unwrap();
    program.child.wait().unwrap();
    let said = program.end();
    assert!(said.contains("can't write down that the log was closed in order"), "{said}");
    let program = Program::start(directory.path(), &small()).await;
    // No gap, so it is the same incarnation.
    sees(&program, &mut seen, 13).await;
    fill(&program, 13..14).await;
    sees(&program, &mut seen, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_no_room_from_the_beginning_opens_when_it_has() {
    let directory = TempDir::new().unwrap();
    let file = Program::write(directory.path(), &small());
    let mut program = Program::spawn(directory.path(), &file, "ulimit -S -f 0");
    let deadline = Instant::now() + PATIENCE;
    while program.health().await != Some(0) {
        assert!(Instant::now() < deadline && program.child.try_wait().unwrap().is_none());
        sleep(Duration::from_millis(10)).await;
    }
    let refused = Request::post("/orders/events").header("content-type", "application/json");
    let refused = refused.body("1").send(program.publish).await;
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("log_unavailable"), "{}", refused.text());
    program.limit_files(None);
    assert!(program.until_healthy().await);
    fill(&program, 0..1).await;
    sees(&program, &mut Seen::default(), 1).await;
}
