//! Files, good and bad, and what their author reads.

use std::path::Path;

use proptest::prelude::*;

use super::{assemble::assemble, *};

const ORDERS: &str = r#"apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata:
  name: orders
  namespace: shop
  labels: {team: a}
spec:
  placement:
    sidecar:
      selector:
        matchLabels: {app: shop}
  sources:
  - name: app
    http: {}
  endpoints:
    sse:
      heartbeat: 10s
"#;

const SLO: &str = r#"apiVersion: weir.dev/v1alpha1
kind: StreamSLO
metadata: {name: orders-fast, namespace: shop}
spec:
  pipelineRef: {name: orders}
  timeWindow: {duration: 28d}
  objectives:
  - name: latency
    target: "99.5"
    latency: {threshold: 50ms}
"#;

fn read(files: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let file = |&(path, text): &(&str, &str)| (path.into(), Ok(text.to_owned()));
    assemble(&Files(files.iter().map(file).collect()))
}

/// The error lines for one file.
fn errors(text: &str) -> Vec<String> {
    let errors = read(&[("a.yaml", text)]).unwrap_err();
    errors.errors().iter().map(ToString::to_string).collect()
}

#[test]
fn pipelines_and_their_slos_are_put_together_across_files() {
    let second = ORDERS.replace("name: orders", "name: alerts");
    let files = [
        ("slo.yaml", &*format!("---\n{SLO}---\n{}", SLO.replace("orders-fast", "a-slo"))),
        ("pipelines.yaml", &format!("# comment\n---\n{ORDERS}\n---\n---\n{second}")),
    ];
    let config = read(&files).unwrap();
    assert_eq!(config.pipelines.keys().collect::<Vec<_>>(), ["alerts", "orders"]);
    let orders = &config.pipelines["orders"];
    assert_eq!((&*orders.namespace, &*orders.name), ("shop", "orders"));
    assert_eq!((&orders.uid, orders.generation), (&None, None));
    assert_eq!(orders.spec.endpoints.sse.as_ref().unwrap().heartbeat.millis(), 10_000);
    assert_eq!(orders.spec.endpoints.websocket, None);
    let slos: Vec<_> = orders.slos.iter().map(|slo| &*slo.name).collect();
    assert_eq!(slos, ["a-slo", "orders-fast"]);
    assert!(config.pipelines["alerts"].slos.is_empty());
}

#[test]
fn no_files_and_files_of_comments_are_an_empty_configuration() {
    for files in [&[][..], &[("a.yaml", "# only a comment\n---\n---\n")]] {
        assert_eq!(read(files), Ok(Config::default()));
    }
}

#[test]
fn an_emptied_file_is_an_accident_and_ends_nothing() {
    for text in ["", " \n"] {
        let errors = read(&[("a.yaml", text)]).unwrap_err().to_string();
        assert_eq!(errors, "a.yaml: the file is empty: delete it to end what it declared");
    }
}

#[test]
fn a_manifest_that_a_newer_server_has_accepted_may_have_fields_that_are_not_known_yet() {
    let newer = |metadata| {
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {metadata}\nspec:\n  \
             placement: {{gateway: {{}}}}\n  sources: [{{name: tick, generator: {{rate: 1}}}}]\n  \
             telepathy: {{}}\n"
        );
        read(&[("a.yaml", &text)])
    };
    assert!(newer("{name: orders}").unwrap_err().to_string().contains("telepathy"));
    assert!(newer("{name: orders, uid: u-1}").unwrap().pipelines.contains_key("orders"));
}

#[test]
fn what_the_api_server_stored_is_read_with_its_identity() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "weir.dev/v1alpha1", "kind": "StreamPipeline",
         "metadata": {"name": "orders", "uid": "u-1", "generation": 3, "resourceVersion": "9",
                      "creationTimestamp": null, "managedFields": [{"manager": "kubectl"}],
                      "annotations": {"a": "b"}},
         "spec": {"placement": {"gateway": {"replicas": 2}}, "log": null,
                  "sources": [{"name": "demo", "generator": {"rate": 20}, "http": null}]},
         "status": {"observedGeneration": 3}}
    ]}"#;
    let config = read(&[("a.json", text)]).unwrap();
    let orders = &config.pipelines["orders"];
    assert_eq!(
        (&*orders.namespace, orders.uid.as_deref(), orders.generation),
        ("default", Some("u-1"), Some(3))
    );
}

