//! Says what kind of word is being written, from those before it.

use clap::{Arg, ArgAction, Command};

/// What may stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One of these.
    Words(Vec<String>),
    /// A pipeline of the namespace.
    Pipelines,
    /// An SLO of the namespace.
    Slos,
    /// A context of the kubeconfig.
    Contexts,
    /// A file, or what only its author knows.
    Files,
}

/// What is wanted in the place of the last word, and that word as far as it is written.
pub(super) fn wanted<'a>(root: &Command, words: &'a [String]) -> (Wanted, &'a str) {
    let (last, before) = match words.split_last() {
        Some((last, before)) => (last.as_str(), before),
        None => ("", &[][..]),
    };
    let (command, positions) = position(root, before);
    if let Some((flag, value)) = last.split_once('=')
        && let Some(found) = option(root, command, flag)
    {
        return (of_value(found), value);
    }
    let open = before.last().and_then(|word| option(root, command, word));
    if let Some(found) = open.filter(|found| takes_value(found)) {
        return (of_value(found), last);
    }
    if last.starts_with('-') {
        return (Wanted::Words(flags(root, command)), last);
    }
    let wanted = match command {
        None => Wanted::Words(commands(root)),
        Some(command) => of_position(command, positions),
    };
    (wanted, last)
}

/// The value of a flag among the words.
pub(super) fn value<'a>(words: &'a [String], names: &[&str]) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(index, word)| {
        if names.contains(&word.as_str()) {
            return words.get(index + 1).map(String::as_str);
        }
        let (flag, value) = word.split_once('=')?;
        names.contains(&flag).then_some(value)
    })
}

/// The command that the words name, and how many of its own words they have given.
fn position<'a>(root: &'a Command, before: &[String]) -> (Option<&'a Command>, usize) {
    let (mut command, mut positions, mut skip) = (None, 0, false);
    for word in before {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            skip = option(root, command, word).is_some_and(takes_value);
        } else if command.is_none() {
            command = root.find_subcommand(word);
        } else {
            positions += 1;
        }
    }
    (command, positions)
}

/// The option of a name such as `--from` or `-n`.
fn option<'a>(root: &'a Command, command: Option<&'a Command>, word: &str) -> Option<&'a Arg> {
    let is_named = |arg: &&Arg| {
        let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        let short = arg.get_short().is_some_and(|short| word == format!("-{short}"));
        long || short
    };
    let own = command.into_iter().flat_map(Command::get_arguments);
    own.chain(root.get_arguments()).find(is_named)
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn of_value(arg: &Arg) -> Wanted {
    let values = arg.get_possible_values();
    match arg.get_id().as_str() {
        "context" => Wanted::Contexts,
        _ if values.is_empty() => Wanted::Files,
        _ => Wanted::Words(values.iter().map(|value| value.get_name().to_owned()).collect()),
    }
}

fn of_position(command: &Command, positions: usize) -> Wanted {
    match (command.get_name(), positions) {
        ("tail" | "publish" | "status", 0) => Wanted::Pipelines,
        ("slo", 0) => Wanted::Slos,
        ("completion", 0) => {
            let shells = command.get_arguments().find(|arg| arg.is_positional());
            shells.map_or(Wanted::Words(Vec::new()), of_value)
        }
        _ => Wanted::Words(Vec::new()),
    }
}

fn commands(root: &Command) -> Vec<String> {
    let shown = root.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| command.get_name().to_owned()).collect()
}

fn flags(root: &Command, command: Option<&Command>) -> Vec<String> {
    let own = command.into_iter().flat_map(Command::get_arguments);
    let longs = own.chain(root.get_arguments()).filter_map(Arg::get_long);
    longs.map(|long| format!("--{long}")).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    fn ask(words: &[&str]) -> Wanted {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        wanted(&Args::command(), &words).0
    }

    fn has(wanted: &Wanted, word: &str) -> bool {
        matches!(wanted, Wanted::Words(words) if words.iter().any(|found| found == word))
    }

    #[test]
    fn first_comes_a_command_and_never_a_hidden_one() {
        let commands = ask(&["-n", "shop", ""]);
        assert!(has(&commands, "tail") && !has(&commands, "__complete"), "{commands:?}");
        assert_eq!(ask(&[]), commands);
    }

    #[test]
    fn then_the_name_of_what_it_is_about() {
        assert_eq!(ask(&["tail", ""]), Wanted::Pipelines);
        assert_eq!(ask(&["tail", "--format", "data", "o"]), Wanted::Pipelines);
        assert_eq!(ask(&["--context", "x", "slo", "--watch", ""]), Wanted::Slos);
        assert_eq!(ask(&["tail", "orders", ""]), Wanted::Words(Vec::new()));
        assert!(has(&ask(&["completion", ""]), "fish"));
    }

    #[test]
    fn options_and_their_values_are_known() {
        assert!(has(&ask(&["tail", "orders", "--"]), "--filter"));
        assert!(has(&ask(&["tail", "orders", "--"]), "--namespace"));
        assert!(has(&ask(&["tail", "--format", ""]), "cursor"));
        assert!(has(&ask(&["tail", "--format=c"]), "cursor"));
        assert_eq!(ask(&["status", "--context", ""]), Wanted::Contexts);
        assert_eq!(ask(&["inject", "-f", "x"]), Wanted::Files);
    }

    #[test]
    fn the_value_of_a_flag_is_found_in_either_form() {
        let words = ["-n", "shop", "--context=x"].map(str::to_owned);
        assert_eq!(value(&words, &["--namespace", "-n"]), Some("shop"));
        assert_eq!(value(&words, &["--context"]), Some("x"));
        assert_eq!(value(&words, &["--kubeconfig"]), None);
    }
}
