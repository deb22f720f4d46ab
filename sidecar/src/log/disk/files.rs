//! The files of a log: `{base}.log` for each segment, in one directory that only one log has open.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
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

/// Makes `directory` and locks it. `None` where another has it locked.
pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let file = File::create(directory.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

impl Files {
    /// The files in `directory`, on which `lock` is held.
    pub(super) fn new(directory: PathBuf, lock: File) -> Self {
        Self { directory, _lock: lock }
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
        let path = self.path(base);
        let made = self.write_head(base, &path);
        if made.is_err() {
            // Or the next try would find it, and take it for another's.
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn write_head(&self, base: Offset, path: &Path) -> io::Result<Segment<File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let salt = fastrand::u32(..);
        file.write_all_at(&Head { salt, base }.encode(), 0)?;
        file.sync_all()?;
        sync_directory(&self.directory)?;
        Ok(Segment { base, salt, length: HEAD_BYTES as u64, file: Arc::new(file) })
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