#[test]
fn the_share_that_the_operator_writes_is_read_and_what_is_none_is_left_aside() {
    let share = |label: &str| {
        let text = ORDERS.replace("{team: a}", &format!("{{weir.dev/share: '{label}'}}"));
        read(&[("a.yaml", &text)]).unwrap().pipelines["orders"].share
    };
    assert_eq!(share("150.1800000000"), Some(Share { connections: 150, until: 1_800_000_000 }));
    assert_eq!(share("nonsense"), None);
}

#[test]
fn anchors_and_merge_keys_mean_what_they_mean_to_kubectl() {
    let text = ORDERS
        .replace("metadata:\n", "metadata:\n  annotations: &a {x: y}\n")
        .replace("  labels: {team: a}", "  labels: {<<: *a, team: a}");
    assert!(read(&[("a.yaml", &text)]).is_ok());
}

#[test]
fn resources_of_other_groups_are_ignored() {
    let text =
        format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: x}}\n---\n{ORDERS}");
    assert_eq!(read(&[("a.yaml", &text)]).unwrap().pipelines.len(), 1);
}

#[test]
fn an_unknown_field_has_its_place_and_the_nearest_known_name() {
    let text = ORDERS.replace("heartbeat", "hartbeat").replace("  labels", "  lables");
    assert_eq!(
        errors(&text),
        [
            "a.yaml:6:3: metadata: unknown field `lables`; did you mean `labels`?",
            "a.yaml:17:7: spec.endpoints.sse: unknown field `hartbeat`; did you mean `heartbeat`?",
        ]
    );
    let text = ORDERS.replace("http: {}", "http: {topic: x}").replace("spec:", "spek:");
    assert_eq!(
        errors(&text),
        [
            "a.yaml:7:1: unknown field `spek`; did you mean `spec`?",
            "a.yaml:1:1: missing field `spec`",
        ]
    );
    let text = ORDERS.replace("http: {}", "http: {topic: x}");
    assert_eq!(
        errors(&text),
        ["a.yaml:14:12: spec.sources[0].http: unknown field `topic`; known are maxEventBytes"]
    );
}

#[test]
fn every_error_of_form_is_reported_at_once() {
    let text = r#"apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {name: 7}
spec:
  placement:
    sidecar:
      selector:
        matchLabels: {app: true}
        matchExpressions: [{operator: Inn}]
  sources:
  - http: {maxEventBytes: 1MB}
  - name: demo
    generator: {rate: fast, per: [1s]}
  - orders
  log: {retention: {maxAge: 1d, maxEvents: "5"}}
  endpoints: {publish: {anonymous: "yes"}}
"#;
    assert_eq!(
        errors(text),
        [
            "a.yaml:3:12: metadata.name: must be a text, not the number 7: write \"7\", in quotes",
            "a.yaml:16:25: spec.endpoints.publish.anonymous: must be true or false, not the text \"yes\"",
            "a.yaml:15:21: spec.log.retention.maxAge: \"1d\" is not a duration with its unit (ms, s, m or h), such as 250ms, 15s or 1h30m",
            "a.yaml:15:33: spec.log.retention.maxEvents: must be a whole number, not the text \"5\"",
            "a.yaml:9:29: spec.placement.sidecar.selector.matchExpressions[0].operator: `Inn` must be one of \
             In, NotIn, Exists, DoesNotExist",
            "a.yaml:9:28: spec.placement.sidecar.selector.matchExpressions[0]: missing field `key`",
            "a.yaml:8:23: spec.placement.sidecar.selector.matchLabels.app: must be a text, not the truth \
             value true: write \"true\", in quotes",
            "a.yaml:11:12: spec.sources[0].http.maxEventBytes: \"1MB\" is not a number of bytes such as 4096, \
             64Ki, 256Mi or 1Gi",
            "a.yaml:11:5: spec.sources[0]: missing field `name`",
            "a.yaml:13:29: spec.sources[1].generator.per: must be a text, not a list",
            "a.yaml:13:17: spec.sources[1].generator.rate: must be a whole number, not the text \"fast\"",
            "a.yaml:14:5: spec.sources[2]: must be a map, not the text \"orders\"",
        ]
    );
}

