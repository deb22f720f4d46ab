//! The functions that a filter may call.

use super::{Failure, eval::Evaluation, value::Value};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    Int,
    Double,
    String,
    Timestamp,
    Dyn,
}

impl Function {
    const ALL: [Self; 10] = [
        Self::Size,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::LowerAscii,
        Self::Int,
        Self::Double,
        Self::String,
        Self::Timestamp,
        Self::Dyn,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::LowerAscii => "lowerAscii",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Dyn => "dyn",
        }
    }

    /// Whether it may be called on a target (`text.contains(…)`), and whether without.
    const fn styles(self) -> (bool, bool) {
        match self {
            Self::Size => (true, true),
            Self::Contains | Self::StartsWith | Self::EndsWith | Self::LowerAscii => (true, false),
            Self::Int | Self::Double | Self::String | Self::Timestamp | Self::Dyn => (false, true),
        }
    }

    /// The function of a name.
    pub(super) fn named(name: &str, on_target: bool) -> Option<Self> {
        let fits = |function: &Self| {
            let (on, without) = function.styles();
            function.name() == name && if on_target { on } else { without }
        };
        Self::ALL.into_iter().find(fits)
    }

    /// All names, for people.
    pub(super) fn names() -> String {
        let names: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
        format!("has, matches, all, exists, exists_one, filter, map, {}", names.join(", "))
    }

    /// How many operands it has, its target included.
    pub(super) const fn operands(self) -> usize {
        match self {
            Self::Contains | Self::StartsWith | Self::EndsWith => 2,
            Self::Size
            | Self::LowerAscii
            | Self::Int
            | Self::Double
            | Self::String
            | Self::Timestamp
            | Self::Dyn => 1,
        }
    }
}

pub(super) fn call<'a>(
    evaluation: &mut Evaluation<'a>,
    function: Function,
    operands: &[Value<'a>],
) -> Result<Value<'a>, Failure> {
    let weight = operands.iter().map(|operand| match operand {
        Value::Text(text) => text.len() / 16,
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Time(_)
        | Value::List(_)
        | Value::Json(_) => 0,
    });
    evaluation.spend(weight.sum())?;
    match operands {
        [Value::Text(text), Value::Text(part)] => search(function, text, part),
        [one] => convert(function, one),
        _ => Err(Failure::Type),
    }
}

fn search<'a>(function: Function, text: &str, part: &str) -> Result<Value<'a>, Failure> {
    Ok(Value::Bool(match function {
        Function::Contains => text.contains(part),
        Function::StartsWith => text.starts_with(part),
        Function::EndsWith => text.ends_with(part),
        Function::Size
        | Function::LowerAscii
        | Function::Int
        | Function::Double
        | Function::String
        | Function::Timestamp
        | Function::Dyn => return Err(Failure::Type),
    }))
}

fn convert<'a>(function: Function, value: &Value<'a>) -> Result<Value<'a>, Failure> {
    match function {
        Function::Size => {
            let size = i64::try_from(value.size()?).map_err(|_| Failure::Value)?;
            Ok(Value::Int(size))
        }
        Function::Dyn => Ok(value.clone()),
        Function::Int => int(value),
        Function::Double => double(value),
        Function::String => string(value),
        Function::LowerAscii => {
            let Value::Text(text) = value else { return Err(Failure::Type) };
            Ok(Value::Text(text.to_ascii_lowercase().into()))
        }
        Function::Timestamp => {
            if let Value::Time(time) = value {
                return Ok(Value::Time(*time));
            }
            let Value::Text(text) = value else { return Err(Failure::Type) };
            text.parse().map(Value::Time).map_err(|_| Failure::Value)
        }
        Function::Contains | Function::StartsWith | Function::EndsWith => Err(Failure::Type),
    }
}

fn int<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "checked, and meant")]
        Value::Double(number) => {
            // The largest powers of two that are certain to fit.
            const LIMIT: f64 = 9.2e18;
            (number.abs() < LIMIT).then_some(*number as i64)
        }
        Value::Text(text) => text.parse().ok(),
        Value::Time(time) => Some(time.as_second()),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Json(_) => {
            return Err(Failure::Type);
        }
    };
    number.map(Value::Int).ok_or(Failure::Value)
}

#[expect(clippy::cast_precision_loss, reason = "this is what a conversion to a fraction does")]
fn double<'a>(value: &Value<'_>) -> Result<Value<'a>, Failure> {
    let number = match value {
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        Value::Text(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Time(_) | Value::List(_) | Value::Json(_) => {
            return Err(Failure::Type);
        }
    };
    number.map(Value::Double).ok_or(Failure::Value)
}

fn string<'a>(value: &Value<'a>) -> Result<Value<'a>, Failure> {
    let text = match value {
        Value::Text(text) => return Ok(Value::Text(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Null | Value::List(_) | Value::Json(_) => return Err(Failure::Type),
    };
    Ok(Value::Text(text.into()))
}
