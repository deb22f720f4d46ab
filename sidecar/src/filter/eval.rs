//! Evaluates an expression on an event, and counts the steps.

use std::{cmp::Ordering, rc::Rc};

use super::{
    Evaluated, Failure, Scope,
    functions::call,
    tree::{Binary, Loop, Node},
    value::Value,
};

pub(super) fn evaluate(root: &Node, scope: &Scope<'_>, steps: u32) -> Evaluated {
    let mut evaluation = Evaluation { scope, variables: Vec::new(), fuel: steps };
    let outcome = evaluation.truth(root);
    Evaluated { outcome, steps: steps - evaluation.fuel }
}

pub(super) fn key(root: &Node, scope: &Scope<'_>, steps: u32) -> (Result<String, Failure>, u32) {
    let mut evaluation = Evaluation { scope, variables: Vec::new(), fuel: steps };
    let value = evaluation.value(root);
    let key = value.and_then(|value| evaluation.spend(value.weight()).map(|()| spell(&value)));
    (key, steps - evaluation.fuel)
}

/// A text that is the same for equal values.
fn spell(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        Value::Time(time) => time.to_string(),
        Value::List(elements) => elements.iter().map(|element| spell(element) + ",").collect(),
        Value::Json(json) => json.to_string(),
    }
}

pub(super) struct Evaluation<'a> {
    scope: &'a Scope<'a>,
    /// The values of the loops' variables, the outermost first.
    variables: Vec<Value<'a>>,
    fuel: u32,
}

impl<'a> Evaluation<'a> {
    /// Takes steps, or says that there are no more.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.fuel.checked_sub(steps));
        self.fuel = left.unwrap_or(0);
        left.map(|_| ()).ok_or(Failure::Cost)
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, Failure> {
        match self.value(node)? {
            Value::Bool(truth) => Ok(truth),
            Value::Null
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Text(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Json(_) => Err(Failure::Type),
        }
    }

    fn value(&mut self, node: &'a Node) -> Result<Value<'a>, Failure> {
        self.spend(1)?;
        Ok(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(number) => Value::Int(*number),
            Node::Uint(number) => Value::Uint(*number),
            Node::Double(number) => Value::Double(*number),
            Node::Text(text) => Value::Text((&**text).into()),
            Node::Attribute(attribute) => self.scope.attribute(attribute)?,
            Node::Claims => self.scope.claims(),
            Node::Variable(place) => self.variables.get(*place).cloned().ok_or(Failure::Missing)?,
            Node::Field(of, name) => self.value(of)?.field(name)?,
            Node::HasField(of, name) => Value::Bool(is_there(&self.value(of)?.field(name))?),
            Node::HasAttribute(attribute) => {
                Value::Bool(is_there(&self.scope.attribute(attribute))?)
            }
            Node::List(nodes) => {
                let values = nodes.iter().map(|node| self.value(node));
                Value::List(values.collect::<Result<Rc<[_]>, _>>()?)
            }
            Node::Not(of) => Value::Bool(!self.truth(of)?),
            Node::Negate(of) => negate(&self.value(of)?)?,
            Node::And(two) => Value::Bool(self.either(two, false)?),
            Node::Or(two) => Value::Bool(self.either(two, true)?),
            Node::Conditional(three) => {
                let [test, yes, no] = &**three;
                let chosen = if self.truth(test)? { yes } else { no };
                self.value(chosen)?
            }
            Node::Binary(operator, two) => {
                let [a, b] = &**two;
                let (a, b) = (self.value(a)?, self.value(b)?);
                self.binary(*operator, &a, &b)?
            }
            Node::Call(function, nodes) => {
                let values = nodes.iter().map(|node| self.value(node));
                let values = values.collect::<Result<Vec<_>, _>>()?;
                call(self, *function, &values)?
            }
            Node::Matches(text, pattern) => {
                let Value::Text(text) = self.value(text)? else { return Err(Failure::Type) };
                // A pattern is matched in a time that grows with the text alone.
                self.spend(text.len() / 8)?;
                Value::Bool(pattern.is_match(&text))
            }
            Node::Loop(kind, two) => {
                let [range, body] = &**two;
                self.looped(*kind, range, body)?
            }
        })
    }

    /// `&&`, which `false` decides, and `||`, which `true` does: also where the other side fails.
    fn either(&mut self, two: &'a [Node; 2], decisive: bool) -> Result<bool, Failure> {
        let [a, b] = two;
        let first = self.truth(a);
        if first == Ok(decisive) || first == Err(Failure::Cost) {
            return first;
        }
        match (first, self.truth(b)) {
            (_, Ok(second)) if second == decisive => Ok(decisive),
            (_, Err(Failure::Cost)) => Err(Failure::Cost),
            (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
            (Ok(_), Ok(_)) => Ok(!decisive),
        }
    }

    fn binary(
        &mut self,
        operator: Binary,
        a: &Value<'a>,
        b: &Value<'a>,
    ) -> Result<Value<'a>, Failure> {
        let ordered =
            |wanted: fn(Ordering) -> bool| a.order(b).map(|order| Value::Bool(wanted(order)));
        match operator {
            Binary::Equal | Binary::Unequal => {
                self.spend(a.weight().min(b.weight()))?;
                Ok(Value::Bool(a.equals(b) == (operator == Binary::Equal)))
            }
            Binary::Less => ordered(Ordering::is_lt),
            Binary::LessOrEqual => ordered(Ordering::is_le),
            Binary::Greater => ordered(Ordering::is_gt),
            Binary::GreaterOrEqual => ordered(Ordering::is_ge),
            Binary::In => self.is_in(a, b).map(Value::Bool),
            Binary::Index => a.index(b),
            Binary::Add => self.add(a, b),
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
                calculate(operator, a, b)
            }
        }
    }

