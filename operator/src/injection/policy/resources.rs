//! What a sidecar is granted in addition when a pipeline joins it, as operations: room for its log, and what it asks
//! for where that is more than is there.

use kube::ResourceExt;
use weir_crds::scalar::{Cores, Quantity};
use weir_crds::v1alpha1::{Amounts, Resources, StreamPipeline};

use super::cel::{add, text, when};
use crate::injection::granted::asked;
use crate::injection::parts;

/// The sidecar's resources.
const THERE: &str = "object.spec.initContainers[variables.sidecar].resources";

/// The operations; limits first, so that no request is ever above its limit.
pub(super) fn more(pipeline: &StreamPipeline) -> Vec<String> {
    let nothing = (Resources::default(), Amounts::default());
    let Resources { requests, limits } = asked(pipeline).unwrap_or(&nothing.0);
    let requests = requests.as_ref().unwrap_or(&nothing.1);
    let limits = limits.as_ref().unwrap_or(&nothing.1);
    let cpu = |amounts: &Amounts| amounts.cpu.as_ref().map(Cores::to_string);
    let memory = |amounts: &Amounts| amounts.memory.as_ref().map(Quantity::to_string);
    let joins = joins(pipeline);
    let mut operations =
        vec![more_memory(pipeline, &joins, memory(limits).or(memory(requests)).as_deref())];
    if let Some(limit) = cpu(limits) {
        operations.push(first_limit(&joins, &limit));
    }
    if let Some(limit) = cpu(limits).or(cpu(requests)) {
        operations.push(raised(&joins, "limits", "cpu", &limit));
    }
    for (kind, request) in [("cpu", cpu(requests)), ("memory", memory(requests))] {
        operations.extend(request.map(|request| raised(&joins, "requests", kind, &request)));
    }
    operations
}

/// Whether the pipeline joins a sidecar that another one has added.
fn joins(pipeline: &StreamPipeline) -> String {
    let mounts = "object.spec.initContainers[variables.sidecar].volumeMounts";
    let manifests = text(&parts::manifests_mount(&pipeline.name_any()).mount_path);
    format!("variables.sidecar >= 0 && !{mounts}.exists(x, x.mountPath == {manifests})")
}

/// Whether the sidecar has an amount of this kind, and that amount as a text.
fn there(field: &str, kind: &str) -> (String, String) {
    let amounts = format!("{THERE}.{field}");
    let key = text(kind);
    let is = format!("has({THERE}) && has({amounts}) && {key} in {amounts}");
    (is, format!("string({amounts}[{key}])"))
}

fn path(field: &str, kind: &str) -> String {
    let below = text(&format!("/resources/{field}/{kind}"));
    format!("\"/spec/initContainers/\" + string(variables.sidecar) + {below}")
}

/// The larger of two amounts, each an expression for a text.
fn larger(one: &str, other: &str) -> String {
    format!("(quantity({one}).isLessThan(quantity({other})) ? {other} : {one})")
}

/// Room for the log, twice over, and at least what is wanted.
fn more_memory(pipeline: &StreamPipeline, joins: &str, wanted: Option<&str>) -> String {
    let mebibytes = 2 * pipeline.spec.log.retention.max_bytes.bytes().div_ceil(1 << 20);
    let (is, limit) = there("limits", "memory");
    let sum = format!(
        "({limit}.endsWith(\"Mi\") ? string(int({limit}.replace(\"Mi\", \"\")) + {mebibytes}) + \"Mi\" : \
         string(quantity({limit}).add(quantity(\"{mebibytes}Mi\")).asInteger()))"
    );
    let value = wanted.map_or_else(|| sum.clone(), |wanted| larger(&sum, &text(wanted)));
    when(&format!("{joins} && {is}"), &[add(&path("limits", "memory"), &value)])
}

/// A limit of CPU where there is none yet, not below what is requested.
fn first_limit(joins: &str, limit: &str) -> String {
    let ((limited, _), (requests, request)) = (there("limits", "cpu"), there("requests", "cpu"));
    let value = format!("({requests} ? {} : {})", larger(&text(limit), &request), text(limit));
    let condition = format!("{joins} && has({THERE}) && has({THERE}.limits) && !({limited})");
    when(&condition, &[add(&path("limits", "cpu"), &value)])
}

/// At least this amount, where there is a smaller one.
fn raised(joins: &str, field: &str, kind: &str, wanted: &str) -> String {
    let (is, amount) = there(field, kind);
    let wanted = text(wanted);
    let less = format!("quantity({amount}).isLessThan(quantity({wanted}))");
    when(&format!("{joins} && {is} && {less}"), &[add(&path(field, kind), &wanted)])
}
