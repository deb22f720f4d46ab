//! Writes objects: server-side apply with one field manager, and the removal of what is no longer asked
//! for.
//!
//! # Laws
//!
//! - An object that is not controlled by the owner is never written and never deleted.
//! - A write that would change nothing changes nothing: no new resourceVersion, no event for watchers.
//! - An object that was made anew between reading and writing is not overwritten: the uid that was read
//!   goes along as a precondition, and where there was none, that there is none.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use weir_crds::names::FIELD_MANAGER;

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
    /// Whose the object with this metadata is, seen from the owner with `owner_uid`.
    #[must_use]
    pub fn of(existing: Option<&ObjectMeta>, owner_uid: &str) -> Self {
        let Some(metadata) = existing else { return Self::Absent };
        match (is_controlled(metadata, owner_uid), &metadata.uid) {
            (true, Some(uid)) => Self::Ours { uid: uid.clone() },
            (true, None) | (false, _) => Self::Foreign,
        }
    }
}

/// Whether the object of this metadata is controlled by the owner of this uid.
#[must_use]
pub fn is_controlled(metadata: &ObjectMeta, owner_uid: &str) -> bool {
    let controls =
        |owner: &OwnerReference| owner.controller == Some(true) && owner.uid == owner_uid;
    metadata.owner_references.iter().flatten().any(controls)
}

/// A version that no object has: the API server's store begins with a higher one.
const NO_VERSION: &str = "1";

/// Applies an object whose absence, or uid, was read before. An object that is absent is applied as of
/// a version that no object has, so that one that is there is a conflict, whatever is in it.
///
/// # Errors
///
/// Fails where the API server refuses or is not reached.
pub async fn apply<K>(api: &Api<K>, mut object: K, ownership: &Ownership) -> Result<K, ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let params = PatchParams::apply(FIELD_MANAGER);
    let params = match ownership {
        Ownership::Ours { uid } => {
            object.meta_mut().uid = Some(uid.clone());
            params.force()
        }
        Ownership::Absent | Ownership::Foreign => {
            object.meta_mut().resource_version = Some(NO_VERSION.to_owned());
            params
        }
    };
    let name = object.name_any();
    let result = api.patch(&name, &params, &Patch::Apply(&object)).await;
    result.map_err(|source| ApplyError::Apply { kind: K::kind(&()).into_owned(), name, source })
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

/// Deletes an object that was read before, if the owner controls it. Says whether it did.
///
/// # Errors
///
/// Fails where the API server refuses or is not reached.
pub async fn remove<K>(
    api: &Api<K>,
    existing: Option<&ObjectMeta>,
    owner_uid: &str,
) -> Result<bool, ApplyError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let Some(found) = existing.filter(|found| is_controlled(found, owner_uid)) else {
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
        assert_eq!(Ownership::of(Some(&owned_by("me", Some(true))), "me"), ours);
        assert_eq!(Ownership::of(Some(&owned_by("me", None)), "me"), Ownership::Foreign);
        assert_eq!(Ownership::of(Some(&owned_by("other", Some(true))), "me"), Ownership::Foreign);
        assert_eq!(Ownership::of(Some(&ObjectMeta::default()), "me"), Ownership::Foreign);
        assert_eq!(Ownership::of(None, "me"), Ownership::Absent);
    }
}
