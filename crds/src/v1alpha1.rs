//! The resources of `weir.dev/v1alpha1`.

#![allow(unreachable_pub, reason = "KubeSchema derives an inner type with the span of the outer")]

mod auth;
mod autoscaling;
mod delivery;
mod endpoints;
mod exposure;
mod gateway;
mod log;
mod objective;
mod pipeline;
mod placement;
mod secret;
mod shared_log;
mod slo;
mod source;
#[cfg(feature = "kube")]
mod status;

pub use auth::{Auth, ClaimRule, Cookie, Jwt, Tickets};
pub use autoscaling::{Autoscaling, ScalingPolicy, ScalingPolicyKind, ScalingRules, SelectPolicy};
pub use delivery::{Delivery, Drain, MaxLag, SlowConsumer};
pub use endpoints::{Cors, DurableStreams, Endpoints, Publish, Read, Sse, Tls, WebSocket};
pub use exposure::{
    AppProtocol, Exposure, ExternalTrafficPolicy, HttpRouteExposure, IngressExposure, IngressTls,
    NetworkPolicyExposure, ParentRef, Peer, Scheme, ServiceExposure, ServiceType,
};
pub use gateway::{
    Amounts, Gateway, GatewayPod, GatewayVolume, Rebalance, Resources, TaintEffect, Toleration,
    TolerationOperator, TopologySpread, WhenDeleted, WhenUnsatisfiable,
};
pub use log::{DiskStorage, Durability, Log, MemoryStorage, Retention, Storage, StorageKind};
pub use objective::{
    DeliveryObjective, ErrorRateObjective, LatencyObjective, Objective, ObjectiveKind, TimeSlice,
};
#[cfg(feature = "kube")]
pub use pipeline::StreamPipeline;
pub use pipeline::{KIND as STREAM_PIPELINE, StreamPipelineSpec};
pub use placement::{
    LabelSelector, LabelSelectorRequirement, Operator, Placement, PlacementKind, Restart, Sidecar,
};
pub use secret::SecretKey;
pub use shared_log::{NatsStorage, RedisStorage};
#[cfg(feature = "kube")]
pub use slo::StreamSLO;
pub use slo::{Evaluation, KIND as STREAM_SLO, PipelineRef, StreamSLOSpec, TimeWindowSpec};
pub use source::{Generator, Http, Source, SourceKind};
#[cfg(feature = "kube")]
pub use status::{
    AutoscalingStatus, BurnRateStatus, EndpointStatus, ErrorBudgetStatus, GenerationStatus,
    InjectionStatus, ObjectiveStatus, ReplicaStatus, RestartStatus, SloSummary,
    StreamPipelineStatus, StreamSLOStatus,
};
