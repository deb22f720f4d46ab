//! The expression of a pipeline's policy: it gives the operations of a JSON Patch. What is added is made by the
//! same functions as in the webhook's patches; what is there already is found out by the expression.

use kube::ResourceExt;
use serde_json::{Value, json};
use weir_crds::names::{PUBLISH_URL_ENV, SOCKET_DIR, annotation, label};
use weir_crds::v1alpha1::StreamPipeline;

use super::cel::{add, literal, text, when};
use super::{obstacle, resources};
use crate::injection::parts;
use crate::labels;
use crate::sidecar::{Image, grace_seconds};

/// How many containers of an application are connected.
const MOST_CONTAINERS: usize = 64;

/// What the expression refers to by `variables.NAME`, in the order of their use.
pub(super) fn variables(pipeline: &StreamPipeline) -> Vec<(&'static str, String)> {
    let places: Vec<String> = (0..MOST_CONTAINERS).map(|place| place.to_string()).collect();
    let places = format!("[{}].filter(i, i < size(object.spec.containers))", places.join(", "));
    let mut variables = obstacle::variables(pipeline);
    variables.push(("places", places));
    variables
}

/// The expression.
pub(super) fn patch(pipeline: &StreamPipeline, image: &Image) -> String {
    let refusal = [
        missing_object("annotations"),
        set("annotations", annotation::NOT_INJECTED, "variables.obstacle"),
    ];
    let parts = [
        mark(pipeline),
        volumes(pipeline),
        sidecar(pipeline, image),
        pull_secrets(image),
        application(pipeline),
    ];
    let injection = parts.concat().into_iter().chain([grace(pipeline)]);
    format!(
        "variables.obstacle != \"\" ? {} : {}",
        refusal.join(" + "),
        injection.collect::<Vec<_>>().join(" + ")
    )
}

/// Makes the labels or annotations where there are none.
fn missing_object(field: &str) -> String {
    let path = text(&format!("/metadata/{field}"));
    when(&format!("!has(object.metadata.{field})"), &[add(&path, "{}")])
}

/// Sets a label or an annotation to what an expression says, where it is not that already.
fn set(field: &str, key: &str, value: &str) -> String {
    let found = format!("object.metadata.{field}");
    let key_text = text(key);
    let stands = format!("has({found}) && {key_text} in {found} && {found}[{key_text}] == {value}");
    let path = text(&format!("/metadata/{field}/{}", escaped(key)));
    when(&format!("!({stands})"), &[add(&path, value)])
}

/// A key as a JSON Pointer has it.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn mark(pipeline: &StreamPipeline) -> Vec<String> {
    let name = pipeline.name_any();
    let own = text(&name);
    let noted = format!("object.metadata.annotations[{}]", text(annotation::PIPELINES));
    let has_noted = format!(
        "has(object.metadata.annotations) && {} in object.metadata.annotations",
        text(annotation::PIPELINES)
    );
    let all = format!(
        "({has_noted} ? ({own} in {noted}.split(\",\") ? {noted} : {noted} + \",\" + {own}) : {own})"
    );
    vec![
        missing_object("labels"),
        set("labels", label::INJECTED, "\"true\""),
        set("labels", &labels::member(&name), "\"true\""),
        missing_object("annotations"),
        set("annotations", annotation::PIPELINES, &all),
    ]
}

/// Appends items to a list of the pod unless one with the same text under `key` is there.
fn append_all(list: &str, path: &str, key: &str, items: &[Value]) -> Vec<String> {
    let has = format!("has({list})");
    let mut operations = vec![when(&format!("!{has}"), &[add(&text(path), "[]")])];
    for item in items {
        let own = literal(item.get(key).unwrap_or(&Value::Null));
        let stands = format!("{has} && {list}.exists(x, x.{key} == {own})");
        let operation = add(&text(&format!("{path}/-")), &literal(item));
        operations.push(when(&format!("!({stands})"), &[operation]));
    }
    operations
}

