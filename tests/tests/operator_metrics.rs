//! Makes docs/operator-metrics.md from what the operator's modules register, and holds it to that.
//!
//! `WEIR_WRITE=1 cargo test -p weir-tests --test operator_metrics` makes it anew.

// Tells the lints that all of it is a test.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::Path;

use weir_tests::sources;

const INTRODUCTION: &str = "# Metrics of the operator

What the operator answers to `GET /metrics` on its admin port, in OpenMetrics. This page is made from what its modules
register; `WEIR_WRITE=1 cargo test -p weir-tests --test operator_metrics` makes it anew. Those of the sidecar are in
[metrics.md](metrics.md).

A counter's name ends in `_total` in a scrape, and a histogram's in `_bucket`, `_count` and `_sum`. A series with labels
is there once something has happened that it counts.

| metric | what |
|---|---|
";

/// A literal at the beginning of a text, with what follows it.
fn literal(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    // A line that is continued begins behind its indentation.
    let lines: Vec<&str> = inside.split("\\\n").map(str::trim_start).collect();
    Some((lines.concat(), rest.trim_start().strip_prefix(',')?))
}

/// What one file registers: names, with their units, and what they mean.
fn registered(text: &str, found: &mut BTreeMap<String, String>) {
    let text = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    for call in ["registry.register(", "registry.register_with_unit("] {
        for rest in text.split(call).skip(1) {
            let Some((name, rest)) = literal(rest) else { continue };
            let Some((help, rest)) = literal(rest) else { panic!("{name} has no help") };
            // `Unit::Seconds`, or a function that is called as the unit is.
            let unit = rest.split(',').next().unwrap_or_default().trim();
            let called = unit.strip_suffix("()").filter(|name| !name.contains('.'));
            let unit = unit.strip_prefix("Unit::").or(called);
            let unit = unit.map(|unit| format!("_{}", unit.to_lowercase()));
            found.insert(format!("weir_operator_{name}{}", unit.unwrap_or_default()), help);
        }
    }
}

#[test]
fn the_reference_of_the_operators_metrics_is_that_of_this_version() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeMap::new();
    sources(&root.join("operator/src"))
        .unwrap()
        .iter()
        .for_each(|text| registered(text, &mut found));
    let expected =
        ["reconcile_duration_seconds", "watch_failures", "farewells_missed", "injections"];
    for name in expected {
        assert!(found.contains_key(&format!("weir_operator_{name}")), "{name}: {found:?}");
    }
    let rows = found.iter().map(|(name, help)| format!("| `{name}` | {help}. |\n"));
    let made = INTRODUCTION.to_owned() + &rows.collect::<String>();
    let path = root.join("docs/operator-metrics.md");
    if std::env::var_os("WEIR_WRITE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/operator-metrics.md is stale; its head says how it is made anew"
    );
}

#[test]
fn what_a_file_registers_is_read_with_its_unit_and_its_continued_lines() {
    let mut found = BTreeMap::new();
    let text = "registry.register_with_unit(\n \"a\",\n \"Of \\\n      b\",\n Unit::Seconds,\n c);\n\
                registry.register(\"d\", \"E\", f);\nregistry.register_with_unit(\"g\", \"H\", i(), j)";
    registered(text, &mut found);
    let pairs: Vec<_> = found.iter().map(|(name, help)| (name.as_str(), help.as_str())).collect();
    let expected =
        [("weir_operator_a_seconds", "Of b"), ("weir_operator_d", "E"), ("weir_operator_g_i", "H")];
    assert_eq!(pairs, expected);
}
