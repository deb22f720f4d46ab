//! Where in an expression something is wrong, as its author is shown it.

use std::fmt;

/// The most characters that are shown to each side.
const SHOWN: usize = 24;

/// A place in an expression. Its text has the line of it, with `^` before the character that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    line: usize,
    column: usize,
    shown: Box<str>,
}

impl Place {
    /// The place of the byte at `offset`, or of the end.
    #[must_use]
    pub fn of(source: &str, offset: usize) -> Self {
        let offset = source.floor_char_boundary(offset);
        let (before, behind) = source.split_at_checked(offset).unwrap_or((source, ""));
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let before = before.get(start..).unwrap_or_default();
        let behind = behind.split('\n').next().unwrap_or_default();
        let lines = source.get(..start).unwrap_or_default().matches('\n').count();
        Self {
            line: lines + 1,
            column: before.chars().count() + 1,
            shown: format!("{}^{}", last(before), first(behind)).into(),
        }
    }
}

/// The byte at a line and a column, both from 1.
#[cfg(feature = "cel")]
pub(super) fn offset(source: &str, line: usize, column: usize) -> usize {
    let above = source.split_inclusive('\n').take(line.saturating_sub(1));
    let start: usize = above.map(str::len).sum();
    let rest = source.get(start..).unwrap_or_default();
    let inside = rest.char_indices().nth(column.saturating_sub(1));
    start + inside.map_or(rest.len(), |(inside, _)| inside)
}

fn last(text: &str) -> String {
    match text.char_indices().rev().nth(SHOWN - 1) {
        Some((start, _)) if start > 0 => format!("…{}", plain(text.get(start..))),
        Some(_) | None => plain(Some(text)),
    }
}

fn first(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", plain(text.get(..end))),
        None => plain(Some(text)),
    }
}

/// What moves no cursor.
fn plain(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, shown } = self;
        write!(f, "line {line}, column {column} ({shown})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_shown_in_its_line() {
        for (source, offset, shown) in [
            ("a == b", 2, "line 1, column 3 (a ^== b)"),
            ("a ==", 4, "line 1, column 5 (a ==^)"),
            ("", 0, "line 1, column 1 (^)"),
            ("a\n&& é\t!", 8, "line 2, column 6 (&& é ^!)"),
            ("a", 99, "line 1, column 2 (a^)"),
        ] {
            assert_eq!(Place::of(source, offset).to_string(), shown);
        }
        let long = "0123456789".repeat(10);
        let shown = Place::of(&long, 50).to_string();
        assert!(
            shown.ends_with("(…678901234567890123456789^012345678901234567890123…)"),
            "{shown}"
        );
    }

    #[cfg(feature = "cel")]
    #[test]
    fn a_line_and_a_column_lead_to_a_byte() {
        for (line, column, at) in
            [(1, 1, 0), (1, 2, 2), (2, 1, 3), (3, 1, 4), (3, 2, 5), (3, 9, 5), (9, 9, 5)]
        {
            assert_eq!(offset("é\n\nb", line, column), at, "{line}:{column}");
        }
    }
}
