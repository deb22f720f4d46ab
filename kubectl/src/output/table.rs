//! Columns that stand below each other, as kubectl prints them.

use super::{Paint, Tone};

/// What is between two columns.
const GAP: usize = 3;

/// One piece of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A piece of a tone.
    pub fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }

    /// Another text in the same tone.
    #[must_use]
    pub fn with_text(self, text: &str) -> Self {
        Self::new(self.tone, text)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// Rows of columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with a heading.
    #[must_use]
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(|text| Cell::new(Tone::Dim, text)).into()] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Whether there is nothing below the heading.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The lines, each ended by a line break. An empty cell is shown as a hyphen.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                let text = if cell.text.is_empty() { "-" } else { &cell.text };
                out.push_str(&paint.text(cell.tone, text));
                let width = widths.get(index).copied().unwrap_or_default();
                if index + 1 < row.len() {
                    let padding = (width + GAP).saturating_sub(text.chars().count());
                    out.extend(std::iter::repeat_n(' ', padding));
                }
            }
            out.push('\n');
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.text.chars().count().max(1)).max().unwrap_or_default()
        };
        (0..columns).map(width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_also_in_colours() {
        let mut table = Table::new(["NAME", "READY", "WHY"]);
        assert!(table.is_empty());
        table.row(["orders".into(), Cell::new(Tone::Good, "True"), "".into()]);
        table.row(["é".into(), Cell::new(Tone::Bad, "False"), "x".into()]);
        let plain = "NAME     READY   WHY\norders   True    -\né        False   x\n";
        assert_eq!(table.render(Paint { on: false }), plain);
        let coloured = table.render(Paint { on: true });
        let codes = ["\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"];
        let bare = codes.iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
    }
}
