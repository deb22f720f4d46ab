//! What an expression means: a tree of the operators, functions and loops that a filter may have.
//!
//! The names of an event's fields and of variables are resolved here, and patterns compiled, so that an
//! evaluation looks nothing up.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};
use regex::{Regex, RegexBuilder};

use super::{
    ClaimsRead, MAX_DEPTH, MAX_LOOPS, MAX_NODES, Place, Refused,
    attribute::Attribute,
    functions::Function,
    kind::{Kind, clash, misfit, unfit},
};

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

/// What a loop takes that was given something else.
fn arguments(name: &str, kind: Loop) -> String {
    match kind {
        Loop::Map => {
            "map takes a variable and a value, and between them a condition where there is one: \
                      list.map(x, x > 1, x * 2)"
                .to_owned()
        }
        Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter => {
            format!("{name} takes a variable and a condition: list.{name}(x, x > 1)")
        }
    }
}

/// Translates what the parser has read.
pub(super) fn translate(
    source: &str,
    root: &IdedExpr,
    places: &SourceInfo,
) -> Result<Node, Refused> {
    Translator { source, places, variables: Vec::new(), depth: 0, nodes: 0 }.node(root)
}

struct Translator<'a> {
    source: &'a str,
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
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::List(list) if list.optional_indices.is_empty() => list
                .elements
                .iter()
                .map(|node| self.node(node))
                .collect::<Result<_, _>>()
                .map(Node::List),
            Expr::List(_) => Err(self.refuse(at, "optional elements can't be written here")),
            Expr::Map(_) | Expr::Struct(_) => {
                Err(self.refuse(at, "maps and messages can't be written here"))
            }
            Expr::Comprehension(_) | Expr::Unspecified => {
                Err(self.refuse(at, "this can't be written here"))
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
                return Err(self.refuse(at, "bytes can't be written here: write a text"));
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
            _ => {
                Err(self.refuse(at, format!("there is no {name}: write event.NAME or claims.NAME")))
            }
        }
    }

    /// Whether this is the event, and not a variable of that name.
    fn is_event(&self, at: &IdedExpr) -> bool {
        matches!(&at.expr, Expr::Ident(name) if name == "event" && !self.variables.contains(&"event"))
    }

    fn select(&mut self, at: &'a IdedExpr, select: &'a SelectExpr) -> Result<Node, Refused> {
        let SelectExpr { operand, field, test: _ } = select;
        if self.is_event(operand) {
            let field = Attribute::dotted(field).map_err(|message| self.refuse(at, message))?;
            return Ok(Node::Attribute(field));
        }
        Ok(Node::Field(Box::new(self.map(at, operand)?), field.as_str().into()))
    }

    /// What a field is asked of.
    fn map(&mut self, at: &'a IdedExpr, operand: &'a IdedExpr) -> Result<Node, Refused> {
        let node = self.node(operand)?;
        if node.kind().may_be(&[Kind::Map]) {
            return Ok(node);
        }
        Err(self.refuse(at, format!("{} has no fields", node.kind().name())))
    }

    /// An operand that must be of these kinds.
    fn operand(
        &mut self,
        operator: &str,
        at: &'a IdedExpr,
        kinds: &[Kind],
        words: &str,
    ) -> Result<Node, Refused> {
        let node = self.node(at)?;
        match unfit(operator, &[node.kind()], kinds, words) {
            None => Ok(node),
            Some(message) => Err(self.refuse(at, message)),
        }
    }

    fn truth(&mut self, operator: &str, at: &'a IdedExpr) -> Result<Node, Refused> {
        self.operand(operator, at, &[Kind::Bool], "truth values")
    }

    fn truths(
        &mut self,
        operator: &str,
        a: &'a IdedExpr,
        b: &'a IdedExpr,
    ) -> Result<Box<[Node; 2]>, Refused> {
        Ok(Box::new([self.truth(operator, a)?, self.truth(operator, b)?]))
    }

    fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Result<Node, Refused> {
        let CallExpr { func_name, target, args } = call;
        match (func_name.as_str(), target.as_deref(), args.as_slice()) {
            (operators::LOGICAL_NOT, None, [one]) => Ok(Node::Not(Box::new(self.truth("!", one)?))),
            (operators::NEGATE, None, [one]) => {
                let node = self.operand("-", one, &[Kind::Number], "numbers")?;
                Ok(Node::Negate(Box::new(node)))
            }
            (operators::LOGICAL_AND, None, [a, b]) => Ok(Node::And(self.truths("&&", a, b)?)),
            (operators::LOGICAL_OR, None, [a, b]) => Ok(Node::Or(self.truths("||", a, b)?)),
            (operators::CONDITIONAL, None, [test, yes, no]) => {
                let test = self.truth("?", test)?;
                Ok(Node::Conditional(Box::new([test, self.node(yes)?, self.node(no)?])))
            }
            (operators::INDEX, None, [of, index]) if self.is_event(of) => {
                self.named(index).map(Node::Attribute)
            }
            ("has", None, [one]) => self.has(one),
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.matches(text, pattern)
            }
            (name, None, [a, b]) if let Some(operator) = Binary::of(name) => {
                self.binary(at, operator, a, b)
            }
            (name, Some(range), [variable, body]) if let Some(kind) = Loop::of(name) => {
                self.looped(kind, range, variable, body)
            }
            (name, Some(range), [variable, test, body]) if Loop::of(name) == Some(Loop::Map) => {
                self.mapped(range, variable, test, body)
            }
            (name, Some(_), _) if let Some(kind) = Loop::of(name) => {
                Err(self.refuse(at, arguments(name, kind)))
            }
            (name, target, args) => self.function(at, name, target, args),
        }
    }

    fn binary(
        &mut self,
        at: &IdedExpr,
        operator: Binary,
        a: &'a IdedExpr,
        b: &'a IdedExpr,
    ) -> Result<Node, Refused> {
        let two = [self.node(a)?, self.node(b)?];
        let [a, b] = two.each_ref().map(Node::kind);
        match clash(operator, a, b) {
            None => Ok(Node::Binary(operator, Box::new(two))),
            Some(message) => Err(self.refuse(at, message)),
        }
    }

    /// The field of the event whose name stands in brackets.
    fn named(&self, index: &IdedExpr) -> Result<Attribute, Refused> {
        let Expr::Literal(LiteralValue::String(name)) = &index.expr else {
            return Err(self.refuse(index, "name the event's field by a text"));
        };
        Attribute::named(name.inner()).map_err(|message| self.refuse(index, message))
    }

    fn has(&mut self, at: &'a IdedExpr) -> Result<Node, Refused> {
        if let Expr::Select(SelectExpr { operand, field, test: _ }) = &at.expr {
            if !self.is_event(operand) {
                let of = self.map(at, operand)?;
                return Ok(Node::HasField(Box::new(of), field.as_str().into()));
            }
            let field = Attribute::dotted(field).map_err(|message| self.refuse(at, message))?;
            return Ok(Node::HasAttribute(field));
        }
        // Not of CEL, and the one way to ask for an extension whose name looks like a slip.
        if let Expr::Call(CallExpr { func_name, target: None, args }) = &at.expr
            && func_name == operators::INDEX
            && let [of, index] = &args[..]
            && self.is_event(of)
        {
            return self.named(index).map(Node::HasAttribute);
        }
        Err(self.refuse(at, "has() takes a field, such as has(event.data.total)"))
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
        let text = self.operand("matches", text, &[Kind::Text], "texts")?;
        Ok(Node::Matches(Box::new(text), built))
    }

    fn looped(
        &mut self,
        kind: Loop,
        range: &'a IdedExpr,
        variable: &'a IdedExpr,
        body: &'a IdedExpr,
    ) -> Result<Node, Refused> {
        let range = self.operand("a loop", range, &[Kind::List, Kind::Map], "lists and maps")?;
        self.over(kind, range, variable, body)
    }

    /// `map` with a condition is one over what that keeps.
    fn mapped(
        &mut self,
        range: &'a IdedExpr,
        variable: &'a IdedExpr,
        test: &'a IdedExpr,
        body: &'a IdedExpr,
    ) -> Result<Node, Refused> {
        let kept = self.looped(Loop::Filter, range, variable, test)?;
        self.over(Loop::Map, kept, variable, body)
    }

    fn over(
        &mut self,
        kind: Loop,
        range: Node,
        variable: &'a IdedExpr,
        body: &'a IdedExpr,
    ) -> Result<Node, Refused> {
        let Expr::Ident(name) = &variable.expr else {
            return Err(
                self.refuse(variable, "a loop's first argument is the name of its variable")
            );
        };
        if self.variables.len() == MAX_LOOPS {
            return Err(self.refuse(variable, format!("loops nest deeper than {MAX_LOOPS}")));
        }
        self.variables.push(name);
        let inner = match kind {
            Loop::All | Loop::Exists | Loop::ExistsOne | Loop::Filter => {
                self.operand("a loop", body, &[Kind::Bool], "truth values to decide by")
            }
            Loop::Map => self.node(body),
        };
        self.variables.pop();
        Ok(Node::Loop(kind, Box::new([range, inner?])))
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
            return Err(self.refuse(at, format!("there is no {name} here; there are {known}")));
        };
        let operands = target.into_iter().chain(args).map(|node| self.node(node));
        let operands = operands.collect::<Result<Vec<_>, _>>()?;
        if operands.len() != function.operands() {
            return Err(self.refuse(at, format!("{name} has too many or too few arguments")));
        }
        let kinds: Vec<_> = operands.iter().map(Node::kind).collect();
        match misfit(function, &kinds) {
            None => Ok(Node::Call(function, operands)),
            Some(message) => Err(self.refuse(at, message)),
        }
    }

    fn refuse(&self, at: &IdedExpr, message: impl Into<String>) -> Refused {
        let start = self.places.offset_for(at.id).map_or(0, |(start, _)| start as usize);
        Refused::Meaning { place: Place::of(self.source, start), message: message.into() }
    }
}
