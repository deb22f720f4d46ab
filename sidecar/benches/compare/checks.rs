//! Checks of the benchmark itself: a benchmark that can't see a loss proves nothing.

#![allow(dead_code, reason = "of the benchmark's modules only what does no I/O is checked here")]

mod chunked;
mod frames;
mod http;
mod payload;
mod readings;
mod search;
mod sequence;
mod stream;
mod summary;
mod tally;
mod transport;

#[cfg(test)]
#[path = "checks"]
mod checks {
    mod reading;
    mod searching;
    mod sequences;
    mod streams;
    mod summing;
}
