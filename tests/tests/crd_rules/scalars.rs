//! The part of the table about texts with a form: durations, percentages, amounts and names.

use crate::pipeline::{HTTP, PIPELINE};
use crate::slo::SLO;
use crate::table::{Case, accepted, refused};

/// A field that holds such a text.
struct Field {
    base: &'static str,
    path: &'static str,
    /// Sets the field; `$` stands for the text.
    patch: &'static str,
}

/// Every such text, longer than any that is well-formed.
const TOO_LONG: &str = "111111111111111111111111111111111";

const DURATION: &str = "a duration with its unit (ms, s, m or h), such as 250ms, 15s or 1h30m";
const WINDOW: &str = "a time window such as 30m, 12h, 28d or 4w";
const PERCENT: &str = "a percentage from 0 to 100 such as \"99.5\"";
const CORES: &str = "a number of cores such as 500m, 0.5 or 2";
const BYTES: &str = "a number of bytes such as 4096, 64Ki, 256Mi or 1Gi";

pub(crate) fn cases() -> Vec<Case> {
    let rest = [names(), addresses(), quantile()];
    [durations(), windows(), percentages(), amounts(), cores(), rest.concat()].concat()
}

/// Fields with their least and greatest durations, and two that are outside.
const DURATIONS: &[(Field, [&str; 2], [&str; 2])] = &[
    (
        pipeline("spec.endpoints.sse.heartbeat", "{spec: {endpoints: {sse: {heartbeat: $}}}}"),
        ["1s", "5m"],
        ["999ms", "5m1ms"],
    ),
    (
        pipeline("spec.endpoints.websocket.ping", "{spec: {endpoints: {websocket: {ping: $}}}}"),
        ["1s", "5m"],
        ["999ms", "5m1ms"],
    ),
    (
        pipeline("spec.delivery.maxConnectionAge", "{spec: {delivery: {maxConnectionAge: $}}}"),
        ["10s", "24h"],
        ["9s", "24h1ms"],
    ),
    (
        pipeline(
            "spec.endpoints.durableStreams.defaultTtl",
            "{spec: {endpoints: {sse: {}, durableStreams: {anonymous: true, defaultTtl: $}}}}",
        ),
        ["1s", "8760h"],
        ["999ms", "8760h1ms"],
    ),
    (
        pipeline(
            "spec.endpoints.durableStreams.longPoll",
            "{spec: {endpoints: {sse: {}, durableStreams: {anonymous: true, longPoll: $}}}}",
        ),
        ["1s", "5m"],
        ["999ms", "5m1ms"],
    ),
    (
        pipeline(
            "spec.endpoints.cors.maxAge",
            "{spec: {endpoints: {sse: {}, cors: {allowedOrigins: ['*'], maxAge: $}}}}",
        ),
        ["0s", "24h"],
        ["24h1ms", "25h"],
    ),
    (
        pipeline(
            "spec.auth.jwt.leeway",
            "{spec: {auth: {jwt: {issuer: i, audiences: [a], jwksUrl: 'http://i', leeway: $}}}}",
        ),
        ["0s", "2m"],
        ["2m1ms", "3m"],
    ),
    (
        pipeline(
            "spec.auth.tickets.ttl",
            "{spec: {auth: {jwt: {issuer: i, audiences: [a], jwksUrl: 'http://i'}, tickets: {ttl: $}}}}",
        ),
        ["5s", "5m"],
        ["4999ms", "5m1ms"],
    ),
    (
        pipeline(
            "spec.sources[0].generator.per",
            "{spec: {sources: [{name: app, generator: {rate: 20, per: $}}]}}",
        ),
        ["100ms", "1h"],
        ["99ms", "1h1ms"],
    ),
    (
        pipeline("spec.delivery.drain.window", "{spec: {delivery: {drain: {window: $}}}}"),
        ["0s", "10m"],
        ["10m1ms", "11m"],
    ),
    (
        pipeline(
            "spec.placement.gateway.autoscaling.scaleUp.stabilizationWindow",
            "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleUp: {stabilizationWindow: $}}}}}}",
        ),
        ["0s", "1h"],
        ["1h1ms", "2h"],
    ),
    (
        pipeline(
            "spec.placement.gateway.autoscaling.scaleDown.stabilizationWindow",
            "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleDown: {stabilizationWindow: $}}}}}}",
        ),
        ["0s", "1h"],
        ["1h1ms", "2h"],
    ),
    (
        pipeline(
            "spec.placement.gateway.autoscaling.scaleUp.policies[0].period",
            "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleUp: {policies: [{type: Pods, value: 1, period: $}]}}}}}}",
        ),
        ["1s", "30m"],
        ["999ms", "30m1ms"],
    ),
    (
        pipeline(
            "spec.placement.gateway.autoscaling.scaleDown.policies[0].period",
            "{spec: {placement: {gateway: {autoscaling: {maxReplicas: 2, lagPerReplica: 1, scaleDown: {policies: [{type: Pods, value: 1, period: $}]}}}}}}",
        ),
        ["1s", "30m"],
        ["999ms", "30m1ms"],
    ),
    (
        pipeline(
            "spec.placement.gateway.rebalance.window",
            "{spec: {log: {storage: {redis: {address: 'redis:6379'}}}, placement: {gateway: {rebalance: {window: $}}}}}",
        ),
        ["10s", "10m"],
        ["9999ms", "10m1ms"],
    ),
    (
        slo("spec.evaluation.interval", "{spec: {evaluation: {interval: $}}}"),
        ["5s", "5m"],
        ["4999ms", "5m1ms"],
    ),
    (
        slo(
            "spec.objectives[0].latency.threshold",
            "{spec: {objectives: [{name: a, target: '99', latency: {threshold: $}}]}}",
        ),
        ["1ms", "1h"],
        ["0s", "1h1ms"],
    ),
    (
        slo(
            "spec.objectives[0].delivery.settle",
            "{spec: {objectives: [{name: a, delivery: {settle: $}}]}}",
        ),
        ["1s", "1h"],
        ["999ms", "1h1ms"],
    ),
];

