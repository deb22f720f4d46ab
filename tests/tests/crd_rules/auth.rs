//! The part of the table about who may subscribe and publish, and which pages may.

use crate::pipeline::HTTP;
use crate::table::{Case, accepted, refused, refused_alike};

/// The least that verifies tokens.
const TOKENS: &str = "
apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: orders}
spec:
  placement: {gateway: {}}
  sources: [{name: app, generator: {rate: 20}}]
  auth:
    jwt: {issuer: 'https://id.example', audiences: [orders], jwksUrl: 'https://id.example/jwks'}
";

const ORIGIN: &str = "an origin must be scheme and host, and a port where it is not the usual one, such as https://shop.example.org, in lower case and without a path";

pub(crate) fn cases() -> Vec<Case> {
    [auth(), jwt(), keys(), logins(), rights(), cookie(), origins(), publish(), lengths()].concat()
}

fn auth() -> Vec<Case> {
    let nobody = "set jwt, or anonymous: true, or nobody could subscribe";
    let beside = "must be set beside cookie and tickets, which stand for its tokens";
    let replicas = "are in the memory of one replica: set placement.gateway.replicas to 1 without autoscaling, or remove auth.tickets";
    vec![
        accepted(TOKENS, "{}"),
        accepted(TOKENS, "spec: {auth: {jwt: null, anonymous: true}}"),
        accepted(TOKENS, "spec: {auth: {anonymous: true, tickets: {ttl: 1m}}}"),
        refused_alike(TOKENS, "spec: {auth: {jwt: null}}", "spec.auth", nobody),
        refused_alike(
            TOKENS,
            "spec: {auth: {jwt: null, anonymous: true, tickets: {}}}",
            "spec.auth.jwt",
            beside,
        ),
        refused_alike(
            TOKENS,
            "spec: {auth: {jwt: null, anonymous: true, cookie: {name: a, allowedOrigins: ['https://a']}}}",
            "spec.auth.jwt",
            beside,
        ),
        refused_alike(
            TOKENS,
            "spec: {placement: {gateway: {replicas: 2}}, auth: {tickets: {}}}",
            "spec.auth.tickets",
            replicas,
        ),
    ]
}

fn jwt() -> Vec<Case> {
    let one = "set exactly one of jwksUrl and jwks";
    let secret = "jwks: {secretName: keys, key: jwks.json}";
    vec![
        accepted(TOKENS, &format!("spec: {{auth: {{jwt: {{jwksUrl: null, {secret}}}}}}}")),
        refused_alike(
            TOKENS,
            &format!("spec: {{auth: {{jwt: {{{secret}}}}}}}"),
            "spec.auth.jwt",
            one,
        ),
        refused_alike(TOKENS, "spec: {auth: {jwt: {jwksUrl: null}}}", "spec.auth.jwt", one),
        accepted(TOKENS, "spec: {auth: {jwt: {ca: {secretName: id-ca, key: ca.crt}}}}"),
        refused_alike(
            TOKENS,
            "spec: {auth: {jwt: {jwksUrl: 'http://id', ca: {secretName: id-ca, key: ca.crt}}}}",
            "spec.auth.jwt.ca",
            "vouches for the server of a jwksUrl that begins with https://: set such a one, or remove ca",
        ),
        missing("issuer"),
        missing("audiences"),
    ]
}

fn missing(field: &str) -> Case {
    refused(
        TOKENS,
        &format!("spec: {{auth: {{jwt: {{{field}: null}}}}}}"),
        &format!("spec.auth.jwt.{field}: Required value"),
        &format!("spec.auth.jwt: missing field `{field}`"),
    )
}

/// A text that is refused for its form: the field, the patch that sets it to `$`, and the sentence.
fn malformed(field: &str, patch: &str, text: &str, sentence: &str) -> Case {
    refused(
        TOKENS,
        &patch.replace('$', &format!("\"{text}\"")),
        &format!("{field}: Invalid value: \"{text}\": {sentence}"),
        &format!("{field}: {sentence}"),
    )
}

