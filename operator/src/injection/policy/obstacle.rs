//! What keeps a pod from being injected, as an expression: the same as the webhook finds, in the same order and
//! words.

use weir_crds::names::{SIDECAR_CONTAINER, SOCKET_DIR};
use weir_crds::v1alpha1::StreamPipeline;

use super::cel::text;
use crate::injection::granted::{asked, granted};
use crate::injection::obstacle::{
    AFTER, BETWEEN, FOR_WINDOWS, HOST_NETWORK, KINDS, OS_LABEL, OWN_CONTAINER, OWN_INIT_CONTAINER,
    PORTS, WINDOWS, Wanted, before, own_volume,
};
use crate::injection::parts;

/// What the expression refers to by `variables.NAME`, in the order of their use.
pub(super) fn variables(pipeline: &StreamPipeline) -> Vec<(&'static str, String)> {
    let (ports, name) = (ports(), text(SIDECAR_CONTAINER));
    let native = "has(c.restartPolicy) && c.restartPolicy == \"Always\"";
    let inits = |condition: &str| {
        format!(
            "(has(object.spec.initContainers) ? object.spec.initContainers.filter(c, {condition}) : [])"
        )
    };
    vec![
        // Every native sidecar but ours, and with the containers all that run as long as the pod does.
        ("beside", inits(&format!("{native} && c.name != {name}"))),
        ("running", "object.spec.containers + variables.beside".to_owned()),
        ("ending", inits(&format!("!({native})"))),
        (
            "taken",
            format!(
                "variables.running.filter(c, has(c.ports) && c.ports.exists(p, p.containerPort in [{ports}]))"
            ),
        ),
        // Where the sidecar is among the init containers.
        (
            "sidecar",
            format!(
                "has(object.spec.initContainers) ? object.spec.initContainers.map(c, \
                 c.name).indexOf({name}) : -1"
            ),
        ),
        ("obstacle", obstacle(pipeline)),
    ]
}

fn ports() -> String {
    PORTS.map(|port| port.to_string()).join(", ")
}

/// Why the pod can't be injected; empty where it can.
fn obstacle(pipeline: &StreamPipeline) -> String {
    let found = system().into_iter().chain(names()).chain([port()]);
    let found = found.chain(volumes(pipeline)).chain(room(pipeline));
    let cases: Vec<String> = found.map(|(when, words)| format!("{when} ? {words} : ")).collect();
    format!("{}\"\"", cases.concat())
}

/// An obstacle: when it is one, and its words.
type Case = (String, String);

fn system() -> Vec<Case> {
    let (label, windows) = (text(OS_LABEL), text(WINDOWS));
    let spec = "object.spec";
    let affinity = format!("{spec}.affinity.nodeAffinity");
    let required = format!("{affinity}.requiredDuringSchedulingIgnoredDuringExecution");
    let given = format!("has({spec}.affinity) && has({affinity}) && has({required})");
    let for_windows = format!(
        "has(t.matchExpressions) && t.matchExpressions.exists(e, e.key == {label} && e.operator == \"In\" && \
         has(e.values) && size(e.values) > 0 && e.values.all(v, v == {windows}))"
    );
    let terms = format!("{required}.nodeSelectorTerms");
    let selected = format!("{spec}.nodeSelector");
    let any = [
        format!("has({spec}.os) && {spec}.os.name == {windows}"),
        format!("has({selected}) && {label} in {selected} && {selected}[{label}] == {windows}"),
        format!("{given} && size({terms}) > 0 && {terms}.all(t, {for_windows})"),
    ];
    vec![
        (format!("has({spec}.hostNetwork) && {spec}.hostNetwork"), text(HOST_NETWORK)),
        (format!("({})", any.join(" || ")), text(FOR_WINDOWS)),
    ]
}

fn names() -> Vec<Case> {
    let (name, socket) = (text(SIDECAR_CONTAINER), text(SOCKET_DIR));
    let ours = format!(
        "has(c.restartPolicy) && c.restartPolicy == \"Always\" && has(c.volumeMounts) && \
         c.volumeMounts.exists(m, m.mountPath == {socket})"
    );
    let inits = "object.spec.initContainers";
    vec![
        (format!("object.spec.containers.exists(c, c.name == {name})"), text(OWN_CONTAINER)),
        (
            format!("has({inits}) && {inits}.exists(c, c.name == {name} && !({ours}))"),
            text(OWN_INIT_CONTAINER),
        ),
    ]
}

fn port() -> Case {
    let ports = ports();
    let first = "variables.taken[0]";
    let needed = text(", which the sidecar needs: it takes 7070, 7071 and 7072");
    let words = format!(
        "\"its container \" + {first}.name + \" has port \" + string({first}.ports.filter(p, p.containerPort in \
         [{ports}])[0].containerPort) + {needed}"
    );
    ("size(variables.taken) > 0".to_owned(), words)
}

fn volumes(pipeline: &StreamPipeline) -> Vec<Case> {
    let list = "object.spec.volumes";
    let one = |volume: &serde_json::Value| {
        let name = volume.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let met = match Wanted::of(volume) {
            Wanted::Named { source, field, is } => format!(
                "has(v.{source}) && has(v.{source}.{field}) && v.{source}.{field} == {}",
                text(is)
            ),
            Wanted::Directory(kinds) => kinds.map(|kind| format!("has(v.{kind})")).join(" || "),
        };
        let when = format!("has({list}) && {list}.exists(v, v.name == {} && !({met}))", text(name));
        (when, text(&own_volume(name)))
    };
    parts::volumes(&[pipeline]).iter().map(one).collect()
}

/// Sums are made of whole numbers: thousandths of a core, and bytes.
fn room(pipeline: &StreamPipeline) -> Vec<Case> {
    let requests = granted(&[pipeline]).requests.unwrap_or_default();
    let whole = "object.spec.resources";
    // Who joins a sidecar changes what it requests only where it asks for something itself.
    let grows = if asked(pipeline).is_some() { "true" } else { "variables.sidecar < 0" };
    let one = |kind: &str| {
        let own = &requests.get(kind)?.0;
        let (key, there) = (text(kind), format!("{whole}.requests[{}]", text(kind)));
        let given = format!(
            "has({whole}) && has({whole}.requests) && {key} in {whole}.requests && {grows}"
        );
        let requested = format!(
            "(has(c.resources) && has(c.resources.requests) && {key} in c.resources.requests ? {} : 0)",
            amount(kind, &format!("c.resources.requests[{key}]"))
        );
        let all = |list: &str| format!("([0] + variables.{list}.map(c, {requested}))");
        let (running, beside, ending) = (all("running"), all("beside"), all("ending"));
        let needed = format!(
            "[{running}.sum(), {ending}.max() + {beside}.sum()].max() + {}",
            amount(kind, &text(own))
        );
        let words = format!(
            "{} + string({there}) + {}",
            text(&before(kind)),
            text(&format!("{BETWEEN}{own}{AFTER}"))
        );
        Some((format!("{given} && {} < {needed}", amount(kind, &there)), words))
    };
    KINDS.into_iter().filter_map(one).collect()
}

/// An expression for an amount as a whole number.
fn amount(kind: &str, quantity: &str) -> String {
    let factor = if kind == "cpu" { " * 1000.0" } else { "" };
    format!("int(quantity(string({quantity})).asApproximateFloat(){factor} + 0.5)")
}
