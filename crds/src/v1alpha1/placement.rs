//! Placement: beside the application, or in a workload of its own.

use std::collections::BTreeMap;

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Gateway, Resources};

/// Where the data plane runs. Exactly one of the fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("has(self.sidecar) || has(self.gateway)").message("set exactly one of sidecar and gateway"),
        validation = Rule::new("!has(self.sidecar) || !has(self.gateway)").message("set exactly one of sidecar and gateway; only a gateway is scaled, so with a sidecar scale the application"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Inject a sidecar into the matching pods of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
    /// Run a workload of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// The one placement that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementKind<'a> {
    /// Beside the application.
    Sidecar(&'a Sidecar),
    /// In a workload of its own.
    Gateway(&'a Gateway),
}

impl Placement {
    /// The one placement that is set; `None` where none or both are.
    #[must_use]
    pub const fn kind(&self) -> Option<PlacementKind<'_>> {
        let Self { sidecar, gateway } = self;
        match (sidecar, gateway) {
            (Some(sidecar), None) => Some(PlacementKind::Sidecar(sidecar)),
            (None, Some(gateway)) => Some(PlacementKind::Gateway(gateway)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

/// A sidecar in the application's own pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidecar {
    /// Selects the pods, in the pipeline's namespace, that get the sidecar when they are created.
    pub selector: LabelSelector,
    /// Whether the workloads of selected pods are restarted so that the pods get what they lack: the sidecar
    /// itself, what the pipeline has come to need of it, such as a Secret, or, once the annotation
    /// weir.dev/upgrade asks for it, the image of the operator's release.
    #[serde(default)]
    pub restart: Restart,
    /// What the sidecar is granted of a node. What is left out here has defaults: requests of 20m of CPU and
    /// 64Mi of memory, no limit of CPU, and a limit of memory of 256Mi, or of 128Mi and the log twice over where
    /// that is more. Where several pipelines share a sidecar, the largest amount of each kind holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Whether workloads are restarted for the sidecar's sake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Restart {
    /// Never. The condition `Injected` says which pods lack what, and the command that helps.
    #[default]
    Never,
    /// A Deployment, StatefulSet or DaemonSet whose pods lack something is restarted by its own rolling
    /// update. One that is paused, or being rolled out, is left alone; so are pods of any other origin.
    OnChange,
}

/// Selects objects by their labels; all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("(has(self.matchLabels) && self.matchLabels.size() > 0) || (has(self.matchExpressions) && self.matchExpressions.size() > 0)").message("must not be empty, because it would select every pod of the namespace: set matchLabels or matchExpressions"))
)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    #[cfg_attr(
        feature = "kube",
        x_kube(
            validation = crate::rules::label_keys("self"),
            validation = crate::rules::label_values("self.map(k, self[k])"),
        )
    )]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on a label's presence or value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement on a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)").field_path(".values").message("must be given for the operators In and NotIn, and for these only"))
)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelectorRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label_keys("[self]")))]
    pub key: String,
    /// How the label is compared with the values.
    pub operator: Operator,
    /// The values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    #[cfg_attr(feature = "kube", x_kube(validation = crate::rules::label_values("self")))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is selected, by the rules of Kubernetes.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let Self { match_labels, match_expressions } = self;
        match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && match_expressions.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether nothing is required, so that everything would be selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

impl LabelSelectorRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
    }

    fn requirement(operator: Operator, values: &[&str]) -> LabelSelector {
        let values = values.iter().map(|&v| v.to_owned()).collect();
        LabelSelector {
            match_expressions: vec![LabelSelectorRequirement {
                key: "tier".into(),
                operator,
                values,
            }],
            ..LabelSelector::default()
        }
    }

    #[test]
    fn every_operator_selects_as_kubernetes_does() {
        let (web, db, none) = (labels(&[("tier", "web")]), labels(&[("tier", "db")]), labels(&[]));
        for (operator, values, expected) in [
            (Operator::In, &["web"][..], [true, false, false]),
            (Operator::NotIn, &["web"], [false, true, true]),
            (Operator::Exists, &[], [true, true, false]),
            (Operator::DoesNotExist, &[], [false, false, true]),
        ] {
            let selector = requirement(operator, values);
            let selected = [&web, &db, &none].map(|labels| selector.matches(labels));
            assert_eq!(selected, expected, "{operator:?}");
        }
    }

    #[test]
    fn all_requirements_must_hold() {
        let mut selector = requirement(Operator::Exists, &[]);
        selector.match_labels = labels(&[("app", "shop")]);
        assert!(selector.matches(&labels(&[("app", "shop"), ("tier", "x")])));
        assert!(!selector.matches(&labels(&[("app", "shop")])));
    }
}
