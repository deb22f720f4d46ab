//! `kubectl weir check`: is the installation sound, and what is to be done where it isn't?
//!
//! [`observe`] is all that reads; each of the other modules judges one thing, without I/O. What can't be
//! looked at is said too, and is no problem: another account sees more.

mod certificate;
mod definitions;
mod finding;
mod leader;
mod namespaces;
mod observe;
pub mod operator;
mod permissions;
mod policies;
mod resources;
mod rights;
mod sidecars;
mod versions;
mod webhook;

use std::io::Write;

use jiff::Timestamp;

pub use self::finding::{Finding, Verdict};
use self::observe::Observed;
use crate::args::Check;
use crate::cluster::Cluster;
use crate::output::{Screen, for_a_program};
use crate::{Ended, Error};

/// Looks at everything, and prints what was found.
///
/// # Errors
///
/// Fails where nothing can be printed. An API server that does not answer is a finding.
pub async fn run<O: Write, E: Write>(
    cluster: &Cluster,
    asked: &Check,
    screen: &mut Screen<O, E>,
) -> Result<Ended, Error> {
    let observed = observe::observe(cluster, asked).await;
    let findings = judge(&observed, Timestamp::now());
    let document = for_a_program(asked.output, || finding::document(&findings))?;
    let text = document.unwrap_or_else(|| finding::text(&findings, screen.paint));
    screen.out.write_all(text.as_bytes())?;
    Ok(if finding::is_sound(&findings) { Ended::Well } else { Ended::Unsound })
}

/// What is to be said of what was seen.
fn judge(observed: &Observed, now: Timestamp) -> Vec<Finding> {
    let Observed { server, definitions, operators, watching, permissions, pods, pipelines, slos } =
        observed;
    let mut findings = vec![observe::server(server)];
    if server.is_err() {
        return findings;
    }
    findings.extend(definitions::judge(definitions));
    findings.extend(operator::judge(operators));
    for installed in operators.iter().flatten() {
        findings.push(leader::judge(installed, now));
        findings.extend(namespaces::judge(installed));
        findings.extend(rights::judge(installed));
        findings.extend(versions::judge(installed, pods, definitions));
        findings.extend(webhook::judge(installed, pipelines, now));
        findings.extend(policies::judge(installed, pipelines));
    }
    findings.extend(sidecars::judge(pods, operators));
    findings.extend(resources::judge(pipelines, slos, watching));
    findings.push(permissions::judge(permissions));
    findings
}
