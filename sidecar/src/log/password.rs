//! A password in a file, as a mounted Secret is.

use std::{fs, path::PathBuf};

/// A file that holds a password. It is read anew for each connection, because a Secret may be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password(PathBuf);

impl Password {
    /// The password in this file.
    #[must_use]
    pub const fn new(file: PathBuf) -> Self {
        Self(file)
    }

    /// The password, without the end of its line.
    ///
    /// # Errors
    ///
    /// Says which file can't be read, and why.
    pub(super) fn read(&self) -> Result<String, String> {
        let Self(file) = self;
        let text = fs::read_to_string(file)
            .map_err(|error| format!("can't read the password in {}: {error}", file.display()))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_password_is_read_and_the_end_of_its_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let password = Password::new(file.clone());
        assert!(password.read().unwrap_err().contains("password"));
        for (text, read) in [("a b\n", "a b"), ("c\r\n", "c"), ("d", "d")] {
            fs::write(&file, text).unwrap();
            assert_eq!(password.read().unwrap(), read);
        }
    }
}