fn keys() -> Vec<Case> {
    let url = "spec: {auth: {jwt: {jwksUrl: $}}}";
    let of_url = "must be a URL such as https://id.example.org/.well-known/jwks.json";
    let field = "spec.auth.jwt.jwksUrl";
    let mut cases = secret("spec.auth.jwt.jwks", "spec: {auth: {jwt: {jwksUrl: null, jwks: $}}}");
    cases.extend(secret("spec.auth.jwt.ca", "spec: {auth: {jwt: {ca: $}}}"));
    for right in ["http://127.0.0.1:8080", "https://id?x=1", "https://[::1]/a@b"] {
        cases.push(accepted(TOKENS, &url.replace('$', &format!("\"{right}\""))));
    }
    for wrong in [
        "",
        "id.example",
        "ftp://id",
        "https://",
        "https://u@id/",
        "https://id/#a",
        "https://id/a b",
    ] {
        cases.push(malformed(field, url, wrong, of_url));
    }
    let path = "a".repeat(2048 - "https://id/".len());
    cases.push(accepted(TOKENS, &url.replace('$', &format!("\"https://id/{path}\""))));
    cases.push(too_long(field, url, 2048, of_url));
    cases
}

/// What the logs that replicas share need to be let in.
fn logins() -> Vec<Case> {
    let of = |storage: &str, address: &str| {
        let field = format!("spec.log.storage.{storage}");
        let set = |rest: &str| {
            format!("spec: {{log: {{storage: {{{storage}: {{address: '{address}', {rest}}}}}}}}}")
        };
        let password = "password: {secretName: s, key: k}";
        [
            vec![
                accepted(TOKENS, &set(password)),
                refused_alike(
                    TOKENS,
                    &set("username: weir"),
                    &format!("{field}.password"),
                    "must be set beside username",
                ),
            ],
            text(&format!("{field}.username"), &set(&format!("username: $, {password}")), 128),
            secret(&format!("{field}.password"), &set("password: $")),
        ]
        .concat()
    };
    [of("redis", "redis:6379"), of("natsJetStream", "nats:4222")].concat()
}

/// A key of a Secret, in the field that the patch sets to `$`.
fn secret(field: &str, patch: &str) -> Vec<Case> {
    let name = patch.replace('$', "{secretName: $, key: k}");
    let key = patch.replace('$', "{secretName: s, key: $}");
    let of_name = "must be a Secret's name";
    let of_key = "must be a key of a Secret's data: letters, digits, '-', '_' and '.'";
    let (field_of_name, field_of_key) = (format!("{field}.secretName"), format!("{field}.key"));
    let mut cases = Vec::new();
    for wrong in ["", "a_b", "-a", "a.", "A", "a/b"] {
        cases.push(malformed(&field_of_name, &name, wrong, of_name));
    }
    for wrong in ["", ".", "..", "..a", "a/b", "a b"] {
        cases.push(malformed(&field_of_key, &key, wrong, of_key));
    }
    for right in ["a", "jwks.json", ".a", "A_b-1"] {
        cases.push(accepted(TOKENS, &key.replace('$', &format!("\"{right}\""))));
    }
    for (absent, present) in [("secretName", "{key: k}"), ("key", "{secretName: s}")] {
        cases.push(refused(
            TOKENS,
            &patch.replace('$', present),
            &format!("{field}.{absent}: Required value"),
            &format!("{field}: missing field `{absent}`"),
        ));
    }
    let longest = "s".repeat(253);
    cases.push(accepted(TOKENS, &name.replace('$', &longest)));
    cases.push(accepted(TOKENS, &key.replace('$', &longest)));
    cases.push(too_long(&field_of_name, &name, 253, of_name));
    cases.push(too_long(&field_of_key, &key, 253, of_key));
    cases
}

fn too_long(field: &str, patch: &str, longest: usize, sentence: &str) -> Case {
    let text = "h".repeat(longest + 1);
    refused(
        TOKENS,
        &patch.replace('$', &text),
        &format!("{field}: Too long: may not be more than {longest} bytes"),
        &format!("{}: {sentence}", field.trim_end_matches("[0]")),
    )
}

