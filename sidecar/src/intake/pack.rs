//! Makes events of drafts: fills in what plain events leave open, and packs the payloads.

use bytes::Bytes;

use super::{Context, DEFAULT_TYPE, Draft, Posted, fresh};
use crate::event::Event;

/// Makes the events of one request. Their payloads are copied next to each other into one buffer: the
/// request's own may be much larger, because of envelopes, white space or the connection's read-ahead,
/// and would live until the last of them leaves the log.
pub(super) fn pack(drafts: Vec<Draft<'_>>, context: &Context<'_>) -> Vec<Posted> {
    let mut buffer = Vec::with_capacity(drafts.iter().map(|draft| draft.data.len()).sum());
    drafts.iter().for_each(|draft| buffer.extend_from_slice(&draft.data));
    let mut rest = Bytes::from(buffer);
    let now = now(context);
    drafts
        .into_iter()
        .map(|draft| {
            let data = rest.split_to(draft.data.len());
            finish(draft, data, &now, context)
        })
        .collect()
}

fn finish(draft: Draft<'_>, data: Bytes, now: &str, context: &Context<'_>) -> Posted {
    let Draft {
        spec_version: _,
        id,
        type_,
        source,
        subject,
        time,
        data_content_type,
        data_schema,
        extensions,
        data: _,
    } = draft;
    let idempotent = id.is_some();
    let event = Event {
        id: id.unwrap_or_else(fresh::id),
        type_: type_.unwrap_or_else(|| DEFAULT_TYPE.into()),
        source: source.unwrap_or_else(|| context.source.into()),
        subject,
        time: time.unwrap_or_else(|| now.into()),
        data_content_type,
        data_schema,
        extensions,
        data,
    };
    Posted { event, idempotent }
}

/// The time of acceptance, in milliseconds, as RFC 3339 has it.
fn now(context: &Context<'_>) -> String {
    let now = jiff::Timestamp::try_from(context.now).unwrap_or(jiff::Timestamp::MAX);
    format!("{now:.3}")
}
