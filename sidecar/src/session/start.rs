//! Begins a subscription: lets the client in, takes its seat, reads its filter, finds its place in the log.
//! Whoever is refused for a while is counted, as a subscriber of its own connection is.

use std::fmt::Display;

use crate::{
    auth::{Lease, Right, Visitor},
    count::{Seat, Transport, TurnedAway, retry_soon_ms},
    hub::{Client, Hub, OwnFilter, Position, Start},
    memory::{Comer, Memory},
    pipeline::Pipeline,
};

/// A subscription that can begin.
pub(super) struct Begun {
    /// A further seat; none where it has the socket's own.
    pub(super) further: Option<Seat>,
    pub(super) filter: Option<OwnFilter>,
    pub(super) start: Start,
    /// How long the client's grant to it holds.
    pub(super) lease: Lease,
}

/// Why a subscription can't begin.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    /// After how many milliseconds another try may succeed; none where it would not.
    pub(super) retry_ms: Option<u64>,
}

/// Why a subscription may not begin now.
pub(super) struct Passing {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) retry_ms: u64,
}

impl Passing {
    /// Counts one that is turned away.
    fn note(hub: &Hub, reason: TurnedAway, message: &dyn Display) -> Self {
        let retry_ms = hub.accounts().turned_away.send_back(Transport::WebSocket, reason);
        let code = reason.name();
        Self { code, message: message.to_string(), retry_ms }
    }

    fn refuse(self) -> Refusal {
        let Self { code, message, retry_ms } = self;
        Refusal { code, message, retry_ms: Some(retry_ms) }
    }
}

/// Lets a subscription begin, or says why not.
pub(super) fn admit(memory: &Memory, hub: &Hub, position: &Position) -> Result<(), Passing> {
    let comer = if hub.can_resume(position) { Comer::Resuming } else { Comer::New };
    if memory.pressure().admits(comer) {
        return Ok(());
    }
    Err(Passing::note(hub, TurnedAway::MemoryPressure, &"this replica is short of memory"))
}

/// Takes a seat, or says why there is none.
fn take_seat(hub: &Hub) -> Result<Seat, Passing> {
    let seat = hub.take_seat(Transport::WebSocket, None);
    seat.map_err(|none| Passing::note(hub, none.reason(), &none))
}

/// Lets the client in, with the socket's `own` seat or a further one, reads the filter, and finds the place in the
/// log.
pub(super) async fn begin(
    pipeline: &Pipeline,
    visitor: &Visitor,
    (client, own): (Client, bool),
    position: &Position,
    filter: Option<&str>,
) -> Result<Begun, Refusal> {
    let hub = pipeline.hub();
    let grant = match pipeline.guard().authorize_visitor(visitor, Right::Subscribe).await {
        Ok(grant) => grant,
        Err(error) => {
            let retry_ms = error.is_passing().then(retry_soon_ms);
            return Err(Refusal { code: error.label(), message: error.to_string(), retry_ms });
        }
    };
    let further = if own { None } else { Some(take_seat(hub).map_err(Passing::refuse)?) };
    let wished = match filter {
        None => None,
        Some(source) => match hub.expression(source).await {
            Ok(expression) => Some(expression),
            Err(error) => {
                hub.accounts().filters_refused.count(&error);
                let message = format!("filter: {error}");
                return Err(Refusal { code: "filter", message, retry_ms: None });
            }
        },
    };
    let filter = match hub.filter(pipeline.demand(&grant, client, wished)) {
        Ok(filter) => filter,
        Err(error) => {
            hub.accounts().filters_refused.turned_away(error.reason());
            return Err(Passing::note(hub, error.reason(), &error).refuse());
        }
    };
    match hub.start(position).await {
        Ok(start) => Ok(Begun { further, filter, start, lease: grant.lease }),
        Err(error) => Err(Passing::note(hub, TurnedAway::LogUnavailable, &error).refuse()),
    }
}