fn rights() -> Vec<Case> {
    let mut cases = vec![accepted(
        TOKENS,
        "spec: {auth: {jwt: {subscribe: {claim: scope, anyOf: [a, '']}, publish: {claim: a.b, anyOf: [c]}}}}",
    )];
    for right in ["subscribe", "publish"] {
        let set = |rule: &str| format!("spec: {{auth: {{jwt: {{{right}: {{{rule}}}}}}}}}");
        for (absent, rule) in [("claim", "anyOf: [a]"), ("anyOf", "claim: a")] {
            cases.push(refused(
                TOKENS,
                &set(rule),
                &format!("spec.auth.jwt.{right}.{absent}: Required value"),
                &format!("spec.auth.jwt.{right}: missing field `{absent}`"),
            ));
        }
        let field = format!("spec.auth.jwt.{right}");
        cases.extend(text(&format!("{field}.claim"), &set("claim: $, anyOf: [a]"), 256));
        cases.extend(list(&format!("{field}.anyOf"), &set("claim: a, anyOf: $"), 16, 256));
    }
    cases
}

/// A text of 1 to `longest` characters.
fn text(field: &str, patch: &str, longest: usize) -> Vec<Case> {
    let sentence = format!("must have 1 to {longest} characters");
    vec![
        accepted(TOKENS, &patch.replace('$', &"h".repeat(longest))),
        too_long(field, patch, longest, &sentence),
        refused(
            TOKENS,
            &patch.replace('$', "''"),
            &format!(
                "{field}: Invalid value: \"\": {field} in body should be at least 1 chars long"
            ),
            &format!("{field}: {sentence}"),
        ),
    ]
}

/// A list of 1 to `most` texts of at most `longest` characters.
fn list(field: &str, patch: &str, most: usize, longest: usize) -> Vec<Case> {
    let none = refused(
        TOKENS,
        &patch.replace('$', "[]"),
        &format!("{field}: Invalid value: 0: {field} in body should have at least 1 items"),
        &format!("{field}: must have 1 to {most} items, not 0"),
    );
    [full(field, patch, most, longest, "x"), vec![none]].concat()
}

/// A list of at most `most` texts of at most `longest` characters, such as `text`.
fn full(field: &str, patch: &str, most: usize, longest: usize, text: &str) -> Vec<Case> {
    let many = |count: usize| {
        let items = vec![format!("'{text}'"); count].join(", ");
        patch.replace('$', &format!("[{items}]"))
    };
    let too_many = most + 1;
    vec![
        accepted(TOKENS, &many(most)),
        refused(
            TOKENS,
            &many(too_many),
            &format!("{field}: Too many: {too_many}: must have at most {most} items"),
            &format!("{field}: must have 1 to {most} items, not {too_many}"),
        ),
        too_long(
            &format!("{field}[0]"),
            &patch.replace('$', "[$]"),
            longest,
            &format!("an item must have at most {longest} characters"),
        ),
    ]
}

fn lengths() -> Vec<Case> {
    let required = "spec: {auth: {jwt: {requiredClaims: $}}}";
    [
        text("spec.auth.jwt.issuer", "spec: {auth: {jwt: {issuer: $}}}", 1024),
        text("spec.auth.jwt.filter", "spec: {auth: {jwt: {filter: $}}}", 2048),
        list("spec.auth.jwt.audiences", "spec: {auth: {jwt: {audiences: $}}}", 16, 1024),
        full("spec.auth.jwt.requiredClaims", required, 16, 256, "sub"),
    ]
    .concat()
}

fn cookie() -> Vec<Case> {
    let name = "spec: {auth: {cookie: {name: $, allowedOrigins: ['https://a']}}}";
    let sentence = "must be a cookie's name: letters, digits and punctuation, without spaces, quotes and semicolons";
    let mut cases = vec![
        accepted(TOKENS, &name.replace('$', "__Secure-session")),
        accepted(TOKENS, &name.replace('$', &"n".repeat(256))),
        too_long("spec.auth.cookie.name", name, 256, sentence),
    ];
    for wrong in ["", "a b", "a;b", "a=b"] {
        cases.push(malformed("spec.auth.cookie.name", name, wrong, sentence));
    }
    for (absent, present) in
        [("name", "allowedOrigins: ['https://a']"), ("allowedOrigins", "name: a")]
    {
        cases.push(refused(
            TOKENS,
            &format!("spec: {{auth: {{cookie: {{{present}}}}}}}"),
            &format!("spec.auth.cookie.{absent}: Required value"),
            &format!("spec.auth.cookie: missing field `{absent}`"),
        ));
    }
    cases
}

