//! What an expression means: a tree of the operators, functions and loops that a filter may have.
//!
//! The names of an event's fields and of variables are resolved here, and patterns compiled, so that an
//! evaluation looks nothing up.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use regex::{Regex, RegexBuilder};

use super::{ClaimsRead, MAX_DEPTH, MAX_LOOPS, MAX_NODES, Refused, functions::Function};

/// The most memory of a compiled pattern.
const PATTERN_BYTES: usize = 64 * 1024;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    /// `event.name`.
    Attribute(Attribute),
    /// `claims`.
    Claims,
    /// The variable of a loop, counted from the outermost.
    Variable(usize),
    Field(Box<Self>, Box<str>),
    /// `has(operand.field)`.
    HasField(Box<Self>, Box<str>),
    /// `has(event.name)`.
    HasAttribute(Attribute),
    List(Vec<Self>),
    Not(Box<Self>),
    Negate(Box<Self>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Conditional(Box<[Self; 3]>),
    Binary(Binary, Box<[Self; 2]>),
    Call(Function, Vec<Self>),
    Matches(Box<Self>, Regex),
    /// A loop over the first, of the second.
    Loop(Loop, Box<[Self; 2]>),
}

/// A field of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Id,
    Type,
    Source,
    Subject,
    Time,
    DataContentType,
    DataSchema,
    Data,
    Extension(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl Binary {
    /// Whether it makes a number, or joins texts or lists.
    const fn calculates(self) -> bool {
        match self {
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide | Self::Remainder => true,
            Self::Equal
            | Self::Unequal
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual
            | Self::In
            | Self::Index => false,
        }
    }
}

impl Attribute {
    fn named(name: &str) -> Self {
        match name {
            "id" => Self::Id,
            "type" => Self::Type,
            "source" => Self::Source,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            "data" => Self::Data,
            extension => Self::Extension(extension.into()),
        }
    }
}

impl Binary {
    fn of(operator: &str) -> Option<Self> {
        Some(match operator {
            operators::ADD => Self::Add,
            operators::SUBSTRACT => Self::Subtract,
            operators::MULTIPLY => Self::Multiply,
            operators::DIVIDE => Self::Divide,
            operators::MODULO => Self::Remainder,
            operators::EQUALS => Self::Equal,
            operators::NOT_EQUALS => Self::Unequal,
            operators::LESS => Self::Less,
            operators::LESS_EQUALS => Self::LessOrEqual,
            operators::GREATER => Self::Greater,
            operators::GREATER_EQUALS => Self::GreaterOrEqual,
            operators::IN => Self::In,
            operators::INDEX => Self::Index,
            _ => return None,
        })
    }
}

impl Loop {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" => Self::ExistsOne,
            "filter" => Self::Filter,
            "map" => Self::Map,
            _ => return None,
        })
    }
}

impl Node {
    /// Whether its value may be true: it is no number, text, list, or field that is always a text.
    pub(super) fn may_be_true(&self) -> bool {
        match self {
            Self::Bool(_)
            | Self::Variable(_)
            | Self::Field(..)
            | Self::HasField(..)
            | Self::HasAttribute(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Conditional(_)
            | Self::Call(..)
            | Self::Matches(..)
            | Self::Attribute(Attribute::Data | Attribute::Extension(_))
            | Self::Loop(Loop::All | Loop::Exists | Loop::ExistsOne, _) => true,
            Self::Binary(operator, _) => !operator.calculates(),
            Self::Null
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Claims
            | Self::List(_)
            | Self::Negate(_)
            | Self::Attribute(
                Attribute::Id
                | Attribute::Type
                | Attribute::Source
                | Attribute::Subject
                | Attribute::Time
                | Attribute::DataContentType
                | Attribute::DataSchema,
            )
            | Self::Loop(Loop::Filter | Loop::Map, _) => false,
        }
    }

    /// Which of the subscriber's claims it reads.
    pub(super) fn claims_read(&self) -> ClaimsRead {
        let inside = |nodes: &[Self]| {
            nodes.iter().fold(ClaimsRead::default(), |read, node| read.or(&node.claims_read()))
        };
        match self {
            Self::Claims => ClaimsRead::All,
            Self::Field(of, name) | Self::HasField(of, name) if matches!(**of, Self::Claims) => {
                ClaimsRead::These([name.clone()].into())
            }
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Attribute(_)
            | Self::HasAttribute(_)
            | Self::Variable(_) => ClaimsRead::default(),
            Self::Field(node, _)
            | Self::HasField(node, _)
            | Self::Not(node)
            | Self::Negate(node)
            | Self::Matches(node, _) => node.claims_read(),
            Self::List(nodes) | Self::Call(_, nodes) => inside(nodes),
            Self::Binary(Binary::Index, two) => match &**two {
                [Self::Claims, Self::Text(name)] => ClaimsRead::These([name.clone()].into()),
                two => inside(&two[..]),
            },
            Self::And(two) | Self::Or(two) | Self::Binary(_, two) | Self::Loop(_, two) => {
                inside(&two[..])
            }
            Self::Conditional(three) => inside(&three[..]),
        }
    }
}

/// Translates what the parser has read.
pub(super) fn translate(root: &IdedExpr, places: &SourceInfo) -> Result<Node, Refused> {
    Translator { places, variables: Vec::new(), depth: 0, nodes: 0 }.node(root)
}

struct Translator<'a> {
    places: &'a SourceInfo,
    /// The names of the loops' variables, the outermost first.
    variables: Vec<&'a str>,
    depth: usize,
    nodes: usize,
}

