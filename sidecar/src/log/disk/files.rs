//! The files of a log: `{base}.log` for each segment, in one directory that only one log has open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use weir_crds::v1alpha1::Durability;

use super::{
    OpenError,
    index::Segment,
    meta::sync_directory,
    record::{HEAD_BYTES, Head},
};
use crate::{clock, log::Offset};

const LOCK: &str = "lock";
const SUFFIX: &str = ".log";

/// The directory of one log.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// How long a lock is tried for that somebody else has. Who is about to end gives it back, and a child that another
/// thread of this process is just making has it, too, until it runs its own program.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often it is tried.
const AGAIN: Duration = Duration::from_millis(10);

/// Makes `directory` and locks it. `None` where another has it locked. Blocks.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let file = File::create(directory.join(LOCK))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(AGAIN),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

impl Files {
    /// The files in `directory`, which is made where it is missing, and locked.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let path = || directory.to_owned();
        let lock = lock(directory).map_err(|source| OpenError::Io { path: path(), source })?;
        let lock = lock.ok_or_else(|| OpenError::InUse { path: path() })?;
        Ok(Self { directory: path(), _lock: lock })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bases of the segments that there are, in order.
    pub(super) fn bases(&self) -> io::Result<Vec<Offset>> {
        let mut bases = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            let digits = digits.filter(|digits| digits.len() == 16);
            bases.extend(digits.and_then(|digits| Offset::from_str_radix(digits, 16).ok()));
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Makes the segment whose first event will have offset `base`, in its place for good.
    pub(super) fn create(&self, base: Offset) -> io::Result<Segment<File>> {
        self.create_with(Head { salt: fastrand::u32(..), base }, &[], Durability::Fsync)
    }

    /// Makes a segment that holds `groups` from the beginning, as safely as `durability` says.
    pub(super) fn create_with(
        &self,
        head: Head,
        groups: &[u8],
        durability: Durability,
    ) -> io::Result<Segment<File>> {
        let path = self.path(head.base);
        let made = self.write_new(head, groups, durability, &path);
        if made.is_err() {
            // Or the next try would find it, and take it for another's.
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn write_new(
        &self,
        head: Head,
        groups: &[u8],
        durability: Durability,
        path: &Path,
    ) -> io::Result<Segment<File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&head.encode(), 0)?;
        file.write_all_at(groups, HEAD_BYTES as u64)?;
        match durability {
            Durability::Fsync => {
                file.sync_all()?;
                self.sync()?;
            }
            Durability::Interval => {}
        }
        let Head { salt, base } = head;
        let length = (HEAD_BYTES + groups.len()) as u64;
        Ok(Segment { base, salt, length, file: Arc::new(file) })
    }

    /// Makes what was created and removed outlive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync_directory(&self.directory)
    }

    /// Opens a segment to write to it.
    pub(super) fn write(&self, base: Offset) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path(base))
    }

    /// Opens a segment, and reads all of it.
    pub(super) fn read(&self, base: Offset) -> io::Result<(File, Bytes)> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(base))?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut &file, &mut bytes)?;
        Ok((file, bytes.into()))
    }

    pub(super) fn remove(&self, base: Offset) -> io::Result<()> {
        fs::remove_file(self.path(base))
    }

    /// Makes a directory for what is damaged.
    pub(super) fn quarantine(&self) -> io::Result<PathBuf> {
        let aside = self.directory.join(format!("quarantine-{}", clock::micros()));
        fs::create_dir_all(&aside)?;
        sync_directory(&self.directory)?;
        Ok(aside)
    }

    /// Puts a segment into a quarantine.
    pub(super) fn put_aside(&self, base: Offset, aside: &Path) -> io::Result<()> {
        let path = self.path(base);
        fs::rename(&path, aside.join(path.file_name().unwrap_or_default()))?;
        sync_directory(aside)?;
        sync_directory(&self.directory)
    }

    /// Puts a copy of a segment into a quarantine, because its start is still good.
    pub(super) fn copy_aside(&self, base: Offset, aside: &Path) -> io::Result<()> {
        let path = self.path(base);
        let copy = aside.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &copy)?;
        File::open(&copy)?.sync_all()?;
        sync_directory(aside)
    }

    fn path(&self, base: Offset) -> PathBuf {
        self.directory.join(format!("{base:016x}{SUFFIX}"))
    }
}

/// What was not written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// And undone: another try may succeed.
    Refused(io::Error),
    /// And nobody knows what the disk holds of it.
    Uncertain(io::Error),
}

/// Writes a group to the end of a file, as safely as `durability` says, or leaves the file as it was.
/// Returns how long the disk took to make it safe, where it was asked to.
pub(super) fn put(
    file: &File,
    end: u64,
    group: &[u8],
    durability: Durability,
) -> Result<Option<Duration>, Unwritten> {
    if let Err(error) = file.write_all_at(group, end) {
        let undone = file.set_len(end);
        return Err(undone.map_or_else(Unwritten::Uncertain, |()| Unwritten::Refused(error)));
    }
    match durability {
        Durability::Fsync => {
            let begun = Instant::now();
            file.sync_data().map_err(|error| {
                // The pages pass for written now; without them, no later start can take them for such.
                let _ = file.set_len(end);
                Unwritten::Uncertain(error)
            })?;
            Ok(Some(begun.elapsed()))
        }
        Durability::Interval => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_child_that_is_just_being_made_keeps_no_lock() {
        let directory = TempDir::new().unwrap();
        let children = thread::spawn(|| {
            for _ in 0..300 {
                assert!(Command::new("true").status().unwrap().success());
            }
        });
        while !children.is_finished() {
            assert!(lock(directory.path()).unwrap().is_some());
        }
        children.join().unwrap();
        let _held = lock(directory.path()).unwrap();
        assert!(lock(directory.path()).unwrap().is_none());
    }
}
