//! StreamPipeline: where events come from, how long they are kept, and where subscribers find them.

use std::collections::BTreeSet;

#[cfg(feature = "kube")]
use kube::{CustomResource, KubeSchema};
#[cfg(not(feature = "kube"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auth, Delivery, Endpoints, Exposure, Log, Placement, Source, Storage};

/// The kind, as it stands in a manifest.
pub const KIND: &str = "StreamPipeline";

/// A stream of events: its sources, its log and its endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(CustomResource, KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    kube(
        group = "weir.dev",
        version = "v1alpha1",
        kind = "StreamPipeline",
        plural = "streampipelines",
        shortname = "spipe",
        category = "weir",
        namespaced,
        status = "super::StreamPipelineStatus",
        scale(
            spec_replicas_path = ".spec.placement.gateway.replicas",
            status_replicas_path = ".status.replicas.current",
            label_selector_path = ".status.replicas.selector"
        ),
        derive = "PartialEq",
        doc = "A streaming pipeline: it turns an application's events into Server-Sent Events and WebSocket endpoints.",
        printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
        printcolumn(name = "Sources", type_ = "string", json_path = r#".status.conditions[?(@.type=="SourcesHealthy")].status"#),
        printcolumn(name = "Endpoints", type_ = "string", json_path = r#".status.conditions[?(@.type=="EndpointsReady")].status"#),
        printcolumn(name = "Replicas", type_ = "string", json_path = ".status.replicas.summary"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(name = "URL", type_ = "string", json_path = ".status.endpoints.sse", priority = 1),
        printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
        validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$')").message("metadata.name must be a DNS label of at most 52 characters that starts with a letter, because it names a Service and stands in every URL"),
    )
)]
#[cfg_attr(
    feature = "kube",
    x_kube(
        validation = Rule::new("self.sources.filter(s, has(s.http)).size() <= 1").field_path(".sources").message("at most one source may be of kind http, because /{pipeline}/events publishes into it"),
        validation = Rule::new("!has(self.endpoints.publish) || self.sources.exists(s, has(s.http))").field_path(".endpoints.publish").message("needs a source of kind http to publish into: add one to sources, or remove endpoints.publish"),
        validation = Rule::new("!has(self.placement.gateway) || has(self.placement.sidecar) || has(self.endpoints.publish) || !self.sources.exists(s, has(s.http))").field_path(".sources").message("a source of kind http in a gateway needs endpoints.publish, because no application shares the gateway's pods"),
        validation = crate::rules::in_one_replica("has(self.endpoints.durableStreams)").field_path(".endpoints.durableStreams").message("are in one replica, whatever the log: set placement.gateway.replicas to 1 without autoscaling, or remove endpoints.durableStreams"),
        validation = crate::rules::events_fit_into_the_log(),
        validation = crate::rules::the_disk_has_room_for_the_log(),
        validation = crate::rules::the_disk_has_room_for_streams(),
        validation = Rule::new("!has(self.endpoints.publish) || self.endpoints.publish.anonymous || (has(self.auth) && has(self.auth.jwt) && has(self.auth.jwt.publish))").field_path(".endpoints.publish").message("needs auth.jwt.publish, which says whose tokens may publish, or anonymous: true"),
        validation = Rule::new("!has(self.endpoints.durableStreams) || self.endpoints.durableStreams.anonymous || (has(self.auth) && has(self.auth.jwt) && has(self.auth.jwt.publish))").field_path(".endpoints.durableStreams").message("needs auth.jwt.publish, which says whose tokens may change streams, or anonymous: true"),
        validation = crate::rules::in_one_replica("has(self.auth) && has(self.auth.tickets)").field_path(".auth.tickets").message("are in the memory of one replica: set placement.gateway.replicas to 1 without autoscaling, or remove auth.tickets"),
        validation = crate::rules::memory_has_room_for_the_log("gateway"),
        validation = crate::rules::memory_has_room_for_the_log("sidecar"),
        validation = Rule::new("!has(self.placement.gateway) || !has(self.placement.gateway.volume) || has(self.log.storage.disk)").field_path(".placement.gateway.volume").message("holds a log on a disk: set log.storage.disk, or remove volume"),
        validation = Rule::new("!has(self.placement.gateway) || !has(self.placement.gateway.rebalance) || has(self.log.storage.redis) || has(self.log.storage.natsJetStream)").field_path(".placement.gateway.rebalance").message("needs a log that replicas share, or subscribers would come back to another stream: set log.storage.redis or natsJetStream, or remove rebalance"),
        validation = Rule::new("!has(self.placement.gateway) || !has(self.placement.gateway.autoscaling) || !has(self.placement.gateway.autoscaling.connectionsPerReplica) || self.placement.gateway.autoscaling.connectionsPerReplica <= self.delivery.maxConnections || self.placement.gateway.autoscaling.connectionsPerReplica > 1000000").field_path(".placement.gateway.autoscaling.connectionsPerReplica").message("must not be more than delivery.maxConnections, beyond which a replica turns subscribers away"),
        validation = Rule::new("!has(self.exposure) || !has(self.exposure.networkPolicy) || has(self.placement.gateway)").field_path(".exposure.networkPolicy").message("needs placement.gateway: of an application's pods it would close the application's own ports, too"),
    )
)]
#[serde(rename_all = "camelCase")]
pub struct StreamPipelineSpec {
    /// Where the data plane runs: beside the application, or in a workload of its own.
    pub placement: Placement,
    /// Where events come from. Each source has a name and exactly one kind.
    #[cfg_attr(feature = "kube", x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()])))]
    #[schemars(length(min = 1, max = 16))]
    pub sources: Vec<Source>,
    /// What is kept so that a subscriber can resume: the log's storage and its retention.
    #[serde(default)]
    pub log: Log,
    /// How subscribers read the stream, and who may publish into it.
    #[serde(default)]
    pub endpoints: Endpoints,
    /// Who may subscribe and publish on the public port; where it is absent, whoever reaches the port may
    /// subscribe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What each subscriber is granted, and what becomes of one that falls behind.
    #[serde(default)]
    pub delivery: Delivery,
    /// How subscribers outside the cluster reach the pipeline, and who inside may. Where it is absent, it is
    /// reached by its Service from inside, by everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
}

