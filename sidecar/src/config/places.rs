//! Finds the line and column of every field of a YAML file, and the keys that stand twice in one map.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Marker, Parser, options};

/// A place in a file. Both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// The places of one document.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The path of each field, such as `spec.sources[0].name`, with the place of its key or, in a list,
    /// of its value. The empty path is the document itself.
    fields: BTreeMap<String, Place>,
    /// The paths of the keys that stand in their map already, with the place of each repetition.
    pub(super) repeated: Vec<(String, Place)>,
}

impl Places {
    /// The place of a field or, where it isn't there, of what is nearest above it.
    pub(super) fn of(&self, path: &str) -> Option<Place> {
        if let Some(place) = self.fields.get(path) {
            return Some(*place);
        }
        let above = path.rfind(['.', '[']).and_then(|end| path.get(..end));
        match above {
            Some(above) => self.of(above),
            None => self.fields.get("").copied(),
        }
    }
}

/// The places of all documents, as far as the file can be read. Where it can't, the parser that reads
/// the values says so.
pub(super) fn places(text: &str) -> Vec<Places> {
    let mut documents = Vec::new();
    let mut walk = Walk::default();
    // Comments are counted against a bound of the parser's, and no one asks for them here.
    for event in Parser::new_from_str_with_options(text, options! { emit_comments: false }) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::DocumentStart(..) => walk = Walk::default(),
            Event::DocumentEnd => documents.push(std::mem::take(&mut walk.places)),
            Event::Scalar(text, ..) => walk.leaf(Some(&text), span.start),
            Event::Alias(_) | Event::UnresolvedAlias(_) => walk.leaf(None, span.start),
            Event::MappingStart(..) => walk.open(Kind::Map, span.start),
            Event::SequenceStart(..) => walk.open(Kind::List, span.start),
            Event::MappingEnd | Event::SequenceEnd => walk.close(),
            Event::StreamStart | Event::StreamEnd | Event::Comment(..) | Event::Anchor(..) | _ => {}
        }
    }
    documents.push(walk.places);
    documents
}

/// The way from the document's root to where the parser stands.
#[derive(Debug, Default)]
struct Walk {
    places: Places,
    above: Vec<Collection>,
}

#[derive(Debug)]
struct Collection {
    path: String,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    Map { keys: BTreeSet<String>, key: Option<String> },
    List { next: usize },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Map,
    List,
}

impl Walk {
    fn leaf(&mut self, text: Option<&str>, at: Marker) {
        self.begin(text, at);
        self.end(text);
    }

    fn open(&mut self, kind: Kind, at: Marker) {
        let path = self.begin(None, at);
        let inside = match kind {
            Kind::Map => Inside::Map { keys: BTreeSet::new(), key: None },
            Kind::List => Inside::List { next: 0 },
        };
        self.above.push(Collection { path, inside });
    }

    fn close(&mut self) {
        self.above.pop();
        self.end(None);
    }

    /// Notes the place of a node, and returns its path. A map's key has the path of its value.
    fn begin(&mut self, text: Option<&str>, at: Marker) -> String {
        let place = Place { line: at.line(), column: at.col() + 1 };
        let path = match self.above.last() {
            None => String::new(),
            Some(Collection { path, inside: Inside::List { next } }) => format!("{path}[{next}]"),
            Some(Collection { path, inside: Inside::Map { key: Some(key), .. } }) => {
                return join(path, key);
            }
            Some(Collection { path, inside: Inside::Map { keys, key: None } }) => {
                let path = join(path, key_text(text));
                if keys.contains(key_text(text)) {
                    self.places.repeated.push((path, place));
                    return String::new();
                }
                path
            }
        };
        self.places.fields.entry(path.clone()).or_insert(place);
        path
    }

    /// Steps over a node that has ended: a key waits for its value, anything else is done.
    fn end(&mut self, text: Option<&str>) {
        match self.above.last_mut().map(|collection| &mut collection.inside) {
            None => {}
            Some(Inside::List { next }) => *next += 1,
            Some(Inside::Map { keys, key }) => match key.take() {
                Some(done) => {
                    keys.insert(done);
                }
                None => *key = Some(key_text(text).to_owned()),
            },
        }
    }
}

/// The text of a key, or a mark for one that is no scalar.
fn key_text(text: Option<&str>) -> &str {
    text.unwrap_or("?")
}

/// The path of a field in the map at `path`.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, path: &str) -> Option<(usize, usize)> {
        places(text)[0].of(path).map(|Place { line, column }| (line, column))
    }

    #[test]
    fn each_field_has_the_place_of_its_key() {
        let text = "# a comment\nspec:\n  sources:\n  - name: a\n    http: {x: 1}\n  - name: b\n";
        for (path, expected) in [
            ("spec", (2, 1)),
            ("spec.sources", (3, 3)),
            ("spec.sources[0].name", (4, 5)),
            ("spec.sources[0].http.x", (5, 12)),
            ("spec.sources[1]", (6, 5)),
            ("spec.sources[1].name", (6, 5)),
        ] {
            assert_eq!(place(text, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_field_that_is_not_there_has_the_place_of_what_is_above_it() {
        let text = "spec:\n  log:\n    storage: {}\n";
        assert_eq!(place(text, "spec.log.retention.maxAge"), Some((2, 3)));
        assert_eq!(place(text, "spec.sources[3].name"), Some((1, 1)));
        assert_eq!(place(text, "metadata.name"), Some((1, 1)));
    }

    #[test]
    fn json_has_places_too() {
        assert_eq!(place("{\n\t\"spec\": {\n\t\t\"log\": {}\n\t}\n}\n", "spec.log"), Some((3, 3)));
    }

    #[test]
    fn a_key_that_stands_twice_in_one_map_is_found_each_time() {
        let documents =
            places("a: {x: 1, x: 2, y: [{x: 1}]}\nb: 1\n---\na: 1\nb: 2\na: {c: 3}\na: 4\n");
        let repeated = |document: &Places| {
            let one = |(path, place): &(String, Place)| (path.clone(), place.line, place.column);
            document.repeated.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(repeated(&documents[0]), [("a.x".to_owned(), 1, 11)]);
        assert_eq!(repeated(&documents[1]), [("a".to_owned(), 6, 1), ("a".to_owned(), 7, 1)]);
    }

    #[test]
    fn odd_yaml_is_walked_in_step() {
        let text = "? [complex, {key: 1}]\n: value\nbase: &base {x: 1}\ncopy: *base\nlast: 1\n";
        assert_eq!(place(text, "last"), Some((5, 1)));
        assert_eq!(place(text, "copy"), Some((4, 1)));
        let many_comments = format!("{}a: 1\n", "# comment\n".repeat(500));
        assert_eq!(place(&many_comments, "a"), Some((501, 1)));
        for broken in ["a: [", "\t", "a: b: c", "*x", ""] {
            assert!(!places(broken).is_empty(), "{broken}");
        }
    }
}
