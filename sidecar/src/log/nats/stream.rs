//! The JetStream stream that is the log: how it is made, what it says of itself, and whether it is still
//! the one that was opened.

use std::time::Duration;

use async_nats::jetstream::{
    Context,
    context::GetStreamErrorKind,
    stream::{self, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream},
};
use sha2::{Digest, Sha256};

use super::{LogError, NatsConfig};
use crate::log::{LogId, Micros, Offset, Retention};

/// How long the broker remembers ids, at most: it keeps them in memory, and older events are known to the
/// replicas.
pub(super) const WINDOW: Duration = Duration::from_secs(120);

/// The least age that JetStream takes.
const LEAST_AGE: Duration = Duration::from_millis(100);

pub(super) fn unavailable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

/// Opens the stream, or makes it where there is none.
pub(super) async fn open(
    context: &Context,
    config: &NatsConfig,
    retention: Retention,
) -> Result<Stream, LogError> {
    let stream = match context.get_stream(&config.stream).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error.kind()) => {
            let wanted = wanted(config, retention);
            context.create_stream(wanted).await.map_err(unavailable)?
        }
        Err(error) => return Err(unavailable(error)),
    };
    let subject = config.subject();
    if stream.cached_info().config.subjects != [subject.clone()] {
        let why = format!(
            "the stream {} is not one of weir's: its only subject must be {subject}",
            config.stream
        );
        return Err(LogError::Damaged(why));
    }
    bound(context, &stream.cached_info().config, config, retention).await?;
    Ok(stream)
}

/// What the stream says of itself; `None` where it is gone.
pub(super) async fn look(context: &Context, config: &NatsConfig) -> Result<Option<Info>, LogError> {
    match context.get_stream(&config.stream).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) if is_missing(&error.kind()) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error)
        if error.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND)
}

fn wanted(config: &NatsConfig, retention: Retention) -> stream::Config {
    let base = stream::Config {
        name: config.stream.clone(),
        subjects: vec![config.subject()],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        deny_delete: true,
        deny_purge: true,
        ..Default::default()
    };
    bounded(&base, config, retention)
}

/// The same stream within other bounds. JetStream counts an event as smaller than Weir does, so it always
/// holds at least what the log promises.
fn bounded(base: &stream::Config, config: &NatsConfig, retention: Retention) -> stream::Config {
    let Retention { max_age, max_events, max_bytes } = retention;
    let max_age = max_age.max(LEAST_AGE);
    let bound = |number: u64| i64::try_from(number.max(1)).unwrap_or(i64::MAX);
    stream::Config {
        max_age,
        max_messages: bound(max_events as u64),
        max_bytes: bound(max_bytes),
        duplicate_window: WINDOW.min(max_age),
        num_replicas: config.replicas,
        allow_direct: true,
        ..base.clone()
    }
}

/// Gives the stream its bounds where it has others.
pub(super) async fn bound(
    context: &Context,
    current: &stream::Config,
    config: &NatsConfig,
    retention: Retention,
) -> Result<(), LogError> {
    let wanted = bounded(current, config, retention);
    if wanted != *current {
        context.update_stream(wanted).await.map_err(unavailable)?;
    }
    Ok(())
}

/// The incarnation: when the stream was created, and its description, which is changed when it was found
/// to have lost events.
pub(super) fn incarnation(info: &Info) -> LogId {
    let created = info.created.unix_timestamp_nanos();
    let description = info.config.description.as_deref().unwrap_or_default();
    let digest = Sha256::digest(format!("{created} {description}"));
    LogId::from_number(digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

/// Gives the stream another incarnation.
pub(super) async fn renew(context: &Context, info: &Info) -> Result<(), LogError> {
    let description = Some(format!("weir: events were lost ({:016x})", fastrand::u64(..)));
    let renewed = stream::Config { description, ..info.config.clone() };
    context.update_stream(renewed).await.map(drop).map_err(unavailable)
}

/// The first offset held, and the head.
pub(super) fn bounds(info: &Info) -> (Offset, Offset) {
    let (first, last) = (info.state.first_sequence.max(1), info.state.last_sequence);
    (first, (last + 1).max(first))
}

/// A moment of the broker's clock.
pub(super) fn micros(time: async_nats::datetime::DateTime) -> Micros {
    u64::try_from(time.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}
