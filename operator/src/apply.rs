//! Writes objects: server-side apply with one field manager, and the removal of what is no longer asked
//! for.
//!
//! # Laws
//!
//! - An object that is not controlled by the owner is never written and never deleted; but for one that the operator
//!   made for it, and whose owner somebody has taken away, so that nobody controls it.
//! - A write that would change nothing changes nothing: no new resourceVersion, no event for watchers.
//! - An object that was made anew between reading and writing is not overwritten: the uid that was read
//!   goes along as a precondition, and where there was none, that there is none.
//! - What somebody else has written into the operator's fields is put right, and answered, so that it can be told.

mod undone;

use std::collections::BTreeMap;
use std::fmt::Debug;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation, RemoveOperation, TestOperation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

pub use self::undone::{Change, Undone};
use self::undone::{OVERWRITER, conflicts};
use crate::failure::chain;

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object could not be applied.
    #[error("can't apply {kind} {name}")]
    Apply {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server, or the way to it, said.
        source: kube::Error,
    },
    /// An object that is no longer asked for could not be deleted.
    #[error("can't delete {kind} {name}")]
    Delete {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server, or the way to it, said.
        source: kube::Error,
    },
}

impl ApplyError {
    /// What the API server, or the way to it, said.
    #[must_use]
    pub const fn cause(&self) -> &kube::Error {
        match self {
            Self::Apply { source, .. } | Self::Delete { source, .. } => source,
        }
    }
}

/// Whose an object is that has the name of one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// There is none.
    Absent,
    /// The owner controls it.
    Ours {
        /// Its uid.
        uid: String,
    },
    /// Something else made it.
    Foreign,
}

impl Ownership {
    /// Whose the object with this metadata is, seen from the owner with `owner_uid`, what is made for whom has these
    /// labels.
    #[must_use]
    pub fn of(
        existing: Option<&ObjectMeta>,
        owner_uid: &str,
        labels: &BTreeMap<String, String>,
    ) -> Self {
        let Some(metadata) = existing else { return Self::Absent };
        match (is_of(metadata, owner_uid, labels), &metadata.uid) {
            (true, Some(uid)) => Self::Ours { uid: uid.clone() },
            (true, None) | (false, _) => Self::Foreign,
        }
    }
}

/// Whether the object of this metadata is the owner's, as what is made for it has these labels.
#[must_use]
pub fn is_of(metadata: &ObjectMeta, owner_uid: &str, labels: &BTreeMap<String, String>) -> bool {
    is_controlled(metadata, owner_uid) || is_bereft(metadata, labels)
}

/// Whether the object of this metadata is controlled by the owner of this uid.
#[must_use]
pub fn is_controlled(metadata: &ObjectMeta, owner_uid: &str) -> bool {
    let controls =
        |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == owner_uid;
    metadata.owner_references.iter().flatten().any(controls)
}

/// Whether the operator made an object with these labels, and nobody controls it any more: somebody has taken its owner
/// away. A copy of one was not applied by the operator, as the API server has noted.
#[must_use]
pub fn is_bereft(metadata: &ObjectMeta, labels: &BTreeMap<String, String>) -> bool {
    let mut managers = metadata.managed_fields.iter().flatten();
    looks_bereft(metadata, labels)
        && managers.any(|entry| {
            entry.manager.as_deref() == Some(FIELD_MANAGER)
                && entry.operation.as_deref() == Some("Apply")
        })
}

/// The same as far as one can tell who doesn't know who has applied it.
#[must_use]
pub fn looks_bereft(metadata: &ObjectMeta, labels: &BTreeMap<String, String>) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    let found = metadata.labels.as_ref();
    !owners.any(|owner| owner.controller == Some(true))
        && labels.iter().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
}

/// The code of an answer to an object that is wrong.
const UNPROCESSABLE: u16 = 422;

/// A version that no object has: the API server's store begins with a higher one.
const NO_VERSION: &str = "1";

/// An object as it stands after it was applied.
#[derive(Debug)]
pub struct Applied<K> {
    /// The object.
    pub object: K,
    /// What others had written into it, and what is so no longer.
    pub undone: Vec<Change>,
}

