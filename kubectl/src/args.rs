//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use http::Uri;

/// Look at Weir's streams, publish into them, and find out whether Weir is well.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-weir",
    bin_name = "kubectl weir",
    display_name = "kubectl weir",
    version,
    about,
    max_term_width = 100
)]
pub struct Args {
    /// Which API server is asked, and as whom.
    #[command(flatten)]
    pub reach: ClusterArgs,
    /// Whether to use colours: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which API server is asked, and as whom: as kubectl has it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ClusterArgs {
    /// The kubeconfig, in place of $KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, in place of its current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace, in place of the context's.
    #[arg(long, short, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Ask as this user: of a ServiceAccount, system:serviceaccount:NAMESPACE:NAME.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub as_user: Option<String>,
    /// Ask as a member of this group, beside --as. May be given several times.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub as_groups: Vec<String>,
}

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also elsewhere.
    Always,
    /// Not at all.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find out whether the installation is sound, and what to do where it isn't
    ///
    /// Looks at the definitions, the operator, its leader, the webhook, what you may do, the versions of
    /// sidecars, and the pipelines. Exits with 1 where something is a problem.
    Check(Check),
    /// Show pipelines and SLOs with what is wrong with them; of one pipeline, its replicas
    Status(Status),
    /// Print a pipeline's events as they come, over broken connections
    Tail(Tail),
    /// Publish events into a pipeline: JSON from the arguments, or lines of JSON from standard input
    Publish(Publish),
    /// Show what the webhook would add to the pods of a manifest
    Inject(Inject),
    /// Draw error budgets and burn rates
    Slo(Slo),
    /// Print a shell's completion script
    Completion(Completion),
    /// What kubectl asks through a program called kubectl_complete-weir
    #[command(name = "__complete", hide = true)]
    Complete(Complete),
}

/// How the installation is checked.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Where the operator is; looked for in all namespaces where absent.
    #[arg(long, value_name = "NAME")]
    pub operator_namespace: Option<String>,
    /// How the findings are written.
    #[arg(long, short, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For a person.
    Text,
    /// For a program, as JSON.
    Json,
    /// For a program, as YAML.
    Yaml,
}

/// What is shown.
#[derive(Debug, clap::Args)]
pub struct Status {
    /// A pipeline; all of the namespace where absent.
    #[arg(value_name = "PIPELINE")]
    pub name: Option<String>,
    /// How it is written.
    #[arg(long, short, value_enum, default_value_t = Report::Text)]
    pub output: Report,
}

/// How the data plane is reached.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Way {
    /// The address of the server, such as http://127.0.0.1:7070, in place of a pod that is reached through
    /// the API server.
    #[arg(long, value_name = "URL", conflicts_with = "pod")]
    pub url: Option<Uri>,
    /// The pod, where there are several; else one that is ready.
    #[arg(long, value_name = "NAME")]
    pub pod: Option<String>,
    /// A token, for a pipeline that asks for one.
    #[arg(long, env = "WEIR_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// What is read.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// The pipeline.
    pub pipeline: String,
    /// How it is reached.
    #[command(flatten)]
    pub way: Way,
    /// Only events of which this CEL expression is true, such as "event.data.total > 100".
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Go on behind this event.
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Where to start: latest, earliest, or a time such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "PLACE", conflicts_with = "cursor")]
    pub from: Option<String>,
    /// What is printed of each event.
    #[arg(long, value_enum, default_value_t = Format::Data)]
    pub format: Format,
    /// End after so many events.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// What is printed of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The payload.
    Data,
    /// Its cursor, a tab, and the payload.
    Cursor,
    /// The whole CloudEvent, on one line.
    Cloudevents,
}

/// What is published.
#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The pipeline.
    pub pipeline: String,
    /// Events, each a JSON value; without any, each line of standard input is one.
    #[arg(value_name = "JSON")]
    pub events: Vec<String>,
    /// How it is reached.
    #[command(flatten)]
    pub way: Way,
    /// The type of the events, such as order.placed.
    #[arg(long, value_name = "TYPE")]
    pub r#type: Option<String>,
    /// Makes the publishing idempotent: the events are numbered below this key, and those that the log holds
    /// under the same number aren't taken again. Lines are then published in groups, not as they come.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

/// What is looked at.
#[derive(Debug, clap::Args)]
pub struct Inject {
    /// A file of manifests; - is standard input. May be given several times.
    #[arg(long = "filename", short, required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A file with StreamPipelines, in place of those of the cluster. May be given several times.
    #[arg(long = "pipeline", value_name = "FILE")]
    pub pipelines: Vec<PathBuf>,
    /// The sidecar's image; that of the installed operator where absent.
    #[arg(long, value_name = "IMAGE")]
    pub sidecar_image: Option<String>,
    /// Print what changes, and not the whole.
    #[arg(long)]
    pub diff: bool,
}

/// What is drawn.
#[derive(Debug, clap::Args)]
pub struct Slo {
    /// A StreamSLO; all of the namespace where absent.
    pub name: Option<String>,
    /// Draw anew whenever something changes.
    #[arg(long, short)]
    pub watch: bool,
}

/// For which shell.
#[derive(Debug, clap::Args)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// What is to be completed.
#[derive(Debug, clap::Args)]
pub struct Complete {
    /// The words so far; the last one is being written.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["kubectl-weir"], words].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_kubectl_takes_is_taken_before_and_after_the_command() {
        for words in [&["-n", "shop", "status"][..], &["status", "--namespace=shop"]] {
            assert_eq!(parse(words).unwrap().reach.namespace.as_deref(), Some("shop"));
        }
    }

    #[test]
    fn somebody_else_asks_with_groups() {
        let words = ["status", "--as=ann", "--as-group=sre", "--as-group=dev", "-o", "yaml"];
        let reach = parse(&words).unwrap().reach;
        assert_eq!((reach.as_user.as_deref(), reach.as_groups.len()), (Some("ann"), 2));
    }

    #[test]
    fn a_place_to_start_is_given_once() {
        assert!(parse(&["tail", "orders", "--from=earliest", "--cursor=a"]).is_err());
        assert!(parse(&["tail", "orders", "--count=0"]).is_err());
        assert!(parse(&["tail"]).is_err());
    }

    #[test]
    fn words_to_complete_may_look_like_options() {
        let Command::Complete(asked) = parse(&["__complete", "tail", "--fo"]).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(asked.words, ["tail", "--fo"]);
    }
}
