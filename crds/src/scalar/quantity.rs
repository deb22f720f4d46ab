//! Parses amounts of bytes: `256Mi`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ScalarError, scalar};

/// A number of bytes: plain, or with one of the binary suffixes `Ki`, `Mi` and `Gi`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity {
    text: String,
    bytes: u64,
}

scalar!(
    Quantity,
    "^[1-9][0-9]{0,8}(Ki|Mi|Gi)?$",
    11,
    "a number of bytes such as 4096, 64Ki, 256Mi or 1Gi"
);

impl Quantity {
    /// The number of bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A number of bytes, for defaults.
    #[must_use]
    pub fn plain(bytes: u32) -> Self {
        Self { text: bytes.to_string(), bytes: u64::from(bytes) }
    }

    /// A number of mebibytes, for defaults.
    #[must_use]
    pub fn mebibytes(mebibytes: u32) -> Self {
        Self { text: format!("{mebibytes}Mi"), bytes: u64::from(mebibytes) << 20 }
    }
}

impl FromStr for Quantity {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ScalarError::new(text, Self::EXPECTED);
        let (digits, shift) = [("Ki", 10), ("Mi", 20), ("Gi", 30)]
            .into_iter()
            .find_map(|(suffix, shift)| text.strip_suffix(suffix).map(|digits| (digits, shift)))
            .unwrap_or((text, 0));
        let plain = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        if !plain || digits.starts_with('0') {
            return Err(error());
        }
        let bytes = digits.parse::<u64>().map_err(|_| error())? << shift;
        Ok(Self { text: text.to_owned(), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_counts_bytes() {
        for (text, bytes) in [("1", 1), ("64Ki", 65_536), ("256Mi", 256 << 20), ("1Gi", 1 << 30)] {
            assert_eq!(text.parse::<Quantity>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "0", "Mi", "1M", "1.5Gi", "-1", "1 Ki", "9999999999", "01"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
