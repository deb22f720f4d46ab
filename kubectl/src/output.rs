//! What is printed, and where: results to one place, remarks to another; in colours on a terminal.

mod table;

use std::env;
use std::io::{self, IsTerminal, Write};

pub use self::table::{Cell, Table};
use crate::args::{Color, Report};

/// Where a command prints.
#[derive(Debug)]
pub struct Screen<O, E> {
    /// Results: what another program may read.
    pub out: O,
    /// Remarks: what a person wants to know beside them.
    pub notes: E,
    /// How results are coloured.
    pub paint: Paint,
    /// Whether results go to a terminal, which can be cleared.
    pub is_terminal: bool,
}

impl Screen<io::Stdout, io::Stderr> {
    /// The screen of this process.
    #[must_use]
    pub fn of_this_process(color: Color, out: io::Stdout, notes: io::Stderr) -> Self {
        let is_terminal = out.is_terminal();
        let paint = Paint::new(color, is_terminal, env::var_os("NO_COLOR").as_deref());
        Self { out, notes, paint, is_terminal }
    }
}

impl<O: Write, E: Write> Screen<O, E> {
    /// A screen that is no terminal.
    pub const fn plain(out: O, notes: E) -> Self {
        Self { out, notes, paint: Paint { on: false }, is_terminal: false }
    }

    /// Says something beside the results. That nobody can be told is no reason to end.
    pub fn note(&mut self, text: &str) {
        let _unheard = writeln!(self.notes, "{text}");
    }
}

/// A document for a program, as it wants it; `None` where a person reads.
///
/// # Errors
///
/// Fails where it can't be YAML.
pub fn for_a_program(
    report: Report,
    document: impl FnOnce() -> serde_json::Value,
) -> Result<Option<String>, serde_yaml::Error> {
    Ok(match report {
        Report::Text => None,
        Report::Json => Some(format!("{:#}\n", document())),
        Report::Yaml => Some(serde_yaml::to_string(&document())?),
    })
}

/// What a piece of text says by its colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Doubtful,
    /// Broken.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

/// Colours text, or doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Decides: a value of `NO_COLOR` that isn't empty switches colours off, where none are demanded.
    fn new(color: Color, is_terminal: bool, no_color: Option<&std::ffi::OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        let on = match color {
            Color::Auto => is_terminal && !refused,
            Color::Always => true,
            Color::Never => false,
        };
        Self { on }
    }

    /// The text in the colour of its tone.
    #[must_use]
    pub fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Text from outside, without what a terminal would obey.
#[must_use]
pub fn harmless(text: &str) -> String {
    let is_harmless = |char: &char| !char.is_control() || matches!(char, '\n' | '\t');
    text.chars().filter(is_harmless).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn colours_are_for_terminals_and_for_those_who_demand_them() {
        let on = |color, terminal, no_color: Option<&str>| {
            Paint::new(color, terminal, no_color.map(OsStr::new)).on
        };
        assert!(on(Color::Auto, true, None));
        assert!(on(Color::Auto, true, Some("")), "an empty NO_COLOR says nothing");
        assert!(!on(Color::Auto, true, Some("1")));
        assert!(!on(Color::Auto, false, None));
        assert!(on(Color::Always, false, Some("1")));
        assert!(!on(Color::Never, true, None));
    }

    #[test]
    fn what_is_coloured_is_the_text_alone() {
        let paint = Paint { on: true };
        assert_eq!(paint.text(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(paint.text(Tone::Bad, ""), "");
        assert_eq!(Paint { on: false }.text(Tone::Bad, "x"), "x");
    }

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(harmless("a\x1b[2Jb\tc\u{7}\n"), "a[2Jb\tc\n");
    }
}
