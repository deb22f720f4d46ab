//! The connection to Redis over which everything but the tail goes: made when it is needed, shared by all
//! who ask at once, and made anew after it broke.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ScriptInvocation, Value,
    aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

use super::{LogError, RedisConfig};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// How long to wait for an answer: no script takes a hundredth of this.
const ANSWER: Duration = Duration::from_secs(3);

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(super) struct Link {
    config: RedisConfig,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    connection: Option<MultiplexedConnection>,
    /// How many were made, so that only the one that broke is thrown away.
    made: u64,
}

impl Link {
    pub(super) fn new(config: &RedisConfig) -> Self {
        Self { config: config.clone(), current: Mutex::default() }
    }

    /// A connection of one's own, on which an answer may take its time.
    pub(super) async fn connect_patient(&self) -> RedisResult<MultiplexedConnection> {
        self.connect(None).await
    }

    async fn connect(&self, answer: Option<Duration>) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(answer);
        self.client()?.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Made for each connection, because a password may have been changed.
    fn client(&self) -> RedisResult<Client> {
        let RedisConfig { host, port, user, password, keys: _ } = &self.config;
        let mut settings = RedisConnectionInfo::default();
        if let Some(user) = user {
            settings = settings.set_username(user);
        }
        if let Some(password) = password {
            let unreadable =
                |why| RedisError::from((ErrorKind::InvalidClientConfig, "no password", why));
            settings = settings.set_password(password.read().map_err(unreadable)?);
        }
        let address = ConnectionAddr::Tcp(host.clone(), *port);
        Client::open(address.into_connection_info()?.set_redis_settings(settings))
    }

    /// Runs a script once.
    pub(super) async fn run(&self, script: &ScriptInvocation<'_>) -> RedisResult<Value> {
        let (mut connection, made) = self.shared().await?;
        let answer = script.invoke_async(&mut connection).await;
        if let Err(error) = &answer
            && breaks(error)
        {
            let mut current = self.current.lock().await;
            if current.made == made {
                current.connection = None;
            }
        }
        answer
    }

    async fn shared(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        // Held while connecting, so that all who ask meanwhile share the outcome.
        let mut current = self.current.lock().await;
        if current.connection.is_none() {
            current.connection = Some(self.connect(Some(ANSWER)).await?);
            current.made += 1;
        }
        let made = current.made;
        let connection = current.connection.clone();
        connection
            .map(|connection| (connection, made))
            .ok_or_else(|| RedisError::from((ErrorKind::Client, "the connection is gone")))
    }
}

/// Whether another connection may do better: this one is cut, or leads to a server that was demoted.
pub(super) fn breaks(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || error.code() == Some("READONLY")
}

/// Whether the same may work a moment later. The codes are those of a server that starts, fails over, or is
/// kept busy.
pub(super) fn is_passing(error: &RedisError) -> bool {
    const PASSING: [&str; 8] = [
        "LOADING",
        "READONLY",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "NOREPLICAS",
        "MISCONF",
    ];
    breaks(error) || error.code().is_some_and(|code| PASSING.contains(&code))
}

/// What a publisher and a person are told.
pub(super) fn explain(error: &RedisError) -> LogError {
    let why = error.to_string();
    match error.code() {
        Some("OOM") => LogError::Full(why),
        Some("WRONGTYPE") => LogError::Damaged(why),
        Some(_) | None => LogError::Unavailable(why),
    }
}