fn durations() -> Vec<Case> {
    let ranges = DURATIONS.iter().flat_map(|(field, [least, most], outside)| {
        let sentence = format!("must be from {least} to {most}");
        let outside = outside.map(|text| {
            let said = [quoted(text), sentence.clone()].join(": ");
            field.refused(text, &said, &format!("{sentence}, not {text}"))
        });
        [
            field.form(32, DURATION, &["5", "5x", "1.5s", "-1s", "1d"]),
            [*least, *most].map(|text| field.accepted(text)).into(),
            outside.into(),
        ]
        .concat()
    });
    ranges.chain(odd_durations()).collect()
}

/// Durations that are held to more, or less, than a range.
fn odd_durations() -> Vec<Case> {
    let age = pipeline("spec.log.retention.maxAge", "{spec: {log: {retention: {maxAge: $}}}}");
    let slice = slo(
        "spec.objectives[0].timeSlice.window",
        "{spec: {objectives: [{name: a, target: '99', latency: {threshold: 50ms, quantile: '0.95'}, timeSlice: {window: $}}]}}",
    );
    let sentence = "must be a multiple of 5s, from 5s to 1h";
    [
        age.form(32, DURATION, &["1d"]),
        vec![
            age.accepted("1s"),
            age.accepted("99999h99999h99999h"),
            age.refused("999ms", "\"999ms\": must be at least 1s", "must be at least 1s"),
        ],
        slice.form(32, DURATION, &["1d"]),
        ["5s", "1h", "25s", "1m30s"].map(|text| slice.accepted(text)).into(),
        ["0s", "1h5s", "7s", "5001ms"]
            .map(|text| slice.refused(text, &format!("{}: {sentence}", quoted(text)), sentence))
            .into(),
    ]
    .concat()
}

fn windows() -> Vec<Case> {
    let window = slo("spec.timeWindow.duration", "{spec: {timeWindow: {duration: $}}}");
    let sentence = "must be at most 32d, for which counts are kept";
    [
        window.form(5, WINDOW, &["5s", "0d", "01d", "1h30m", "28"]),
        ["1m", "9999m", "768h", "32d", "4w"].map(|text| window.accepted(text)).into(),
        ["769h", "33d", "5w"]
            .map(|text| window.refused(text, &format!("{}: {sentence}", quoted(text)), sentence))
            .into(),
    ]
    .concat()
}

fn percentages() -> Vec<Case> {
    let fields = [
        slo(
            "spec.objectives[0].target",
            "{spec: {objectives: [{name: a, target: $, errorRate: {}}]}}",
        ),
        slo("spec.evaluation.minCoverage", "{spec: {evaluation: {minCoverage: $}}}"),
    ];
    let of = |field: &Field| {
        let wrong = ["100.1", "101", "-1", "99.12345", "99,5", "99%", ".5", "001"];
        let right = ["0", "100", "100.0", "99.9999", "5"].map(|text| field.accepted(text));
        [field.form(8, PERCENT, &wrong), right.into()].concat()
    };
    fields.iter().flat_map(of).collect()
}

