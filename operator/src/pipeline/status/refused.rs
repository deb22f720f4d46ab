//! Says of workloads whose pods are selected why they can't make them, and what to do: a pod that was
//! refused is nowhere to be seen.

use crate::pipeline::observe::Observed;
use crate::sidecar::{REQUESTED, memory_mebibytes};

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

/// What helps against the refusals that there are most likely to be.
fn remedy(observed: &Observed, message: &str) -> String {
    let opt_out = "label them weir.dev/injection=disabled to have them without the sidecar";
    if message.contains("exceeded quota") {
        let memory = memory_mebibytes(observed.pipeline.spec.log.retention.max_bytes.bytes());
        let [cpu, requested] = REQUESTED.map(|(_, amount)| amount);
        format!(
            "raise the quota (each sidecar asks for {cpu} of CPU and {requested} of memory, and may use \
             {memory}Mi), or {opt_out}"
        )
    } else if message.contains("must specify") {
        format!(
            "give the namespace a LimitRange with defaults, because the sidecar has no limit of CPU, or \
             {opt_out}"
        )
    } else if message.contains("violates PodSecurity") {
        format!(
            "the sidecar keeps to the restricted level, so have the pods' own containers and volumes keep to \
             it, or {opt_out}"
        )
    } else {
        format!("have whoever refuses them admit the container weir-sidecar, or {opt_out}")
    }
}
