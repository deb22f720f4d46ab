//! What is wrong with a file, and where.

use std::{fmt, path::PathBuf};

use super::places::Place;

/// How much is shown of a mistake where there is little room.
const MOST_CHARACTERS: usize = 400;

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) file: PathBuf,
    /// Absent where the file could not be read.
    pub(super) place: Option<Place>,
    /// The path of the field, such as `spec.sources[0].name`; empty where a document is meant as a whole.
    pub(super) field: String,
    pub(super) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, place, field, message } = self;
        write!(f, "{}:", file.display())?;
        if let Some(Place { line, column }) = place {
            write!(f, "{line}:{column}:")?;
        }
        if !field.is_empty() {
            write!(f, " {field}:")?;
        }
        write!(f, " {message}")
    }
}

/// Everything that is wrong with the files, in their order. Its text has one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, at least one.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }

    /// The first of them, without its folder, and how many more there are: for where there is little room.
    #[must_use]
    pub fn in_short(&self) -> String {
        let Some(first) = self.0.first() else { return String::new() };
        let file = first.file.file_name().map_or_else(|| first.file.clone(), PathBuf::from);
        let mut text = ConfigError { file, ..first.clone() }.to_string();
        if let Some((end, _)) = text.char_indices().nth(MOST_CHARACTERS) {
            text.truncate(end);
            text.push('…');
        }
        match self.0.len().saturating_sub(1) {
            0 => text,
            1 => format!("{text} (and one more mistake)"),
            more => format!("{text} (and {more} more mistakes)"),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(messages: &[&str]) -> ConfigErrors {
        let errors = messages.iter().map(|&message| ConfigError {
            file: "/etc/weir/config/orders/pipeline.yaml".into(),
            place: Some(Place { line: 3, column: 5 }),
            field: "spec.log".to_owned(),
            message: message.to_owned(),
        });
        ConfigErrors(errors.collect())
    }

    #[test]
    fn the_first_mistake_stands_for_all_where_there_is_little_room() {
        assert_eq!(errors(&["a"]).in_short(), "pipeline.yaml:3:5: spec.log: a");
        let two = errors(&["a", "b"]).in_short();
        assert_eq!(two, "pipeline.yaml:3:5: spec.log: a (and one more mistake)");
        let many = errors(&["é".repeat(1_000).as_str(), "b", "c"]).in_short();
        assert!(many.ends_with("é… (and 2 more mistakes)"), "{many}");
        assert_eq!(many.chars().position(|c| c == '…'), Some(MOST_CHARACTERS));
    }
}
