//! Says in plain words what the parser says in those of its grammar.

use super::scan::token;

/// The most characters of a message of the parser's, and of a word of the expression's.
const MOST: usize = 200;

/// What is wrong where `rest` begins.
pub(super) fn plain(said: &str, rest: &str) -> String {
    let Some(said) = said.strip_prefix("Syntax error: ") else {
        return said.chars().filter(|c| !c.is_control()).take(MOST).collect();
    };
    if let Some(missing) = missing(said) {
        return format!("`{missing}` is missing here");
    }
    let Some(first) = rest.chars().next().filter(|_| !rest.trim().is_empty()) else {
        return "it ends too soon: something must follow".to_owned();
    };
    if said.starts_with("token recognition error") {
        return unknown(first);
    }
    let word = rest.get(..token(rest).unwrap_or(rest.len())).unwrap_or_default();
    let word: String = word.chars().take(MOST).collect();
    let hint = match &*word {
        "and" | "AND" => ": write &&",
        "or" | "OR" => ": write ||",
        "not" | "NOT" => ": write !",
        _ => "",
    };
    format!("`{word}` can't stand here{hint}")
}

/// The one thing that the parser would have taken, where it is but one and no end.
fn missing(said: &str) -> Option<&str> {
    let wanted = match said.strip_prefix("missing ") {
        Some(wanted) => wanted.split(" at ").next()?,
        None => said.strip_prefix("mismatched input '<EOF>' expecting ")?,
    };
    let inner = wanted.strip_prefix('\'')?.strip_suffix('\'')?;
    (!inner.contains('\'')).then_some(inner)
}

/// What is said of a character that begins nothing.
fn unknown(first: char) -> String {
    match first {
        '=' => "`=` compares nothing: write ==".to_owned(),
        '&' => "`&` joins nothing: write &&".to_owned(),
        '|' => "`|` joins nothing: write ||".to_owned(),
        '"' | '\'' | 'b' | 'B' | 'r' | 'R' => {
            "this text has an escape that there isn't: write \\\\ for a backslash".to_owned()
        }
        other => format!("`{other}` has no meaning outside of a text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_grammar_are_not_passed_on() {
        for (said, rest, plainly) in [
            ("mismatched input '<EOF>' expecting {'[', '('}", "", "it ends too soon"),
            ("mismatched input '<EOF>' expecting ')'", "", "`)` is missing here"),
            ("missing ')' at 'x'", "x", "`)` is missing here"),
            ("extraneous input 'and' expecting <EOF>", "and b", "`and` can't stand here: write &&"),
            ("no viable alternative at input 'a ]'", "] == 1", "`]` can't stand here"),
            ("token recognition error at: '= '", "= 1", "write =="),
            ("token recognition error at: '#'", "#", "`#` has no meaning"),
            ("token recognition error at: ''\\q''", "'\\q'", "an escape that there isn't"),
        ] {
            let text = plain(&format!("Syntax error: {said}"), rest);
            assert!(text.starts_with(plainly) || text.contains(plainly), "{said}: {text}");
        }
        assert_eq!(plain("invalid int literal\n", "99999999999999999999"), "invalid int literal");
    }
}
