//! Reads an expression, on a thread of its own.
//!
//! The parser is not ours: it recurses as deep as an expression nests, and what it does with input that
//! nobody has thought of is its business. On a thread with a stack that holds the longest expression, and
//! one at a time, neither its recursion nor a panic harms anybody else.

use std::thread;

use cel::{Env, parser::ParseErrors};
use parking_lot::Mutex;

use super::{Expression, MAX_DEPTH, Place, Refused, place, scan, tree, words};

/// Room for an expression of which each of two thousand bytes nests: some kilobytes each.
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
    scan::check(source)?;
    let _one_at_a_time = READING.lock();
    let text = source.to_owned();
    let reader = thread::Builder::new().name("weir-filter".to_owned()).stack_size(STACK);
    let reader = reader.spawn(move || read(&text)).map_err(|_| Refused::Busy)?;
    reader.join().unwrap_or_else(|_| Err(syntax(source, 0, "it can't be read".to_owned())))
}

fn read(source: &str) -> Result<Expression, Refused> {
    // Without macros: loops are told by their calls.
    let depth = u16::try_from(MAX_DEPTH).unwrap_or(u16::MAX);
    let parser = Env::default().parser().max_recursion_depth(depth).error_recovery_limit(1);
    let parsed = parser.parse_with_source_info(source);
    let (root, places) = parsed.map_err(|errors| refuse(source, errors))?;
    tree::translate(source, &root, &places).map(Expression::new)
}

fn refuse(source: &str, errors: ParseErrors) -> Refused {
    let Some(first) = errors.errors.into_iter().next() else {
        return syntax(source, 0, "it can't be read".to_owned());
    };
    let (line, column) = first.pos;
    let place = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    let at = place::offset(source, place(line), place(column));
    if first.msg.contains("Recursion limit") {
        return syntax(source, at, format!("it nests deeper than {MAX_DEPTH} levels"));
    }
    syntax(source, at, words::plain(&first.msg, source.get(at..).unwrap_or_default()))
}

fn syntax(source: &str, at: usize, message: String) -> Refused {
    Refused::Syntax { place: Place::of(source, at), message }
}
