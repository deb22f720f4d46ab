//! Completion, for a shell that knows kubectl-weir, and for kubectl.
//!
//! kubectl completes the words behind `kubectl weir` by a program called kubectl_complete-weir, which is to
//! print a candidate a line and then a directive, as the library cobra has it. [`complete`] is what such a
//! program calls.

mod words;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::Shell;
use kube::ResourceExt;
use kube::config::Kubeconfig;
use tokio::time::timeout;

use self::words::{Wanted, wanted};
use crate::args::{Args, ClusterArgs};
use crate::cluster::Cluster;
use crate::pipelines;

/// Somebody has pressed Tab.
const PATIENCE: Duration = Duration::from_secs(2);

/// Cobra's directives: no files are offered; or files are, because nothing else is known.
const NO_FILES: &str = ":4";
const FILES: &str = ":0";

/// Prints a shell's script.
///
/// # Errors
///
/// Fails where it can't be printed.
pub fn script(shell: Shell, out: &mut impl Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kubectl-weir", &mut script);
    out.write_all(&script)
}

/// Prints the candidates for the last of the words, and cobra's directive.
///
/// # Errors
///
/// Fails where they can't be printed. That the cluster doesn't answer leaves its names out.
pub async fn complete(
    given: &ClusterArgs,
    words: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    let (wanted, last) = wanted(&Args::command(), words);
    let cluster = || cluster_args(given, words);
    let (candidates, directive) = match wanted {
        Wanted::Words(candidates) => (candidates, NO_FILES),
        Wanted::Pipelines => (names(timeout(PATIENCE, pipeline_names(cluster())).await), NO_FILES),
        Wanted::Slos => (names(timeout(PATIENCE, slo_names(cluster())).await), NO_FILES),
        Wanted::Contexts => (contexts(&cluster()), NO_FILES),
        Wanted::Files => (Vec::new(), FILES),
    };
    for candidate in candidates.iter().filter(|candidate| candidate.starts_with(last)) {
        writeln!(out, "{candidate}")?;
    }
    writeln!(out, "{directive}")
}

fn names<E>(answer: Result<Option<Vec<String>>, E>) -> Vec<String> {
    answer.ok().flatten().unwrap_or_default()
}

async fn pipeline_names(args: ClusterArgs) -> Option<Vec<String>> {
    let cluster = Cluster::connect(&args).await.ok()?;
    let found = pipelines::all(&cluster).await.ok()?;
    Some(found.iter().map(ResourceExt::name_any).collect())
}

async fn slo_names(args: ClusterArgs) -> Option<Vec<String>> {
    let cluster = Cluster::connect(&args).await.ok()?;
    let found = pipelines::slos(&cluster).await.ok()?;
    Some(found.iter().map(ResourceExt::name_any).collect())
}

fn contexts(args: &ClusterArgs) -> Vec<String> {
    let kubeconfig = match &args.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let contexts = kubeconfig.map(|found| found.contexts).unwrap_or_default();
    contexts.into_iter().map(|context| context.name).collect()
}

/// What the words before say about the cluster. Those before the command were taken for this program's own.
fn cluster_args(given: &ClusterArgs, words: &[String]) -> ClusterArgs {
    let value = |names: &[&str]| words::value(words, names).map(str::to_owned);
    let ClusterArgs { kubeconfig, context, namespace, as_user, as_groups } = given.clone();
    ClusterArgs {
        kubeconfig: value(&["--kubeconfig"]).map(PathBuf::from).or(kubeconfig),
        context: value(&["--context"]).or(context),
        namespace: value(&["--namespace", "-n"]).or(namespace),
        as_user: value(&["--as"]).or(as_user),
        as_groups: value(&["--as-group"]).map_or(as_groups, |group| vec![group]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn completed(words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut out = Vec::new();
        complete(&ClusterArgs::default(), &words, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn what_begins_like_the_last_word_is_offered() {
        assert_eq!(completed(&["st"]).await, "status\n:4\n");
        assert_eq!(
            completed(&["tail", "orders", "--format", "c"]).await,
            "cursor\ncloudevents\n:4\n"
        );
        assert_eq!(completed(&["inject", "-f", ""]).await, ":0\n");
    }

    #[tokio::test]
    async fn contexts_come_from_the_kubeconfig() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "{contexts: [{name: here, context: {cluster: c, user: u}}]}";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_string_lossy().into_owned();
        let shown = completed(&["--kubeconfig", &path, "status", "--context", ""]).await;
        assert_eq!(shown, "here\n:4\n");
    }

    #[test]
    fn every_shell_has_a_script_that_names_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            script(shell, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("publish") && text.contains("kubectl-weir"), "{shell}");
        }
    }
}
