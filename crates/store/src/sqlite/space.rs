//! How much the database's disk has left.

use crate::error::StoreError;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Gives the free bytes of the disk that a folder lies on.
pub type FreeSpace = Arc<dyn Fn(&Path) -> io::Result<u64> + Send + Sync>;

/// How long an answer is believed: asking costs a system call, and intake asks for every acceptance.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// Watches the free space of a folder.
pub(crate) struct Space {
    folder: PathBuf,
    needed_bytes: u64,
    ask: FreeSpace,
    /// The monotonic clock and not the house's: this is about how stale a system call's answer is.
    last: Mutex<Option<(Instant, u64)>>,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({}, at least {} bytes)", self.folder.display(), self.needed_bytes)
    }
}

impl Space {
    pub(crate) fn watch(folder: PathBuf, needed_bytes: u64, ask: Option<FreeSpace>) -> Self {
        Self { folder, needed_bytes, ask: ask.unwrap_or_else(|| Arc::new(free_bytes)), last: Mutex::new(None) }
    }

    /// Whether intake may go on. A disk that cannot be asked does not stop it: the write itself will tell.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let free = match *last {
            Some((at, free)) if at.elapsed() < BELIEVED_FOR && free >= self.needed_bytes => free,
            _ => {
                let free = (self.ask)(&self.folder).unwrap_or(u64::MAX);
                *last = Some((Instant::now(), free));
                free
            }
        };
        if free < self.needed_bytes { Err(self.short_of(free)) } else { Ok(()) }
    }

    /// The error for a write that the disk had no room for.
    pub(crate) fn full(&self) -> StoreError {
        self.short_of((self.ask)(&self.folder).unwrap_or(0))
    }

    fn short_of(&self, free_bytes: u64) -> StoreError {
        StoreError::Full { path: self.folder.clone(), free_bytes, needed_bytes: self.needed_bytes }
    }
}

fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    // f_bavail, not f_bfree: what is left for a program without special rights.
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn intake_stops_below_the_mark_and_goes_on_above_it() {
        let free = Arc::new(AtomicU64::new(50));
        let asked = free.clone();
        let space = Space::watch("/data".into(), 100, Some(Arc::new(move |_| Ok(asked.load(Ordering::Relaxed)))));
        assert!(matches!(space.check(), Err(StoreError::Full { free_bytes: 50, needed_bytes: 100, .. })));
        free.store(100, Ordering::Relaxed);
        assert!(space.check().is_ok(), "a full disk is asked again at once");
    }

    #[test]
    fn a_real_folder_has_some_room() {
        assert!(free_bytes(Path::new("/")).unwrap() > 0);
    }
}
