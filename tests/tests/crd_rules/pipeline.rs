//! The part of the table about StreamPipeline: its unions, its lists and what holds between fields.

use crate::table::{Case, accepted, refused, refused_alike};

/// The least that is valid.
pub(crate) const PIPELINE: &str = "
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: orders}
spec:
  placement: {gateway: {}}
  sources: [{name: app, generator: {rate: 20}}]
";

/// The least that is valid beside an application that posts.
pub(crate) const HTTP: &str = "
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: orders}
spec:
  placement: {sidecar: {selector: {matchLabels: {app: shop}}}}
  sources: [{name: app, http: {}}]
";

pub(crate) fn cases() -> Vec<Case> {
    let rules = [name(), placement(), sources(), log(), disk(), endpoints(), durable_streams()];
    [rules.concat(), publishing(), delivery(), types()].concat()
}

fn name() -> Vec<Case> {
    let sentence = "must be a DNS label of at most 52 characters that starts with a letter, because it names a Service and stands in every URL";
    let named = |name: &str| format!("metadata: {{name: {name}}}");
    let (longest, longer) = ("a".repeat(52), "a".repeat(53));
    let right = ["a", "a-1", &longest].map(|name| accepted(PIPELINE, &named(name)));
    let wrong = ["1a", "a.b", &longer].map(|name| {
        let server = format!("<nil>: Invalid value: metadata.name {sentence}");
        refused(PIPELINE, &named(name), &server, &format!("metadata.name: {sentence}"))
    });
    [right, wrong].concat()
}

fn placement() -> Vec<Case> {
    let one = "set exactly one of sidecar and gateway";
    let both = "set exactly one of sidecar and gateway; only a gateway is scaled, so with a sidecar scale the application";
    let sidecar = "sidecar: {selector: {matchLabels: {app: shop}}}";
    vec![
        accepted(PIPELINE, "spec: {placement: {gateway: {replicas: 2}}}"),
        accepted(PIPELINE, &format!("spec: {{placement: {{gateway: null, {sidecar}}}}}")),
        refused_alike(
            PIPELINE,
            &format!("spec: {{placement: {{{sidecar}}}}}"),
            "spec.placement",
            both,
        ),
        // What kubectl scale makes of it. Where the placement is wrong, nothing is said of what goes with a gateway.
        refused_alike(HTTP, "spec: {placement: {gateway: {replicas: 3}}}", "spec.placement", both),
        refused_alike(HTTP, "spec: {placement: {sidecar: null}}", "spec.placement", one),
        refused_alike(PIPELINE, "spec: {placement: {gateway: null}}", "spec.placement", one),
        refused(
            PIPELINE,
            "spec: {placement: null}",
            "spec.placement: Required value",
            "spec: missing field `placement`",
        ),
        refused(
            PIPELINE,
            "spec: {placement: {gateway: null, sidecar: {}}}",
            "spec.placement.sidecar.selector: Required value",
            "spec.placement.sidecar: missing field `selector`",
        ),
    ]
}