fn cores() -> Vec<Case> {
    let fields = [
        pipeline(
            "spec.placement.gateway.resources.requests.cpu",
            "{spec: {placement: {gateway: {resources: {requests: {cpu: $}}}}}}",
        ),
        pipeline(
            "spec.placement.gateway.resources.limits.cpu",
            "{spec: {placement: {gateway: {resources: {limits: {cpu: $}}}}}}",
        ),
        Field {
            base: HTTP,
            path: "spec.placement.sidecar.resources.requests.cpu",
            patch: "{spec: {placement: {sidecar: {resources: {requests: {cpu: $}}}}}}",
        },
        Field {
            base: HTTP,
            path: "spec.placement.sidecar.resources.limits.cpu",
            patch: "{spec: {placement: {sidecar: {resources: {limits: {cpu: $}}}}}}",
        },
    ];
    let of = |field: &Field| {
        let wrong = ["0", "0m", "0.0", "0.50", "01", "1.", ".5", "1000", "-1", "1k", "1.0001"];
        let right = ["500m", "0.5", "2", "999.999", "999999m"].map(|text| field.accepted(text));
        [field.form(7, CORES, &wrong), right.into()].concat()
    };
    fields.iter().flat_map(of).collect()
}

const WRONG_AMOUNTS: &[&str] = &["0", "1M", "1.5Gi", "-1", "5Ti", "01"];

fn amounts() -> Vec<Case> {
    let fields = [
        pipeline("spec.log.retention.maxBytes", "{spec: {log: {retention: {maxBytes: $}}}}"),
        pipeline("spec.delivery.maxLag.bytes", "{spec: {delivery: {maxLag: {bytes: $}}}}"),
        pipeline(
            "spec.endpoints.durableStreams.maxStreamBytes",
            "{spec: {endpoints: {sse: {}, durableStreams: {anonymous: true, maxStreamBytes: $}}}}",
        ),
        pipeline(
            "spec.endpoints.durableStreams.maxBytes",
            "{spec: {endpoints: {sse: {}, durableStreams: {anonymous: true, maxBytes: $}}}}",
        ),
        pipeline(
            "spec.endpoints.websocket.compression.minSize",
            "{spec: {endpoints: {websocket: {compression: {minSize: $}}}}}",
        ),
        pipeline(
            "spec.placement.gateway.resources.requests.memory",
            "{spec: {placement: {gateway: {resources: {requests: {memory: $}}}}}}",
        ),
        Field {
            base: HTTP,
            path: "spec.placement.sidecar.resources.requests.memory",
            patch: "{spec: {placement: {sidecar: {resources: {requests: {memory: $}}}}}}",
        },
        Field {
            base: HTTP,
            path: "spec.sources[0].http.maxEventBytes",
            patch: "{spec: {sources: [{name: app, http: {maxEventBytes: $}}]}}",
        },
    ];
    let limit = pipeline(
        "spec.placement.gateway.resources.limits.memory",
        "{spec: {placement: {gateway: {resources: {limits: {memory: $}}}}}}",
    );
    let beside = Field {
        base: HTTP,
        path: "spec.placement.sidecar.resources.limits.memory",
        patch: "{spec: {placement: {sidecar: {resources: {limits: {memory: $}}}}}}",
    };
    let size =
        pipeline("spec.log.storage.disk.size", "{spec: {log: {storage: {disk: {size: $}}}}}");
    let of = |field: &Field| {
        let right = ["1", "64Ki", "64Mi", "999999"].map(|text| field.accepted(text));
        [field.form(11, BYTES, WRONG_AMOUNTS), right.into()].concat()
    };
    // These have least amounts of their own, so they take none of the small ones.
    let large = [size, limit, beside].into_iter().flat_map(|field| {
        [field.form(11, BYTES, WRONG_AMOUNTS), vec![field.accepted("128Mi")]].concat()
    });
    fields.iter().flat_map(of).chain(large).collect()
}

