//! Finds what is worth an Event: a condition that turned, not one that merely changed its words.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::condition::{INJECTED, READY, SECRETS_PRESENT, SOURCES_HEALTHY, STREAM_COMPLETE};
use crate::conditions::get;
use crate::context::Notice;

/// EndpointsReady is left out: Ready says the same.
const TOLD: [&str; 5] = [READY, SOURCES_HEALTHY, SECRETS_PRESENT, INJECTED, STREAM_COMPLETE];
/// How every pipeline begins; not worth a word until it was better once.
const BEGINNINGS: [&str; 3] = ["NoReplicaReady", "NoPodSelected", "NoPodInjected"];

/// The Events for the change from `before` to `after`.
pub(in crate::pipeline) fn transitions(before: &[Condition], after: &[Condition]) -> Vec<Notice> {
    let told = after.iter().filter(|condition| TOLD.contains(&condition.type_.as_str()));
    told.filter_map(|condition| transition(get(before, &condition.type_), condition)).collect()
}

fn transition(before: Option<&Condition>, after: &Condition) -> Option<Notice> {
    let turned = before.is_none_or(|before| before.status != after.status);
    let changed = before.is_none_or(|before| before.reason != after.reason);
    let was_true = before.is_some_and(|before| before.status == "True");
    let begins = !was_true && BEGINNINGS.contains(&after.reason.as_str());
    let warning = match after.status.as_str() {
        // A pipeline that is complete, injected and healthy from the start says so once, as Ready.
        "True" if turned && (before.is_some() || after.type_ == READY) => false,
        "False" if (turned || changed) && !begins => true,
        _ => return None,
    };
    Some(Notice { warning, reason: after.reason.clone(), note: after.message.clone() })
}
