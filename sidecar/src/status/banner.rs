//! The lines printed after the start: the URLs, and commands that a reader can copy.

use crate::config::{Config, PipelineConfig};

/// Where the server listens, each as `host:port` that a client on this machine can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Subscribers.
    pub public: String,
    /// Metrics.
    pub admin: String,
    /// The application.
    pub publish: String,
}

/// The lines, each ended by a line break. `origin` is what was read, such as `examples/quickstart.yaml`.
#[must_use]
pub fn banner(origin: &str, config: &Config, addresses: &Addresses) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let count = match config.pipelines.len() {
        0 => "no pipeline yet".to_owned(),
        1 => "1 pipeline".to_owned(),
        many => format!("{many} pipelines"),
    };
    let mut lines = format!("weir {version} serves {count} from {origin}\n");
    for pipeline in config.pipelines.values() {
        lines.push_str(&pipeline_lines(pipeline, addresses));
    }
    let Addresses { public: _, admin, publish: _ } = addresses;
    lines.push_str(&format!("  metrics      http://{admin}/metrics\n"));
    lines
}

/// A pipeline's endpoints, of which only those that are open are shown.
fn pipeline_lines(pipeline: &PipelineConfig, addresses: &Addresses) -> String {
    let Addresses { public, admin: _, publish } = addresses;
    let (name, spec) = (&pipeline.name, &pipeline.spec);
    let posts = spec.sources.iter().any(|source| source.http.is_some());
    let tls = spec.endpoints.tls.is_some();
    // The certificate is for another name than that of this machine, or of an authority of one's own.
    let (watch, ws) = if tls { ("curl -kN https", "wss") } else { ("curl -N http", "ws") };
    let rows = [
        (spec.endpoints.sse.is_some(), "watch", format!("{watch}://{public}/{name}/sse")),
        (
            posts,
            "publish",
            format!(
                "curl -X POST http://{publish}/{name}/events -H 'content-type: application/json' \
                 -d '{{\"hello\":\"world\"}}'"
            ),
        ),
        (spec.endpoints.websocket.is_some(), "websocket", format!("{ws}://{public}/{name}/ws")),
        (
            tls && spec.endpoints.sse.is_some(),
            "tls",
            "-k takes any: to check it, --cacert FILE of its authority, and a name that it has"
                .into(),
        ),
    ];
    let open = rows.into_iter().filter(|(open, ..)| *open);
    open.fold(format!("  {name}\n"), |lines, (_, label, text)| {
        format!("{lines}    {label:<11}{text}\n")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(manifests: &str) -> Config {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        fs::write(file.path(), manifests).unwrap();
        crate::config::load(&[file.path().to_owned()]).unwrap()
    }

    fn pipeline(name: &str, rest: &str) -> String {
        format!(
            "---\napiVersion: weir.dev/v1alpha1\nkind: StreamPipeline\nmetadata: {{name: {name}}}\n\
             spec:\n  placement: {{sidecar: {{selector: {{matchLabels: {{app: x}}}}}}}}\n{rest}"
        )
    }

    fn addresses() -> Addresses {
        Addresses {
            public: "127.0.0.1:7070".into(),
            admin: "127.0.0.1:7071".into(),
            publish: "127.0.0.1:7072".into(),
        }
    }

    #[test]
    fn each_endpoint_comes_as_a_line_to_copy() {
        let config = config(&pipeline("orders", "  sources: [{name: app, http: {}}]\n"));
        let expected = r#" serves 1 pipeline from examples/quickstart.yaml
  orders
    watch      curl -N http://127.0.0.1:7070/orders/sse
    publish    curl -X POST http://127.0.0.1:7072/orders/events -H 'content-type: application/json' -d '{"hello":"world"}'
    websocket  ws://127.0.0.1:7070/orders/ws
  metrics      http://127.0.0.1:7071/metrics
"#;
        let banner = banner("examples/quickstart.yaml", &config, &addresses());
        assert_eq!(banner, format!("weir {}{expected}", env!("CARGO_PKG_VERSION")));
    }

    #[cfg(feature = "tls")]
    #[test]
    fn what_is_served_over_tls_is_asked_for_so() {
        let endpoints = "endpoints: {sse: {}, websocket: {}, tls: {secretName: a}}";
        let rest = format!("  sources: [{{name: app, http: {{}}}}]\n  {endpoints}\n");
        let banner = banner("x", &config(&pipeline("orders", &rest)), &addresses());
        for line in [
            "watch      curl -kN https://127.0.0.1:7070/orders/sse\n",
            "websocket  wss://127.0.0.1:7070/orders/ws\n",
            "publish    curl -X POST http://127.0.0.1:7072/orders/events",
            "--cacert",
        ] {
            assert!(banner.contains(line), "{line} in {banner}");
        }
    }

    #[test]
    fn what_is_not_open_is_not_shown() {
        let demo = "  sources: [{name: demo, generator: {rate: 1}}]\n";
        let [sse, websocket] =
            ["sse", "websocket"].map(|e| format!("  endpoints: {{{e}: {{}}}}\n"));
        let config = config(&format!(
            "{}{}",
            pipeline("a", &format!("{demo}{sse}")),
            pipeline("b", &format!("{demo}{websocket}"))
        ));
        let banner = banner("x", &config, &addresses());
        assert!(banner.contains("serves 2 pipelines from x\n"), "{banner}");
        let labels: Vec<_> =
            banner.lines().skip(1).map(|line| line.split_whitespace().next()).collect();
        assert_eq!(labels, ["a", "watch", "b", "websocket", "metrics"].map(Some));
    }

    #[test]
    fn an_empty_configuration_says_so() {
        let banner = banner("dir", &Config::default(), &addresses());
        assert!(banner.contains("serves no pipeline yet from dir\n"), "{banner}");
    }
}
