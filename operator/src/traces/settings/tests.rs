//! What the variables mean.

use super::*;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
    Settings::read(&|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn with(variables: &[(&str, &str)]) -> Settings {
    read(&[&[ENDPOINT], variables].concat()).unwrap().unwrap()
}

fn refused(variables: &[(&str, &str)]) -> String {
    read(&[&[ENDPOINT], variables].concat()).unwrap_err().to_string()
}

#[test]
fn without_an_endpoint_nothing_is_looked_at() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
        &[("OTEL_TRACES_SAMPLER", "nonsense"), ("OTEL_TRACES_EXPORTER", "otlp")],
    ] {
        assert!(read(variables).unwrap().is_none(), "{variables:?}");
    }
}

#[test]
fn traces_are_switched_off_beside_an_endpoint() {
    for off in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        assert!(read(&[ENDPOINT, off]).unwrap().is_none(), "{off:?}");
    }
    with(&[("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")]);
}

#[test]
fn the_usual_is_what_opentelemetry_says() {
    let Settings { endpoint, headers, gzip, timeout, authorities, attributes, sampler, queue } =
        with(&[]);
    assert_eq!(endpoint, "http://collector:4318/v1/traces");
    assert!(headers.is_empty() && !gzip && authorities.is_none() && attributes.is_empty());
    assert_eq!(timeout, Duration::from_secs(10));
    assert_eq!(format!("{sampler:?}"), "ParentBased(AlwaysOn)");
    assert_eq!(queue, Queue { most: 2_048, batch: 512, delay: Duration::from_secs(5) });
}

#[test]
fn the_endpoint_of_traces_is_taken_as_it_is() {
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.test/otlp?tenant=a");
    assert_eq!(with(&[own]).endpoint, "https://traces.test/otlp?tenant=a");
    let slash = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/")]);
    assert_eq!(slash.unwrap().unwrap().endpoint, "http://collector:4318/otlp/v1/traces");
}

#[test]
fn an_endpoint_that_leads_nowhere_is_refused_with_its_variable() {
    for (endpoint, remedy) in [
        ("collector:4318", "is to be a URL such as http://collector:4318"),
        ("grpc://collector:4317", "is to be a URL such as http://collector:4318"),
        ("http://", "is to be a URL such as http://collector:4318"),
        ("http://me:secret@collector:4318", "is to name no user"),
        ("http://collector:4318/?a=b", "is to have no query"),
    ] {
        let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).unwrap_err().to_string();
        let expected = format!("traces can't be sent: OTEL_EXPORTER_OTLP_ENDPOINT {remedy}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn headers_are_decoded_and_shown_nowhere() {
    let settings =
        with(&[("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20abc, tenant = a ,")]);
    assert_eq!(settings.headers["authorization"], "Bearer abc");
    assert_eq!(settings.headers["tenant"], "a");
    assert!(!format!("{settings:?}").contains("abc"));
    let error = refused(&[("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret")]);
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS is to be a list"), "{error}");
    assert!(error.ends_with("its entry 2 is not"), "{error}");
    let error = refused(&[("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret")]);
    assert!(error.contains("no name, or no value, of a header"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_the_service_is_called_counts_more_than_what_it_is_said_to_be() {
    let settings = with(&[
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb"),
        ("OTEL_SERVICE_NAME", "streams"),
    ]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected =
        [pair("service.name", "other"), pair("team", "a,b"), pair("service.name", "streams")];
    assert_eq!(settings.attributes, expected);
}

#[test]
fn samplers_are_known_by_their_names() {
    for (name, sampler) in [
        ("always_on", "AlwaysOn"),
        ("always_off", "AlwaysOff"),
        ("traceidratio", "TraceIdRatioBased(0.25)"),
        ("parentbased_always_on", "ParentBased(AlwaysOn)"),
        ("parentbased_always_off", "ParentBased(AlwaysOff)"),
        ("parentbased_traceidratio", "ParentBased(TraceIdRatioBased(0.25))"),
    ] {
        let given = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(format!("{:?}", with(&given).sampler), sampler, "{name}");
    }
}

#[test]
fn all_that_can_not_be_is_told_at_once() {
    let error = refused(&[
        ("OTEL_SDK_DISABLED", "maybe"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ]);
    for sentence in [
        "OTEL_SDK_DISABLED is to be true or false",
        "OTEL_TRACES_EXPORTER is to be otlp or none",
        "OTEL_EXPORTER_OTLP_PROTOCOL is to be http/protobuf",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY can't be used",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION is to be gzip or none",
        "OTEL_EXPORTER_OTLP_TIMEOUT is to be a number of milliseconds from 1 to 600000",
        "OTEL_RESOURCE_ATTRIBUTES is to be a list",
        "OTEL_TRACES_SAMPLER is to be always_on",
        "OTEL_BSP_MAX_QUEUE_SIZE is to be a number of spans from 1 to 65536",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE is to be at most OTEL_BSP_MAX_QUEUE_SIZE, which is 2048",
        "OTEL_BSP_SCHEDULE_DELAY is to be a number of milliseconds",
    ] {
        assert!(error.contains(sentence), "{sentence} is missing in: {error}");
    }
}

#[test]
fn a_share_is_between_nothing_and_all() {
    for share in ["2", "-0.1", "half", "NaN"] {
        let error =
            refused(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", share)]);
        assert!(
            error.ends_with("OTEL_TRACES_SAMPLER_ARG is to be a number from 0 to 1, such as 0.1")
        );
    }
}

#[test]
fn a_small_queue_has_small_batches() {
    let queue = with(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]).queue;
    assert_eq!(queue, Queue { most: 100, batch: 100, delay: Duration::from_secs(5) });
}
