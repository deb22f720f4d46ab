//! Opens a log that all replicas share, and attends it: says when it can't be reached, and when it has lost
//! what was acknowledged, so that another hub takes this one's place.

use std::{path::Path, sync::Arc};

use tokio::{sync::watch, time};
#[cfg(feature = "nats")]
use weir_crds::v1alpha1::NatsStorage;
#[cfg(feature = "redis")]
use weir_crds::v1alpha1::RedisStorage;
use weir_crds::v1alpha1::SecretKey;

#[cfg(feature = "nats")]
use crate::log::{NatsConfig, NatsLog};
#[cfg(feature = "redis")]
use crate::log::{RedisConfig, RedisLog};
use crate::{
    config::PipelineConfig,
    hub::Hub,
    log::{Backoff, Health, Log, LogError, Password, Pending, Retention, Tail},
};

/// An open log, and how it does.
type Opened = Result<(Arc<dyn Log>, watch::Receiver<Health>), LogError>;

/// Where a shared log is.
#[derive(Debug)]
pub(super) enum Shared {
    #[cfg(feature = "redis")]
    Redis(RedisConfig),
    #[cfg(feature = "nats")]
    Nats(NatsConfig),
}

impl Shared {
    /// Where the log of a pipeline in Redis is. The hash tag keeps its keys on one server of a cluster.
    #[cfg(feature = "redis")]
    pub(super) fn redis(spec: &RedisStorage, config: &PipelineConfig, secrets: &Path) -> Self {
        let RedisStorage { address, key_prefix, username, password } = spec;
        let PipelineConfig { namespace, name, .. } = config;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        Self::Redis(RedisConfig {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().unwrap_or_default(),
            user: username.clone(),
            password: password.as_ref().map(|key| in_file(key, secrets)),
            keys: format!("{key_prefix}:{{{namespace}/{name}}}"),
        })
    }

    /// Where the log of a pipeline in NATS is. No name of Kubernetes has an underscore, so no two pipelines
    /// have one stream.
    #[cfg(feature = "nats")]
    pub(super) fn nats(spec: &NatsStorage, config: &PipelineConfig, secrets: &Path) -> Self {
        let NatsStorage { address, stream, replicas, username, password } = spec;
        let PipelineConfig { namespace, name, .. } = config;
        Self::Nats(NatsConfig {
            address: address.clone(),
            stream: stream.clone().unwrap_or_else(|| format!("weir_{namespace}_{name}")),
            replicas: usize::try_from(*replicas).unwrap_or(1),
            user: username.clone(),
            password: password.as_ref().map(|key| in_file(key, secrets)),
        })
    }

    fn open(&self, tail: Arc<Tail>, retention: Retention) -> Pending<'_, Opened> {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis(config) => Box::pin(async move {
                let log = RedisLog::open(config, tail, retention).await?;
                let health = log.health();
                Ok((Arc::new(log) as Arc<dyn Log>, health))
            }),
            #[cfg(feature = "nats")]
            Self::Nats(config) => Box::pin(async move {
                let log = NatsLog::open(config, tail, retention).await?;
                let health = log.health();
                Ok((Arc::new(log) as Arc<dyn Log>, health))
            }),
        }
    }
}

/// The password in this key of a Secret.
fn in_file(key: &SecretKey, secrets: &Path) -> Password {
    let SecretKey { secret_name, key } = key;
    Password::new(secrets.join(secret_name).join(key))
}

/// Opens the log of a hub and attends it, until the hub is closed or the log lost.
pub(super) async fn attend(place: Shared, hub: Arc<Hub>) {
    tokio::select! {
        () = hub.closed() => {}
        () = serve(&place, &hub) => {}
    }
}

async fn serve(place: &Shared, hub: &Arc<Hub>) {
    let mut backoff = Backoff::default();
    let (log, mut health) = loop {
        match place.open(Arc::clone(hub.tail()), hub.settings().retention).await {
            Ok(opened) => break opened,
            Err(error) => {
                tracing::warn!(pipeline = hub.name(), %error, "can't open the log; trying again");
                hub.set_fault(Some(error.fault()));
            }
        }
        time::sleep(backoff.pause()).await;
    };
    hub.open(Arc::clone(&log));
    // What was changed while it was being opened.
    log.set_retention(hub.settings().retention);
    loop {
        let current = health.borrow_and_update().clone();
        match current {
            Health::Well => hub.set_fault(None),
            Health::Down(why) => hub.set_fault(Some(why)),
            Health::Lost => {
                tracing::error!(pipeline = hub.name(), "the log has lost events; it begins anew");
                hub.set_fault(Some("the log has lost events; it begins anew".to_owned()));
                return hub.set_lost();
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}
