//! Begins a subscription: lets the client in, takes its seat, reads its filter, finds its place in the log. Whoever is refused for
//! a while is counted, as a subscriber of its own connection is.

use crate::{
    auth::{Lease, Right, Visitor},
    count::{Seat, Transport, TurnedAway},
    hub::{Hub, Position, Start},
    memory::{Comer, Memory},
    pipeline::Pipeline,
};

/// A subscription that can begin.
pub(super) struct Begun {
    pub(super) seat: Seat,
    pub(super) start: Start,
    /// How long the client's grant to it holds.
    pub(super) lease: Lease,
}

/// Why a subscription can't begin.
pub(super) struct Refusal {
    pub(super) seat: Option<Seat>,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Whether another try may succeed.
    pub(super) passing: bool,
}

/// Lets a subscription begin, or says why not: the code and a sentence.
pub(super) fn admit(
    memory: &Memory,
    hub: &Hub,
    position: &Position,
) -> Result<(), (&'static str, String)> {
    let comer = if hub.can_resume(position) { Comer::Resuming } else { Comer::New };
    if memory.pressure().admits(comer) {
        return Ok(());
    }
    let message = "this replica is short of memory".to_owned();
    Err((turn_away(hub, TurnedAway::MemoryPressure), message))
}

/// Takes a seat, or says the same.
fn take_seat(hub: &Hub) -> Result<Seat, (&'static str, String)> {
    let seat = hub.take_seat(Transport::WebSocket, None);
    seat.map_err(|none| (turn_away(hub, none.reason()), none.to_string()))
}

/// Lets the client in, with its own seat or a further one, reads the filter, and finds the place in the
/// log.
pub(super) async fn begin(
    pipeline: &Pipeline,
    visitor: &Visitor,
    own: Option<Seat>,
    position: &Position,
    filter: Option<&str>,
) -> Result<Begun, Refusal> {
    let refuse = |seat, code, message, passing| Refusal { seat, code, message, passing };
    let hub = pipeline.hub();
    let grant = match pipeline.guard().authorize_visitor(visitor, Right::Subscribe).await {
        Ok(grant) => grant,
        Err(error) => {
            return Err(refuse(own, error.label(), error.to_string(), error.is_passing()));
        }
    };
    let seat = own.map_or_else(|| take_seat(hub), Ok);
    let seat = seat.map_err(|(code, message)| refuse(None, code, message, true))?;
    let wished = match filter {
        None => None,
        Some(source) => match hub.expression(source).await {
            Ok(expression) => Some(expression),
            Err(error) => {
                hub.accounts().filters_refused.add(1);
                return Err(refuse(Some(seat), "filter", format!("filter: {error}"), false));
            }
        },
    };
    let filter = match hub.filter(pipeline.demand(&grant, wished)) {
        Ok(filter) => filter,
        Err(error) => {
            hub.accounts().filters_refused.add(1);
            let code = turn_away(hub, TurnedAway::TooManyFilters);
            return Err(refuse(Some(seat), code, error.to_string(), true));
        }
    };
    match hub.start(position).await {
        Ok(start) => {
            let seat = seat.with_filter(filter);
            Ok(Begun { seat, start, lease: grant.lease })
        }
        Err(error) => {
            let code = turn_away(hub, TurnedAway::LogUnavailable);
            Err(refuse(Some(seat), code, error.to_string(), true))
        }
    }
}

/// Counts one that is turned away. Returns the code that says why.
fn turn_away(hub: &Hub, reason: TurnedAway) -> &'static str {
    hub.accounts().turned_away.count(Transport::WebSocket, reason);
    reason.name()
}
