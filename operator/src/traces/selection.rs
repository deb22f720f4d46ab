//! Which spans and events make up a trace: the operator's own, and its requests to the API server.

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::layer::{Context as LayerContext, Filter};

/// Where the operator's own spans and events come from.
const OWN: &str = "weir_operator";
/// Lasts as long as the operator: what is done in it would be one trace that never ends.
const TASK: &str = "task";
/// Where the client of the API server comes from, and the span of each of its requests.
const CLIENT: &str = "kube_client";
const REQUEST: &str = "HTTP";

/// The filter of the layer that takes the spans.
pub(super) fn selection<S: 'static>() -> impl Filter<S> {
    DynFilterFn::new(|metadata: &Metadata<'_>, _: &LayerContext<'_, S>| is_taken(metadata))
        .with_callsite_filter(interest)
        .with_max_level_hint(LevelFilter::DEBUG)
}

/// When something is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Always,
    Never,
    /// Not by itself: watches and the renewal of the lease would be traces of one span, one every few seconds.
    WithinATrace,
}

impl Taken {
    fn of(metadata: &Metadata<'_>) -> Self {
        let (target, name) = (metadata.target(), metadata.name());
        let is_of = |root: &str| target == root || target.starts_with(&format!("{root}::"));
        if metadata.is_span() && name == REQUEST && is_of(CLIENT) {
            return Self::WithinATrace;
        }
        // What is logged at the finest levels would fill the spans.
        let least = if metadata.is_span() { Level::DEBUG } else { Level::INFO };
        if is_of(OWN) && name != TASK && *metadata.level() <= least {
            Self::Always
        } else {
            Self::Never
        }
    }
}

/// Asked once for each place in the code.
fn interest(metadata: &'static Metadata<'static>) -> Interest {
    match Taken::of(metadata) {
        Taken::Always => Interest::always(),
        Taken::Never => Interest::never(),
        Taken::WithinATrace => Interest::sometimes(),
    }
}

fn is_taken(metadata: &Metadata<'_>) -> bool {
    match Taken::of(metadata) {
        Taken::Always => true,
        Taken::Never => false,
        Taken::WithinATrace => Context::map_current(TraceContextExt::has_active_span),
    }
}