impl<'a> Translator<'a> {
    fn node(&mut self, at: &'a IdedExpr) -> Result<Node, Refused> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(at, format!("it nests deeper than {MAX_DEPTH}")));
        }
        if self.nodes > MAX_NODES {
            return Err(self.refuse(at, format!("it has more than {MAX_NODES} parts")));
        }
        let node = self.inner(at);
        self.depth -= 1;
        node
    }

    fn inner(&mut self, at: &'a IdedExpr) -> Result<Node, Refused> {
        match &at.expr {
            Expr::Literal(literal) => self.literal(at, literal),
            Expr::Ident(name) => self.name(at, name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(at, call),
            Expr::List(list) if list.optional_indices.is_empty() => list
                .elements
                .iter()
                .map(|node| self.node(node))
                .collect::<Result<_, _>>()
                .map(Node::List),
            Expr::List(_) => Err(self.refuse(at, "optional elements are not for filters")),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(self.refuse(at, "maps and messages can't be made in a filter"))
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.refuse(at, "this is not for filters"))
            }
        }
    }

    fn literal(&self, at: &IdedExpr, literal: &LiteralValue) -> Result<Node, Refused> {
        Ok(match literal {
            LiteralValue::Null => Node::Null,
            LiteralValue::Boolean(value) => Node::Bool(*value.inner()),
            LiteralValue::Int(value) => Node::Int(*value.inner()),
            LiteralValue::UInt(value) => Node::Uint(*value.inner()),
            LiteralValue::Double(value) => Node::Double(*value.inner()),
            LiteralValue::String(value) => Node::Text(value.inner().into()),
            LiteralValue::Bytes(_) => {
                return Err(self.refuse(at, "bytes are not for filters: write a text"));
            }
        })
    }

    fn name(&self, at: &IdedExpr, name: &str) -> Result<Node, Refused> {
        if let Some(place) = self.variables.iter().rposition(|variable| *variable == name) {
            return Ok(Node::Variable(place));
        }
        match name {
            "claims" => Ok(Node::Claims),
            "event" => Err(self.refuse(at, "name a field of the event, such as event.type")),
            _ => Err(self.refuse(
                at,
                format!("there is no {name}; a filter is about event.NAME and claims.NAME"),
            )),
        }
    }

    /// Whether this is the event, and not a variable of that name.
    fn is_event(&self, at: &IdedExpr) -> bool {
        matches!(&at.expr, Expr::Ident(name) if name == "event" && !self.variables.contains(&"event"))
    }

    fn select(&mut self, select: &'a SelectExpr) -> Result<Node, Refused> {
        let SelectExpr { operand, field, test: _ } = select;
        if self.is_event(operand) {
            return Ok(Node::Attribute(Attribute::named(field)));
        }
        Ok(Node::Field(Box::new(self.node(operand)?), field.as_str().into()))
    }

    fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Result<Node, Refused> {
        let CallExpr { func_name, target, args } = call;
        match (func_name.as_str(), target.as_deref(), args.as_slice()) {
            (operators::LOGICAL_NOT, None, [one]) => Ok(Node::Not(Box::new(self.node(one)?))),
            (operators::NEGATE, None, [one]) => Ok(Node::Negate(Box::new(self.node(one)?))),
            (operators::LOGICAL_AND, None, [a, b]) => Ok(Node::And(self.two(a, b)?)),
            (operators::LOGICAL_OR, None, [a, b]) => Ok(Node::Or(self.two(a, b)?)),
            (operators::CONDITIONAL, None, [test, yes, no]) => {
                let [test, yes] = *self.two(test, yes)?;
                Ok(Node::Conditional(Box::new([test, yes, self.node(no)?])))
            }
            (operators::INDEX, None, [of, index]) if self.is_event(of) => {
                let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
                    return Err(self.refuse(index, "name the event's field by a text"));
                };
                Ok(Node::Attribute(Attribute::named(name.inner())))
            }
            ("has", None, [one]) => self.has(one),
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.matches(text, pattern)
            }
            (name, None, [a, b]) if let Some(operator) = Binary::of(name) => {
                Ok(Node::Binary(operator, self.two(a, b)?))
            }
            (name, Some(range), [variable, body]) if let Some(kind) = Loop::of(name) => {
                self.looped(kind, range, variable, body)
            }
            (name, target, args) => self.function(at, name, target, args),
        }
    }

    fn two(&mut self, a: &'a IdedExpr, b: &'a IdedExpr) -> Result<Box<[Node; 2]>, Refused> {
        Ok(Box::new([self.node(a)?, self.node(b)?]))
    }

    fn has(&mut self, at: &'a IdedExpr) -> Result<Node, Refused> {
        let Expr::Select(SelectExpr { operand, field, test: _ }) = &at.expr else {
            return Err(self.refuse(at, "has() takes a field, such as has(event.data.total)"));
        };
        if self.is_event(operand) {
            return Ok(Node::HasAttribute(Attribute::named(field)));
        }
        Ok(Node::HasField(Box::new(self.node(operand)?), field.as_str().into()))
    }

    fn matches(&mut self, text: &'a IdedExpr, pattern: &'a IdedExpr) -> Result<Node, Refused> {
        let Expr::Literal(LiteralValue::String(source)) = &pattern.expr else {
            return Err(self.refuse(pattern, "matches() takes a pattern that is written out"));
        };
        let built = RegexBuilder::new(source.inner()).size_limit(PATTERN_BYTES).build();
        let built = built.map_err(|error| {
            // The error draws the pattern over several lines; its last line says what is wrong.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            self.refuse(pattern, format!("the pattern can't be used: {reason}"))
        })?;
        Ok(Node::Matches(Box::new(self.node(text)?), built))
    }

    fn looped(
        &mut self,
        kind: Loop,
        range: &'a IdedExpr,
        variable: &'a IdedExpr,
        body: &'a IdedExpr,
    ) -> Result<Node, Refused> {
        let Expr::Ident(name) = &variable.expr else {
            return Err(
                self.refuse(variable, "a loop's first argument is the name of its variable")
            );
        };
        let range = self.node(range)?;
        if self.variables.len() == MAX_LOOPS {
            return Err(self.refuse(variable, format!("loops nest deeper than {MAX_LOOPS}")));
        }
        self.variables.push(name);
        let body = self.node(body);
        self.variables.pop();
        Ok(Node::Loop(kind, Box::new([range, body?])))
    }

    fn function(
        &mut self,
        at: &IdedExpr,
        name: &str,
        target: Option<&'a IdedExpr>,
        args: &'a [IdedExpr],
    ) -> Result<Node, Refused> {
        let Some(function) = Function::named(name, target.is_some()) else {
            let known = Function::names();
            return Err(
                self.refuse(at, format!("there is no {name} here; a filter may call {known}"))
            );
        };
        let operands = target.into_iter().chain(args).map(|node| self.node(node));
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        if operands.len() != function.operands() {
            return Err(self.refuse(at, format!("{name} has too many or too few arguments")));
        }
        Ok(Node::Call(function, operands))
    }

    fn refuse(&self, at: &IdedExpr, message: impl Into<String>) -> Refused {
        let position = self.places.offset_for(at.id).map_or(0, |(start, _)| start as usize);
        Refused::Meaning { position: position + 1, message: message.into() }
    }
}
