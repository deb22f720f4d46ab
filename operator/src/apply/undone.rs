//! Tells what somebody else had written into an object of the operator's: the conflicts of a server-side apply.

use std::collections::BTreeMap;

use kube::core::Status;
use kube::core::response::StatusCause;
use weir_crds::names::FIELD_MANAGER;

/// Who writes over what can't be applied, for a moment.
pub(super) const OVERWRITER: &str = "weir-operator-overwrite";
/// The reason that the API server gives for each field that another manager has changed.
const CONFLICT: &str = "FieldManagerConflict";
/// How many fields are named.
const MOST_FIELDS: usize = 3;

/// What was changed in an object of the operator's, and is so no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The kind of the object.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What was done to it.
    pub change: Change,
}

/// What was done to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Fields were given other values.
    Fields {
        /// Who did, as the API server has noted: `kubectl-edit`.
        manager: String,
        /// Which, as paths.
        fields: Vec<String>,
    },
    /// It was changed, and nobody is noted for that, as where something was taken out.
    Unnoted,
    /// It was deleted.
    Deletion,
}

impl Change {
    /// What was done, and by whom, as a sentence that follows the object's name: `kubectl-edit changed .spec.replicas`.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Fields { manager, fields } => {
                let more = match fields.len().saturating_sub(MOST_FIELDS) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let first = fields.get(..MOST_FIELDS).unwrap_or(fields);
                format!("{manager} changed {}{more}", first.join(", "))
            }
            Self::Unnoted => "somebody changed what the operator had written".to_owned(),
            Self::Deletion => "somebody deleted it".to_owned(),
        }
    }
}

/// Which other managers hold fields that an apply would have written, with these fields.
pub(super) fn conflicts(status: &Status) -> Vec<Change> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut fields = BTreeMap::<String, Vec<String>>::new();
    for StatusCause { reason: _, message, field } in causes.filter(|cause| cause.reason == CONFLICT)
    {
        fields.entry(manager(message)).or_default().push(field.clone());
    }
    fields.into_iter().map(|(manager, fields)| Change::Fields { manager, fields }).collect()
}

/// The manager of `conflict with "kubectl-edit" using apps/v1`.
fn manager(message: &str) -> String {
    let named = message.split('"').nth(1).filter(|name| !name.is_empty());
    named.unwrap_or("somebody").to_owned()
}

impl Change {
    /// Whether it was the operator itself, by another verb.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Fields { manager, .. } if manager == FIELD_MANAGER || manager == OVERWRITER)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn refused(causes: &Value) -> Status {
        from_value(json!({
            "status": "Failure", "message": "Apply failed", "reason": "Conflict", "code": 409,
            "details": { "causes": causes },
        }))
        .unwrap()
    }

    fn conflict(message: &str, field: &str) -> Value {
        json!({ "reason": CONFLICT, "message": message, "field": field })
    }

    #[test]
    fn each_manager_is_told_with_its_fields() {
        let found = conflicts(&refused(&json!([
            conflict("conflict with \"kubectl-edit\" using apps/v1", ".spec.replicas"),
            conflict("conflict with \"argocd-controller\" using v1", ".metadata.labels.a"),
            conflict("conflict with \"kubectl-edit\" with subresource \"scale\" using v1", ".b"),
        ])));
        let told: Vec<_> = found.iter().map(Change::told).collect();
        assert_eq!(
            told,
            [
                "argocd-controller changed .metadata.labels.a",
                "kubectl-edit changed .spec.replicas, .b"
            ]
        );
    }

    #[test]
    fn another_conflict_is_none_with_a_manager() {
        let other = json!([{ "reason": "UnexpectedServerResponse", "message": "\"a\"" }]);
        assert!(conflicts(&refused(&other)).is_empty());
        assert!(conflicts(&Status::failure("the object has been modified", "Conflict")).is_empty());
    }

    #[test]
    fn many_fields_are_counted_and_a_strange_message_is_somebody() {
        let causes: Vec<_> = (0..5).map(|at| conflict("conflict", &format!(".{at}"))).collect();
        let found = conflicts(&refused(&json!(causes)));
        assert_eq!(found[0].told(), "somebody changed .0, .1, .2 and 2 more");
        let own = conflict(&format!("conflict with \"{FIELD_MANAGER}\" using v1"), ".a");
        assert!(conflicts(&refused(&json!([own])))[0].is_own());
        assert!(!found[0].is_own());
    }
}
