//! The form of the table: a valid object, a patch to it, and what becomes of the result.

use serde_json::Value;

/// An object and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What was changed of the valid object.
    pub(crate) patch: String,
    /// The object.
    pub(crate) object: Value,
    /// What becomes of it.
    pub(crate) verdict: Verdict,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is taken.
    Accepted,
    /// It is refused, for this reason alone.
    Refused {
        /// What the API server says: the field and the reason, as kubectl prints them.
        server: String,
        /// What is said of a file.
        file: String,
    },
}

impl Case {
    /// One line for a failure.
    pub(crate) fn mismatch(&self, found: &str, expected: &str) -> String {
        let Self { patch, object: _, verdict: _ } = self;
        format!("{patch}\n  found    {found}\n  expected {expected}")
    }
}

/// Applies a YAML merge patch (RFC 7396) to the valid object `base` that must be taken.
pub(crate) fn accepted(base: &str, patch: &str) -> Case {
    case(base, patch, Verdict::Accepted)
}

/// Applies a YAML merge patch to the valid object `base` that must be refused.
pub(crate) fn refused(base: &str, patch: &str, server: &str, file: &str) -> Case {
    case(base, patch, Verdict::Refused { server: server.to_owned(), file: file.to_owned() })
}

/// The same sentence on the server, which says the value too where there is a plain one, and in a file.
pub(crate) fn refused_alike(base: &str, patch: &str, field: &str, sentence: &str) -> Case {
    let server = format!("{field}: Invalid value: {sentence}");
    refused(base, patch, &server, &format!("{field}: {sentence}"))
}

fn case(base: &str, patch: &str, verdict: Verdict) -> Case {
    let mut object: Value = serde_yaml::from_str(base).unwrap();
    let change: Value = serde_yaml::from_str(patch).unwrap();
    json_patch::merge(&mut object, &change);
    Case { patch: patch.to_owned(), object, verdict }
}