    fn is_in(&mut self, a: &Value<'a>, b: &Value<'a>) -> Result<bool, Failure> {
        if let (Value::Text(name), Value::Json(serde_json::Value::Object(members))) = (a, b) {
            return Ok(members.contains_key(&**name));
        }
        let size = match b {
            Value::Text(_) => return Err(Failure::Type),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Time(_)
            | Value::List(_)
            | Value::Json(_) => b.size()?,
        };
        self.spend(size.saturating_mul(1 + a.weight()))?;
        Ok(b.elements()?.iter().any(|element| element.equals(a)))
    }

    fn add(&mut self, a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>, Failure> {
        match (a, b) {
            (Value::Text(a), Value::Text(b)) => {
                self.spend((a.len() + b.len()) / 64)?;
                Ok(Value::Text(format!("{a}{b}").into()))
            }
            (
                Value::List(_) | Value::Json(serde_json::Value::Array(_)),
                Value::List(_) | Value::Json(serde_json::Value::Array(_)),
            ) => {
                self.spend(a.size()?.saturating_add(b.size()?))?;
                Ok(Value::List(a.elements()?.into_iter().chain(b.elements()?).collect()))
            }
            _ => calculate(Binary::Add, a, b),
        }
    }

    fn looped(
        &mut self,
        kind: Loop,
        range: &'a Node,
        body: &'a Node,
    ) -> Result<Value<'a>, Failure> {
        let range = self.value(range)?;
        self.spend(range.size().unwrap_or(0))?;
        let elements = range.elements()?;
        match kind {
            Loop::All => self.decide(elements, body, false).map(Value::Bool),
            Loop::Exists => self.decide(elements, body, true).map(Value::Bool),
            Loop::ExistsOne => {
                let found = self.kept(elements, body)?;
                Ok(Value::Bool(found.len() == 1))
            }
            Loop::Filter => Ok(Value::List(self.kept(elements, body)?.into())),
            Loop::Map => {
                let mapped = elements.into_iter().map(|element| self.with(element, body));
                Ok(Value::List(mapped.collect::<Result<Rc<[_]>, _>>()?))
            }
        }
    }

