//! The commands against a real API server, with what an operator would have written on it.

// Tells the lints that all of it is a test.
#![cfg(test)]

mod check;
mod fixture;
mod inject;
mod resources;
