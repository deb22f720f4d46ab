//! Holds the custom resources to their rules, on a real API server and in files alike.
//!
//! One table says for every rule what it accepts, what it refuses and in which words. The API server and
//! the reader of files are held to the same table, so they cannot drift apart; and the table is held to
//! the definitions, so no rule is left out.

// Tells the lints that all of it is a test.
#![cfg(test)]

mod auth;
mod coverage;
mod exposure;
mod files;
mod gateway;
mod numbers;
mod pipeline;
mod scalars;
mod selector;
mod server;
mod shapes;
mod slo;
mod table;
mod usage;

use table::{Case, Verdict};

fn cases() -> Vec<Case> {
    [
        pipeline::cases(),
        auth::cases(),
        gateway::cases(),
        exposure::cases(),
        selector::cases(),
        slo::cases(),
        scalars::cases(),
        numbers::cases(),
    ]
    .concat()
}

#[test]
fn every_rule_of_the_definitions_refuses_something_in_the_table() {
    let untested = coverage::untested(&cases());
    assert!(untested.is_empty(), "not refused in the table:\n{}", untested.join("\n"));
}

#[test]
fn a_file_is_judged_as_the_table_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        let expected = match &case.verdict {
            Verdict::Accepted => Vec::new(),
            Verdict::Refused { file, .. } => vec![file.clone()],
        };
        let found = files::judge(&case.object);
        if found != expected {
            wrong.push(case.mismatch(&found.join(" | "), &expected.join(" | ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
