//! Reads the query of a URL. Sans-I/O.
//!
//! Law: a parameter is understood, or refused by its name. One that were passed over would give a client something
//! else than it asked for, such as all events where it has misspelt `filter`.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What the names begin with of parameters that are for others: what a client adds so that no cache answers
/// it, and what counts visitors.
const OF_OTHERS: [&str; 2] = ["_", "utm_"];

/// The names by which a request shows who sends it; [the gate](super::gate) looks at them.
pub(super) const SHOWING: [&str; 2] = ["ticket", "access_token"];

/// The most of an unknown name that is looked at, and said.
const MOST_OF_NAME: usize = 32;

/// How many letters a name may differ by from the one that was meant.
const MOST_SLIPS: usize = 2;

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadQuery {
    /// Nobody knows it.
    #[error(
        "the query has no parameter {name:?}{}: it may have {}; a name that begins with _ or utm_ is passed over",
        meant(*nearest),
        known.join(", ")
    )]
    Unknown {
        /// Its name, or the beginning of that.
        name: String,
        /// The known one that is most like it.
        nearest: Option<&'static str>,
        /// All that are known.
        known: &'static [&'static str],
    },
    /// It says two things.
    #[error("the query gives {0} twice: give it once")]
    Twice(&'static str),
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", perhaps {name} is meant"))
}

/// The parameters of a query, each with its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Reads a query that may have these parameters, and those by which a request shows who sends it.
    pub(super) fn read(query: &str, known: &'static [&'static str]) -> Result<Self, BadQuery> {
        let mut given: Vec<(&'static str, String)> = Vec::new();
        for (name, value) in pairs(query) {
            if OF_OTHERS.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            let mut all = known.iter().chain(&SHOWING);
            let Some(name) = all.find(|known| **known == name) else {
                return Err(unknown(&name, known));
            };
            if given.iter().any(|(other, _)| other == name) {
                return Err(BadQuery::Twice(name));
            }
            // What shows who asks is the gate's, and kept nowhere else.
            let is_shown = SHOWING.contains(name);
            let value = if is_shown { String::new() } else { value.into_owned() };
            given.push((*name, value));
        }
        Ok(Self(given))
    }

    /// The value of a parameter.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.swap_remove(place).1)
    }
}

/// The first value of a parameter, be the query good or not.
pub(super) fn first(query: &str, name: &str) -> Option<String> {
    pairs(query).find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}

/// The names and the values, as forms are written (URL standard, section 5.1).
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn unknown(name: &str, known: &'static [&'static str]) -> BadQuery {
    let name: String = name.chars().take(MOST_OF_NAME).collect();
    let lower = name.to_ascii_lowercase();
    let slips = |known: &&'static str| distance(&lower, &known.to_ascii_lowercase());
    let nearest = known.iter().copied().min_by_key(slips);
    // A short name is like any other.
    let near = |known: &&'static str| slips(known) <= MOST_SLIPS.min(known.len() / 2);
    BadQuery::Unknown { nearest: nearest.filter(near), name, known }
}

/// How many letters have to be put in, taken out or exchanged to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(above + 1);
        for (place, known) in other.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX);
            let exchanged = at(&row, place) + usize::from(*known != letter);
            let moved = at(&row, place + 1).min(at(&next, place)) + 1;
            next.push(exchanged.min(moved));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &[&str] = &["cursor", "lastEventId", "from", "filter"];

    fn read(query: &str) -> Result<Parameters, BadQuery> {
        Parameters::read(query, KNOWN)
    }

    #[test]
    fn values_are_decoded_as_those_of_a_form() {
        let mut read = read("filter=a%20%3D%3D+1&&from=&cursor").unwrap();
        assert_eq!(read.take("filter").as_deref(), Some("a == 1"));
        assert_eq!(read.take("from").as_deref(), Some(""));
        assert_eq!(read.take("cursor").as_deref(), Some(""));
        assert_eq!(read.take("filter"), None);
        assert_eq!(first("a=1&ticket=x&ticket=y", "ticket").as_deref(), Some("x"));
    }

    #[test]
    fn what_is_for_others_is_passed_over() {
        for query in ["", "_=123", "_t=1&_t=2", "utm_source=mail", "ticket=a&access_token=b"] {
            assert!(read(query).is_ok(), "{query}");
        }
    }

    #[test]
    fn what_nobody_knows_is_refused_with_what_may_be_meant() {
        for (query, nearest) in [
            ("filtr=true", Some("filter")),
            ("Filter=true", Some("filter")),
            ("last-event-id=1", Some("lastEventId")),
            ("lasteventid=1", Some("lastEventId")),
            ("curser=1", Some("cursor")),
            ("form=earliest", Some("from")),
            ("t=1", None),
            ("=1", None),
        ] {
            let Err(BadQuery::Unknown { nearest: found, .. }) = read(query) else {
                panic!("{query} is taken")
            };
            assert_eq!(found, nearest, "{query}");
        }
        let said = read("filtr=true").unwrap_err().to_string();
        assert!(said.contains("\"filtr\", perhaps filter is meant: it may have cursor,"), "{said}");
        assert_eq!(read("from=a&from=a"), Err(BadQuery::Twice("from")));
    }

    proptest! {
        #[test]
        fn no_query_panics_and_what_is_said_of_it_is_short(query in any::<String>()) {
            if let Err(error) = read(&query) {
                prop_assert!(error.to_string().len() < 1_000);
            }
        }

        #[test]
        fn the_distance_of_two_texts_is_that_of_a_naive_count(one in "[ab]{0,5}", other in "[ab]{0,5}") {
            fn naive(one: &[u8], other: &[u8]) -> usize {
                match (one, other) {
                    ([], rest) | (rest, []) => rest.len(),
                    ([a, one_rest @ ..], [b, other_rest @ ..]) => {
                        let exchanged = naive(one_rest, other_rest) + usize::from(a != b);
                        exchanged.min(naive(one_rest, other) + 1).min(naive(one, other_rest) + 1)
                    }
                }
            }
            prop_assert_eq!(distance(&one, &other), naive(one.as_bytes(), other.as_bytes()));
        }
    }
}
