//! Cases for what several fields have in common: maps of labels, names of objects, choices.

use crate::table::{Case, accepted, refused};

const KEY: &str = "a key must be a label's key, such as app or app.kubernetes.io/name";
const VALUE: &str = "a value must be a label's value: at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";
const OWN: &str = "a key of weir.dev or app.kubernetes.io is the operator's own: choose another";

/// A field, with a valid object and the patch to it that sets the field to `$`.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) base: &'a str,
    pub(crate) path: &'a str,
    pub(crate) patch: &'a str,
}

impl Shape<'_> {
    fn set(&self, value: &str) -> String {
        self.patch.replace('$', value)
    }

    fn refused(&self, value: &str, server: &str, file: &str) -> Case {
        let path = self.path;
        refused(self.base, &self.set(value), &format!("{path}{server}"), &format!("{path}: {file}"))
    }

    fn bounded(&self, most: usize) -> Vec<Case> {
        let many: Vec<_> = (0..=most).map(|index| format!("l{index}: x")).collect();
        let count = most + 1;
        vec![
            accepted(self.base, &self.set(&format!("{{{}}}", many[..most].join(", ")))),
            self.refused(
                &format!("{{{}}}", many.join(", ")),
                &format!(": Too many: {count}: must have at most {most} items"),
                &format!("must have at most {most} items, not {count}"),
            ),
            self.refused(
                "{my app: shop}",
                &format!(": Invalid value: {KEY}"),
                &format!("{KEY}, unlike \"my app\""),
            ),
        ]
    }

    /// A map of labels, at most 16 of them.
    pub(crate) fn labels(&self) -> Vec<Case> {
        let longer = "v".repeat(64);
        let rest = vec![
            self.refused(
                "{app: my shop}",
                &format!(": Invalid value: {VALUE}"),
                &format!("{VALUE}, unlike \"my shop\""),
            ),
            self.refused(
                &format!("{{x: {longer}}}"),
                ".x: Too long: may not be more than 63 bytes",
                &format!("{VALUE}, unlike {longer:?}"),
            ),
        ];
        [self.bounded(16), rest].concat()
    }

    /// A map of annotations.
    pub(crate) fn annotations(&self, most: usize) -> Vec<Case> {
        let longer = "v".repeat(1_025);
        let rest = vec![
            accepted(self.base, &self.set(&format!("{{x: {}}}", &longer[1..]))),
            self.refused(
                &format!("{{x: {longer}}}"),
                ".x: Too long: may not be more than 1024 bytes",
                "a value must have at most 1024 characters",
            ),
        ];
        [self.bounded(most), rest, self.foreign()].concat()
    }

    /// A map in which nothing may be that the operator sets.
    pub(crate) fn foreign(&self) -> Vec<Case> {
        let own = ["weir.dev/pipeline", "config-hash.weir.dev/a", "app.kubernetes.io/name"];
        let refused = own.map(|key| {
            self.refused(&format!("{{{key}: x}}"), &format!(": Invalid value: {OWN}"), OWN)
        });
        [refused.to_vec(), vec![accepted(self.base, &self.set("{a.test/weir.dev: x}"))]].concat()
    }

    /// The name of an object.
    pub(crate) fn name(&self, what: &str) -> Vec<Case> {
        let sentence =
            format!("must be the name of {what}: lower-case letters, digits, hyphens and dots");
        let (longest, longer) = ("a".repeat(253), "a".repeat(254));
        let right = ["a", "a-1.b", &longest].map(|name| accepted(self.base, &self.set(name)));
        let wrong = ["A", "a_b", "-a"].map(|name| {
            self.refused(name, &format!(": Invalid value: \"{name}\": {sentence}"), &sentence)
        });
        let long = self.refused(&longer, ": Too long: may not be more than 253 bytes", &sentence);
        [right.to_vec(), wrong.to_vec(), vec![long]].concat()
    }

    /// One of some words.
    pub(crate) fn choice(&self, words: &[&str]) -> Vec<Case> {
        let quoted = |mark: &str, between: &str| {
            let quoted: Vec<_> = words.iter().map(|word| format!("{mark}{word}{mark}")).collect();
            quoted.join(between)
        };
        let expected = match words.len() {
            2 => quoted("`", " or "),
            _ => format!("one of {}", quoted("`", ", ")),
        };
        let server =
            format!(": Unsupported value: \"Odd\": supported values: {}", quoted("\"", ", "));
        let right = words.iter().map(|word| accepted(self.base, &self.set(word)));
        let wrong =
            self.refused("Odd", &server, &format!("unknown variant `Odd`, expected {expected}"));
        right.chain([wrong]).collect()
    }

    /// A field that must be there: `without` is what stands in its parent then.
    pub(crate) fn required(&self, without: &str) -> Case {
        let (parent, field) = self.path.rsplit_once('.').unwrap();
        let server = format!("{}: Required value", self.path);
        refused(self.base, without, &server, &format!("{parent}: missing field `{field}`"))
    }
}
