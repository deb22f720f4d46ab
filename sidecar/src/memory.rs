//! How much memory the process has left, and whom it still lets in.
//!
//! Whoever the kernel kills for want of memory takes all subscribers along. So before that, new ones are asked
//! to come back; those who resume are let in for longer, because elsewhere they would ask for the same, and
//! to turn them away makes a storm of a shortage.
//!
//! # Laws
//!
//! - What the kernel can take back at once, its cache of files, is not used memory.
//! - Between two levels there is a distance, so that what stands at a mark doesn't go back and forth.

mod budget;
mod detach;
mod reading;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

pub use budget::{Budget, Budgets, COPIES, Part};
pub use detach::detached;
pub use reading::Reading;

/// From this part of the limit on, in percent, new subscribers are asked to come back.
const HIGH: u64 = 85;

/// From this part on, all are.
const SEVERE: u64 = 95;

/// How far below a mark the memory must be for its level to end.
const DISTANCE: u64 = 3;

/// How scarce memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pressure {
    /// There is enough.
    #[default]
    None,
    /// There is enough for those who are there already, and for those who come back.
    High,
    /// There is hardly enough for those who are there.
    Severe,
}

/// Whoever wants to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comer {
    /// It has no place in the log, or none that the log still has.
    New,
    /// It goes on behind an event that it has seen.
    Resuming,
}

impl Pressure {
    /// Whether one is let in.
    #[must_use]
    pub const fn admits(self, comer: Comer) -> bool {
        match (self, comer) {
            (Self::None, Comer::New | Comer::Resuming) | (Self::High, Comer::Resuming) => true,
            (Self::High, Comer::New) | (Self::Severe, Comer::New | Comer::Resuming) => false,
        }
    }

    /// How scarce it is now, after it was so.
    #[must_use]
    fn then(self, Reading { used, limit }: Reading) -> Self {
        let Some(limit) = limit.filter(|limit| *limit > 0) else { return Self::None };
        let percent = u128::from(used) * 100 / u128::from(limit);
        let reaches = |mark: u64| percent >= u128::from(mark);
        let stays = |mark: u64| percent >= u128::from(mark - DISTANCE);
        match self {
            _ if reaches(SEVERE) => Self::Severe,
            Self::Severe if stays(SEVERE) => Self::Severe,
            _ if reaches(HIGH) => Self::High,
            Self::High | Self::Severe if stays(HIGH) => Self::High,
            Self::None | Self::High | Self::Severe => Self::None,
        }
    }

    const ALL: [Self; 3] = [Self::None, Self::High, Self::Severe];
}

/// The memory of the process.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    source: Source,
    used: AtomicU64,
    /// 0 where there is none.
    limit: AtomicU64,
    /// The place in [`Pressure::ALL`].
    pressure: AtomicU8,
}

/// Where the readings come from.
#[derive(Debug)]
enum Source {
    /// The directory of a control group (version 2) that has a limit.
    Cgroup(PathBuf),
    /// What of this process is in memory, and how much may be.
    Resident { limit: Option<u64> },
}

impl Memory {
    /// That of this process, by the control group that bounds it; or, where none does, by its own size and
    /// `limit`.
    #[must_use]
    pub fn of_this_process(limit: Option<u64>) -> Self {
        Self::watch(reading::own_cgroup().map_or(Source::Resident { limit }, Source::Cgroup))
    }

    /// That of the control group in this directory.
    #[must_use]
    pub fn of_cgroup(directory: &Path) -> Self {
        Self::watch(Source::Cgroup(directory.to_owned()))
    }

    /// Memory without a limit.
    #[must_use]
    pub fn unbounded() -> Self {
        Self::watch(Source::Resident { limit: None })
    }

    fn watch(source: Source) -> Self {
        let (used, limit, pressure) = Default::default();
        let memory = Self(Arc::new(Watched { source, used, limit, pressure }));
        memory.look();
        memory
    }

