//! What can be told of a value before there is an event, and which operators that rules out.
//!
//! Law: what is refused here is ill-typed by the declarations of CEL: an attribute of an event is a text, and an
//! operator of values of two kinds has no overload, whatever stands beside it. What a publisher decides is left open:
//! the payload, extensions, claims, and what a loop finds in them.

use super::{
    attribute::Attribute,
    functions::Function,
    tree::{Binary, Loop, Node},
};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Time,
    List,
    Map,
    /// A number, a text or a list: what `+` makes of what is open.
    Sum,
    /// What only an event can tell.
    Open,
}

impl Kind {
    /// Whether a value of this kind may be one of those.
    pub(super) fn may_be(self, kinds: &[Self]) -> bool {
        match self {
            Self::Open => true,
            Self::Sum => {
                [Self::Number, Self::Text, Self::List].iter().any(|kind| kinds.contains(kind))
            }
            Self::Null
            | Self::Bool
            | Self::Number
            | Self::Text
            | Self::Time
            | Self::List
            | Self::Map => kinds.contains(&self),
        }
    }

    /// Whether values of these kinds may be of one.
    fn may_equal(self, other: Self) -> bool {
        match other {
            Self::Open => true,
            Self::Sum => self.may_be(&[Self::Number, Self::Text, Self::List]),
            Self::Null
            | Self::Bool
            | Self::Number
            | Self::Text
            | Self::Time
            | Self::List
            | Self::Map => self.may_be(&[other]),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a truth value",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Sum => "a sum",
            Self::Open => "a value",
        }
    }
}

impl Node {
    /// What its value is, where it has one.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Int(_) | Self::Uint(_) | Self::Double(_) | Self::Negate(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
            Self::Claims => Kind::Map,
            Self::List(_) | Self::Loop(Loop::Filter | Loop::Map, _) => Kind::List,
            Self::Bool(_)
            | Self::HasField(..)
            | Self::HasAttribute(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Matches(..)
            | Self::Loop(Loop::All | Loop::Exists | Loop::ExistsOne, _) => Kind::Bool,
            Self::Variable(_)
            | Self::Field(..)
            | Self::Attribute(Attribute::Data | Attribute::Extension(_)) => Kind::Open,
            Self::Attribute(
                Attribute::Id
                | Attribute::Type
                | Attribute::Source
                | Attribute::Subject
                | Attribute::Time
                | Attribute::DataContentType
                | Attribute::DataSchema,
            ) => Kind::Text,
            Self::Conditional(three) => {
                let [_, yes, no] = &**three;
                if yes.kind() == no.kind() { yes.kind() } else { Kind::Open }
            }
            Self::Binary(operator, two) => of_binary(*operator, two),
            Self::Call(function, _) => of_call(*function),
        }
    }

    /// Whether its value may be true.
    pub(super) fn may_be_true(&self) -> bool {
        self.kind().may_be(&[Kind::Bool])
    }
}

fn of_binary(operator: Binary, two: &[Node; 2]) -> Kind {
    match operator {
        Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => Kind::Number,
        Binary::Add => {
            let [a, b] = two;
            match (a.kind(), b.kind()) {
                (Kind::Open | Kind::Sum, Kind::Open | Kind::Sum) => Kind::Sum,
                (Kind::Open | Kind::Sum, known) | (known, _) => known,
            }
        }
        Binary::Equal
        | Binary::Unequal
        | Binary::Less
        | Binary::LessOrEqual
        | Binary::Greater
        | Binary::GreaterOrEqual
        | Binary::In => Kind::Bool,
        Binary::Index => Kind::Open,
    }
}

const fn of_call(function: Function) -> Kind {
    match function {
        Function::Size | Function::Int | Function::Double => Kind::Number,
        Function::Contains | Function::StartsWith | Function::EndsWith => Kind::Bool,
        Function::LowerAscii | Function::String => Kind::Text,
        Function::Timestamp => Kind::Time,
        Function::Dyn => Kind::Open,
    }
}

/// Why these can't be the operands of the operator; `None` where they can.
pub(super) fn clash(operator: Binary, a: Kind, b: Kind) -> Option<String> {
    match operator {
        Binary::Equal | Binary::Unequal => (!a.may_equal(b)).then(|| unequal(a, b)),
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            let ordered = [Kind::Bool, Kind::Number, Kind::Text, Kind::Time];
            let unordered = [a, b].into_iter().find(|kind| !kind.may_be(&ordered));
            match unordered {
                Some(kind) => {
                    Some(format!("{} comes neither before nor after anything", kind.name()))
                }
                None => (!a.may_equal(b)).then(|| unequal(a, b)),
            }
        }
        Binary::Add => {
            let added = [Kind::Number, Kind::Text, Kind::List];
            unfit("+", &[a, b], &added, "numbers, texts or lists").or_else(|| {
                (!a.may_equal(b)).then(|| {
                    format!("{} can't be added to {}{}", b.name(), a.name(), convert(a, b))
                })
            })
        }
        Binary::Subtract => unfit("-", &[a, b], &[Kind::Number], "numbers"),
        Binary::Multiply => unfit("*", &[a, b], &[Kind::Number], "numbers"),
        Binary::Divide => unfit("/", &[a, b], &[Kind::Number], "numbers"),
        Binary::Remainder => unfit("%", &[a, b], &[Kind::Number], "numbers"),
        Binary::In => (!b.may_be(&[Kind::List, Kind::Map]))
            .then(|| format!("in takes a list or a map, and this is {}{}", b.name(), contains(b))),
        Binary::Index => unfit("[]", &[a], &[Kind::List, Kind::Map], "lists and maps"),
    }
}