    /// Whether one element has the decisive value; one that fails is forgiven if another decides.
    fn decide(
        &mut self,
        elements: Vec<Value<'a>>,
        body: &'a Node,
        decisive: bool,
    ) -> Result<bool, Failure> {
        let mut outcome = Ok(!decisive);
        for element in elements {
            match self.with(element, body) {
                Ok(Value::Bool(truth)) if truth == decisive => return Ok(decisive),
                Ok(Value::Bool(_)) => {}
                Ok(_) => outcome = Err(Failure::Type),
                Err(Failure::Cost) => return Err(Failure::Cost),
                Err(failure) => outcome = Err(failure),
            }
        }
        outcome
    }

    fn kept(
        &mut self,
        elements: Vec<Value<'a>>,
        body: &'a Node,
    ) -> Result<Vec<Value<'a>>, Failure> {
        let mut kept = Vec::new();
        for element in elements {
            let Value::Bool(keep) = self.with(element.clone(), body)? else {
                return Err(Failure::Type);
            };
            if keep {
                kept.push(element);
            }
        }
        Ok(kept)
    }

    /// The body's value for one element.
    fn with(&mut self, element: Value<'a>, body: &'a Node) -> Result<Value<'a>, Failure> {
        self.variables.push(element);
        let value = self.value(body);
        self.variables.pop();
        value
    }
}

fn is_there(value: &Result<Value<'_>, Failure>) -> Result<bool, Failure> {
    match value {
        Ok(_) => Ok(true),
        Err(Failure::Missing) => Ok(false),
        Err(failure) => Err(*failure),
    }
}

fn negate<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    match value {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or(Failure::Value),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Null
        | Value::Bool(_)
        | Value::Uint(_)
        | Value::Text(_)
        | Value::Time(_)
        | Value::List(_)
        | Value::Json(_) => Err(Failure::Type),
    }
}

/// Whole numbers of one type.
macro_rules! checked {
    ($operator:expr, $a:expr, $b:expr) => {{
        let result = match $operator {
            Binary::Add => $a.checked_add($b),
            Binary::Subtract => $a.checked_sub($b),
            Binary::Multiply => $a.checked_mul($b),
            Binary::Divide => $a.checked_div($b),
            Binary::Remainder => $a.checked_rem($b),
            Binary::Equal
            | Binary::Unequal
            | Binary::Less
            | Binary::LessOrEqual
            | Binary::Greater
            | Binary::GreaterOrEqual
            | Binary::In
            | Binary::Index => return Err(Failure::Type),
        };
        result.ok_or(Failure::Value)
    }};
}

/// Numbers of one type; a whole number beside a fraction is taken for one, because JSON knows but one
/// kind of number.
#[expect(clippy::cast_precision_loss, reason = "a fraction is calculated with as a fraction")]
fn calculate<'a>(operator: Binary, a: &Value<'_>, b: &Value<'_>) -> Result<Value<'a>, Failure> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => checked!(operator, a, *b).map(Value::Int),
        (Value::Uint(a), Value::Uint(b)) => checked!(operator, a, *b).map(Value::Uint),
        (Value::Double(a), Value::Double(b)) => fraction(operator, *a, *b),
        (Value::Double(a), Value::Int(b)) => fraction(operator, *a, *b as f64),
        (Value::Int(a), Value::Double(b)) => fraction(operator, *a as f64, *b),
        _ => Err(Failure::Type),
    }
}

fn fraction<'a>(operator: Binary, a: f64, b: f64) -> Result<Value<'a>, Failure> {
    Ok(Value::Double(match operator {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
        Binary::Remainder
        | Binary::Equal
        | Binary::Unequal
        | Binary::Less
        | Binary::LessOrEqual
        | Binary::Greater
        | Binary::GreaterOrEqual
        | Binary::In
        | Binary::Index => return Err(Failure::Type),
    }))
}