    /// Looks how much is used. To be called every second; reads small files.
    pub fn look(&self) {
        let Watched { source, used, limit, pressure } = &*self.0;
        let reading = match source {
            Source::Cgroup(directory) => reading::of_cgroup(directory),
            Source::Resident { limit } => reading::of_process(*limit),
        };
        // What can't be read is as it was.
        let Some(reading) = reading else { return };
        let (before, now) = (self.pressure(), self.pressure().then(reading));
        used.store(reading.used, Ordering::Relaxed);
        limit.store(reading.limit.unwrap_or(0), Ordering::Relaxed);
        pressure.store(now as u8, Ordering::Relaxed);
        let Reading { used, limit } = reading;
        match (before, now) {
            (Pressure::None | Pressure::High, Pressure::Severe) => {
                tracing::warn!(
                    used,
                    limit,
                    "memory is very scarce: whoever comes is asked to come back"
                );
            }
            (Pressure::None, Pressure::High) => {
                tracing::warn!(
                    used,
                    limit,
                    "memory is scarce: who doesn't resume is asked to come back"
                );
            }
            (Pressure::Severe, Pressure::High) => {
                tracing::info!(used, limit, "memory is less scarce: who resumes is let in again");
            }
            (Pressure::High | Pressure::Severe, Pressure::None) => {
                tracing::info!(
                    used,
                    limit,
                    "memory is no longer scarce: whoever comes is let in again"
                );
            }
            (Pressure::None, Pressure::None)
            | (Pressure::High, Pressure::High)
            | (Pressure::Severe, Pressure::Severe) => {}
        }
    }

    /// What was read last.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let limit = Some(self.0.limit.load(Ordering::Relaxed)).filter(|limit| *limit > 0);
        Reading { used: self.0.used.load(Ordering::Relaxed), limit }
    }

    /// How scarce it is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let place = usize::from(self.0.pressure.load(Ordering::Relaxed));
        Pressure::ALL.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_resumes_is_let_in_for_longer() {
        use Comer::{New, Resuming};
        for (pressure, comer, admitted) in [
            (Pressure::None, New, true),
            (Pressure::None, Resuming, true),
            (Pressure::High, New, false),
            (Pressure::High, Resuming, true),
            (Pressure::Severe, New, false),
            (Pressure::Severe, Resuming, false),
        ] {
            assert_eq!(pressure.admits(comer), admitted, "{pressure:?} {comer:?}");
        }
    }

    #[test]
    fn the_levels_have_marks_and_a_distance() {
        use Pressure::{High, None, Severe};
        for (before, percent, after) in [
            (None, 0, None),
            (None, 84, None),
            (None, 85, High),
            (None, 94, High),
            (None, 95, Severe),
            (None, 300, Severe),
            (High, 84, High),
            (High, 82, High),
            (High, 81, None),
            (High, 94, High),
            (High, 95, Severe),
            (Severe, 94, Severe),
            (Severe, 92, Severe),
            (Severe, 91, High),
            (Severe, 82, High),
            (Severe, 81, None),
        ] {
            let reading = Reading { used: percent * 10, limit: Some(1_000) };
            assert_eq!(before.then(reading), after, "{before:?} at {percent}");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_scarce() {
        let reading = Reading { used: u64::MAX, limit: None };
        assert!(Pressure::ALL.iter().all(|before| before.then(reading) == Pressure::None));
        let memory = Memory::unbounded();
        assert_eq!((memory.pressure(), memory.reading().limit), (Pressure::None, None));
        assert!(memory.reading().used > 1 << 20, "a test has more than a mebibyte");
    }

    #[test]
    fn a_reading_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        write("memory.max", "1000\n");
        write("memory.current", "900\n");
        let memory = Memory::of_cgroup(directory.path());
        assert_eq!(memory.pressure(), Pressure::High);
        write("memory.current", "nonsense");
        memory.look();
        assert_eq!((memory.pressure(), memory.reading().used), (Pressure::High, 900));
        write("memory.current", "1\n");
        memory.look();
        assert_eq!(memory.pressure(), Pressure::None);
    }
}