/// Why the operator can't be applied, which takes what is named by `words`.
pub(super) fn unfit(operator: &str, found: &[Kind], taken: &[Kind], words: &str) -> Option<String> {
    let odd = found.iter().find(|kind| !kind.may_be(taken))?;
    Some(format!("{operator} takes {words}, and not {}", odd.name()))
}

/// Why a function can't take its operands; `None` where it can.
pub(super) fn misfit(function: Function, operands: &[Kind]) -> Option<String> {
    let (taken, words): (&[Kind], _) = match function {
        Function::Size => (&[Kind::Text, Kind::List, Kind::Map], "texts, lists and maps"),
        Function::Contains | Function::StartsWith | Function::EndsWith | Function::LowerAscii => {
            (&[Kind::Text], "texts")
        }
        Function::Int => (&[Kind::Number, Kind::Text, Kind::Time], "numbers, texts and times"),
        Function::Double => (&[Kind::Number, Kind::Text], "numbers and texts"),
        Function::String => (
            &[Kind::Text, Kind::Bool, Kind::Number, Kind::Time],
            "texts, numbers, times and truth values",
        ),
        Function::Timestamp => (&[Kind::Text, Kind::Time], "texts"),
        Function::Dyn => return None,
    };
    unfit(function.name(), operands, taken, words)
}

fn unequal(a: Kind, b: Kind) -> String {
    format!("{} is compared with {}, which it never equals{}", a.name(), b.name(), convert(a, b))
}

/// What to do about two values of different kinds.
const fn convert(a: Kind, b: Kind) -> &'static str {
    match (a, b) {
        (Kind::Text, Kind::Number) | (Kind::Number, Kind::Text) => {
            ": write both in quotes, or take int(…) or double(…) of the text"
        }
        (Kind::Text, Kind::Time) | (Kind::Time, Kind::Text) => ": take timestamp(…) of the text",
        (Kind::Null, _) | (_, Kind::Null) => ": ask has(…) whether it is there",
        (_, _) => "",
    }
}

const fn contains(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => ": write text.contains(part)",
        Kind::Null
        | Kind::Bool
        | Kind::Number
        | Kind::Time
        | Kind::List
        | Kind::Map
        | Kind::Sum
        | Kind::Open => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Refused, compile, compile_filter};

    fn refused(source: &str) -> String {
        let refused = compile(source).expect_err(source);
        let Refused::Meaning { message, .. } = refused else { panic!("{source}: {refused}") };
        message
    }

    #[test]
    fn what_fails_on_every_event_is_refused() {
        for (source, says) in [
            ("event.type == 5", "a text is compared with a number"),
            ("5 != event.id", "a number is compared with a text"),
            ("event.subject == null", "ask has(…)"),
            ("event.time < timestamp('2026-01-01T00:00:00Z')", "take timestamp(…)"),
            ("event.type == true", "a text is compared with a truth value"),
            ("event.type < null", "neither before nor after"),
            ("[1] < [2]", "neither before nor after"),
            ("event.type in 'order.placed'", "text.contains(part)"),
            ("event.type + 1 == 'x'", "a number can't be added to a text"),
            ("event.type - event.id == 1", "- takes numbers"),
            ("event.type * 2 == 2", "* takes numbers"),
            ("-event.type == 1", "- takes numbers"),
            ("!event.type", "! takes truth values"),
            ("event.type && true", "&& takes truth values"),
            ("true || event.source", "|| takes truth values"),
            ("event.type ? true : false", "? takes truth values"),
            ("event.type.name == 'x'", "a text has no fields"),
            ("has(event.type.name)", "a text has no fields"),
            ("event.type['name'] == 'x'", "[] takes lists and maps"),
            ("event.type.all(x, x == 'a')", "a loop takes lists and maps"),
            ("event.data.l.all(x, x + 1)", "truth values to decide by"),
            ("size(5) == 1", "size takes texts, lists and maps"),
            ("event.data.n.contains(5)", "contains takes texts"),
            ("(1).matches('a')", "matches takes texts"),
            ("timestamp(5) == timestamp(6)", "timestamp takes texts"),
            ("event.typ == 'x'", "did you mean type?"),
            ("has(event.typ)", "did you mean type?"),
            ("event['Typ'] == 'x'", "lower-case letters"),
            ("(event.data.a + event.data.b) == true", "a sum is compared with a truth value"),
        ] {
            let text = refused(source);
            assert!(text.contains(says), "{source}: {text}");
        }
    }

    #[test]
    fn what_an_event_decides_is_left_open() {
        for source in [
            "event.data == 5",
            "event.data.x == null && event.data.y < 'a' && -event.data.z > 1",
            "event.region == 5 || event['typ'] == 'x' || has(event['typ'])",
            "claims.level > 3",
            "event.data.a + event.data.b == 'ab'",
            "event.data.a + 1 > 2.5",
            "dyn(event.type) == 5",
            "event.data.l.all(x, x) && event.data.f",
            "(event.data.b ? event.type : 5) == 5",
            "event.data.l[0].a['b'].c == [1]",
            "1 == 2.5 && 'a' < 'b' && true > false",
            "size(event.type) > 3 && int(event.id) > 4",
        ] {
            assert!(compile_filter(source).is_ok(), "{source}: {:?}", compile_filter(source));
        }
    }
}
