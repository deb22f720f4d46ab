//! Remembers which pipelines are as they should be, so that nothing is written where nothing is to be done.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::build::Objects;
use super::observe::Existing;
use crate::apply::{Change, is_of};
use crate::labels;
use crate::mark::Mark;

/// The mark of each object that there is, in the order of [`Objects`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(pub(super) [Option<Mark>; 8]);

/// The kinds of the objects in that order: there is one of each.
const KINDS: [&str; 8] = [
    "ConfigMap",
    "Service",
    "Deployment",
    "StatefulSet",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Ingress",
    "HTTPRoute",
];

impl Marks {
    /// The mark of the object of this kind.
    pub(super) fn of_kind(&self, kind: &str) -> Option<&Mark> {
        let at = KINDS.iter().position(|known| *known == kind)?;
        self.0.get(at)?.as_ref()
    }

    /// The same without those of objects that have all that is wanted. Of a kind without generation every write counts,
    /// as of a cloud that notes an address on a Service.
    pub(super) fn but_intact(mut self, existing: &Existing, objects: &Objects) -> Self {
        let [config_map, service, ..] = &mut self.0;
        if is_intact(existing.config_map.as_ref(), &objects.config_map) {
            *config_map = None;
        }
        if is_intact(existing.service.as_ref(), &objects.service) {
            *service = None;
        }
        self
    }

    /// The marks of what there is beside what is wanted, for the pipeline of this uid.
    pub(super) fn of(existing: &Existing, objects: &Objects, uid: &str) -> Self {
        let Existing {
            config_map,
            service,
            deployment,
            stateful_set,
            budget,
            network_policy,
            ingress,
            http_route,
        } = existing;
        let Objects {
            config_map: wanted_config_map,
            service: wanted_service,
            deployment: wanted_deployment,
            stateful_set: wanted_stateful_set,
            budget: wanted_budget,
            network_policy: wanted_policy,
            ingress: wanted_ingress,
            http_route: wanted_route,
            config_hash: _,
            held: _,
            noted: _,
        } = objects;
        let name = wanted_service.metadata.name.clone().unwrap_or_default();
        let labels = labels::of_object(&name);
        let of = |found, wanted| mark(found, wanted, uid, &labels);
        Self([
            of(meta(config_map.as_ref()), Some(&wanted_config_map.metadata)),
            of(meta(service.as_ref()), Some(&wanted_service.metadata)),
            of(meta(deployment.as_ref()), meta(wanted_deployment.as_ref())),
            of(meta(stateful_set.as_ref()), meta(wanted_stateful_set.as_ref())),
            of(budget.as_ref(), meta(wanted_budget.as_ref())),
            of(network_policy.as_ref(), meta(wanted_policy.as_ref())),
            of(meta(ingress.as_ref()), meta(wanted_ingress.as_ref())),
            of(meta(http_route.as_ref()), meta(wanted_route.as_ref())),
        ])
    }
}

/// The metadata of an object, where there is one.
pub(super) fn meta<K: Resource>(object: Option<&K>) -> Option<&ObjectMeta> {
    object.map(Resource::meta)
}

fn mark(
    found: Option<&ObjectMeta>,
    wanted: Option<&ObjectMeta>,
    uid: &str,
    labels: &BTreeMap<String, String>,
) -> Option<Mark> {
    match (found, wanted) {
        (Some(found), Some(wanted)) => Some(Mark::of(found, wanted)),
        // It is to be removed, where it is the pipeline's and not on its way out; somebody else's is nothing to it.
        (Some(found), None) => {
            let stays = found.deletion_timestamp.is_none() && is_of(found, uid, labels);
            stays.then(|| Mark::of(found, found))
        }
        (None, _) => None,
    }
}

/// What somebody has done to an object of which this was `known`, now that what was `found` was `written` anew, and
/// the same was wanted all along. Who has done it stands elsewhere, where the API server knows.
pub(super) fn untold(known: Option<&Mark>, found: Option<&Mark>, written: &Mark) -> Option<Change> {
    let known = known?;
    match found {
        None => (written != known).then_some(Change::Deletion),
        // What the operator has put back is what it had written.
        Some(found) => (found.is_after(known) && written != found).then_some(Change::Unnoted),
    }
}

/// Whether an object that was found has all that is wanted of it, and so what others did to it is their own affair.
fn is_intact<K: Serialize>(found: Option<&K>, wanted: &K) -> bool {
    let value = |object: &K| serde_json::to_value(object).unwrap_or_default();
    found.is_some_and(|found| covers(&value(found), &value(wanted)))
}

fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| covers(found, wanted))),
        (Value::Array(found), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| found.iter().any(|found| covers(found, wanted)))
        }
        (found, wanted) => found == wanted,
    }
}

/// What was written for each pipeline, by its uid.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<HashMap<String, Written>>);

#[derive(Debug, PartialEq, Eq)]
struct Written {
    /// Of what was wanted.
    fingerprint: u64,
    /// Of what stood then.
    marks: Marks,
}

impl Settled {
    /// The marks of what was written when the same was wanted.
    pub(super) fn known(&self, uid: &str, fingerprint: u64) -> Option<Marks> {
        let settled = self.0.lock();
        let written = settled.get(uid).filter(|written| written.fingerprint == fingerprint);
        written.map(|written| written.marks.clone())
    }

    /// Notes what was written.
    pub(super) fn note(&self, uid: &str, fingerprint: u64, marks: Marks) {
        self.0.lock().insert(uid.to_owned(), Written { fingerprint, marks });
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, is_living: impl Fn(&str) -> bool) {
        self.0.lock().retain(|uid, _| is_living(uid));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::pipeline::build::build;
    use crate::pipeline::testing::valid;
    use crate::testing::gateway;

    fn marks(of_service: &str) -> Marks {
        let service = ObjectMeta { uid: Some(of_service.to_owned()), ..ObjectMeta::default() };
        let mut marks = Marks::default();
        marks.0[1] = Some(Mark::of(&service, &service));
        marks
    }

    #[test]
    fn what_somebody_touched_or_what_is_to_be_another_is_written_again() {
        let settled = Settled::default();
        assert_eq!(settled.known("a", 1), None);
        settled.note("a", 1, marks("7"));
        assert_eq!(settled.known("a", 1), Some(marks("7")));
        assert_ne!(settled.known("a", 1), Some(marks("8")));
        assert_eq!(settled.known("a", 2), None);
        assert_eq!(settled.known("b", 1), None);
        settled.keep_only(|uid| uid == "b");
        assert_eq!(settled.known("a", 1), None);
    }

    #[test]
    fn who_was_not_noted_is_told_of_by_what_had_to_be_written_again() {
        let at = |generation| {
            let generation = Some(generation);
            let metadata = ObjectMeta { generation, ..ObjectMeta::default() };
            Mark::of(&metadata, &metadata)
        };
        let told = |found: Option<i64>, written: i64| {
            untold(Some(&at(2)), found.map(at).as_ref(), &at(written))
        };
        assert_eq!(told(Some(3), 4), Some(Change::Unnoted));
        assert_eq!(told(Some(3), 3), None, "it had all that is wanted");
        assert_eq!(told(Some(1), 2), None, "a watch is late");
        assert_eq!(told(None, 1), Some(Change::Deletion));
        assert_eq!(told(None, 2), None, "a watch has yet to tell of it");
        assert_eq!(untold(None, Some(&at(3)), &at(4)), None, "nothing was known");
    }

    #[test]
    fn what_has_all_that_is_wanted_is_intact_whatever_others_have_added() {
        let objects = build(&valid(&gateway("orders", 1))).unwrap();
        let mut found = objects.service.clone();
        assert!(is_intact(Some(&found), &objects.service) && !is_intact(None, &objects.service));
        found.metadata.resource_version = Some("12".to_owned());
        let annotations = found.metadata.annotations.get_or_insert_default();
        annotations.insert("metallb.io/ip-allocated-from-pool".to_owned(), "a".to_owned());
        let spec = found.spec.as_mut().unwrap();
        spec.cluster_ip = Some("10.0.0.1".to_owned());
        assert!(is_intact(Some(&found), &objects.service));
        found.spec.as_mut().unwrap().selector = None;
        assert!(!is_intact(Some(&found), &objects.service));
    }

    #[test]
    fn what_is_to_go_is_to_be_done_and_what_is_somebody_elses_is_not() {
        let pipeline = gateway("orders", 1);
        let objects = build(&valid(&pipeline)).unwrap();
        let nothing = Marks::of(&Existing::default(), &objects, "uid-of-orders");
        assert_eq!(nothing, Marks::default());
        let policy = |metadata: ObjectMeta| {
            let existing = Existing { network_policy: Some(metadata), ..Existing::default() };
            Marks::of(&existing, &objects, "uid-of-orders")
        };
        assert_eq!(policy(ObjectMeta::default()), nothing);
        let mut own = objects.service.metadata.clone();
        assert_ne!(policy(own.clone()), nothing);
        own.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(policy(own), nothing, "it is on its way out");
    }
}
