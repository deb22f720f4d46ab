//! Prints the status line: in place in a terminal, now and then elsewhere.

use std::{
    env,
    io::{self, IsTerminal, Stdout, Write},
    time::{Duration, Instant},
};

use super::{View, line};

/// The time between two lines where no line is rewritten, so that a log isn't flooded.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// The width of a terminal that doesn't tell: that of the oldest.
const USUAL_WIDTH: usize = 80;

/// Prints the status.
///
/// In a terminal the line is rewritten, and the cursor waits at its beginning; so whatever else is
/// printed takes the place of the line, which then goes on below. Elsewhere a line is printed at most
/// every ten seconds, and only if it says something new.
#[derive(Debug)]
pub struct Printer<W: Write = Stdout> {
    out: W,
    surface: Surface,
    /// The line that was printed last; empty where none is.
    shown: String,
}

#[derive(Debug)]
enum Surface {
    Terminal { width: fn() -> usize },
    Plain { last: Option<Instant> },
}

impl Printer {
    /// A printer to standard output.
    #[must_use]
    pub fn new() -> Self {
        let out = io::stdout();
        let rewrites = out.is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let surface = if rewrites {
            Surface::Terminal { width: terminal_width }
        } else {
            Surface::Plain { last: None }
        };
        Self { out, surface, shown: String::new() }
    }
}

impl Default for Printer {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Write> Printer<W> {
    /// Prints the view, where it is time and it says something new.
    pub fn print(&mut self, view: &View, now: Instant) {
        match &mut self.surface {
            Surface::Terminal { width } => {
                // The last column is left free, because many terminals wrap once it is filled.
                let line = line(view, Some(width().saturating_sub(1)));
                self.write(&format!("{line}\x1b[K\r"));
                self.shown = line;
            }
            Surface::Plain { last } => {
                let line = line(view, None);
                let waits = last.is_some_and(|last| now < last + PLAIN_INTERVAL);
                if waits || line == self.shown {
                    return;
                }
                *last = Some(now);
                self.write(&format!("{line}\n"));
                self.shown = line;
            }
        }
    }

    /// Ends the line that stands, so that what is printed next, or the shell's prompt, begins a new one.
    /// The line is written once more, because an interrupt has put its mark over it.
    pub fn finish(&mut self) {
        match self.surface {
            Surface::Terminal { .. } if !self.shown.is_empty() => {
                let line = std::mem::take(&mut self.shown);
                self.write(&format!("\r{line}\x1b[K\n"));
            }
            Surface::Terminal { .. } | Surface::Plain { .. } => {}
        }
    }

    /// Writes as far as someone reads: the streams go on when the terminal is gone.
    fn write(&mut self, text: &str) {
        let _unread = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(USUAL_WIDTH, |(width, _)| width.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::PipelineView;

    fn view(accepted: u64) -> View {
        let orders = PipelineView { name: "o".into(), accepted, ..PipelineView::default() };
        View { pipelines: vec![orders], slos: Vec::new() }
    }

    fn printer(surface: Surface) -> Printer<Vec<u8>> {
        Printer { out: Vec::new(), surface, shown: String::new() }
    }

    fn printed(printer: &mut Printer<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut printer.out)).unwrap()
    }

    #[test]
    fn in_a_terminal_the_line_is_rewritten_and_ended_clean() {
        let mut printer = printer(Surface::Terminal { width: || 13 });
        let now = Instant::now();
        printer.print(&view(7), now);
        assert_eq!(printed(&mut printer), "o: 7 in (0..\x1b[K\r");
        printer.print(&view(8), now);
        assert_eq!(printed(&mut printer), "o: 8 in (0..\x1b[K\r");
        printer.finish();
        assert_eq!(printed(&mut printer), "\ro: 8 in (0..\x1b[K\n");
        printer.finish();
        assert_eq!(printed(&mut printer), "", "the line was ended already");
    }

    #[test]
    fn elsewhere_a_line_comes_when_it_is_new_and_not_too_often() {
        let mut printer = printer(Surface::Plain { last: None });
        let start = Instant::now();
        let mut lines_after = |seconds, accepted| {
            printer.print(&view(accepted), start + Duration::from_secs(seconds));
            printed(&mut printer).lines().count()
        };
        assert_eq!(lines_after(0, 1), 1);
        assert_eq!(lines_after(9, 2), 0, "too early");
        assert_eq!(lines_after(10, 2), 1);
        assert_eq!(lines_after(60, 2), 0, "nothing new");
        assert_eq!(lines_after(61, 3), 1);
        printer.finish();
        assert_eq!(printed(&mut printer), "");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nothing() {
        struct Gone;

        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }

        let surface = Surface::Plain { last: None };
        let mut printer = Printer { out: Gone, surface, shown: String::new() };
        printer.print(&view(1), Instant::now());
        printer.finish();
    }
}
