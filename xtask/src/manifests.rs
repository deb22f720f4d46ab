//! `cargo xtask manifests`: renders the chart to one file, for those who don't use Helm and apply it beside
//! the definitions of `crds/`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::build;
use crate::{command, workspace};

/// Where the manifests stand.
const PLACE: &str = "deploy/weir.yaml";

/// The namespace that the README names.
const NAMESPACE: &str = "weir-system";

/// It reads a few files.
const LIMIT: Duration = Duration::from_mins(1);

/// What is said at the top, and the namespace, which a chart leaves to Helm.
const HEAD: &str = "\
# Made from charts/weir by `cargo xtask manifests`; not to be edited.
apiVersion: v1
kind: Namespace
metadata:
  name: weir-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// The arguments of `cargo xtask manifests`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Change nothing, and fail where something would be changed
    #[arg(long)]
    check: bool,
}

/// `cargo xtask manifests`: writes the file or, with `--check`, compares.
///
/// # Errors
/// When the chart can't be rendered, or the file differs or can't be written.
pub(crate) fn command(arguments: &Arguments) -> Result<()> {
    if arguments.check { check() } else { write() }
}

fn write() -> Result<()> {
    let place = place();
    let folder = place.parent().context("a file lies in a folder")?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(&place, render()?).with_context(|| format!("could not change {PLACE}"))?;
    println!("wrote {PLACE}");
    Ok(())
}

/// Compares.
///
/// # Errors
/// When the file is not what the chart says, with the remedy.
pub(crate) fn check() -> Result<()> {
    let found = std::fs::read_to_string(place()).unwrap_or_default();
    ensure!(
        found == render()?,
        "{PLACE} is not what the chart says; run `cargo xtask manifests` and commit what it changes"
    );
    Ok(())
}

fn place() -> PathBuf {
    workspace::root().join(PLACE)
}

fn render() -> Result<String> {
    let helm = build::ensure(true)?.path("helm");
    let mut helm = command::tool(helm);
    helm.current_dir(workspace::root());
    helm.args(["template", "weir", "charts/weir", "--namespace", NAMESPACE, "--skip-tests"]);
    // The definitions stand in crds/ already, to be applied beside it.
    helm.args(["--set", "crds.install=false"]);
    Ok(format!("{HEAD}{}", plain(&command::succeed(&mut helm, LIMIT)?)))
}

/// The rendered chart without what is said of Helm and of files.
fn plain(rendered: &str) -> String {
    let is_of_helm = |line: &&str| {
        line.starts_with("# Source: ")
            || line.trim_start().starts_with("helm.sh/chart: ")
            || line.trim() == "app.kubernetes.io/managed-by: Helm"
    };
    let kept = rendered.lines().filter(|line| !is_of_helm(line));
    let (mut out, mut empty) = (String::new(), 0);
    for line in kept {
        // Those before the end of a document are left over from its template.
        match line {
            "" => empty += 1,
            "---" => empty = 0,
            _ => {
                out.push_str(&"\n".repeat(std::mem::take(&mut empty)));
            }
        }
        if !line.is_empty() {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_helm_is_left_out() {
        let rendered = "---\n# Source: weir/templates/x.yaml\nkind: Service\nmetadata:\n  labels:\n    \
                        app.kubernetes.io/managed-by: Helm\n    helm.sh/chart: weir-0.1.0\n    a: b\n\n---\n\
                        text: |\n  one\n\n  two\n\n";
        let expected =
            "---\nkind: Service\nmetadata:\n  labels:\n    a: b\n---\ntext: |\n  one\n\n  two\n";
        assert_eq!(plain(rendered), expected);
    }
}
