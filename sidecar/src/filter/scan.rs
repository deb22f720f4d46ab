//! Looks at an expression before the parser does.
//!
//! At each bracket the parser looks ahead as far as brackets go, so that nesting costs it its square. So this goes
//! over the expression once, without recursion, and stops where a bound is passed: of its length, and of how deep
//! it nests. It knows texts and comments, in which a bracket is none.

use super::{MAX_DEPTH, MAX_SOURCE, Place, Refused};

/// Refuses what the parser is not to see.
pub(super) fn check(source: &str) -> Result<(), Refused> {
    if source.len() > MAX_SOURCE {
        return Err(Refused::Length { bytes: source.len() });
    }
    let mut levels = Levels { above: Vec::new(), here: 0 };
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(length) = token(rest) else {
            let message = "this text has no end: close it as it was opened".to_owned();
            return Err(Refused::Syntax { place: Place::of(source, at), message });
        };
        levels.pass(rest);
        if levels.depth() > MAX_DEPTH {
            let message = format!("it nests deeper than {MAX_DEPTH} levels");
            return Err(Refused::Syntax { place: Place::of(source, at), message });
        }
        at += length;
    }
    Ok(())
}

/// How deep the expression nests where the scan stands: in brackets, and behind the `?` of conditions, the last of
/// which nests in the one before.
struct Levels {
    /// The conditions inside each open bracket but the innermost.
    above: Vec<usize>,
    /// Those since the innermost was opened, or since the last comma in it.
    here: usize,
}

impl Levels {
    fn depth(&self) -> usize {
        self.above.len() + self.above.iter().sum::<usize>() + self.here
    }

    fn pass(&mut self, rest: &str) {
        match rest.as_bytes().first() {
            Some(b'(' | b'[' | b'{') => self.above.push(std::mem::take(&mut self.here)),
            Some(b')' | b']' | b'}') => self.here = self.above.pop().unwrap_or(0),
            Some(b',') => self.here = 0,
            Some(b'?') => self.here += 1,
            Some(_) | None => {}
        }
    }
}

/// The length of the token, or the white space, at the start of `rest`; `None` where it is a text without an end.
pub(super) fn token(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let word = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
    let (prefix, behind) = rest.split_at_checked(word)?;
    if behind.starts_with(['"', '\'']) && is_prefix(prefix) {
        return text(behind, prefix.contains(['r', 'R'])).map(|length| word + length);
    }
    if word > 0 {
        return Some(word);
    }
    rest.chars().next().map(char::len_utf8)
}

/// Whether this stands before a quotation mark as a part of the text: of bytes, or of one without escapes.
fn is_prefix(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "" | "b" | "r" | "br")
}

/// The length of a text from its quotation mark on.
fn text(rest: &str, raw: bool) -> Option<usize> {
    let quote = rest.chars().next()?;
    let triple = quote.to_string().repeat(3);
    let (close, many_lines) =
        if rest.starts_with(&triple) { (&*triple, true) } else { (triple.get(..1)?, false) };
    let mut at = close.len();
    loop {
        let behind = rest.get(at..)?;
        if behind.starts_with(close) {
            return Some(at + close.len());
        }
        let mut characters = behind.chars();
        match characters.next()? {
            '\\' if !raw => at += 1 + characters.next()?.len_utf8(),
            '\n' | '\r' if !many_lines => return None,
            other => at += other.len_utf8(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(source: &str) -> String {
        check(source).expect_err(source).to_string()
    }

    #[test]
    fn what_nests_too_deep_is_refused_where_it_does() {
        for open in ["(", "[", "{1:", "f(", "a[", "[1,"] {
            let text = refused(&open.repeat(MAX_SOURCE / open.len()));
            // One bracket beyond the bound, and no further.
            let column = open.len() * MAX_DEPTH + open.find(['(', '[', '{']).unwrap() + 1;
            assert!(text.contains(&format!("column {column} ")) && text.contains("32"), "{text}");
        }
        assert!(refused(&"1?1:".repeat(40)).contains("nests deeper than 32 levels"));
        assert!(refused(&"[".repeat(40_000)).contains("it has 40000 bytes, and may have 2048"));
        let wide = format!("[{}1]", "(1?1:1),[1],".repeat(100));
        assert_eq!(check(&wide), Ok(()));
        let deep = format!("{}1{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
        assert_eq!(check(&deep), Ok(()));
    }

    #[test]
    fn brackets_in_texts_and_comments_are_none() {
        let many = "(".repeat(40);
        for source in [
            format!("'{many}'"),
            format!("\"\\\"{many}\""),
            format!("'''a'\n''{many}'''"),
            format!("r'{many}\\'"),
            format!("bR\"\"\"{many}\\\"\"\""),
            format!("1 // {many}"),
        ] {
            assert_eq!(check(&source), Ok(()), "{source}");
            assert!(token(&source).is_some(), "{source}");
            assert!(check(&format!("{source}\n{many}")).is_err(), "{source}");
        }
    }

    #[test]
    fn a_text_without_an_end_is_refused_where_it_begins() {
        for source in ["a == 'x", "a == \"x'", "a == 'x\n'", "a == '''x''", "a == r'\\", "a == '\\"]
        {
            let text = refused(source);
            assert!(text.contains("column 6 ") && text.contains("no end"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_token_has_a_length_that_fits(source in "[a-z0-9é .()\\[\\]'\"\\\\\n/?:,rb]{0,40}") {
            let mut at = 0;
            while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
                let Some(length) = token(rest) else { break };
                prop_assert!(length > 0 && rest.is_char_boundary(length), "{length} of {rest:?}");
                at += length;
            }
            let _any = check(&source);
        }
    }
}
