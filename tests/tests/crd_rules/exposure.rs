//! The part of the table about how a pipeline is exposed.

use crate::pipeline::{HTTP, PIPELINE};
use crate::shapes::Shape;
use crate::table::{Case, accepted, refused, refused_alike};

const HOST: &str = "must be a host name in lower case, such as orders.example.org or *.example.org";

pub(crate) fn cases() -> Vec<Case> {
    let peers = ["subscribers", "scrapers"].map(peers).concat();
    [service(), route(), ingress(), policy(), peers].concat()
}

fn exposure(rest: &str) -> String {
    format!("spec: {{exposure: {{{rest}}}}}")
}

fn shape<'a>(path: &'a str, patch: &'a str) -> Shape<'a> {
    Shape { base: PIPELINE, path, patch }
}

fn service() -> Vec<Case> {
    let field = |name: &str| format!("spec.exposure.service.{name}");
    let kind = exposure("service: {type: $}");
    let policy = exposure("service: {type: NodePort, externalTrafficPolicy: $}");
    let protocol = exposure("service: {appProtocol: $}");
    let annotations = exposure("service: {annotations: $}");
    let inside =
        "has a meaning for the types NodePort and LoadBalancer only: set one of them, or remove it";
    [
        vec![
            accepted(HTTP, &exposure("service: {type: LoadBalancer}")),
            refused_alike(
                PIPELINE,
                &exposure("service: {externalTrafficPolicy: Local}"),
                &field("externalTrafficPolicy"),
                inside,
            ),
        ],
        shape(&field("type"), &kind).choice(&["ClusterIP", "NodePort", "LoadBalancer"]),
        shape(&field("externalTrafficPolicy"), &policy).choice(&["Cluster", "Local"]),
        shape(&field("appProtocol"), &protocol).choice(&["Http", "WebSocket"]),
        shape(&field("annotations"), &annotations).annotations(32),
    ]
    .concat()
}

fn route() -> Vec<Case> {
    let field = |name: &str| format!("spec.exposure.httpRoute.{name}");
    let patch = |rest: &str| exposure(&format!("httpRoute: {{{rest}}}"));
    let parents = |list: &str| patch(&format!("parentRefs: [{list}]"));
    let hosts = |list: &str| patch(&format!("parentRefs: [{{name: a}}], hostnames: [{list}]"));
    let name = [field("parentRefs[0].name"), parents("{name: $}")];
    let section = [field("parentRefs[0].sectionName"), parents("{name: a, sectionName: $}")];
    let scheme = [field("scheme"), patch("parentRefs: [{name: a}], scheme: $")];
    let count = |count: usize, said: &str| {
        (
            format!("{}: {said}", field("parentRefs")),
            format!("{}: must have 1 to 8 items, not {count}", field("parentRefs")),
        )
    };
    let least =
        "Invalid value: 0: spec.exposure.httpRoute.parentRefs in body should have at least 1 items";
    let none = count(0, least);
    let many = count(9, "Too many: 9: must have at most 8 items");
    let longer = "a".repeat(254);
    let hostnames = field("hostnames");
    [
        vec![
            accepted(PIPELINE, &hosts("a.test, '*.a.test'")),
            accepted(HTTP, &parents("{name: a, namespace: b}")),
            accepted(PIPELINE, &hosts(&["a"; 16].join(", "))),
            refused(PIPELINE, &parents(""), &none.0, &none.1),
            refused(PIPELINE, &parents(&["{name: a}"; 9].join(", ")), &many.0, &many.1),
            shape(&field("parentRefs"), "").required(&patch("")),
            shape(&name[0], "").required(&parents("{namespace: a}")),
            refused(
                PIPELINE,
                &hosts(&["a"; 17].join(", ")),
                &format!("{hostnames}: Too many: 17: must have at most 16 items"),
                &format!("{hostnames}: must have at most 16 items, not 17"),
            ),
            refused(
                PIPELINE,
                &hosts(&longer),
                &format!("{hostnames}[0]: Too long: may not be more than 253 bytes"),
                &format!("{hostnames}: {HOST}"),
            ),
        ],
        ["A.test", "a.*.test", "''", "'*'", "a..b", "a/b"]
            .map(|host| refused_alike(PIPELINE, &hosts(host), &hostnames, HOST))
            .to_vec(),
        shape(&name[0], &name[1]).name("a Gateway"),
        shape(&section[0], &section[1]).name("a listener"),
        shape(&scheme[0], &scheme[1]).choice(&["Https", "Http"]),
    ]
    .concat()
}

