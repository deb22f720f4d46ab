//! Reaches a pipeline's data plane: at a URL, or in a pod by port-forward through the API server.
//!
//! A forwarded port is that of the pod's own network, so what listens on the pod's loopback interface is
//! reached as well, and neither a Service nor an Ingress is needed.

mod link;
mod tls;

use std::io;

use http::Uri;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, ResourceExt};
use tokio::net::TcpStream;
use weir_crds::v1alpha1::StreamPipeline;
use weir_operator::failure::{Category, chain, explain};

pub use self::link::{Answer, Body, Link};
use crate::args::{ClusterArgs, Way};
use crate::cluster::{self, Cluster};
use crate::pipelines;

/// Why the data plane is not reached.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no API server to ask.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// The pipeline or its pods can't be read.
    #[error(transparent)]
    Pipelines(#[from] pipelines::Error),
    /// The URL is none.
    #[error("--url {0} must begin with http:// or https:// and a host")]
    Url(Uri),
    /// No pod serves.
    #[error("no pod of {pipeline} is ready: {why}")]
    NoPod {
        /// The pipeline.
        pipeline: String,
        /// What there is, and what shows more.
        why: String,
    },
    /// The pod is not one of the pipeline.
    #[error("{pod} is no pod of {pipeline}; there is {others}")]
    OtherPod {
        /// The pod.
        pod: String,
        /// The pipeline.
        pipeline: String,
        /// Those that are.
        others: String,
    },
    /// The API server does not forward.
    #[error("can't forward a port of the pod {pod}: {}{}", explain(.cause), needed(.cause))]
    Forward {
        /// The pod.
        pod: String,
        /// What the API server, or the way to it, said.
        cause: Box<kube::Error>,
    },
    /// Nothing listens, or the connection broke before there was an answer.
    #[error("can't reach {place}: {reason}")]
    Connect {
        /// What was to be reached.
        place: String,
        /// What the system, or the kubelet, said.
        reason: String,
    },
    /// There is no TLS with the server.
    #[error("no TLS with {place}")]
    Tls {
        /// With whom.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is needed, where it is a permission that is lacking.
fn needed(cause: &kube::Error) -> &'static str {
    match Category::of(cause) {
        Category::Forbidden => "; you need the verbs get and create on pods/portforward",
        Category::NotFound
        | Category::Conflict
        | Category::Invalid
        | Category::Unavailable
        | Category::Transport
        | Category::Internal => "",
    }
}

impl Error {
    /// Whether it may be otherwise in a moment: a pod restarts, or an API server is being replaced.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::NoPod { .. }
            | Self::Connect { .. }
            | Self::Forward { .. }
            | Self::Tls { .. }
            | Self::Pipelines(pipelines::Error::Read { .. }) => true,
            Self::Cluster(_)
            | Self::Pipelines(pipelines::Error::NotInstalled | pipelines::Error::Missing { .. })
            | Self::Url(_)
            | Self::OtherPod { .. } => false,
        }
    }
}

/// Where the data plane of a pipeline is.
pub enum Reach {
    /// A server.
    Url(Uri),
    /// The pods of the pipeline.
    Pods(Box<Pods>),
}

/// The pods of a pipeline.
pub struct Pods {
    cluster: Cluster,
    pipeline: String,
    /// The one that was asked for.
    only: Option<String>,
    /// The one that was taken last: it has the log that a cursor is of, where none is shared.
    last: Option<String>,
    is_tls: bool,
    /// Why the pod that was taken last has not all of the stream, in the operator's words.
    partial: Option<String>,
}

impl Reach {
    /// Finds it. Where a URL is given, no cluster is asked.
    ///
    /// # Errors
    ///
    /// Fails where there is neither.
    pub async fn find(args: &ClusterArgs, way: &Way, pipeline: &str) -> Result<Self, Error> {
        if let Some(url) = &way.url {
            let is_http = matches!(url.scheme_str(), Some("http" | "https"));
            return if is_http { Ok(Self::Url(url.clone())) } else { Err(Error::Url(url.clone())) };
        }
        let cluster = Cluster::connect(args).await?;
        let found = pipelines::one(&cluster, pipeline).await?;
        let is_tls = found.spec.endpoints.tls.is_some();
        let (pipeline, only) = (pipeline.to_owned(), way.pod.clone());
        let pods = Pods { cluster, pipeline, only, last: None, is_tls, partial: None };
        Ok(Self::Pods(Box::new(pods)))
    }

