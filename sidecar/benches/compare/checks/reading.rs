//! What `/proc` says is understood.

use std::{process, time::Duration};

use crate::readings::{CpuTime, Used, in_rollup, in_schedstat, in_stat, resident_memory};

/// Threads by their ids, with how long each ran and waited; and how long the process ran.
fn cpu(threads: &[(u32, u64, u64)], process: u64) -> CpuTime {
    let threads = threads.iter().map(|&(id, ran, waited)| (id, used(ran, waited)));
    CpuTime::new(threads.collect(), Duration::from_nanos(process))
}

fn used(ran: u64, waited: u64) -> Used {
    Used { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) }
}

#[test]
fn time_is_that_of_all_threads_also_of_new_ones() {
    let before = cpu(&[(1, 10, 1), (2, 20, 2)], 0);
    let after = cpu(&[(1, 15, 4), (2, 20, 2), (3, 7, 1)], 999);
    assert_eq!(after.since(&before), used(12, 4));
}

#[test]
fn where_a_thread_has_ended_time_is_the_process_s() {
    let (before, after) = (cpu(&[(1, 10, 0), (2, 20, 0)], 100), cpu(&[(1, 15, 9)], 300));
    assert_eq!(after.since(&before), used(200, 0));
}

#[test]
fn where_threads_have_no_statistics_time_is_the_process_s() {
    assert_eq!(cpu(&[], 300).since(&cpu(&[], 100)), used(200, 0));
}

#[test]
fn a_program_s_name_does_not_shift_the_fields() {
    let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 99 1 1";
    assert_eq!(in_stat(stat), Some(Duration::from_millis(460)));
    assert_eq!(in_stat("7 (a) S 1"), None);
}

#[test]
fn schedstat_starts_with_the_times_on_a_cpu_and_in_its_queue() {
    assert_eq!(in_schedstat("123456 77 9\n"), Some(used(123_456, 77)));
    assert_eq!(in_schedstat("123456"), None);
}

#[test]
fn rollup_has_the_resident_set_in_kib() {
    let rollup = "55d0-7ffd ---p 0 00:00 0  [rollup]\nRss:    1234 kB\nPss:     99 kB\n";
    assert_eq!(in_rollup(rollup), Some(1234 * 1024));
    assert_eq!(in_rollup("Pss: 99 kB\n"), None);
}

#[test]
fn this_process_can_be_read() {
    let before = CpuTime::of(process::id()).unwrap();
    let sum = (0..10_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
    let used = CpuTime::of(process::id()).unwrap().since(&before);
    assert!(used.ran > Duration::ZERO, "{sum}");
    assert!(resident_memory(process::id()).unwrap() > 100_000);
}
