//! Publishes Events. What is said again of an object is one Event with a count; what is said otherwise is another
//! Event, so that each note is read.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::context::Notice;

/// For as long a recorder counts an Event up; what is said after that is a new one.
const COUNTED: Duration = Duration::from_mins(6);
/// The API takes a note of at most 1,024 bytes.
const LONGEST_NOTE: usize = 1_024;

/// Publishes Events, in the name of one reporter.
pub struct Events {
    client: Client,
    reporter: Reporter,
    /// A recorder counts whatever has the same reason as the same Event: here each note has its own.
    recorders: Mutex<HashMap<Said, (Recorder, Instant)>>,
}

/// What was said of which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    notice: Notice,
}

impl Events {
    /// Events that this reporter publishes with this client.
    #[must_use]
    pub fn new(client: Client, reporter: Reporter) -> Self {
        Self { client, reporter, recorders: Mutex::default() }
    }

    /// Publishes an Event about an object.
    ///
    /// # Errors
    ///
    /// Fails where the API server refuses or is not reached.
    pub async fn publish(
        &self,
        reference: &ObjectReference,
        notice: Notice,
    ) -> Result<(), kube::Error> {
        let recorder = self.recorder(reference, &notice);
        let Notice { warning, reason, note } = notice;
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason,
            note: Some(shorten(&note)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        recorder.publish(&event, reference).await
    }

    fn recorder(&self, reference: &ObjectReference, notice: &Notice) -> Recorder {
        let ObjectReference { kind, namespace, name, .. } = reference.clone();
        let said = Said { kind, namespace, name, notice: notice.clone() };
        let now = Instant::now();
        let mut recorders = self.recorders.lock();
        recorders.retain(|_, (_, last)| now.duration_since(*last) < COUNTED);
        let new = || (Recorder::new(self.client.clone(), self.reporter.clone()), now);
        let (recorder, last) = recorders.entry(said).or_insert_with(new);
        *last = now;
        recorder.clone()
    }
}

/// The text, cut between characters where it is too long for a note.
fn shorten(text: &str) -> String {
    if text.len() <= LONGEST_NOTE {
        return text.to_owned();
    }
    let mark = '…';
    let end = text.floor_char_boundary(LONGEST_NOTE - mark.len_utf8());
    format!("{}{mark}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use kube::Resource;
    use serde_json::json;

    use super::*;
    use crate::testing::{FakeApi, gateway};

    fn scaled(note: &str) -> Notice {
        Notice { warning: false, reason: "Scaled".to_owned(), note: note.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_counted_and_another_note_is_another_event() {
        let api = FakeApi::new(|_| (StatusCode::OK, json!({ "metadata": { "name": "a" } })));
        let reporter = Reporter { controller: "weir".to_owned(), instance: None };
        let events = Events::new(api.client(), reporter);
        let orders = gateway("orders", 1).object_ref(&());
        for note in ["1 become 3", "3 become 5", "1 become 3"] {
            events.publish(&orders, scaled(note)).await.unwrap();
        }
        let asked = api.asked();
        let verbs: Vec<_> = asked.iter().filter_map(|asked| asked.split(' ').next()).collect();
        assert_eq!(verbs, ["POST", "POST", "PATCH"], "{asked:?}");
        tokio::time::advance(COUNTED).await;
        events.publish(&orders, scaled("other")).await.unwrap();
        assert_eq!(events.recorders.lock().len(), 1, "what was said long ago is forgotten");
    }

    #[test]
    fn a_note_is_at_most_as_long_as_the_api_takes() {
        assert_eq!(shorten("short"), "short");
        let long = shorten(&"ü".repeat(1_000));
        assert!(long.len() <= LONGEST_NOTE && long.ends_with('…'), "{}", long.len());
    }
}
