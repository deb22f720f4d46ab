//! Finds what a manifest asks for and this program can't do, for want of a feature or because an expression
//! can't be read: to serve the rest would serve something else.

use weir_crds::{
    v1alpha1::{Storage, StreamPipelineSpec},
    validate::Violation,
};

use crate::filter::{Refused, compile, compile_filter};

/// What is wrong with the expressions of the pipeline.
pub(super) fn unreadable(spec: &StreamPipelineSpec) -> Vec<Violation> {
    let jwt = spec.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
    let filter = jwt.and_then(|jwt| jwt.filter.as_deref());
    let filter = filter.and_then(|filter| compile_filter(filter).err().as_ref().map(unusable));
    let key = spec.delivery.conflate_key.as_deref().and_then(no_key);
    let wrong = [("spec.delivery.conflateKey", key), ("spec.auth.jwt.filter", filter)];
    let wrong = wrong.into_iter().filter_map(|(field, message)| Some((field, message?)));
    wrong.map(|(field, message)| Violation { field: field.to_owned(), message }).collect()
}

/// Why this is no key of an event; `None` where it is one.
fn no_key(source: &str) -> Option<String> {
    match compile(source) {
        Err(refused) => Some(unusable(&refused)),
        Ok(key) if key.claims_read().is_none() => None,
        Ok(_) => Some(
            "reads the claims of a subscriber, and a key is of the event alone: use event.NAME"
                .to_owned(),
        ),
    }
}

fn unusable(refused: &Refused) -> String {
    format!("can't be used: {refused}")
}

/// What is missing in this build for the pipeline.
pub(super) fn lacking(spec: &StreamPipelineSpec) -> Vec<Violation> {
    let tls = spec.endpoints.tls.as_ref();
    let Storage { memory: _, disk: _, redis, nats_jet_stream } = &spec.log.storage;
    let jwt = spec.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
    let url = jwt.and_then(|jwt| jwt.jwks_url.as_deref());
    let by_tls = url.filter(|url| url.starts_with("https:"));
    let lacks = [
        (cfg!(feature = "tls") || tls.is_none(), "spec.endpoints.tls", "this build has no TLS"),
        (cfg!(feature = "jwt") || jwt.is_none(), "spec.auth.jwt", "this build verifies no tokens"),
        (
            cfg!(feature = "tls") || by_tls.is_none(),
            "spec.auth.jwt.jwksUrl",
            "this build has no TLS",
        ),
        (
            cfg!(feature = "redis") || redis.is_none(),
            "spec.log.storage.redis",
            "this build has no log in Redis",
        ),
        (
            cfg!(feature = "nats") || nats_jet_stream.is_none(),
            "spec.log.storage.natsJetStream",
            "this build has no log in NATS",
        ),
    ];
    let lacks = lacks.into_iter().filter(|(able, ..)| !able);
    lacks
        .map(|(_, field, lack)| Violation {
            field: field.to_owned(),
            message: format!("{lack}: build it with --features full"),
        })
        .collect()
}
