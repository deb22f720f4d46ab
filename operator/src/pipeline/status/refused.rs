//! Says of workloads whose pods are selected why they can't make them, and what to do: a pod that was
//! refused is nowhere to be seen.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::remedy::of_amounts;
use crate::injection::granted;
use crate::pipeline::observe::{Observed, Workload};

/// The words; `None` where every workload makes its pods.
pub(super) fn find(observed: &Observed) -> Option<String> {
    let mut refused = observed
        .workloads
        .iter()
        .filter_map(|workload| workload.refused.as_ref().map(|message| (workload, message)));
    let (workload, message) = refused.next()?;
    let others = match refused.count() {
        0 => String::new(),
        more => format!(" and {more} more workloads"),
    };
    let id = workload.id();
    Some(format!("{id}{others} can't make pods: {message}: {}", remedy(observed, message)))
}

/// The workload that is to make pods, where none is there and nothing is known of what keeps it from that.
pub(super) fn pending(observed: &Observed) -> Option<&Workload> {
    let is_any = observed.pods.iter().any(|pod| pod.selected);
    let mut short = observed.workloads.iter().filter(|workload| workload.short);
    short.find(|workload| !is_any && workload.refused.is_none())
}

/// What helps against the refusals that there are most likely to be.
fn remedy(observed: &Observed, message: &str) -> String {
    let opt_out = "label them weir.dev/injection=disabled to have them without the sidecar";
    if message.contains("exceeded quota") {
        let granted = granted(&[&observed.pipeline]);
        let (requests, limits) =
            (granted.requests.unwrap_or_default(), granted.limits.unwrap_or_default());
        let of = |amounts: &BTreeMap<String, Quantity>, kind: &str| {
            amounts.get(kind).map(|amount| amount.0.clone()).unwrap_or_default()
        };
        format!(
            "raise the quota (each sidecar asks for {} of CPU and {} of memory, and may use {}; \
             placement.sidecar.resources can grant it less), or {opt_out}",
            of(&requests, "cpu"),
            of(&requests, "memory"),
            of(&limits, "memory"),
        )
    } else if message.contains("must specify") {
        format!(
            "set placement.sidecar.resources.limits.cpu, because the sidecar has no limit of CPU else, or give the \
             namespace a LimitRange with defaults, or {opt_out}"
        )
    } else if message.contains("violates PodSecurity") {
        format!(
            "the sidecar keeps to the restricted level, so have the pods' own containers and volumes keep to \
             it, or {opt_out}"
        )
    } else if let Some(remedy) = of_amounts(message, "placement.sidecar") {
        format!("{remedy}, or {opt_out}")
    } else {
        format!("have whoever refuses them admit the container weir-sidecar, or {opt_out}")
    }
}
