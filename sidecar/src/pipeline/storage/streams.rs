//! Opens the durable streams that are kept on a disk.

use std::{io, sync::Arc};

use tokio::{task, time};
use weir_crds::v1alpha1::DiskStorage;

use super::{FIRST_PAUSE, LONGEST_PAUSE, Place};
use crate::{
    clock,
    durable::{Streams, journal::disk::OnDisk},
    log::OpenError,
};

/// Where they are in the directory of their pipeline, beside the log's files.
const FOLDER: &str = "streams";

/// Opens them, as soon as that can be done, unless they are no longer wanted.
pub(super) async fn open(place: Place, pipeline: String, streams: Arc<Streams>) {
    let mut pause = FIRST_PAUSE;
    while !streams.is_closed() {
        let (place, opening) = (place.clone(), Arc::clone(&streams));
        let name = pipeline.clone();
        let opened = task::spawn_blocking(move || open_at(place, &name, &opening)).await;
        let opened = opened.unwrap_or_else(|gone| {
            Err(OpenError::Io { path: FOLDER.into(), source: io::Error::other(gone) })
        });
        let Err(error) = opened else {
            // What was ended while it was being opened.
            if streams.is_closed() {
                streams.close().await;
            }
            return;
        };
        tracing::warn!(pipeline, %error, "can't open the durable streams; trying again");
        streams.set_fault(error.to_string());
        tokio::select! {
            () = time::sleep(pause) => {}
            () = streams.closed() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open_at(place: Place, pipeline: &str, streams: &Streams) -> Result<(), OpenError> {
    let directory = place.claim()?.join(FOLDER);
    let Place { data: _, directory: _, disk: DiskStorage { size: _, durability }, room } = place;
    let (journal, remembered) = OnDisk::open(&directory, durability, room)?;
    let count = remembered.len();
    streams.open(Box::new(journal), remembered, clock::micros());
    tracing::info!(pipeline, directory = %directory.display(), streams = count, "opened the durable streams");
    Ok(())
}