fn volumes(pipeline: &StreamPipeline) -> Vec<String> {
    append_all("object.spec.volumes", "/spec/volumes", "name", &parts::volumes(&[pipeline]))
}

fn pull_secrets(image: &Image) -> Vec<String> {
    match &*parts::pull_secrets(image) {
        [] => Vec::new(),
        secrets => {
            append_all("object.spec.imagePullSecrets", "/spec/imagePullSecrets", "name", secrets)
        }
    }
}

/// Adds the sidecar, or joins the one that is there.
fn sidecar(pipeline: &StreamPipeline, image: &Image) -> Vec<String> {
    let absent = "variables.sidecar < 0";
    let container = parts::sidecar(&[pipeline], image);
    let noted = text(&format!("/metadata/annotations/{}", escaped(annotation::SIDECAR_IMAGE)));
    let mut operations = vec![
        when(
            &format!("{absent} && !has(object.spec.initContainers)"),
            &[add(&text("/spec/initContainers"), "[]")],
        ),
        when(
            absent,
            &[
                add(&text("/spec/initContainers/0"), &literal(&container)),
                add(&noted, &text(&image.reference)),
            ],
        ),
    ];
    let there = "object.spec.initContainers[variables.sidecar]";
    for mount in parts::sidecar_mounts(&[pipeline]) {
        let own = text(&mount.mount_path);
        let stands = format!(
            "has({there}.volumeMounts) && {there}.volumeMounts.exists(x, x.mountPath == {own})"
        );
        let path = "\"/spec/initContainers/\" + string(variables.sidecar) + \"/volumeMounts/-\"";
        let mount = serde_json::to_value(mount).unwrap_or_default();
        let operation = add(path, &literal(&mount));
        operations.push(when(&format!("!({absent}) && !({stands})"), &[operation]));
    }
    operations.extend(resources::more(pipeline));
    operations
}

/// What each container of the application needs to publish.
fn application(pipeline: &StreamPipeline) -> Vec<String> {
    let mount = serde_json::to_value(parts::socket_mount()).unwrap_or_default();
    let mount_path = text(SOCKET_DIR);
    let container = "object.spec.containers[i]";
    let every = |lacks: &str, below: &str, value: &str| {
        let path = format!("\"/spec/containers/\" + string(i) + {}", text(below));
        format!("variables.places.filter(i, {lacks}).map(i, {})", add(&path, value))
    };
    let unmounted = format!(
        "!(has({container}.volumeMounts) && {container}.volumeMounts.exists(x, x.mountPath == {mount_path}))"
    );
    let mut operations = vec![
        every(&format!("!has({container}.volumeMounts)"), "/volumeMounts", "[]"),
        every(&unmounted, "/volumeMounts/-", &literal(&mount)),
        every(&format!("!has({container}.env)"), "/env", "[]"),
    ];
    // In reverse, as each goes to the front.
    let posted = pipeline.spec.sources.iter().any(|source| source.http.is_some());
    let mut environment = parts::environment(&[pipeline]);
    // The URL is of the first pipeline into which the application can publish.
    environment.retain(|(name, _)| posted || *name != PUBLISH_URL_ENV);
    for (name, value) in environment.into_iter().rev() {
        let lacks = format!(
            "!(has({container}.env) && {container}.env.exists(x, x.name == {}))",
            text(name)
        );
        let variable = json!({ "name": name, "value": value });
        operations.push(every(&lacks, "/env/0", &literal(&variable)));
    }
    operations
}

fn grace(pipeline: &StreamPipeline) -> String {
    let needed = grace_seconds([&pipeline.spec.delivery.drain.window]);
    let granted = "object.spec.terminationGracePeriodSeconds";
    let default = parts::DEFAULT_GRACE_SECONDS;
    let short = format!("(has({granted}) ? {granted} : {default}) < {needed}");
    let path = text("/spec/terminationGracePeriodSeconds");
    when(&short, &[add(&path, &needed.to_string())])
}
