//! What is different between two texts, as `diff -u` writes it.

use crate::output::{Paint, Tone};

/// Lines around a change.
const AROUND: usize = 3;

/// A line of one text, of the other, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Both(&'a str),
    Gone(&'a str),
    New(&'a str),
}

/// The differences, under a heading; nothing where there are none.
pub(super) fn unified(name: &str, before: &str, after: &str, paint: Paint) -> String {
    let before: Vec<_> = before.lines().collect();
    let after: Vec<_> = after.lines().collect();
    let lines = compare(&before, &after);
    let mut out = String::new();
    let heading = format!("--- {name}\n+++ {name}, injected\n");
    for range in hunks(&lines) {
        if out.is_empty() {
            out.push_str(&paint.text(Tone::Strong, &heading));
        }
        let before_it = lines.get(..range.start).unwrap_or_default();
        let hunk = lines.get(range).unwrap_or_default();
        out.push_str(&paint.text(Tone::Dim, &head(before_it, hunk)));
        for line in hunk {
            let (sign, text, tone) = match line {
                Line::Both(text) => (' ', text, Tone::Plain),
                Line::Gone(text) => ('-', text, Tone::Bad),
                Line::New(text) => ('+', text, Tone::Good),
            };
            out.push_str(&paint.text(tone, &format!("{sign}{text}")));
            out.push('\n');
        }
    }
    out
}

/// Where a hunk stands in both texts. Lines are numbered from 1; an empty range names the line before it.
fn head(before_it: &[Line<'_>], hunk: &[Line<'_>]) -> String {
    let old = |lines: &[Line<'_>]| lines.iter().filter(|l| !matches!(l, Line::New(_))).count();
    let new = |lines: &[Line<'_>]| lines.iter().filter(|l| !matches!(l, Line::Gone(_))).count();
    let first = |start: usize, count: usize| if count == 0 { start } else { start + 1 };
    let (old_count, new_count) = (old(hunk), new(hunk));
    let old_first = first(old(before_it), old_count);
    let new_first = first(new(before_it), new_count);
    format!("@@ -{old_first},{old_count} +{new_first},{new_count} @@\n")
}

/// The ranges of lines to be shown: changes with what is around them.
fn hunks(lines: &[Line<'_>]) -> Vec<std::ops::Range<usize>> {
    let changed = lines.iter().enumerate().filter(|(_, line)| !matches!(line, Line::Both(_)));
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in changed {
        let (start, end) = (index.saturating_sub(AROUND), (index + AROUND + 1).min(lines.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            Some(_) | None => hunks.push(start..end),
        }
    }
    hunks
}

/// The lines of both texts in an order in which as many as can be are of both.
fn compare<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - start;
    let ends = before.iter().rev().zip(after.iter().rev()).take(rest);
    let end = ends.take_while(|(a, b)| a == b).count();
    let middle = |lines: &[&'a str]| -> Vec<&'a str> {
        lines.get(start..lines.len() - end).unwrap_or_default().to_vec()
    };
    let same = |lines: &[&'a str]| lines.iter().map(|line| Line::Both(line)).collect::<Vec<_>>();
    let mut out = same(before.get(..start).unwrap_or_default());
    out.extend(changes(&middle(before), &middle(after)));
    out.extend(same(before.get(before.len() - end..).unwrap_or_default()));
    out
}

/// The same by the longest common subsequence, of lengths from each pair of lines on.
fn changes<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<Line<'a>> {
    let width = after.len() + 1;
    let mut lengths = vec![0_u32; (before.len() + 1) * width];
    let length = |lengths: &[u32], a: usize, b: usize| {
        lengths.get(a * width + b).copied().unwrap_or_default()
    };
    for (a, old) in before.iter().enumerate().rev() {
        for (b, new) in after.iter().enumerate().rev() {
            let longest = if old == new {
                length(&lengths, a + 1, b + 1) + 1
            } else {
                length(&lengths, a + 1, b).max(length(&lengths, a, b + 1))
            };
            if let Some(place) = lengths.get_mut(a * width + b) {
                *place = longest;
            }
        }
    }
    let (mut a, mut b, mut out) = (0, 0, Vec::new());
    loop {
        match (before.get(a), after.get(b)) {
            (Some(old), Some(new)) if old == new => {
                out.push(Line::Both(old));
                (a, b) = (a + 1, b + 1);
            }
            (Some(old), new)
                if new.is_none() || length(&lengths, a + 1, b) >= length(&lengths, a, b + 1) =>
            {
                out.push(Line::Gone(old));
                a += 1;
            }
            (_, Some(new)) => {
                out.push(Line::New(new));
                b += 1;
            }
            (_, None) => return out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Screen;

    fn plain() -> Paint {
        Screen::plain(Vec::new(), Vec::new()).paint
    }

    #[test]
    fn an_addition_is_shown_with_what_is_around_it() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let after = "1\n2\n3\n4\nnew\n5\n6\n7\n8\n";
        let expected =
            "--- Pod web\n+++ Pod web, injected\n@@ -2,6 +2,7 @@\n 2\n 3\n 4\n+new\n 5\n 6\n 7\n";
        assert_eq!(unified("Pod web", before, after, plain()), expected);
        assert_eq!(unified("Pod web", before, before, plain()), "");
    }

    #[test]
    fn changes_that_are_far_apart_stand_apart() {
        let before: String = (0..30).map(|n| format!("{n}\n")).collect();
        let after = before.replace("2\n3\n", "3\n").replace("27\n", "x\n");
        let shown = unified("x", &before, &after, plain());
        assert_eq!(shown.matches("@@ -").count(), 2, "{shown}");
        assert!(shown.contains("-27\n+x\n"), "{shown}");
    }

    #[test]
    fn either_text_can_be_read_out_of_the_comparison() {
        for (before, after) in [("a b c", "a x c"), ("", "a"), ("a", ""), ("a b a b", "b a b a a")]
        {
            let words = |text: &'static str| -> Vec<&str> { text.split_whitespace().collect() };
            let (before, after) = (words(before), words(after));
            let lines = compare(&before, &after);
            let old = lines.iter().filter_map(|line| match line {
                Line::Both(text) | Line::Gone(text) => Some(*text),
                Line::New(_) => None,
            });
            assert_eq!(old.collect::<Vec<_>>(), before);
            let new = lines.iter().filter_map(|line| match line {
                Line::Both(text) | Line::New(text) => Some(*text),
                Line::Gone(_) => None,
            });
            assert_eq!(new.collect::<Vec<_>>(), after);
        }
    }
}
