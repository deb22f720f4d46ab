//! What a program is asked to log: a level, or directives such as `info,weir_operator=debug`.
//!
//! The library that takes directives has a word that is no level for the name of a module, of which it then logs
//! everything, and nothing of the others. So they are looked at here before.

use std::str::FromStr;

use thiserror::Error;

/// The levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives(String);

/// A part of it is neither a level nor a module with one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is none of the levels off, error, warn, info, debug and trace, nor MODULE=LEVEL, as in info,weir_operator=debug"
)]
pub struct NoDirective(String);

impl Directives {
    /// What is understood by whoever takes directives.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Directives {
    type Err = NoDirective;

    fn from_str(text: &str) -> Result<Self, NoDirective> {
        let mut wrong = text.split(',').filter(|directive| !is_directive(directive));
        match wrong.next() {
            None => Ok(Self(text.to_owned())),
            Some(wrong) => Err(NoDirective(wrong.to_owned())),
        }
    }
}

fn is_directive(text: &str) -> bool {
    match text.split_once('=') {
        None => is_level(text),
        Some((module, level)) => {
            !module.is_empty() && !module.contains(char::is_whitespace) && is_level(level)
        }
    }
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| text.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_named_with_what_is_one() {
        for good in ["info", "OFF", "info,weir_operator=debug", "weir_operator::slo=trace,warn"] {
            assert_eq!(good.parse::<Directives>().unwrap().as_str(), good);
        }
        for (text, wrong) in [
            ("loud", "loud"),
            ("info,weir_operator", "weir_operator"),
            ("weir_operator=loud", "weir_operator=loud"),
            ("info, debug", " debug"),
            ("=debug", "=debug"),
            ("", ""),
        ] {
            let error = text.parse::<Directives>().unwrap_err();
            assert_eq!(error, NoDirective(wrong.to_owned()), "{text}");
            assert!(error.to_string().contains("error, warn, info"), "{error}");
        }
    }
}
