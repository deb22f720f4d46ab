//! Checks the rules that a manifest must keep, and says each violation in a sentence for its author.
//!
//! The API server enforces most of these by the CEL rules beside the types, so what it stored is
//! valid. A file that no server has seen is held to the same rules here, with the same words; and the
//! operator checks again, because an object may be older than a rule. All violations are collected.

mod auth;
mod exposure;
mod gateway;
mod label;
mod pipeline;
mod secret;
mod shared_log;
mod slo;

use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "kube")]
pub(crate) use auth::ORIGIN;
pub use pipeline::pipeline;
pub use slo::slo;

use crate::scalar::Duration;
use label::{is_dns_label, is_dns_subdomain, is_label_key, is_label_value, is_the_operators};

/// A rule that a manifest breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `spec.sources[0].generator.per`.
    pub field: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, message } = self;
        write!(f, "{field}: {message}")
    }
}

/// Collects violations.
#[derive(Debug, Default)]
struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a violation of `field` unless `holds`.
    fn require(&mut self, holds: bool, field: impl Into<String>, message: impl Into<String>) {
        if !holds {
            self.0.push(Violation { field: field.into(), message: message.into() });
        }
    }

    /// Requires a duration from `least` to `most`, both given as a user would write them.
    fn within(&mut self, field: impl Into<String>, duration: &Duration, least: &str, most: &str) {
        let bound = |text: &str| text.parse::<Duration>().map_or(0, |bound| bound.millis());
        let holds = (bound(least)..=bound(most)).contains(&duration.millis());
        self.require(holds, field, format!("must be from {least} to {most}, not {duration}"));
    }

    /// Requires a number from `least` to `most`.
    fn range(&mut self, field: impl Into<String>, value: i32, least: i32, most: i32) {
        let holds = (least..=most).contains(&value);
        self.require(holds, field, format!("must be from {least} to {most}, not {value}"));
    }

    /// Requires at most `most` items.
    fn count(&mut self, field: impl Into<String>, count: usize, most: usize) {
        self.require(count <= most, field, format!("must have at most {most} items, not {count}"));
    }

    /// Requires a text that has at least one character and at most `most`.
    fn length(&mut self, field: impl Into<String>, text: &str, most: usize) {
        let holds = (1..=most).contains(&text.chars().count());
        self.require(holds, field, format!("must have 1 to {most} characters"));
    }

    /// Requires from one to `most` texts, each of which has at most `longest` characters.
    fn texts(&mut self, field: &str, texts: &[String], most: usize, longest: usize) {
        let some = (1..=most).contains(&texts.len());
        self.require(some, field, format!("must have 1 to {most} items, not {}", texts.len()));
        let short = texts.iter().all(|text| text.chars().count() <= longest);
        self.require(short, field, format!("an item must have at most {longest} characters"));
    }

    /// Requires a label's key.
    fn label_key(&mut self, field: &str, key: &str) {
        self.require(
            is_label_key(key),
            field,
            format!(
                "a key must be a label's key, such as app or app.kubernetes.io/name, unlike {key:?}"
            ),
        );
    }

    /// Requires a label's value.
    fn label_value(&mut self, field: &str, value: &str) {
        self.require(
            is_label_value(value),
            field,
            format!(
                "a value must be a label's value: at most 63 letters, digits, '-', '_' and '.', beginning \
                 and ending with a letter or digit, unlike {value:?}"
            ),
        );
    }

    /// Requires at most `most` labels, and that they are labels.
    fn labels(&mut self, field: &str, labels: &BTreeMap<String, String>, most: usize) {
        self.count(field, labels.len(), most);
        for (key, value) in labels {
            self.label_key(field, key);
            self.label_value(field, value);
        }
    }

    /// Requires at most `most` annotations, none of them the operator's own.
    fn annotations(&mut self, field: &str, annotations: &BTreeMap<String, String>, most: usize) {
        self.count(field, annotations.len(), most);
        for (key, value) in annotations {
            self.label_key(field, key);
            let short = value.len() <= 1_024;
            self.require(short, field, "a value must have at most 1024 characters");
        }
        self.foreign_keys(field, annotations);
    }

    /// Requires that no key is one that the operator sets.
    fn foreign_keys(&mut self, field: &str, map: &BTreeMap<String, String>) {
        self.require(
            !map.keys().any(|key| is_the_operators(key)),
            field,
            "a key of weir.dev or app.kubernetes.io is the operator's own: choose another",
        );
    }

    /// Requires the name of an object, or of something that is named like one, where there is one.
    fn object_name(&mut self, field: impl Into<String>, name: Option<&str>, what: &str) {
        self.require(
            name.is_none_or(is_dns_subdomain),
            field,
            format!("must be the name of {what}: lower-case letters, digits, hyphens and dots"),
        );
    }

    /// Requires a name of lower-case letters, digits and inner hyphens, unique among those before it.
    fn name(&mut self, field: &str, name: &str, earlier: impl Iterator<Item = impl AsRef<str>>) {
        self.require(
            is_dns_label(name),
            field,
            format!(
                "must have 1 to 63 lower-case letters, digits and hyphens, and begin and end with a letter \
                 or digit, unlike {name:?}"
            ),
        );
        let unique = !earlier.into_iter().any(|other| other.as_ref() == name);
        self.require(unique, field, format!("{name:?} is used twice: each name must be unique"));
    }
}