fn sources() -> Vec<Case> {
    let patch = |list: &str| format!("spec: {{sources: [{list}]}}");
    let numbered = |count: usize| {
        let sources = (0..count).map(|index| format!("{{name: s{index}, generator: {{rate: 1}}}}"));
        patch(&sources.collect::<Vec<_>>().join(", "))
    };
    let kind = "a source needs exactly one kind: set one of http and generator";
    vec![
        accepted(PIPELINE, &numbered(16)),
        accepted(HTTP, &patch("{name: app, http: {}}, {name: demo, generator: {rate: 1}}")),
        // What is nothing is not there.
        accepted(&PIPELINE.replace("gateway: {}", "gateway: {}, sidecar: null"), "{}"),
        accepted(&PIPELINE.replace("{rate: 20}", "{rate: 20}, http: null"), "{}"),
        refused_alike(HTTP, &patch("{name: app}"), "spec.sources[0]", kind),
        refused_alike(
            HTTP,
            &patch("{name: app, http: {}, generator: {rate: 1}}"),
            "spec.sources[0]",
            kind,
        ),
        refused(
            PIPELINE,
            &patch(""),
            "spec.sources: Invalid value: 0: spec.sources in body should have at least 1 items",
            "spec.sources: must have 1 to 16 sources",
        ),
        refused(
            PIPELINE,
            &numbered(17),
            "spec.sources: Too many: 17: must have at most 16 items",
            "spec.sources: must have 1 to 16 sources",
        ),
        refused(
            PIPELINE,
            &patch("{name: app, generator: {rate: 1}}, {name: app, generator: {rate: 2}}"),
            "spec.sources[1]: Duplicate value: {\"name\":\"app\"}",
            "spec.sources[1].name: \"app\" is used twice: each name must be unique",
        ),
        refused(PIPELINE, "spec: null", "spec: Required value", "missing field `spec`"),
        refused(
            PIPELINE,
            "spec: {sources: null}",
            "spec.sources: Required value",
            "spec: missing field `sources`",
        ),
        refused(
            PIPELINE,
            &patch("{generator: {rate: 1}}"),
            "spec.sources[0].name: Required value",
            "spec.sources[0]: missing field `name`",
        ),
        refused(
            PIPELINE,
            &patch("{name: app, generator: {}}"),
            "spec.sources[0].generator.rate: Required value",
            "spec.sources[0].generator: missing field `rate`",
        ),
    ]
}

fn log() -> Vec<Case> {
    let least = |bytes: &str| {
        format!(
            "spec: {{sources: [{{name: app, http: {{maxEventBytes: 64Ki}}}}], log: {{retention: {{maxBytes: {bytes}}}}}}}"
        )
    };
    let one = "set exactly one of memory, disk, redis and natsJetStream";
    let field = "spec.log.retention.maxBytes";
    let largest = "must not be less than the largest event that a source takes: raise it, or lower the source's http.maxEventBytes";
    vec![
        accepted(PIPELINE, "spec: {log: {storage: {memory: {}}}}"),
        accepted(HTTP, &least("64Ki")),
        accepted(HTTP, &least("'65536'")),
        refused_alike(HTTP, &least("'65535'"), field, largest),
        refused_alike(HTTP, &least("63Ki"), field, largest),
        refused_alike(PIPELINE, "spec: {log: {storage: {}}}", "spec.log.storage", one),
        refused_alike(
            PIPELINE,
            "spec: {log: {storage: {memory: {}, disk: {}}}}",
            "spec.log.storage",
            one,
        ),
        refused_alike(
            PIPELINE,
            "spec: {log: {storage: {redis: {address: 'redis:6379'}, natsJetStream: {address: 'nats:4222'}}}}",
            "spec.log.storage",
            one,
        ),
        accepted(
            PIPELINE,
            "spec: {log: {storage: {redis: {address: '[::1]:6379', keyPrefix: a-1}}}}",
        ),
        accepted(
            PIPELINE,
            "spec: {log: {storage: {natsJetStream: {address: 'nats.a:4222', stream: b}}}}",
        ),
        refused(
            PIPELINE,
            "spec: {log: {storage: {redis: {}}}}",
            "spec.log.storage.redis.address: Required value",
            "spec.log.storage.redis: missing field `address`",
        ),
        refused(
            PIPELINE,
            "spec: {log: {storage: {natsJetStream: {}}}}",
            "spec.log.storage.natsJetStream.address: Required value",
            "spec.log.storage.natsJetStream: missing field `address`",
        ),
    ]
}