/// Applies an object whose absence, or uid, was read before. An object that is absent is applied as of
/// a version that no object has, so that one that is there is a conflict, whatever is in it. One that is there is
/// applied without force first: the API server says then who has changed what. Where what somebody has added can't
/// stand beside what is applied, as a second port of the same name, it is taken out.
///
/// # Errors
///
/// Fails where the API server refuses or is not reached.
pub async fn apply<K>(
    api: &Api<K>,
    mut object: K,
    ownership: &Ownership,
) -> Result<Applied<K>, ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let is_ours = match ownership {
        Ownership::Ours { uid } => {
            object.meta_mut().uid = Some(uid.clone());
            true
        }
        Ownership::Absent | Ownership::Foreign => {
            object.meta_mut().resource_version = Some(NO_VERSION.to_owned());
            false
        }
    };
    let (name, params) = (object.name_any(), PatchParams::apply(FIELD_MANAGER));
    let patch = Patch::Apply(&object);
    let mut result = api.patch(&name, &params, &patch).await;
    let mut undone = match &result {
        Err(kube::Error::Api(status)) if is_ours => conflicts(status),
        _ => Vec::new(),
    };
    if !undone.is_empty() {
        undone.retain(|change| !change.is_own());
        result = api.patch(&name, &params.force(), &patch).await;
    }
    if is_ours
        && matches!(&result, Err(kube::Error::Api(status)) if status.code == UNPROCESSABLE)
        && let Ok(object) = Box::pin(overwrite(api, &object)).await
    {
        result = Ok(object);
        if undone.is_empty() {
            undone.push(Change::Unnoted);
        }
    }
    match result {
        // Also what an overwrite that broke off has left.
        Ok(object) => Ok(Applied { object: disowned(api, &name, object).await, undone }),
        Err(source) => Err(ApplyError::Apply { kind: K::kind(&()).into_owned(), name, source }),
    }
}

/// Writes an object over what is there: an apply would keep what others have added to it. Afterwards the object is as if
/// it had been applied. One that may not be changed at all is made anew, where nothing hangs on it.
async fn overwrite<K>(api: &Api<K>, object: &K) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let (name, uid) = (object.name_any(), object.meta().uid.clone());
    let patch = Patch::<()>::Json(overwriting(object).map_err(kube::Error::SerdeError)?);
    let field_manager = Some(OVERWRITER.to_owned());
    let params = PatchParams { field_manager, ..PatchParams::default() };
    let forced = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(&name, &params, &patch).await {
        // Whatever else is refused stays: nobody knows whether it could be made anew.
        Err(kube::Error::Api(status))
            if status.code == UNPROCESSABLE && is_frozen(&api.get(&name).await?) =>
        {
            delete(api, &name, uid).await?;
            let mut anew = object.clone();
            anew.meta_mut().uid = None;
            return api.patch(&name, &forced, &Patch::Apply(&anew)).await;
        }
        overwritten => overwritten?,
    };
    api.patch(&name, &forced, &Patch::Apply(object)).await
}

/// Whether this is a ConfigMap that somebody has made immutable.
fn is_frozen<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> bool {
    let found = serde_json::to_value(object).unwrap_or_default();
    K::kind(&()) == "ConfigMap" && found.get("immutable") == Some(&true.into())
}

/// The patch that makes of all but the metadata of an object what is wanted, tied to its uid. What others note in the
/// metadata is theirs.
fn overwriting(object: &impl Serialize) -> Result<json_patch::Patch, serde_json::Error> {
    let wanted = serde_json::to_value(object)?;
    let path = |tokens: &[&str]| PointerBuf::from_tokens(tokens.iter().copied());
    let uid = wanted.pointer("/metadata/uid").cloned().unwrap_or_default();
    let test = TestOperation { path: path(&["metadata", "uid"]), value: uid };
    let mut patch = vec![PatchOperation::Test(test)];
    let fields = wanted.as_object().into_iter().flatten();
    for (field, value) in
        fields.filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        let add = AddOperation { path: path(&[field]), value: value.clone() };
        patch.push(PatchOperation::Add(add));
    }
    Ok(json_patch::Patch(patch))
}

/// How often it is tried to take an entry out of the managers, whose order changes with each write.
const DISOWN_TRIES: usize = 4;

/// The object without the overwriter among its managers: what that had written would stay for ever, as of another one.
async fn disowned<K>(api: &Api<K>, name: &str, written: K) -> K
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let mut object = written;
    for _ in 0..DISOWN_TRIES {
        let Some(patch) = disowning(object.meta()) else { return object };
        let params = PatchParams::default();
        match api.patch(name, &params, &Patch::<()>::Json(patch)).await {
            Ok(disowned) => return disowned,
            Err(error) => match api.get(name).await {
                Ok(found) => object = found,
                Err(_) => tracing::debug!(name, error = chain(&error), "not disowned"),
            },
        }
    }
    tracing::warn!(name, manager = OVERWRITER, "stays among the managers of an object");
    object
}

/// The patch that takes the overwriter out of the managers, tied to its being the one at its place.
fn disowning(metadata: &ObjectMeta) -> Option<json_patch::Patch> {
    let mut managers = metadata.managed_fields.iter().flatten();
    let at = managers.position(|entry| entry.manager.as_deref() == Some(OVERWRITER))?.to_string();
    let path = |last: &[&str]| {
        PointerBuf::from_tokens(["metadata", "managedFields", &at].iter().chain(last).copied())
    };
    Some(json_patch::Patch(vec![
        PatchOperation::Test(TestOperation { path: path(&["manager"]), value: OVERWRITER.into() }),
        PatchOperation::Remove(RemoveOperation { path: path(&[]) }),
    ]))
}

