//! The stages, in their order: what is quick and often wrong comes first.

use std::process::Command;

use anyhow::Result;

use super::cluster::{ON_AN_API, ON_NODES, TestCluster};
use super::machine::Need;
use super::programs::{EVERYTHING, Programs};
use super::{Session, program, streams};
use crate::cargo::{BUILD_LIMIT, cargo};
use crate::{arch, command, crds, deps, images, manifests, setup};

/// One thing to check.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&mut Session) -> Result<()>,
}

const fn stage(
    name: &'static str,
    needs: &'static [Need],
    run: fn(&mut Session) -> Result<()>,
) -> Stage {
    Stage { name, needs, run }
}

pub(crate) const STAGES: &[Stage] = &[
    stage("system packages", &[], packages),
    stage("format", &[], format),
    stage("definitions are those of the types", &[], |_| crds::check()),
    stage("rules of the house", &[], |_| arch::check()),
    stage("rules about dependencies", &[], |_| deps::check()),
    stage("lints", &[], lints),
    stage("tests without a cluster", &[], tests),
    stage("tests against real brokers", &[Need::Brokers], on_brokers),
    stage("tests in a real browser", &[Need::Browser], in_a_browser),
    stage("the API's types without Kubernetes", &[], types_alone),
    stage("the programs without their features", &[], programs_alone),
    stage("conformance of Durable Streams", &[Need::Npm], |s| streams::test(&mut s.tally)),
    stage("tests on an API server", &[Need::Api], on_an_api),
    // Here, because it needs Helm, which is compiled with what the next one needs.
    stage("plain manifests are those of the chart", &[Need::Pods], |_| manifests::check()),
    stage("end to end, on two nodes", &[Need::Pods, Need::Brokers], on_nodes),
];

/// What cannot be installed is told here and is no failure: the stages that need it are left out, and the
/// last lines say so.
fn packages(session: &mut Session) -> Result<()> {
    let installed = if session.options.quick { Ok(()) } else { setup::run().map(drop) };
    if let Err(error) = installed {
        println!("{error:#}");
    }
    let report = setup::Report::of_this_machine();
    report.advice().iter().for_each(|advice| println!("{advice}"));
    Ok(())
}

fn format(_: &mut Session) -> Result<()> {
    command::stream(cargo("fmt").args(["--all", "--", "--check"]), BUILD_LIMIT)
}

fn lints(_: &mut Session) -> Result<()> {
    let mut clippy = cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--all-features", "--", "--deny", "warnings"]);
    command::stream(&mut clippy, BUILD_LIMIT)
}

fn tests(session: &mut Session) -> Result<()> {
    let without = ["redis", "nats", "chromium"].map(|name| ["--skip", name]);
    let mut tests = cargo("test");
    tests.args(EVERYTHING).args(["--no-fail-fast", "--", "--quiet"]).args(without.as_flattened());
    test(session, &mut tests)
}

/// The tests that talk to Redis and NATS have their names in their own.
fn on_brokers(session: &mut Session) -> Result<()> {
    let these = ["--no-fail-fast", "--", "--quiet", "redis", "nats"];
    test(session, cargo("test").args(EVERYTHING).args(these))
}

/// These have its name in theirs.
fn in_a_browser(session: &mut Session) -> Result<()> {
    test(session, cargo("test").args(EVERYTHING).args(["--", "--quiet", "chromium"]))
}

fn types_alone(session: &mut Session) -> Result<()> {
    test(session, cargo("test").args(["--package", "weir-crds", "--no-fail-fast", "--", "--quiet"]))
}

/// Each by itself, and the sidecar so without Kubernetes, too.
fn programs_alone(_: &mut Session) -> Result<()> {
    for program in ["weir-sidecar", "weir-operator"] {
        command::stream(cargo("check").args(["--package", program]), BUILD_LIMIT)?;
    }
    Ok(())
}

fn on_an_api(session: &mut Session) -> Result<()> {
    let programs = Programs::compile()?;
    TestCluster::api()?.test(&programs, ON_AN_API, &[], &mut session.tally)
}

fn on_nodes(session: &mut Session) -> Result<()> {
    let programs = Programs::compile()?;
    let images = images::make(&images::Arguments::default())?;
    // What kubectl shows is printed: it is what a user sees.
    TestCluster::nodes(images)?.test(&programs, ON_NODES, &["--nocapture"], &mut session.tally)
}

fn test(session: &mut Session, command: &mut Command) -> Result<()> {
    let (run, outcome) = program::run(command, BUILD_LIMIT);
    session.tally.passed += run.passed;
    session.tally.failed += run.failed;
    session.tally.ignored += run.ignored;
    outcome
}