impl StreamPipelineSpec {
    /// The Secrets that the data plane reads.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<&str> {
        let jwt = self.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
        let (keys, ca) = jwt.map_or((None, None), |jwt| (jwt.jwks.as_ref(), jwt.ca.as_ref()));
        let Storage { memory: _, disk: _, redis, nats_jet_stream } = &self.log.storage;
        let redis = redis.as_ref().and_then(|redis| redis.password.as_ref());
        let nats = nats_jet_stream.as_ref().and_then(|nats| nats.password.as_ref());
        let keys =
            [keys, ca, redis, nats].into_iter().flatten().map(|key| key.secret_name.as_str());
        let certificate = self.endpoints.tls.as_ref().map(|tls| tls.secret_name.as_str());
        keys.chain(certificate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_that_a_manifest_names_is_found() {
        let spec = |rest: &str| -> StreamPipelineSpec {
            serde_yaml::from_str(&format!("{{placement: {{gateway: {{}}}}, sources: [], {rest}}}"))
                .unwrap()
        };
        let key = |name: &str| format!("{{secretName: {name}, key: k}}");
        let [keys, ca, redis, nats] = ["keys", "ca", "redis", "nats"].map(key);
        let tls = "endpoints: {tls: {secretName: tls}}";
        let jwt = format!("auth: {{jwt: {{issuer: i, audiences: [a], jwks: {keys}}}}}");
        let issuer = format!("auth: {{jwt: {{issuer: i, audiences: [a], jwksUrl: u, ca: {ca}}}}}");
        let redis = format!("log: {{storage: {{redis: {{address: 'a:1', password: {redis}}}}}}}");
        let nats =
            format!("log: {{storage: {{natsJetStream: {{address: 'a:1', password: {nats}}}}}}}");
        for (rest, names) in [
            (String::new(), &[][..]),
            (format!("{tls}, {jwt}, {redis}"), &["keys", "redis", "tls"]),
            (nats, &["nats"]),
            (issuer, &["ca"]),
        ] {
            let spec = spec(&rest);
            assert_eq!(spec.secrets().into_iter().collect::<Vec<_>>(), names, "{rest}");
        }
    }
}
