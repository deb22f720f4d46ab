//! Restarts a workload, as `kubectl rollout restart` does: by an annotation on its pod template.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::json;
use weir_crds::names::annotation;

use crate::context::Context;
use crate::failure::explain;
use crate::pipeline::observe::{Workload, WorkloadKind};

const API_VERSION: &str = "apps/v1";

/// Its own field manager: what the operator applies of its objects under the usual one is whole objects.
const FIELD_MANAGER: &str = "weir-operator-restart";

/// Changes the pod template. The version that was read goes along, so that of two pipelines that want the
/// same at the same time one restarts the workload and the other finds that it has been.
///
/// # Errors
///
/// With the reason for a person, where the API server refuses or is not reached.
pub(super) async fn restart(
    context: &Context,
    namespace: &str,
    workload: &Workload,
    now: Timestamp,
) -> Result<(), String> {
    let Workload { kind, name, uid, resource_version, .. } = workload;
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": kind.as_str(),
        "metadata": { "name": name, "uid": uid, "resourceVersion": resource_version },
        "spec": { "template": { "metadata": { "annotations": {
            annotation::RESTARTED_AT: whole_seconds(now).0.to_string(),
        } } } },
    });
    let api: Api<DynamicObject> =
        Api::namespaced_with(context.client.clone(), namespace, &resource(*kind));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    match api.patch(name, &params, &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Err("it was changed at the same moment; it is looked at again".to_owned())
        }
        Err(error) => Err(explain(&error)),
    }
}

/// A time as the API keeps it.
pub(super) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The reference to a workload, for Events about it.
pub(super) fn reference(workload: &Workload, namespace: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(workload.kind.as_str().to_owned()),
        name: Some(workload.name.clone()),
        namespace: Some(namespace.to_owned()),
        uid: Some(workload.uid.clone()),
        ..ObjectReference::default()
    }
}

fn resource(kind: WorkloadKind) -> ApiResource {
    let kind = kind.as_str();
    ApiResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        api_version: API_VERSION.to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    }
}