fn origins() -> Vec<Case> {
    let cookie =
        ("spec.auth.cookie.allowedOrigins", "spec: {auth: {cookie: {name: a, allowedOrigins: $}}}");
    let cors = (
        "spec.endpoints.cors.allowedOrigins",
        "spec: {endpoints: {sse: {}, cors: {allowedOrigins: $}}}",
    );
    let mut cases = Vec::new();
    for (field, patch) in [cookie, cors] {
        let set = |origin: &str| patch.replace('$', &format!("['https://a', '{origin}']"));
        for right in ["http://localhost:3000", "https://a-b.example", "http://[::1]:80"] {
            cases.push(accepted(TOKENS, &set(right)));
        }
        for wrong in
            ["", "null", "https://a/", "a.example", "https://A", "https://*.a", "http://[::1"]
        {
            cases.push(refused_alike(TOKENS, &set(wrong), field, ORIGIN));
        }
        cases.extend(full(field, patch, 32, 256, "https://a"));
        cases.push(refused(
            TOKENS,
            &patch.replace('$', "[]"),
            &format!("{field}: Invalid value: 0: {field} in body should have at least 1 items"),
            &format!("{field}: must have 1 to 32 items, not 0"),
        ));
    }
    let alone = "'*' must stand alone, and without allowCredentials: name the origins instead";
    let cors = |rules: &str| format!("spec: {{endpoints: {{sse: {{}}, cors: {{{rules}}}}}}}");
    cases.extend([
        accepted(TOKENS, &cors("allowedOrigins: ['*']")),
        accepted(TOKENS, &cors("allowedOrigins: ['https://a'], allowCredentials: true")),
        refused_alike(
            TOKENS,
            &cors("allowedOrigins: ['*', 'https://a']"),
            "spec.endpoints.cors.allowedOrigins",
            alone,
        ),
        refused_alike(
            TOKENS,
            &cors("allowedOrigins: ['*'], allowCredentials: true"),
            "spec.endpoints.cors.allowedOrigins",
            alone,
        ),
        refused_alike(
            TOKENS,
            "spec: {auth: {cookie: {name: a, allowedOrigins: ['*']}}}",
            "spec.auth.cookie.allowedOrigins",
            ORIGIN,
        ),
        refused(
            TOKENS,
            &cors("maxAge: 5m"),
            "spec.endpoints.cors.allowedOrigins: Required value",
            "spec.endpoints.cors: missing field `allowedOrigins`",
        ),
    ]);
    cases
}

fn publish() -> Vec<Case> {
    let of = |name: &str, whose: &str| {
        let jwt = "issuer: i, audiences: [a], jwksUrl: 'https://i'";
        let rule = "publish: {claim: scope, anyOf: [write]}";
        let open = format!("endpoints: {{sse: {{}}, {name}: {{}}}}");
        let sentence = format!("needs auth.jwt.publish, which says {whose}, or anonymous: true");
        let field = format!("spec.endpoints.{name}");
        let refused = |patch: String| refused_alike(HTTP, &patch, &field, &sentence);
        [
            accepted(HTTP, &format!("spec: {{{open}, auth: {{jwt: {{{jwt}, {rule}}}}}}}")),
            refused(format!("spec: {{{open}}}")),
            refused(format!("spec: {{{open}, auth: {{anonymous: true}}}}")),
            refused(format!("spec: {{{open}, auth: {{jwt: {{{jwt}}}}}}}")),
            refused(format!("spec: {{endpoints: {{sse: {{}}, {name}: {{anonymous: false}}}}}}")),
        ]
    };
    [
        of("publish", "whose tokens may publish"),
        of("durableStreams", "whose tokens may change streams"),
    ]
    .concat()
}
