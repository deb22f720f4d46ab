//! What a log writes down about itself: who it is, and how it was left.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};
use weir_crds::v1alpha1::Durability;

use crate::log::{LogId, Offset};

const FILE: &str = "log.json";
const FRESH: &str = "log.json.new";

/// The version of the format of a log's directory.
const FORMAT: u32 = 1;

/// What a log has written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    format: u32,
    /// The incarnation's number.
    log: u64,
    /// Which start of the machine it was opened in; absent where the system doesn't say.
    boot: Option<String>,
    /// What was promised since then.
    durability: Durability,
    /// The offset of the next event when it was closed in order; absent while it is open.
    closed_at: Option<Offset>,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Meta(Meta),
    Nothing,
    /// Something that is none of ours.
    Damaged,
    /// What only a newer program can read.
    Newer,
}

impl Meta {
    /// Of a log that is opened now.
    pub(super) fn opened(id: LogId, durability: Durability) -> Self {
        Self { format: FORMAT, log: id.number(), boot: boot(), durability, closed_at: None }
    }

    /// The same, closed in order.
    pub(super) fn closed(&self, head: Offset) -> Self {
        Self { closed_at: Some(head), ..self.clone() }
    }

    pub(super) const fn id(&self) -> LogId {
        LogId::from_number(self.log)
    }

    /// The offset of the next event when it was closed in order.
    pub(super) const fn closed_at(&self) -> Option<Offset> {
        self.closed_at
    }

    /// Whether the machine itself may have failed under the open log.
    pub(super) fn machine_failed(&self) -> bool {
        self.closed_at.is_none() && (self.boot.is_none() || self.boot != boot())
    }

    /// Whether events that were answered for may be lost, and their offsets taken anew.
    pub(super) fn may_have_lost(&self) -> bool {
        self.machine_failed() && self.durability != Durability::Fsync
    }

    pub(super) fn read(directory: &Path) -> io::Result<Found> {
        let text = match fs::read(directory.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match serde_json::from_slice::<Self>(&text) {
            Ok(meta) if meta.format == FORMAT => Found::Meta(meta),
            Ok(meta) if meta.format > FORMAT => Found::Newer,
            Ok(_) | Err(_) => Found::Damaged,
        })
    }

    /// Writes it so that after a power cut either the old or the new is there.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let mut file = File::create(directory.join(FRESH))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(directory.join(FRESH), directory.join(FILE))?;
        sync_directory(directory)
    }
}

/// Makes names in a directory outlive a power cut.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Which start of the machine this is.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
impl Meta {
    /// As if it had been opened before the machine was started anew.
    pub(super) fn of_another_boot(&self) -> Self {
        Self { boot: Some("another".to_owned()), ..self.clone() }
    }
}
