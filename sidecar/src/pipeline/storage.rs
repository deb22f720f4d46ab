//! Opens the log that a manifest asks for.

use std::sync::Arc;

use weir_crds::v1alpha1::Storage;

use crate::{hub::Hub, log::MemoryLog};

/// Opens the log of a hub.
pub(super) fn open(storage: &Storage, hub: &Arc<Hub>) {
    let Storage { memory: _ } = storage;
    hub.open(Arc::new(MemoryLog::new(Arc::clone(hub.tail()))));
}
