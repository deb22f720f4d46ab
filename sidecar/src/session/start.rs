//! Begins a subscription.

use std::sync::Arc;

use crate::{
    count::Seat,
    hub::{Demand, Hub, Position, Start},
};

/// Why a subscription can't begin.
pub(super) struct Refusal {
    pub(super) seat: Seat,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Whether another try may succeed.
    pub(super) passing: bool,
}

/// Reads the filter, and finds the place in the log.
pub(super) async fn begin(
    hub: &Arc<Hub>,
    seat: Seat,
    position: &Position,
    filter: Option<&str>,
) -> Result<(Seat, Start), Refusal> {
    let refuse = |seat, code, message, passing| Refusal { seat, code, message, passing };
    let wished = match filter {
        None => None,
        Some(source) => match hub.expression(source).await {
            Ok(expression) => Some(expression),
            Err(error) => {
                hub.accounts().filters_refused.add(1);
                return Err(refuse(seat, "filter", format!("filter: {error}"), false));
            }
        },
    };
    let filter = match hub.filter(Demand { wished, ..Demand::default() }) {
        Ok(filter) => filter,
        Err(error) => {
            hub.accounts().filters_refused.add(1);
            return Err(refuse(seat, "too_many_filters", error.to_string(), true));
        }
    };
    match hub.start(position).await {
        Ok(start) => Ok((seat.with_filter(filter), start)),
        Err(error) => Err(refuse(seat, error.category(), error.to_string(), true)),
    }
}
