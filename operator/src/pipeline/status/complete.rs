//! The condition StreamComplete: a subscriber gets every event, whichever replica it is connected to.
//!
//! Each replica with a log of its own holds only the events that reached it. That is a valid thing to
//! ask for, so the pipeline stays Ready; but nobody should have to find it out by missing events.

use weir_crds::v1alpha1::{PlacementKind, StorageKind};

use super::census::Census;
use super::condition;
use crate::conditions::{Finding, Status};
use crate::pipeline::observe::Observed;

/// What helps with any placement.
const SHARE: &str = "set spec.log.storage to redis or natsJetStream, which replicas share";

/// Finds the condition; `None` where the placement is not known.
pub(super) fn find(observed: &Observed, census: &Census) -> Option<Finding> {
    let spec = &observed.pipeline.spec;
    let place = match spec.log.storage.kind() {
        Some(StorageKind::Memory(_)) => Some("in memory"),
        Some(StorageKind::Disk(_)) => Some("on its disk"),
        Some(StorageKind::Redis(_) | StorageKind::Nats(_)) | None => None,
    };
    let remedy = match spec.placement.kind()? {
        PlacementKind::Gateway(gateway) if gateway.autoscaling.is_some() => {
            "set spec.placement.gateway.autoscaling.maxReplicas to 1"
        }
        PlacementKind::Gateway(_) => "set spec.placement.gateway.replicas to 1",
        PlacementKind::Sidecar(_) => {
            "run one pod of the application, use placement.gateway with one replica and \
             endpoints.publish"
        }
    };
    let replicas = census.lasting;
    let autoscaled =
        spec.placement.gateway.as_ref().is_some_and(|found| found.autoscaling.is_some());
    // What may become of it is said before it does, in the middle of a night.
    let number = if autoscaled { "up to " } else { "" };
    let (status, reason, message) = match place {
        Some(place) if replicas > 1 => (
            Status::False,
            "LocalLogWithReplicas",
            format!(
                "each of {number}{replicas} replicas keeps its own log {place}, so a subscriber gets only the \
                 events that reach the replica it is connected to, and can't resume at another: {remedy}, or {SHARE}"
            ),
        ),
        // A log that is shared doesn't make the durable streams shared.
        None if replicas > 1 && spec.endpoints.durable_streams.is_some() => (
            Status::True,
            "OneLog",
            "every event is in the one log that there is; but each of the replicas has durable streams of \
             its own"
                .to_owned(),
        ),
        Some(_) | None => {
            (Status::True, "OneLog", "every event is in the one log that there is".to_owned())
        }
    };
    Some(Finding { type_: condition::STREAM_COMPLETE, status, reason, message })
}