fn disk() -> Vec<Case> {
    let disk = |size: &str, bytes: &str| {
        format!(
            "spec: {{log: {{storage: {{disk: {{size: {size}}}}}, retention: {{maxBytes: '{bytes}'}}}}}}"
        )
    };
    let size = "spec.log.storage.disk.size";
    let room = "must be at least 16Mi, and twice retention.maxBytes: raise it, or lower retention.maxBytes";
    let with_streams = |size: &str, streams: &str| {
        format!(
            "spec: {{log: {{storage: {{disk: {{size: {size}}}}}}}, \
             endpoints: {{sse: {{}}, durableStreams: {{anonymous: true, maxBytes: {streams}}}}}}}"
        )
    };
    let both = "must be at least twice retention.maxBytes and endpoints.durableStreams.maxBytes besides: raise it, or lower one of these";
    vec![
        accepted(PIPELINE, &with_streams("192Mi", "64Mi")),
        refused_alike(PIPELINE, &with_streams("192Mi", "65Mi"), size, both),
        accepted(PIPELINE, "spec: {log: {storage: {disk: {durability: Interval}}}}"),
        accepted(PIPELINE, &disk("128Mi", "64Mi")),
        accepted(PIPELINE, &disk("16Mi", "1")),
        refused_alike(PIPELINE, &disk("127Mi", "64Mi"), size, room),
        refused_alike(PIPELINE, &disk("15Mi", "1"), size, room),
        refused(
            PIPELINE,
            "spec: {log: {storage: {disk: {durability: Never}}}}",
            "spec.log.storage.disk.durability: Unsupported value: \"Never\": supported values: \"Fsync\", \"Interval\"",
            "spec.log.storage.disk.durability: unknown variant `Never`, expected `Fsync` or `Interval`",
        ),
    ]
}

fn endpoints() -> Vec<Case> {
    [readers(), tls()].concat()
}

fn tls() -> Vec<Case> {
    let secret =
        |name: &str| format!("spec: {{endpoints: {{sse: {{}}, tls: {{secretName: {name}}}}}}}");
    let field = "spec.endpoints.tls.secretName";
    let sentence = "must be the name of a Secret: lower-case letters, digits, hyphens and dots";
    let (longest, longer) = ("a".repeat(253), "a".repeat(254));
    let right =
        ["orders-tls", "orders.tls", "a", &longest].map(|name| accepted(PIPELINE, &secret(name)));
    let wrong = ["Orders", "a/b", "..", "-a"].map(|name| {
        let server = format!("{field}: Invalid value: \"{name}\": {sentence}");
        refused(PIPELINE, &secret(name), &server, &format!("{field}: {sentence}"))
    });
    let size = [
        refused(
            PIPELINE,
            &secret(&longer),
            &format!("{field}: Too long: may not be more than 253 bytes"),
            &format!("{field}: {sentence}"),
        ),
        refused(
            PIPELINE,
            "spec: {endpoints: {sse: {}, tls: {}}}",
            &format!("{field}: Required value"),
            "spec.endpoints.tls: missing field `secretName`",
        ),
    ];
    [right.to_vec(), wrong.to_vec(), size.to_vec()].concat()
}

fn readers() -> Vec<Case> {
    let none = "set at least one of sse and websocket, or nobody could read the stream";
    vec![
        accepted(PIPELINE, "spec: {endpoints: {sse: {}}}"),
        accepted(PIPELINE, "spec: {endpoints: {websocket: {}}}"),
        accepted(PIPELINE, "spec: {endpoints: {websocket: {}, read: {}}}"),
        refused_alike(PIPELINE, "spec: {endpoints: {read: {}}}", "spec.endpoints", none),
        refused_alike(PIPELINE, "spec: {endpoints: {}}", "spec.endpoints", none),
        refused_alike(
            HTTP,
            "spec: {endpoints: {publish: {anonymous: true}}}",
            "spec.endpoints",
            none,
        ),
    ]
}

fn durable_streams() -> Vec<Case> {
    let streams = |rest: &str| {
        format!("spec: {{{rest}endpoints: {{sse: {{}}, durableStreams: {{anonymous: true}}}}}}")
    };
    let one = "are in one replica, whatever the log: set placement.gateway.replicas to 1 without autoscaling, or remove endpoints.durableStreams";
    let field = "spec.endpoints.durableStreams";
    vec![
        accepted(PIPELINE, &streams("")),
        accepted(HTTP, &streams("")),
        refused_alike(PIPELINE, &streams("placement: {gateway: {replicas: 2}}, "), field, one),
    ]
}