    /// Why what was opened has not all of the stream, in the operator's words; `None` where it has, or nobody says.
    #[must_use]
    pub fn partial(&self) -> Option<&str> {
        match self {
            Self::Url(_) => None,
            Self::Pods(pods) => pods.partial.as_deref(),
        }
    }

    /// Opens a connection to a port of the data plane; a URL has its own.
    ///
    /// # Errors
    ///
    /// Fails where nothing can be reached there.
    pub async fn open(&mut self, port: u16) -> Result<Link, Error> {
        match self {
            Self::Url(url) => open_url(url).await,
            Self::Pods(pods) => pods.open(port).await,
        }
    }
}

async fn open_url(url: &Uri) -> Result<Link, Error> {
    let host = url.host().ok_or_else(|| Error::Url(url.clone()))?.to_owned();
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let place = format!("{host}:{port}");
    // A literal address of version 6 stands in brackets.
    let address = host.trim_matches(['[', ']']);
    let socket = TcpStream::connect((address, port)).await;
    let socket = socket.map_err(|error| connect(&place, &error))?;
    let prefix = url.path().trim_end_matches('/').to_owned();
    if is_tls {
        let stream = tls::with_name(address, socket).await;
        let stream = stream.map_err(|source| Error::Tls { place: place.clone(), source })?;
        return Link::over(stream, place, prefix, None).await;
    }
    Link::over(socket, place, prefix, None).await
}

fn connect(place: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Connect { place: place.to_owned(), reason: chain(error) }
}

impl Pods {
    async fn open(&mut self, port: u16) -> Result<Link, Error> {
        let pipeline = pipelines::one(&self.cluster, &self.pipeline).await?;
        let pods = pipelines::replicas(&self.cluster, &pipeline).await?;
        let pod = self.choose(&pods)?;
        self.partial = partial(&pipeline, &pods);
        let is_tls = self.is_tls && port == weir_crds::names::port::PUBLIC;
        let link = forward(&self.cluster, &pod, port, is_tls).await?;
        self.last = Some(pod);
        Ok(link)
    }

    fn choose(&self, pods: &[Pod]) -> Result<String, Error> {
        let names = || pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        if let Some(only) = &self.only {
            return match names().contains(only) {
                true => Ok(only.clone()),
                false => Err(Error::OtherPod {
                    pod: only.clone(),
                    pipeline: self.pipeline.clone(),
                    others: if pods.is_empty() { "none".to_owned() } else { names().join(", ") },
                }),
            };
        }
        let ready =
            || pods.iter().filter(|pod| pipelines::is_ready(pod)).map(ResourceExt::name_any);
        let same = ready().find(|name| self.last.as_ref() == Some(name));
        same.or_else(|| ready().next()).ok_or_else(|| Error::NoPod {
            pipeline: self.pipeline.clone(),
            why: format!(
                "it has {}; `kubectl weir status {} -n {}` says more",
                if pods.is_empty() { "none".to_owned() } else { names().join(", ") },
                self.pipeline,
                self.cluster.namespace
            ),
        })
    }
}

/// Why one of these pods has not all of the stream: each has a log of its own, as the operator has found. One that is
/// alone has all that there is, whatever number of others there may come to be.
fn partial(pipeline: &StreamPipeline, pods: &[Pod]) -> Option<String> {
    let conditions = &pipeline.status.as_ref()?.conditions;
    let is_found = |found: &&Condition| found.type_ == "StreamComplete" && found.status == "False";
    let found = conditions.iter().find(is_found)?;
    (pods.len() > 1).then(|| found.message.clone())
}

