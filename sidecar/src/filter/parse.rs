//! Reads an expression, on a thread of its own.
//!
//! The parser is not ours: it recurses as deep as an expression nests, and what it does with input that
//! nobody has thought of is its business. On a thread with a stack that holds the longest expression, and
//! one at a time, neither its recursion nor a panic harms anybody else.

use std::thread;

use cel::{Env, parser::ParseErrors};
use parking_lot::Mutex;

use super::{Expression, MAX_DEPTH, MAX_SOURCE, Refused, tree};

/// Room for an expression of [`MAX_SOURCE`] bytes, each of which nests: some kilobytes each.
const STACK: usize = 32 * 1024 * 1024;

/// Held while an expression is read: who sends many gets one core's worth of them.
static READING: Mutex<()> = Mutex::new(());

/// Reads an expression. Takes about a millisecond, and waits for its turn: not to be called where a
/// thread must not block.
///
/// # Errors
///
/// Says what is wrong with it, and where.
pub fn compile(source: &str) -> Result<Expression, Refused> {
    if source.len() > MAX_SOURCE {
        return Err(Refused::Length { bytes: source.len() });
    }
    let _one_at_a_time = READING.lock();
    let source = source.to_owned();
    let reader = thread::Builder::new().name("weir-filter".to_owned()).stack_size(STACK);
    let reader = reader.spawn(move || read(&source)).map_err(|_| Refused::Busy)?;
    reader.join().unwrap_or_else(|_| Err(syntax(1, 1, "it can't be read")))
}

fn read(source: &str) -> Result<Expression, Refused> {
    // Without macros: loops are told by their calls.
    let depth = u16::try_from(MAX_DEPTH).unwrap_or(u16::MAX);
    let parser = Env::default().parser().max_recursion_depth(depth).error_recovery_limit(1);
    let (root, places) = parser.parse_with_source_info(source).map_err(refuse)?;
    tree::translate(&root, &places).map(Expression::new)
}

fn refuse(errors: ParseErrors) -> Refused {
    let Some(first) = errors.errors.into_iter().next() else {
        return syntax(1, 1, "it can't be read");
    };
    if first.msg.contains("Recursion limit") {
        return syntax(1, 1, &format!("it nests deeper than {MAX_DEPTH} levels"));
    }
    let (line, column) = first.pos;
    let place = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    syntax(place(line), place(column.saturating_add(1)), &first.msg)
}

fn syntax(line: usize, column: usize, message: &str) -> Refused {
    // The parser lists every token that would do.
    const MOST: usize = 200;
    let message = message.chars().filter(|c| !c.is_control()).take(MOST).collect();
    Refused::Syntax { line, column, message }
}