/// What holds between sources, placement and `endpoints.publish`.
fn publishing() -> Vec<Case> {
    let open = "endpoints: {sse: {}, publish: {anonymous: true}}";
    vec![
        accepted(HTTP, &format!("spec: {{{open}}}")),
        accepted(HTTP, &format!("spec: {{placement: {{sidecar: null, gateway: {{}}}}, {open}}}")),
        refused_alike(
            PIPELINE,
            &format!("spec: {{{open}}}"),
            "spec.endpoints.publish",
            "needs a source of kind http to publish into: add one to sources, or remove endpoints.publish",
        ),
        refused_alike(
            HTTP,
            "spec: {placement: {sidecar: null, gateway: {}}}",
            "spec.sources",
            "a source of kind http in a gateway needs endpoints.publish, because no application shares the gateway's pods",
        ),
        refused_alike(
            HTTP,
            "spec: {sources: [{name: app, http: {}}, {name: other, http: {}}]}",
            "spec.sources",
            "at most one source may be of kind http, because /{pipeline}/events publishes into it",
        ),
    ]
}

fn delivery() -> Vec<Case> {
    let patch = |delivery: &str| format!("spec: {{delivery: {{{delivery}}}}}");
    let policies = ["Disconnect", "Conflate", "DropOldest", "Block"];
    let policies =
        policies.map(|name| accepted(PIPELINE, &patch(&format!("slowConsumer: {name}"))));
    let key = "spec.delivery.conflateKey";
    let keys = vec![
        accepted(PIPELINE, &patch("slowConsumer: Conflate, conflateKey: event.data.sensor")),
        refused_alike(
            PIPELINE,
            &patch("conflateKey: event.id"),
            key,
            "has a meaning only where slowConsumer is Conflate: set that, or remove conflateKey",
        ),
        refused(
            PIPELINE,
            &patch(&format!("slowConsumer: Conflate, conflateKey: {}", "x".repeat(2_049))),
            &format!("{key}: Too long: may not be more than 2048 bytes"),
            &format!("{key}: must have at most 2048 bytes"),
        ),
        refused(
            PIPELINE,
            &patch("slowConsumer: Wait"),
            "spec.delivery.slowConsumer: Unsupported value: \"Wait\": supported values: \"Disconnect\", \"Conflate\", \"DropOldest\", \"Block\"",
            "spec.delivery.slowConsumer: unknown variant `Wait`, expected one of `Disconnect`, `Conflate`, `DropOldest`, `Block`",
        ),
    ];
    [policies.into(), keys].concat()
}

/// The mistakes in YAML that are made most: quotes too many and too few.
fn types() -> Vec<Case> {
    vec![
        refused(
            PIPELINE,
            "spec: {endpoints: {sse: {heartbeat: 15}}}",
            "spec.endpoints.sse.heartbeat: Invalid value: \"integer\": spec.endpoints.sse.heartbeat in body must be of type string: \"integer\"",
            "spec.endpoints.sse.heartbeat: invalid type: integer `15`, expected a string",
        ),
        refused(
            PIPELINE,
            "spec: {placement: {gateway: {replicas: '2'}}}",
            "spec.placement.gateway.replicas: Invalid value: \"string\": spec.placement.gateway.replicas in body must be of type integer: \"string\", .spec.placement.gateway.replicas: Invalid value: 0: .spec.placement.gateway.replicas accessor error: 2 is of the type string, expected int64",
            "spec.placement.gateway.replicas: invalid type: string \"2\", expected i32",
        ),
        // The second sentence is the API server's own, about the field of the scale subresource, whatever the schema says.
        refused(
            PIPELINE,
            "spec: {placement: {gateway: {replicas: -1}}}",
            "spec.placement.gateway.replicas: Invalid value: -1: spec.placement.gateway.replicas in body should be greater than or equal to 1, .spec.placement.gateway.replicas: Invalid value: -1: should be a non-negative integer",
            "spec.placement.gateway.replicas: must be from 1 to 100, not -1",
        ),
        refused(
            PIPELINE,
            "spec: {sources: {app: {generator: {rate: 1}}}}",
            "spec.sources: Invalid value: \"object\": spec.sources in body must be of type array: \"object\"",
            "spec.sources: invalid type: map, expected a sequence",
        ),
    ]
}