#[cfg(feature = "full")]
#[test]
fn a_filter_for_tokens_that_can_not_be_read_is_refused() {
    let with = |filter: &str| {
        format!(
            "apiVersion: weir.dev/v1alpha1
kind: StreamPipeline
metadata: {{name: orders}}
spec:
  placement: {{gateway: {{}}}}
  sources: [{{name: demo, generator: {{rate: 1}}}}]
  auth:
    jwt:
      issuer: https://id
      audiences: [orders]
      jwksUrl: https://id/jwks
      filter: {filter}
"
        )
    };
    assert!(read(&[("a.yaml", &with("event.subject == claims.sub"))]).is_ok());
    for (filter, reason) in [
        ("event.subject ==", "at line 1"),
        ("token.sub == 'a'", "claims.NAME"),
        ("event.subject", "neither true nor false"),
    ] {
        let [error] = &errors(&with(filter))[..] else { panic!("{filter}") };
        let place = "a.yaml:12:7: spec.auth.jwt.filter: can't be used: ";
        assert!(error.starts_with(place), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[cfg(feature = "full")]
#[test]
fn a_key_to_conflate_by_that_can_not_be_read_is_refused_where_it_stands() {
    let keyed = |key: &str| {
        format!("{ORDERS}  delivery:\n    slowConsumer: Conflate\n    conflateKey: {key}\n")
    };
    let [error] = &errors(&keyed("event."))[..] else { panic!() };
    let place = "a.yaml:20:5: spec.delivery.conflateKey: can't be used: ";
    assert!(error.starts_with(place), "{error}");
    assert!(!error.contains("filter"), "{error}");
    let [error] = &errors(&keyed("claims.sub"))[..] else { panic!() };
    assert!(error.contains("a key is of the event alone"), "{error}");
    let text = keyed("event.subject");
    assert!(read(&[("a.yaml", &text)]).is_ok(), "a key need not be true or false");
}

#[test]
fn the_scalars_of_an_slo_say_what_they_are() {
    let text = SLO.replace("28d", "28x").replace("\"99.5\"", "\"nearly all\"");
    assert_eq!(
        errors(&text)[..2],
        [
            "a.yaml:9:5: spec.objectives[0].target: \"nearly all\" is not a percentage from 0 to 100 such as \"99.5\"",
            "a.yaml:6:16: spec.timeWindow.duration: \"28x\" is not a time window such as 30m, 12h, 28d or 4w",
        ]
    );
}

#[test]
fn a_number_where_a_time_is_wanted_is_given_a_unit_and_no_quotes() {
    let text = SLO.replace("28d", "28").replace("50ms", "50").replace("\"99.5\"", "99.5");
    assert_eq!(
        errors(&text)[..3],
        [
            "a.yaml:10:15: spec.objectives[0].latency.threshold: must be a duration with its unit, not the \
             number 50: write 50s for seconds, or 50ms, 50m or 50h",
            "a.yaml:9:5: spec.objectives[0].target: must be a text, not the number 99.5: write \"99.5\", in \
             quotes",
            "a.yaml:6:16: spec.timeWindow.duration: must be a time window with its unit, not the number 28: \
             write 28d for days, or 28m, 28h or 28w",
        ]
    );
    let text = ORDERS.replace("10s", "1.5");
    assert_eq!(
        errors(&text),
        [
            "a.yaml:17:7: spec.endpoints.sse.heartbeat: \"1.5\" is not a duration with its unit (ms, s, m or h), such as 250ms, 15s or 1h30m"
        ]
    );
}

#[test]
fn the_rules_of_the_api_hold_and_have_their_place() {
    let text = ORDERS.replace("heartbeat: 10s", "heartbeat: 10m");
    let text = text.replace("  - name: app\n    http: {}", "  - name: app");
    assert_eq!(
        errors(&text),
        [
            "a.yaml:13:5: spec.sources[0]: a source needs exactly one kind: set one of http and generator",
            "a.yaml:16:7: spec.endpoints.sse.heartbeat: must be from 1s to 5m, not 10m",
        ]
    );
}

#[test]
fn a_field_that_was_left_empty_was_meant_to_be_something() {
    let text = ORDERS.replace("http: {}", "http:").replace("      heartbeat: 10s\n", "");
    let text = text.replace("  labels: {team: a}", "  labels:\n  creationTimestamp: null");
    assert_eq!(
        errors(&format!("{text}  log: {{retention: {{maxAge: }}}}\n")),
        [
            "a.yaml:17:5: spec.endpoints.sse: is empty: write {} for its defaults, or remove it",
            "a.yaml:18:21: spec.log.retention.maxAge: is empty: give it a value, or remove it",
            "a.yaml:15:5: spec.sources[0].http: is empty: write {} for its defaults, or remove it",
        ]
    );
    let text = ORDERS.replace("  - name: app\n    http: {}", "  - name:\n    generator:");
    assert_eq!(
        errors(&text),
        [
            "a.yaml:14:5: spec.sources[0].generator: is empty: give it a value, or remove it",
            "a.yaml:13:5: spec.sources[0].name: is empty: give it a value",
        ]
    );
    let text = "apiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata:\nspec:\n";
    assert_eq!(
        errors(text),
        [
            "a.yaml:3:1: metadata: is empty: give it a value",
            "a.yaml:4:1: spec: is empty: give it a value",
        ]
    );
}

#[test]
fn a_number_that_no_field_holds_is_refused_with_its_place() {
    let text = ORDERS.replace("http: {}", "generator: {rate: 9999999999}");
    let errors = errors(&text);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("a.yaml:14:17: spec.sources[0].generator.rate: "), "{errors:?}");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let text = format!("{ORDERS}  sources: []\n");
    assert_eq!(errors(&text), ["a.yaml:18:3: spec.sources: is given twice: remove one of them"]);
    let text = ORDERS.replace("team: a", "team: a, team: b");
    assert_eq!(
        errors(&text),
        ["a.yaml:6:21: metadata.labels.team: is given twice: remove one of them"]
    );
    assert_eq!(errors(&format!("{text}---\nkind: x\n---\n{text}")).len(), 3);
}

#[test]
fn nothing_is_read_behind_an_alias_of_nothing() {
    let told = errors("a: 1\na: *x\n---\nb: 2\n---\nc: 3\n");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("a: is given twice") && told[1].contains("an alias (*name)"),
        "{told:?}"
    );
    let told = errors("a: *x\n---\nb: 2\n");
    assert!(matches!(&*told, [only] if only.contains("an alias (*name)")), "{told:?}");
}

#[test]
fn what_a_parser_of_yaml_stumbles_over_is_told_in_plain_words() {
    let text = ORDERS.replace("  placement:", "\tplacement:");
    assert_eq!(errors(&text), ["a.yaml:8:1: a tab can't indent a line of YAML: use spaces"]);
    let text = ORDERS.replace("name: orders", "name: \"orders");
    let [error] = &errors(&text)[..] else { panic!() };
    assert!(error.contains("was opened and not closed"), "{error}");
}

#[test]
fn broken_yaml_is_refused_with_its_place_and_the_rest_is_read() {
    let errors = errors("a: [1\nb: 2\n");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("a.yaml:2:"), "{errors:?}");
    let two = read(&[("a.yaml", "a: [1\n"), ("b.yaml", "- 7\n")]).unwrap_err();
    assert_eq!(two.errors().len(), 2);
    assert_eq!(two.to_string().lines().count(), 2);
}

