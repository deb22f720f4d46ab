//! Parses the scalars that are strings on the wire: durations, percentages, quantities, cores.
//!
//! The API conventions forbid floats in a spec, so these are strings with a pattern. Each type keeps
//! the text as it was written, because server-side apply compares text, and the parsed value.

mod cores;
mod duration;
mod percent;
mod quantity;

pub use cores::Cores;
pub use duration::{Duration, TimeWindow};
pub use percent::Percent;
pub use quantity::Quantity;

/// Why a scalar was refused. The message says what would have been accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ScalarError {
    text: String,
    expected: &'static str,
}

impl ScalarError {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected }
    }
}

/// Implements serde, `Display` and the schema of a scalar that holds `text` and a value. The schema has the
/// form twice: as a pattern for programs, and as a rule with a sentence for people.
macro_rules! scalar {
    ($name:ident, $pattern:literal, $max:literal, $expected:literal) => {
        impl $name {
            /// The form of the text, as a regular expression.
            pub const PATTERN: &str = $pattern;
            const EXPECTED: &str = $expected;
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::scalar::ScalarError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(scalar: $name) -> Self {
                scalar.text
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "maxLength": $max,
                    "x-kubernetes-validations": [{
                        "rule": concat!("self.matches(r'", $pattern, "')"),
                        "message": concat!("must be ", $expected),
                    }],
                })
            }
        }
    };
}
use scalar;
