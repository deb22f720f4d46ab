//! Keeps what was made for pipelines, and the SLOs that refer to them, as the watches tell of it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use weir_crds::v1alpha1::StreamSLO;

use super::heard::Heard;
use crate::kept::Kept;

/// What the watches have told.
#[derive(Default)]
pub(super) struct Made {
    pub(super) config_maps: Kept<ConfigMap>,
    pub(super) services: Kept<Service>,
    pub(super) deployments: Kept<Deployment>,
    pub(super) stateful_sets: Kept<StatefulSet>,
    pub(super) budgets: Kept<PodDisruptionBudget>,
    pub(super) policies: Kept<NetworkPolicy>,
    pub(super) ingresses: Kept<Ingress>,
    pub(super) slos: Kept<StreamSLO>,
    /// How new the pods are of which the watch has told.
    pub(super) pods: Arc<Heard>,
}
