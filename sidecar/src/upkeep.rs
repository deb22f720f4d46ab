//! Does what is due with time: expires logs, looks after certificates and memory, and takes the snapshots of the objectives' counters.

use std::{sync::Arc, time::Duration};

use tokio::time;
use weir_slo::STEP;

use crate::{clock, edge::Tls, memory::Memory, registry::Registry};

/// How often logs are looked at. An event may outlive its age by this much.
const EXPIRY: Duration = Duration::from_secs(1);

/// Expires logs, and begins those anew that have lost events, until the task is dropped.
pub async fn expire(registry: Arc<Registry>) {
    let mut ticks = time::interval(EXPIRY);
    loop {
        ticks.tick().await;
        for pipeline in registry.all().values() {
            pipeline.hub().expire();
            if let Some(streams) = pipeline.streams() {
                streams.expire().await;
            }
        }
        registry.renew();
    }
}

/// How often certificates are looked for on disk.
const CERTIFICATES: Duration = Duration::from_secs(2);

/// Takes up changed certificates until the task is dropped.
pub async fn certificates(registry: Arc<Registry>, tls: Tls) {
    let mut ticks = time::interval(CERTIFICATES);
    loop {
        ticks.tick().await;
        let (registry, tls) = (Arc::clone(&registry), tls.clone());
        // Reading files blocks. It can only fail by a panic, and then the next time does the work.
        let _ = tokio::task::spawn_blocking(move || tls.refresh(&registry)).await;
    }
}

/// How often it is looked how much memory is used. Within so long a storm of subscribers takes some
/// mebibytes.
const MEMORY: Duration = Duration::from_secs(1);

/// Looks how much memory is used until the task is dropped.
pub async fn memory(memory: Memory) {
    let mut ticks = time::interval(MEMORY);
    loop {
        ticks.tick().await;
        let memory = memory.clone();
        // Reading files blocks. It can only fail by a panic, and then the next time does the work.
        let _ = tokio::task::spawn_blocking(move || memory.look()).await;
    }
}

/// Takes snapshots right after each multiple of [`STEP`] of the wall clock until the task is dropped:
/// so the snapshots of all replicas are of the same instants, and can be added.
pub async fn snapshot(registry: Arc<Registry>) {
    loop {
        let now = clock::now();
        let past = now.as_millis() % STEP.0;
        time::sleep(Duration::from_millis(STEP.0 - past)).await;
        let now = clock::now();
        for pipeline in registry.all().values() {
            pipeline.hub().accounts().meters().iter().for_each(|meter| meter.observe(now));
        }
    }
}
