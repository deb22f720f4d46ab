//! Shows what was measured: a table, then a line for each bar.

use std::fmt;

use crate::{machine::Cores, summary::Verdict};

/// A server waits for this part of the time that it runs, also where nobody else uses its core: its own
/// threads take turns.
const QUIET: f64 = 0.1;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    note: &'static str,
    /// How long a server waited for its core, as a part of how long it ran: at worst.
    waited: f64,
    verdicts: Vec<Verdict>,
}

impl Report {
    /// A report without results. What is measured, on which cores; the columns of its table, of which
    /// the first two say whose row it is; and how the figures are to be read.
    pub(crate) fn new(
        title: &str,
        cores: Cores,
        columns: &[&'static str],
        note: &'static str,
    ) -> Self {
        let (rows, verdicts) = (Vec::new(), Vec::new());
        let title = format!("{title}; {cores}");
        Self { title, columns: columns.to_vec(), rows, note, waited: 0.0, verdicts }
    }

    /// Adds a row.
    pub(crate) fn add(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds what is said of bars.
    pub(crate) fn judge(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.verdicts.extend(verdicts);
    }

    /// Takes note of how long a server waited for its core, as a part of how long it ran.
    pub(crate) fn note_wait(&mut self, waited: f64) {
        self.waited = self.waited.max(waited);
    }

    /// Whether every bar was kept.
    pub(crate) fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.passed)
    }

    fn widths(&self) -> Vec<usize> {
        let width = |place: usize, column: &&str| {
            let cells = self.rows.iter().filter_map(|row| row.get(place));
            cells.map(|cell| cell.chars().count()).fold(column.chars().count(), usize::max)
        };
        self.columns.iter().enumerate().map(|(place, column)| width(place, column)).collect()
    }

    fn warn_of_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.waited <= QUIET {
            return Ok(());
        }
        writeln!(
            f,
            "The machine is busy with something else: a server waited for its core for {:.0} % of \
             the time that\nit ran. The figures are rough, the latencies mean nothing, and a server \
             that joins what is due\nlooks better than it is.\n",
            self.waited * 100.0
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, columns, rows, note, waited: _, verdicts } = self;
        let widths = self.widths();
        writeln!(f, "\n{title}\n")?;
        line(f, &widths, columns.iter().copied())?;
        for row in rows {
            line(f, &widths, row.iter().map(String::as_str))?;
        }
        writeln!(f, "\n{note}\n")?;
        self.warn_of_others(f)?;
        for Verdict { passed, says } in verdicts {
            writeln!(f, "{} {says}", if *passed { "PASS" } else { "FAIL" })?;
        }
        Ok(())
    }
}

/// The first two cells are words, and stand left; the others are numbers.
fn line<'a>(
    f: &mut fmt::Formatter<'_>,
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    for (place, (cell, width)) in cells.zip(widths).enumerate() {
        match place {
            0 => write!(f, "{cell:<width$}")?,
            1 => write!(f, "  {cell:<width$}")?,
            _ => write!(f, "  {cell:>width$}")?,
        }
    }
    writeln!(f)
}
