//! Remembers the policies that were put in force, so that they are looked at now and then, and written only where
//! they aren't as they should be.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding,
};
use kube::core::ClusterResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::mark::Mark;

/// No watch tells of policies: they are looked at when their pipeline is, but not at each of its changes.
const GOOD_FOR: Duration = Duration::from_secs(20);
/// A pipeline that was not looked at for that long is gone.
const FORGOTTEN: Duration = Duration::from_mins(10);

/// The policies that were put in force, by the uid of the pipeline.
#[derive(Debug, Default)]
pub struct Standing(Mutex<HashMap<String, Stood>>);

/// A policy and its binding.
#[derive(Debug, Clone)]
struct Stood {
    /// Of what was wanted.
    fingerprint: u64,
    marks: [Mark; 2],
    seen: Instant,
}

impl Standing {
    /// Whether both stand as they were written.
    ///
    /// # Errors
    ///
    /// Fails where the API server refuses or is not reached.
    pub(super) async fn are(
        &self,
        client: &Client,
        uid: &str,
        policy: &MutatingAdmissionPolicy,
        binding: &MutatingAdmissionPolicyBinding,
    ) -> Result<bool, kube::Error> {
        let known = self.0.lock().get(uid).cloned();
        let wanted = fingerprint(policy, binding);
        let Some(stood) = known.filter(|stood| stood.fingerprint == wanted) else {
            return Ok(false);
        };
        if stood.seen.elapsed() < GOOD_FOR {
            return Ok(true);
        }
        let (found, bound) = futures::try_join!(mark(client, policy), mark(client, binding))?;
        let [before, bound_before] = stood.marks;
        if found.as_ref() != Some(&before) || bound.as_ref() != Some(&bound_before) {
            return Ok(false);
        }
        self.note(uid, policy, binding, [before, bound_before]);
        Ok(true)
    }

    /// The marks of what was written last.
    pub(super) fn known(&self, uid: &str) -> [Option<Mark>; 2] {
        let all = self.0.lock();
        all.get(uid).map_or([None, None], |stood| stood.marks.clone().map(Some))
    }

    /// Takes note that both stand, with these marks.
    pub(super) fn note(
        &self,
        uid: &str,
        policy: &MutatingAdmissionPolicy,
        binding: &MutatingAdmissionPolicyBinding,
        marks: [Mark; 2],
    ) {
        let seen = Instant::now();
        let mut all = self.0.lock();
        all.retain(|_, stood| seen.duration_since(stood.seen) < FORGOTTEN);
        let fingerprint = fingerprint(policy, binding);
        all.insert(uid.to_owned(), Stood { fingerprint, marks, seen });
    }

    /// Takes note that there is to be none.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

async fn mark<K>(client: &Client, wanted: &K) -> Result<Option<Mark>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + DeserializeOwned + Clone + Debug,
{
    let api = Api::<K>::all(client.clone());
    let found = api.get_metadata_opt(&wanted.name_any()).await?;
    Ok(found.map(|found| Mark::of(&found.metadata, wanted.meta())))
}

fn fingerprint(policy: &MutatingAdmissionPolicy, binding: &MutatingAdmissionPolicyBinding) -> u64 {
    let mut hasher = DefaultHasher::new();
    (text(policy), text(binding)).hash(&mut hasher);
    hasher.finish()
}

fn text(object: &impl Serialize) -> String {
    // Each of them can be written.
    serde_json::to_string(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::injection::policy;
    use crate::sidecar::Image;
    use crate::testing::{FakeApi, options, sidecar_pipeline};

    /// An API server whose policies and bindings are of this generation.
    fn at(generation: i64) -> FakeApi {
        FakeApi::new(move |_| {
            let metadata = json!({ "name": "a", "uid": "a", "generation": generation });
            let answer = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
            (StatusCode::OK, answer)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_that_stands_is_looked_at_now_and_then_and_one_that_was_changed_is_not_as_it_was()
     {
        let image = Image::of(&options());
        let (policy, binding) = policy::build("weir", &sidecar_pipeline("orders"), &image).unwrap();
        let standing = Standing::default();
        let (api, changed) = (at(1), at(2));
        let are = async |api: &FakeApi| {
            standing.are(&api.client(), "uid", &policy, &binding).await.unwrap()
        };
        assert!(!are(&api).await, "nothing was written");
        let mark = mark(&api.client(), &policy).await.unwrap().unwrap();
        let bound = super::mark(&api.client(), &binding).await.unwrap().unwrap();
        let asked = api.asked().len();
        standing.note("uid", &policy, &binding, [mark.clone(), bound.clone()]);
        assert!(are(&api).await);
        assert_eq!(api.asked().len(), asked, "it was written just now");
        tokio::time::advance(GOOD_FOR).await;
        assert!(are(&api).await && are(&api).await);
        assert_eq!(api.asked().len(), asked + 2, "{:?}", api.asked());
        tokio::time::advance(GOOD_FOR).await;
        assert!(!are(&changed).await);
        standing.note("uid", &policy, &binding, [mark, bound]);
        standing.forget("uid");
        assert!(!are(&api).await);
    }
}