fn names() -> Vec<Case> {
    let fields = [
        pipeline("spec.sources[0].name", "{spec: {sources: [{name: $, generator: {rate: 20}}]}}"),
        pipeline(
            "spec.log.storage.redis.keyPrefix",
            "{spec: {log: {storage: {redis: {address: 'redis:6379', keyPrefix: $}}}}}",
        ),
        pipeline(
            "spec.log.storage.natsJetStream.stream",
            "{spec: {log: {storage: {natsJetStream: {address: 'nats:4222', stream: $}}}}}",
        ),
        pipeline(
            "spec.exposure.httpRoute.parentRefs[0].namespace",
            "{spec: {exposure: {httpRoute: {parentRefs: [{name: a, namespace: $}]}}}}",
        ),
        pipeline(
            "spec.exposure.networkPolicy.subscribers[0].namespace",
            "{spec: {exposure: {networkPolicy: {subscribers: [{namespace: $}]}}}}",
        ),
        pipeline(
            "spec.exposure.networkPolicy.scrapers[0].namespace",
            "{spec: {exposure: {networkPolicy: {scrapers: [{namespace: $}]}}}}",
        ),
        slo(
            "spec.objectives[0].name",
            "{spec: {objectives: [{name: $, target: '99', errorRate: {}}]}}",
        ),
    ];
    let sentence = "must have 1 to 63 lower-case letters, digits and hyphens, and begin and end with a letter or digit";
    let of = |field: &Field| {
        let longest = "a".repeat(63);
        let longer = "a".repeat(64);
        let wrong = ["Orders", "a_b", "-a", "a-", "a.b"];
        let wrong = wrong.map(|text| {
            let file = format!("{sentence}, unlike {}", quoted(text));
            field.refused(text, &format!("{}: {sentence}", quoted(text)), &file)
        });
        let right = ["a", "7", "a-b", &longest].map(|text| field.accepted(text));
        [
            wrong.into(),
            right.into(),
            vec![field.refused("", &format!("{}: {} in body should be at least 1 chars long, {}: Invalid value: {}: {sentence}", quoted(""), field.path, field.path, quoted("")), &format!("{sentence}, unlike {}", quoted("")))],
            vec![field.too_long(&longer, 63, &format!("{sentence}, unlike {}", quoted(&longer)))],
        ]
        .concat()
    };
    fields.iter().flat_map(of).collect()
}

fn addresses() -> Vec<Case> {
    let fields = [
        pipeline(
            "spec.log.storage.redis.address",
            "{spec: {log: {storage: {redis: {address: $}}}}}",
        ),
        pipeline(
            "spec.log.storage.natsJetStream.address",
            "{spec: {log: {storage: {natsJetStream: {address: $}}}}}",
        ),
    ];
    let sentence = "must be HOST:PORT, such as redis:6379";
    let of = |field: &Field| {
        let longer = format!("{}:6379", "a".repeat(256));
        let wrong = ["", "redis", ":1", "redis:", "redis:0", "redis:65536", "a b:1", "::1:80"];
        let wrong = wrong
            .map(|text| field.refused(text, &format!("{}: {sentence}", quoted(text)), sentence));
        let right = ["redis:6379", "a-b.c_d:1", "127.0.0.1:65535", "[::1]:80"];
        [
            wrong.into(),
            right.map(|text| field.accepted(text)).into(),
            vec![field.too_long(&longer, 260, sentence)],
        ]
        .concat()
    };
    fields.iter().flat_map(of).collect()
}

fn quantile() -> Vec<Case> {
    let quantile = slo(
        "spec.objectives[0].latency.quantile",
        "{spec: {objectives: [{name: a, target: '99', latency: {threshold: 50ms, quantile: $}}]}}",
    );
    let sentence = "must be more than 0 and less than 1, such as \"0.95\"";
    let wrong = ["0", "1", "0.0", "1.5", "95", ".95"];
    [
        ["0.95", "0.5", "0.9999", "0.0001"].map(|text| quantile.accepted(text)).into(),
        wrong
            .map(|text| quantile.refused(text, &format!("{}: {sentence}", quoted(text)), sentence))
            .into(),
        vec![quantile.too_long("0.99999", 6, sentence)],
    ]
    .concat()
}

const fn pipeline(path: &'static str, patch: &'static str) -> Field {
    Field { base: PIPELINE, path, patch }
}

const fn slo(path: &'static str, patch: &'static str) -> Field {
    Field { base: SLO, path, patch }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

impl Field {
    fn patch(&self, text: &str) -> String {
        self.patch.replace('$', &quoted(text))
    }

    fn accepted(&self, text: &str) -> Case {
        accepted(self.base, &self.patch(text))
    }

    fn refused(&self, text: &str, server: &str, file: &str) -> Case {
        let path = self.path;
        let (server, file) =
            (format!("{path}: Invalid value: {server}"), format!("{path}: {file}"));
        refused(self.base, &self.patch(text), &server, &file)
    }

    fn too_long(&self, text: &str, longest: usize, file: &str) -> Case {
        let path = self.path;
        let server = format!("{path}: Too long: may not be more than {longest} bytes");
        refused(self.base, &self.patch(text), &server, &format!("{path}: {file}"))
    }

    /// Texts that are not of the form, and one that is longer than the form allows.
    fn form(&self, longest: usize, expected: &str, wrong: &[&str]) -> Vec<Case> {
        let said = |text: &str| format!("{} is not {expected}", quoted(text));
        let wrong = wrong.iter().map(|text| {
            self.refused(text, &format!("{}: must be {expected}", quoted(text)), &said(text))
        });
        wrong.chain([self.too_long(TOO_LONG, longest, &said(TOO_LONG))]).collect()
    }
}