#[test]
fn a_document_that_says_not_what_it_is_is_refused() {
    for (text, expected) in [
        (
            "kind: StreamPipeline\n",
            "a.yaml:1:1: missing field `apiVersion`: a manifest needs apiVersion and kind",
        ),
        (
            "apiVersion: v1\n",
            "a.yaml:1:1: missing field `kind`: a manifest needs apiVersion and kind",
        ),
        (
            "apiVersion: weir.dev/v1alpha1\nkind: StreamPipelin\n",
            "a.yaml:2:1: kind: unknown kind `StreamPipelin`; did you mean `StreamPipeline`?",
        ),
        (
            "apiVersion: weir.dev/v1\nkind: StreamSLO\n",
            "a.yaml:1:1: apiVersion: `weir.dev/v1` is not known: use weir.dev/v1alpha1",
        ),
        (
            "apiVersion: wier.dev/v1alpha1\nkind: StreamSLO\n",
            "a.yaml:1:1: apiVersion: `wier.dev/v1alpha1` is not known: use weir.dev/v1alpha1",
        ),
    ] {
        assert_eq!(errors(text), [expected]);
    }
}

#[test]
fn a_second_pipeline_of_a_name_is_refused_in_any_namespace() {
    let other = ORDERS.replace("namespace: shop", "namespace: other");
    let errors = errors(&format!("{ORDERS}---\n{other}"));
    assert_eq!(
        errors,
        [
            "a.yaml:22:3: metadata.name: a pipeline named orders is declared in a.yaml, line 4, too: rename \
          one of them, because the name alone stands in the URL"
        ]
    );
    let two = read(&[("a.yaml", ORDERS), ("b.yaml", &other)]).unwrap_err().to_string();
    assert!(two.starts_with("b.yaml:4:3: ") && two.contains("declared in a.yaml, line 4"), "{two}");
}

