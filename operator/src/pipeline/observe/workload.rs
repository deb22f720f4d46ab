//! Takes from a workload what restarting it needs: what its pods are made of, how far its rollout is, and
//! why it can't make pods.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use weir_crds::names::label;
use weir_crds::v1alpha1::LabelSelector;

/// A workload whose pods a pipeline selects.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::pipeline) struct Workload {
    /// What it is.
    pub(in crate::pipeline) kind: WorkloadKind,
    /// Its name.
    pub(in crate::pipeline) name: String,
    /// Its identity.
    pub(in crate::pipeline) uid: String,
    /// What it was read at.
    pub(in crate::pipeline) resource_version: Option<String>,
    /// What its pods are made of.
    pub(in crate::pipeline) template: PodTemplateSpec,
    /// The volumes that its pods get besides.
    pub(in crate::pipeline) claims: Vec<String>,
    /// How far its rollout is.
    pub(in crate::pipeline) rollout: Rollout,
    /// Whether it has fewer pods than it asks for.
    pub(in crate::pipeline) short: bool,
    /// Why it can't make pods.
    pub(in crate::pipeline) refused: Option<String>,
}

/// The kinds that replace their pods when their template changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
}

impl WorkloadKind {
    /// The kind as the API spells it.
    pub(in crate::pipeline) const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }
}

/// How far the rollout of a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) enum Rollout {
    /// All pods are of the newest template, or will not come to be.
    Settled,
    /// Pods are being replaced.
    UnderWay,
    /// Somebody has paused it.
    Paused,
    /// Pods are replaced only when somebody deletes them.
    ByHand,
    /// Pods below an ordinal are held back.
    HeldBack,
}

impl Workload {
    /// As kubectl names it: `deployment/web`.
    pub(in crate::pipeline) fn id(&self) -> String {
        format!("{}/{}", self.kind.as_str().to_lowercase(), self.name)
    }

    /// Whether its pods are selected, and have not opted out.
    pub(super) fn is_selected(&self, selector: &LabelSelector) -> bool {
        let metadata = self.template.metadata.as_ref();
        let labels = metadata.and_then(|metadata| metadata.labels.clone()).unwrap_or_default();
        let opted_out = labels.get(label::INJECTION).is_some_and(|value| value == "disabled");
        selector.matches(&labels) && !opted_out
    }

    fn new(kind: WorkloadKind, metadata: ObjectMeta, template: PodTemplateSpec) -> Self {
        Self {
            kind,
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version,
            template,
            claims: Vec::new(),
            rollout: Rollout::Settled,
            short: false,
            refused: None,
        }
    }

    /// A settled workload, for tests.
    #[cfg(test)]
    pub(in crate::pipeline) fn named(kind: WorkloadKind, name: &str) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            uid: Some(format!("uid-of-{name}")),
            ..ObjectMeta::default()
        };
        Self::new(kind, metadata, PodTemplateSpec::default())
    }

    pub(super) fn of_deployment(deployment: Deployment) -> Self {
        let rollout = rollout(&deployment);
        let refused = refusal(&deployment);
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let has = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
        let Deployment { metadata, spec, .. } = deployment;
        let workload = Self::new(WorkloadKind::Deployment, metadata, spec.template);
        Self { rollout, refused, short: has < wanted, ..workload }
    }

    pub(super) fn of_stateful_set(set: StatefulSet) -> Self {
        let spec = set.spec;
        let status = set.status.unwrap_or_default();
        let strategy = spec.update_strategy.unwrap_or_default();
        let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
        let wanted = spec.replicas.unwrap_or(1);
        let updated = status.current_revision == status.update_revision;
        let rollout = if strategy.type_.as_deref() == Some("OnDelete") {
            Rollout::ByHand
        } else if partition > 0 {
            Rollout::HeldBack
        } else if !updated
            || status.replicas != wanted
            || is_unseen(&set.metadata, status.observed_generation)
        {
            Rollout::UnderWay
        } else {
            Rollout::Settled
        };
        let claims = spec.volume_claim_templates.into_iter().flatten();
        let claims = claims.filter_map(|claim| claim.metadata.name).collect();
        let workload = Self::new(WorkloadKind::StatefulSet, set.metadata, spec.template);
        Self { rollout, claims, short: status.replicas < wanted, ..workload }
    }

    pub(super) fn of_daemon_set(set: DaemonSet) -> Self {
        let spec = set.spec;
        let status = set.status.unwrap_or_default();
        let strategy = spec.update_strategy.and_then(|strategy| strategy.type_);
        let wanted = status.desired_number_scheduled;
        let rollout = if strategy.as_deref() == Some("OnDelete") {
            Rollout::ByHand
        } else if is_unseen(&set.metadata, status.observed_generation)
            || status.updated_number_scheduled.unwrap_or(0) < wanted
            || status.current_number_scheduled < wanted
        {
            Rollout::UnderWay
        } else {
            Rollout::Settled
        };
        let workload = Self::new(WorkloadKind::DaemonSet, set.metadata, spec.template);
        Self { rollout, short: status.current_number_scheduled < wanted, ..workload }
    }
}

/// Whether the workload's controller has yet to see its newest spec.
fn is_unseen(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed < metadata.generation
}

