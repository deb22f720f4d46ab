//! The fields of an event, by the names that expressions have for them.

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

/// The names of those that every event may have.
const KNOWN: [&str; 8] =
    ["id", "type", "source", "subject", "time", "datacontenttype", "dataschema", "data"];

impl Attribute {
    /// The field of a name that is written out in brackets: any that an extension may have is one.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "id" => Self::Id,
            "type" => Self::Type,
            "source" => Self::Source,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            "data" => Self::Data,
            "specversion" => return Err("every event has the specversion 1.0: leave it out".into()),
            crate::event::CURSOR_ATTRIBUTE => {
                return Err(format!("{name} is no field of an event: resume by a cursor instead"));
            }
            extension => {
                let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                if extension.is_empty() || !extension.bytes().all(known) {
                    return Err(format!(
                        "no event has a field {extension}: attributes are named by lower-case letters and digits{}",
                        hint(extension)
                    ));
                }
                Self::Extension(extension.into())
            }
        })
    }

    /// The field of a name behind a dot. An extension may have any name; but one that is a slip away from a field
    /// that every event has is taken for the slip.
    pub(super) fn dotted(name: &str) -> Result<Self, String> {
        let field = Self::named(name)?;
        match (&field, near(name)) {
            (Self::Extension(_), Some(meant)) => Err(format!(
                "an event has no field {name}; did you mean {meant}? An extension of this name is event['{name}']"
            )),
            (_, _) => Ok(field),
        }
    }
}

fn hint(name: &str) -> String {
    near(name).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

/// The field that may have been meant: one slip away, or written in capitals or with signs between its parts.
fn near(name: &str) -> Option<&'static str> {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    let name: String = name.chars().filter(plain).map(|c| c.to_ascii_lowercase()).collect();
    KNOWN.into_iter().find(|known| known.len() > 2 && is_slip(&name, known))
}

/// Whether one letter is missing, too many, or in its neighbour's place; or, in a longer word, is another. A short
/// word with another letter is often a word.
fn is_slip(name: &str, known: &str) -> bool {
    let letters = |word: &str| {
        let mut letters: Vec<_> = word.bytes().collect();
        letters.sort_unstable();
        letters
    };
    let other_word =
        name.len() == known.len() && known.len() < 6 && letters(name) != letters(known);
    !other_word && strsim::osa_distance(name, known) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_event_may_have_is_known_and_any_other_name_is_an_extensions() {
        for known in KNOWN {
            let field = Attribute::dotted(known).unwrap();
            assert!(!matches!(field, Attribute::Extension(_)), "{known}");
        }
        for name in
            ["region", "tenant", "date", "uid", "traceparent", "partitionkey", "dataref", "x"]
        {
            assert_eq!(Attribute::dotted(name), Ok(Attribute::Extension(name.into())));
        }
    }

    #[test]
    fn a_slip_is_told_with_what_may_have_been_meant() {
        for (name, meant) in [
            ("typ", "type"),
            ("tpye", "type"),
            ("types", "type"),
            ("sourse", "source"),
            ("subjct", "subject"),
            ("datacontentype", "datacontenttype"),
        ] {
            let refused = Attribute::dotted(name).unwrap_err();
            assert!(refused.contains(&format!("did you mean {meant}?")), "{refused}");
            assert!(refused.contains(&format!("event['{name}']")), "{refused}");
            assert_eq!(Attribute::named(name), Ok(Attribute::Extension(name.into())));
        }
        for (name, meant) in [
            ("Type", "type"),
            ("dataContentType", "datacontenttype"),
            ("data_schema", "dataschema"),
        ] {
            let refused = Attribute::named(name).unwrap_err();
            assert!(refused.contains(&format!("did you mean {meant}?")), "{refused}");
        }
        for name in ["", "data_base64", "a-b", "é", "specversion", "weircursor"] {
            assert!(Attribute::named(name).is_err(), "{name}");
        }
    }
}