#[test]
fn an_slo_needs_its_pipeline_in_its_namespace_and_a_name_of_its_own() {
    assert_eq!(
        errors(SLO),
        [
            "a.yaml:5:17: spec.pipelineRef.name: there is no StreamPipeline orders in these files: correct \
          the name, or add it"
        ]
    );
    let elsewhere = SLO.replace("shop", "other");
    assert_eq!(
        errors(&format!("{elsewhere}---\n{ORDERS}")),
        [
            "a.yaml:5:17: spec.pipelineRef.name: the pipeline orders is in the namespace shop, and this \
          StreamSLO in other: they must be in the same"
        ]
    );
    assert_eq!(
        errors(&format!("{ORDERS}---\n{SLO}---\n{SLO}")),
        [
            "a.yaml:32:12: metadata.name: a StreamSLO named orders-fast is declared in a.yaml, line 21, too: \
          rename one of them"
        ]
    );
}

#[test]
fn an_slo_is_not_blamed_for_a_pipeline_that_has_errors_of_its_own() {
    let broken = ORDERS.replace("heartbeat", "hartbeat");
    assert_eq!(errors(&format!("{SLO}---\n{broken}")).len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_an_error_without_a_place() {
    let errors = load(&[Path::new("/nonexistent/weir.yaml").to_owned()]).unwrap_err();
    let text = errors.to_string();
    assert!(text.starts_with("/nonexistent/weir.yaml: can't be read: No such file"), "{text}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[a-z:\\-\\[\\]{}#&*!|>'\"%@`? \n\t0-9.,<]{0,80}") {
        let _any = read(&[("a.yaml", &text)]);
    }

    #[test]
    fn no_slip_in_a_manifest_panics_or_is_ignored(at in any::<prop::sample::Index>(), with in ".") {
        let at = at.index(ORDERS.len());
        let mut text = ORDERS.to_owned();
        text.replace_range(at..=at, &with);
        match read(&[("a.yaml", &text)]) {
            Ok(config) => prop_assert!(config.pipelines.len() <= 1),
            Err(errors) => prop_assert!(!errors.errors().is_empty()),
        }
    }
}
