//! The places of those who wait by a request: few enough that others are let in, and counted as connections.

use std::{net::IpAddr, sync::Arc};

use http::Response;
use tokio::sync::OwnedSemaphorePermit;

use super::{later::Later, problem::unavailable, routes::Service};
use crate::{
    count::{TurnedAway, Waiter, retry_soon_ms},
    hub::Hub,
    memory::Comer,
};

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_pipeline: Waiter,
}

impl Place {
    /// Takes a place for a client at this address, or says why there is none.
    pub(super) fn take(
        service: &Service,
        hub: &Hub,
        address: IpAddr,
        comer: Comer,
    ) -> Result<Self, Box<Response<Vec<u8>>>> {
        if !service.memory.pressure().admits(comer) {
            let message = "this replica is short of memory";
            return Err(Later::new(TurnedAway::MemoryPressure, &message).by_status().into());
        }
        let settings = hub.settings();
        let most_of_address = settings.max_connections_per_address;
        let of_network = most_of_address.map(|most| (address.into(), most));
        let waiter = Waiter::take(hub.accounts(), settings.max_connections, of_network);
        let of_pipeline =
            waiter.map_err(|none| Box::new(Later::new(none.reason(), &none).by_status()))?;
        match Arc::clone(&service.waiting).try_acquire_owned() {
            Ok(of_all) => Ok(Self { _of_all: of_all, _of_pipeline: of_pipeline }),
            Err(_) => Err(too_many().into()),
        }
    }
}

/// Answers one reader too many.
fn too_many() -> Response<Vec<u8>> {
    let detail = "as many readers wait here as may: try again in a while";
    unavailable("too_many_readers", detail, retry_soon_ms())
}
