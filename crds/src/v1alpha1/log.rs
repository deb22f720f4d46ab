//! The log: what is kept so that a subscriber can resume.

#[cfg(feature = "kube")]
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NatsStorage, RedisStorage};
use crate::scalar::{Duration, Quantity};

/// The log of a pipeline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// Where events are kept.
    #[serde(default)]
    pub storage: Storage,
    /// How long, how many and how much. An event leaves when the first of the bounds is passed.
    #[serde(default)]
    pub retention: Retention,
}

/// Where events are kept. Exactly one of the fields is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[cfg_attr(
    feature = "kube",
    x_kube(validation = Rule::new("[has(self.memory), has(self.disk), has(self.redis), has(self.natsJetStream)].filter(x, x).size() == 1").message("set exactly one of memory, disk, redis and natsJetStream"))
)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// In the memory of the data plane: fast, and empty after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStorage>,
    /// On a disk of the replica: it outlives a restart of the data plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStorage>,
    /// In a stream of a Redis server, which all replicas share and which outlives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStorage>,
    /// In a stream of NATS JetStream, which all replicas share and which outlives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_jet_stream: Option<NatsStorage>,
}

/// The one storage that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageKind<'a> {
    /// In the memory of the data plane.
    Memory(&'a MemoryStorage),
    /// On a disk of the replica.
    Disk(&'a DiskStorage),
    /// In Redis.
    Redis(&'a RedisStorage),
    /// In NATS JetStream.
    Nats(&'a NatsStorage),
}

impl Storage {
    /// The one storage that is set; `None` where none or several are.
    #[must_use]
    pub const fn kind(&self) -> Option<StorageKind<'_>> {
        let Self { memory, disk, redis, nats_jet_stream } = self;
        match (memory, disk, redis, nats_jet_stream) {
            (Some(memory), None, None, None) => Some(StorageKind::Memory(memory)),
            (None, Some(disk), None, None) => Some(StorageKind::Disk(disk)),
            (None, None, Some(redis), None) => Some(StorageKind::Redis(redis)),
            (None, None, None, Some(nats)) => Some(StorageKind::Nats(nats)),
            (_, _, _, _) => None,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self { memory: Some(MemoryStorage {}), disk: None, redis: None, nats_jet_stream: None }
    }
}

/// The memory of the data plane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStorage {}

/// A disk of the replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskStorage {
    /// The most room that the log takes on the disk; at least 16Mi, and twice retention.maxBytes, because
    /// files are removed whole, after the last of their events has left. Durable streams take their room
    /// out of it, too.
    #[serde(default = "default_disk_size")]
    pub size: Quantity,
    /// What a publisher's answer promises.
    #[serde(default)]
    pub durability: Durability,
}

impl Default for DiskStorage {
    fn default() -> Self {
        Self { size: default_disk_size(), durability: Durability::default() }
    }
}

/// What has become of an event when its publisher is answered. Either way it outlives the process, however
/// that ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Durability {
    /// It is on the disk, and outlives a power cut, too.
    #[default]
    Fsync,
    /// It is with the operating system, which is told every second to put it on the disk: an answer comes
    /// sooner, and when the machine itself fails, the last second may be lost.
    Interval,
}

/// The bounds of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kube", derive(KubeSchema))]
#[cfg_attr(not(feature = "kube"), derive(JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// The age at which an event leaves the log.
    #[serde(default = "default_max_age")]
    #[cfg_attr(
        feature = "kube",
        x_kube(validation = crate::rules::of_duration("duration(self) >= duration('1s')").message("must be at least 1s"))
    )]
    pub max_age: Duration,
    /// The most events that the log holds.
    #[serde(default = "default_max_events")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_events: i32,
    /// The most bytes of events that the log holds.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: Quantity,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: default_max_age(),
            max_events: default_max_events(),
            max_bytes: default_max_bytes(),
        }
    }
}

fn default_disk_size() -> Quantity {
    Quantity::mebibytes(1_024)
}

fn default_max_age() -> Duration {
    Duration::seconds(3_600)
}

const fn default_max_events() -> i32 {
    100_000
}

/// A sidecar shares its pod's memory with the application, so the default is modest.
fn default_max_bytes() -> Quantity {
    Quantity::mebibytes(64)
}
