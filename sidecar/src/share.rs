//! Holds a replica to its share of the connections: what it has beyond that, it sends away.
//!
//! The operator writes the share beside a pipeline's manifest, with the moment until which it is to be reached,
//! when replicas are far apart. The same share is heard once.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use weir_crds::names::Share;

use crate::{clock, registry::Registry};

/// What replicas were asked to come down to.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<String, Share>>);

impl Shares {
    /// Sends away what is beyond the shares that are new.
    pub fn refresh(&self, registry: &Registry) {
        let pipelines = registry.all();
        let mut known = self.0.lock();
        known.retain(|name, _| pipelines.contains_key(name));
        for (name, pipeline) in pipelines.iter() {
            let Some(share) = pipeline.config().share else { continue };
            if known.insert(name.clone(), share) == Some(share) {
                continue;
            }
            let weir_slo::Subscribers { sse, websocket } = pipeline.hub().accounts().subscribers();
            let all = sse.saturating_add(websocket);
            let now = clock::now().as_millis() / 1_000;
            let window = Duration::from_secs(share.until.saturating_sub(now));
            if all > share.connections && !window.is_zero() {
                let excess = all - share.connections;
                tracing::info!(
                    pipeline = name,
                    excess,
                    of = all,
                    "sends away what is beyond its share"
                );
                pipeline.hub().shedding().call(excess, all, window);
            }
        }
    }
}