/// Opens a connection to a port in a pod.
///
/// # Errors
///
/// Fails where the API server does not forward, or nothing listens.
pub async fn forward(cluster: &Cluster, pod: &str, port: u16, is_tls: bool) -> Result<Link, Error> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let refused = |cause| Error::Forward { pod: pod.to_owned(), cause: Box::new(cause) };
    let mut forwarder = api.portforward(pod, &[port]).await.map_err(refused)?;
    let place = format!("port {port} of the pod {pod}");
    let (stream, error) = (forwarder.take_stream(port), forwarder.take_error(port));
    let stream = stream.ok_or_else(|| Error::Connect {
        place: place.clone(),
        reason: "the port was not forwarded".to_owned(),
    })?;
    let error = error.map(|error| Box::pin(error) as link::Trouble);
    let mut link = if is_tls {
        let stream = tls::unnamed(stream).await;
        let stream = stream.map_err(|source| Error::Tls { place: place.clone(), source })?;
        Link::over(stream, place, String::new(), error).await?
    } else {
        Link::over(stream, place, String::new(), error).await?
    };
    link.pod = Some(pod.to_owned());
    Ok(link)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: bool) -> Pod {
        let ready = if ready { "True" } else { "False" };
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn pods(only: Option<&str>, last: Option<&str>) -> Pods {
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        Pods {
            cluster: Cluster { client, namespace: "shop".to_owned(), is_given: false },
            pipeline: "orders".to_owned(),
            only: only.map(str::to_owned),
            last: last.map(str::to_owned),
            is_tls: false,
            partial: None,
        }
    }

    #[test]
    fn one_of_several_logs_is_not_taken_for_all_of_the_stream() {
        let with = |status: &str| {
            let condition = json!({
                "type": "StreamComplete", "status": status, "reason": "Why", "message": "each has its own",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let pipeline = json!({
                "metadata": { "name": "orders" },
                "spec": { "placement": { "gateway": {} }, "sources": [] },
                "status": { "conditions": [condition] },
            });
            serde_json::from_value::<StreamPipeline>(pipeline).unwrap()
        };
        let both = [pod("a", true), pod("b", true)];
        assert_eq!(partial(&with("False"), &both).as_deref(), Some("each has its own"));
        assert_eq!(partial(&with("False"), &both[..1]), None, "it has all that there is");
        assert_eq!(partial(&with("True"), &both), None);
        let unseen = StreamPipeline { status: None, ..with("False") };
        assert_eq!(partial(&unseen, &both), None);
    }

    #[tokio::test]
    async fn the_pod_that_was_read_from_is_read_from_again_while_it_is_ready() {
        let both = [pod("a", true), pod("b", true)];
        assert_eq!(pods(None, None).choose(&both).unwrap(), "a");
        assert_eq!(pods(None, Some("b")).choose(&both).unwrap(), "b");
        assert_eq!(pods(None, Some("b")).choose(&[pod("a", true), pod("b", false)]).unwrap(), "a");
    }

    #[tokio::test]
    async fn a_pod_that_was_asked_for_is_taken_or_refused() {
        let found = [pod("a", true), pod("b", false)];
        assert_eq!(pods(Some("b"), None).choose(&found).unwrap(), "b");
        let error = pods(Some("c"), None).choose(&found).unwrap_err().to_string();
        assert_eq!(error, "c is no pod of orders; there is a, b");
        let error = pods(None, None).choose(&[pod("a", false)]).unwrap_err().to_string();
        assert!(error.starts_with("no pod of orders is ready: it has a;"), "{error}");
        assert!(error.contains("`kubectl weir status orders -n shop`"), "{error}");
    }

    #[test]
    fn a_permission_is_asked_for_only_where_it_is_lacking() {
        let said = |code: u16| {
            let status = kube::core::Status { code, ..kube::core::Status::failure("no", "Why") };
            let cause = Box::new(kube::Error::Api(Box::new(status)));
            Error::Forward { pod: "a".to_owned(), cause }.to_string()
        };
        assert!(said(403).contains("you need the verbs get and create"), "{}", said(403));
        assert_eq!(said(400), "can't forward a port of the pod a: no");
    }

    #[tokio::test]
    async fn a_url_must_be_one_of_http() {
        let way = Way { url: Some("ws://a/".parse().unwrap()), ..Way::default() };
        let found = Reach::find(&ClusterArgs::default(), &way, "orders").await;
        assert!(found.err().unwrap().to_string().starts_with("--url ws://a/ must begin with http"));
    }
}