fn rollout(deployment: &Deployment) -> Rollout {
    let spec = &deployment.spec;
    if spec.paused == Some(true) {
        return Rollout::Paused;
    }
    let status = deployment.status.clone().unwrap_or_default();
    let progressing =
        condition(deployment, "Progressing").and_then(|found| found.reason.as_deref());
    // It has been given up: waiting for its end would be waiting for ever.
    let failed = progressing == Some("ProgressDeadlineExceeded");
    let moving = !matches!(progressing, None | Some("NewReplicaSetAvailable"));
    let updated = status.updated_replicas.unwrap_or(0);
    let partial = updated < spec.replicas.unwrap_or(1) || status.replicas.unwrap_or(0) > updated;
    let unseen = is_unseen(&deployment.metadata, status.observed_generation);
    if unseen || (!failed && (moving || partial)) { Rollout::UnderWay } else { Rollout::Settled }
}

fn condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    let mut conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_.as_deref() == Some(type_))
}

/// Why a Deployment can't make pods: a quota, or a policy.
pub(in crate::pipeline) fn refusal(deployment: &Deployment) -> Option<String> {
    let failure = condition(deployment, "ReplicaFailure");
    let failure = failure.filter(|condition| condition.status.as_deref() == Some("True"));
    failure.and_then(|condition| condition.message.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn deployment(change: impl FnOnce(&mut Value)) -> Workload {
        let mut deployment = json!({
            "metadata": { "name": "web", "uid": "u", "resourceVersion": "7", "generation": 2 },
            "spec": {
                "replicas": 3, "selector": {},
                "template": { "metadata": { "labels": { "app": "shop" } } },
            },
            "status": {
                "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3,
                "conditions": [{
                    "type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                }],
            },
        });
        change(&mut deployment);
        Workload::of_deployment(from_value(deployment).unwrap())
    }

    #[test]
    fn a_deployment_is_under_way_until_its_newest_template_is_everywhere() {
        assert_eq!(deployment(|_| {}).rollout, Rollout::Settled);
        let progress = |reason: &'static str| {
            move |deployment: &mut Value| {
                deployment["status"]["updatedReplicas"] = json!(1);
                deployment["status"]["conditions"][0]["reason"] = json!(reason);
            }
        };
        let unseen = |deployment: &mut Value| deployment["status"]["observedGeneration"] = json!(1);
        assert_eq!(deployment(unseen).rollout, Rollout::UnderWay);
        assert_eq!(deployment(progress("ReplicaSetUpdated")).rollout, Rollout::UnderWay);
        assert_eq!(deployment(progress("NewReplicaSetAvailable")).rollout, Rollout::UnderWay);
        assert_eq!(deployment(progress("ProgressDeadlineExceeded")).rollout, Rollout::Settled);
        let paused = |deployment: &mut Value| deployment["spec"]["paused"] = json!(true);
        assert_eq!(deployment(paused).rollout, Rollout::Paused);
    }

    #[test]
    fn a_deployment_that_cannot_make_pods_says_why() {
        let refused = deployment(|deployment| {
            deployment["status"]["replicas"] = json!(1);
            deployment["status"]["conditions"] = json!([
                { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" },
            ]);
        });
        assert_eq!(refused.refused.as_deref(), Some("exceeded quota"));
        assert!(refused.short);
        assert_eq!(refused.id(), "deployment/web");
    }

    #[test]
    fn a_stateful_set_that_holds_pods_back_or_waits_for_a_person_is_known() {
        let set = |strategy: Value, current: &str| {
            let set = json!({
                "metadata": { "name": "db", "generation": 1 },
                "spec": {
                    "replicas": 2, "selector": {}, "serviceName": "db", "template": {},
                    "updateStrategy": strategy,
                    "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
                },
                "status": {
                    "observedGeneration": 1, "replicas": 2,
                    "currentRevision": current, "updateRevision": "b",
                },
            });
            Workload::of_stateful_set(from_value(set).unwrap())
        };
        assert_eq!(set(json!({}), "b").rollout, Rollout::Settled);
        assert_eq!(set(json!({}), "a").rollout, Rollout::UnderWay);
        assert_eq!(set(json!({ "type": "OnDelete" }), "b").rollout, Rollout::ByHand);
        let held = json!({ "rollingUpdate": { "partition": 1 } });
        assert_eq!(set(held, "b").rollout, Rollout::HeldBack);
        assert_eq!(set(json!({}), "b").claims, ["data"]);
    }

    #[test]
    fn a_daemon_set_is_under_way_until_every_node_has_the_newest_pod() {
        let set = |updated: i32, strategy: &str| {
            let set = json!({
                "metadata": { "name": "agent", "generation": 1 },
                "spec": {
                    "selector": {}, "template": {}, "updateStrategy": { "type": strategy },
                },
                "status": {
                    "observedGeneration": 1, "desiredNumberScheduled": 2, "numberMisscheduled": 0,
                    "currentNumberScheduled": 2, "numberReady": 2, "updatedNumberScheduled": updated,
                },
            });
            Workload::of_daemon_set(from_value(set).unwrap()).rollout
        };
        assert_eq!(set(2, "RollingUpdate"), Rollout::Settled);
        assert_eq!(set(1, "RollingUpdate"), Rollout::UnderWay);
        assert_eq!(set(2, "OnDelete"), Rollout::ByHand);
    }

    #[test]
    fn only_a_workload_whose_pods_are_selected_and_not_opted_out_concerns_a_pipeline() {
        let selector = from_value(json!({ "matchLabels": { "app": "shop" } })).unwrap();
        assert!(deployment(|_| {}).is_selected(&selector));
        let labelled = |labels: Value| {
            deployment(|deployment| deployment["spec"]["template"]["metadata"]["labels"] = labels)
        };
        let opted_out = json!({ "app": "shop", "weir.dev/injection": "disabled" });
        assert!(!labelled(opted_out).is_selected(&selector));
        assert!(!labelled(Value::Null).is_selected(&selector));
    }
}
