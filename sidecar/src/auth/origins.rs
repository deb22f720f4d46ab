//! Judges the origins of pages. Sans-I/O.

use http::{HeaderMap, HeaderValue, header};

/// Says which page a browser sends a request for (Fetch Metadata).
pub(super) const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The origins whose pages are allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// These alone, as a browser writes them.
    These(Vec<String>),
}

impl Origins {
    /// The origins of a manifest, in which `*` stands for all.
    #[must_use]
    pub fn new(allowed: &[String]) -> Self {
        if allowed.iter().any(|origin| origin == "*") {
            Self::Any
        } else {
            Self::These(allowed.to_vec())
        }
    }

    /// Whether pages of this origin are allowed.
    #[must_use]
    pub fn allow(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.iter().any(|allowed| origin == allowed.as_str()),
        }
    }

    /// Whether a request may use what the browser adds by itself, which is a cookie. Any page can make a
    /// browser send one; so the page must be known. A browser leaves out the origin of a plain GET that
    /// a page makes to its own site, and then says that it is one.
    #[must_use]
    pub fn allow_ambient(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN) {
            Some(origin) => self.allow(origin),
            None => headers.get(SEC_FETCH_SITE).is_some_and(|site| site == "same-origin"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| (name, HeaderValue::from_static(value)));
        pairs.map(|(name, value)| (name.parse().unwrap(), value)).collect()
    }

    #[test]
    fn a_cookie_is_taken_only_with_a_page_that_is_known() {
        let origins = Origins::new(&["https://shop.example".to_owned()]);
        for (pairs, allowed) in [
            (&[("origin", "https://shop.example")][..], true),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "https://shop.example.evil.example")], false),
            (&[("origin", "http://shop.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[], false),
        ] {
            assert_eq!(origins.allow_ambient(&headers(pairs)), allowed, "{pairs:?}");
        }
    }

    #[test]
    fn the_star_allows_all() {
        assert_eq!(Origins::new(&["*".to_owned()]), Origins::Any);
        assert!(Origins::Any.allow(&HeaderValue::from_static("https://a.example")));
    }
}