/// Applies the status of an object, which must hold every field that the operator owns.
///
/// # Errors
///
/// Fails where the API server refuses or is not reached.
pub async fn apply_status<K>(
    api: &Api<K>,
    name: &str,
    status: &(impl Serialize + Sync),
) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let result = api.patch_status(name, &params, &Patch::Apply(&patch)).await;
    result.map_err(|source| ApplyError::Apply {
        kind: format!("the status of {}", K::kind(&())),
        name: name.to_owned(),
        source,
    })
}

/// Deletes an object that was read before, if it is the owner's. Says whether it did.
///
/// # Errors
///
/// Fails where the API server refuses or is not reached.
pub async fn remove<K>(
    api: &Api<K>,
    existing: Option<&ObjectMeta>,
    owner_uid: &str,
    labels: &BTreeMap<String, String>,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let Some(found) = existing.filter(|found| is_of(found, owner_uid, labels)) else {
        return Ok(false);
    };
    if found.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let name = found.name.clone().unwrap_or_default();
    let result = delete(api, &name, found.uid.clone()).await;
    let kind = K::kind(&()).into_owned();
    result.map_err(|source| ApplyError::Delete { kind, name, source }).map(|()| true)
}

/// Deletes the object of this uid, and is content where it is gone.
async fn delete<K>(api: &Api<K>, name: &str, uid: Option<String>) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn owned_by(uid: &str, controller: Option<bool>) -> ObjectMeta {
        let owner = OwnerReference { uid: uid.to_owned(), controller, ..OwnerReference::default() };
        ObjectMeta {
            uid: Some("object".to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_an_object_that_the_owner_controls_is_ours() {
        let ours = Ownership::Ours { uid: "object".to_owned() };
        let of = |found: &ObjectMeta| Ownership::of(Some(found), "me", &labels());
        assert_eq!(of(&owned_by("me", Some(true))), ours);
        assert_eq!(of(&owned_by("me", None)), Ownership::Foreign);
        assert_eq!(of(&owned_by("other", Some(true))), Ownership::Foreign);
        assert_eq!(of(&ObjectMeta::default()), Ownership::Foreign);
        assert_eq!(Ownership::of(None, "me", &labels()), Ownership::Absent);
    }

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("a".to_owned(), "b".to_owned())])
    }

    #[test]
    fn an_object_is_written_over_but_for_its_metadata() {
        let object = json!({
            "apiVersion": "v1", "kind": "Service", "spec": { "ports": [] },
            "metadata": { "name": "orders", "uid": "a", "labels": { "b": "c" } },
        });
        let expected = json!([
            { "op": "test", "path": "/metadata/uid", "value": "a" },
            { "op": "add", "path": "/spec", "value": { "ports": [] } },
        ]);
        assert_eq!(serde_json::to_value(overwriting(&object).unwrap()).unwrap(), expected);
    }

    #[test]
    fn only_a_config_map_that_is_immutable_is_made_anew() {
        let frozen =
            |immutable: Option<bool>| is_frozen(&ConfigMap { immutable, ..ConfigMap::default() });
        assert!(frozen(Some(true)) && !frozen(Some(false)) && !frozen(None));
        assert!(!is_frozen(&Secret { immutable: Some(true), ..Secret::default() }));
    }

    #[test]
    fn the_overwriter_is_taken_out_where_it_stands() {
        let by = |managers: &[&str]| {
            let entry = |name: &&str| ManagedFieldsEntry {
                manager: Some((*name).to_owned()),
                ..ManagedFieldsEntry::default()
            };
            let managed_fields = Some(managers.iter().map(entry).collect());
            disowning(&ObjectMeta { managed_fields, ..ObjectMeta::default() })
        };
        assert_eq!(by(&["kubectl", FIELD_MANAGER]), None);
        let expected = json!([
            { "op": "test", "path": "/metadata/managedFields/1/manager", "value": OVERWRITER },
            { "op": "remove", "path": "/metadata/managedFields/1" },
        ]);
        let patch = by(&["kubectl", OVERWRITER, FIELD_MANAGER]).unwrap();
        assert_eq!(serde_json::to_value(patch).unwrap(), expected);
    }

    #[test]
    fn one_that_the_operator_applied_and_nobody_controls_is_ours_and_a_copy_is_not() {
        let applied_by = |manager: &str, operation: &str| ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            ..ManagedFieldsEntry::default()
        };
        let bereft = ObjectMeta {
            uid: Some("object".to_owned()),
            labels: Some(labels()),
            managed_fields: Some(vec![applied_by(FIELD_MANAGER, "Apply")]),
            ..ObjectMeta::default()
        };
        let is_ours =
            |found: &ObjectMeta| Ownership::of(Some(found), "me", &labels()) != Ownership::Foreign;
        assert!(is_ours(&bereft));
        assert!(!is_ours(&ObjectMeta { labels: None, ..bereft.clone() }));
        for entry in [applied_by("kubectl", "Apply"), applied_by(FIELD_MANAGER, "Update")] {
            assert!(!is_ours(&ObjectMeta { managed_fields: Some(vec![entry]), ..bereft.clone() }));
        }
        let owner_references = owned_by("other", Some(true)).owner_references;
        assert!(!is_ours(&ObjectMeta { owner_references, ..bereft }));
    }
}