fn ingress() -> Vec<Case> {
    let field = |name: &str| format!("spec.exposure.ingress.{name}");
    let patch = |rest: &str| exposure(&format!("ingress: {{{rest}}}"));
    let class = [field("className"), patch("host: a.test, className: $")];
    let secret = [field("tls.secretName"), patch("host: a.test, tls: {secretName: $}")];
    let annotations = [field("annotations"), patch("host: a.test, annotations: $")];
    let beside = "must not stand beside httpRoute: set one of them";
    let longer = "a".repeat(254);
    let both = exposure("ingress: {host: a.test}, httpRoute: {parentRefs: [{name: a}]}");
    [
        vec![
            accepted(PIPELINE, &patch("host: '*.a.test', tls: {}")),
            refused_alike(PIPELINE, &both, "spec.exposure.ingress", beside),
            shape(&field("host"), "").required(&patch("tls: {}")),
            refused(
                PIPELINE,
                &patch("host: A.test"),
                &format!("{}: Invalid value: \"A.test\": {HOST}", field("host")),
                &format!("{}: {HOST}", field("host")),
            ),
            refused(
                PIPELINE,
                &patch(&format!("host: {longer}")),
                &format!("{}: Too long: may not be more than 253 bytes", field("host")),
                &format!("{}: {HOST}", field("host")),
            ),
        ],
        shape(&class[0], &class[1]).name("an IngressClass"),
        shape(&secret[0], &secret[1]).name("a Secret"),
        shape(&annotations[0], &annotations[1]).annotations(32),
    ]
    .concat()
}

fn policy() -> Vec<Case> {
    let gateway = "needs placement.gateway: of an application's pods it would close the application's own ports, too";
    let policy = exposure("networkPolicy: {}");
    vec![
        accepted(PIPELINE, &policy),
        refused_alike(HTTP, &policy, "spec.exposure.networkPolicy", gateway),
    ]
}

/// Those who are let in to one of the ports.
fn peers(who: &str) -> Vec<Case> {
    let list = format!("spec.exposure.networkPolicy.{who}");
    let patch = |peers: &str| exposure(&format!("networkPolicy: {{{who}: [{peers}]}}"));
    let one = "set cidr alone, or one or both of namespace and podLabels";
    let cidr = "must be addresses and their common bits, such as 10.0.0.0/8";
    let many = |count: usize| vec!["{namespace: a}"; count].join(", ");
    let labels = [format!("{list}[0].podLabels"), patch("{podLabels: $}")];
    let wrong = |text: &str| {
        let field = format!("{list}[0].cidr");
        refused(
            PIPELINE,
            &patch(&format!("{{cidr: {text}}}")),
            &format!("{field}: Invalid value: \"{text}\": {cidr}"),
            &format!("{field}: {cidr}"),
        )
    };
    let longer = format!("10.0.0.0/{}8", "0".repeat(34));
    [
        vec![
            accepted(PIPELINE, &patch("{cidr: 10.0.0.0/8}, {cidr: 'fd00::/8'}")),
            accepted(PIPELINE, &patch("{namespace: a, podLabels: {b: c}}")),
            accepted(PIPELINE, &patch(&many(16))),
            refused(
                PIPELINE,
                &patch(&many(17)),
                &format!("{list}: Too many: 17: must have at most 16 items"),
                &format!("{list}: must have at most 16 items, not 17"),
            ),
            refused_alike(PIPELINE, &patch("{}"), &format!("{list}[0]"), one),
            refused_alike(PIPELINE, &patch("{podLabels: {}}"), &format!("{list}[0]"), one),
            refused_alike(
                PIPELINE,
                &patch("{cidr: 10.0.0.0/8, namespace: a}"),
                &format!("{list}[0]"),
                one,
            ),
            refused(
                PIPELINE,
                &patch(&format!("{{cidr: {longer}}}")),
                &format!("{list}[0].cidr: Too long: may not be more than 43 bytes"),
                &format!("{list}[0].cidr: {cidr}"),
            ),
        ],
        ["10.0.0.0", "10.0.0.0/33", "10.0/8", "a/8", "10.0.0.0/08"].map(wrong).to_vec(),
        shape(&labels[0], &labels[1]).labels(),
    ]
    .concat()
}
