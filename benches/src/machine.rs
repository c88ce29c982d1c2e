//! The machine that figures are valid for, and how fast one of its cores is just now.

use crate::stats::{real, shown};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long one calibration lasts.
const CALIBRATION: Duration = Duration::from_millis(500);

/// What the figures were taken on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// Cores this process may use.
    pub(crate) cores: usize,
    /// The processor's name.
    pub(crate) processor: String,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// File system of the disk under test.
    pub(crate) file_system: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gibibytes = shown(real(self.memory_bytes) / 1_073_741_824.0);
        write!(f, "{} cores ({}), {gibibytes} GiB memory, Linux {}, {}", self.cores, self.processor, self.kernel, self.file_system)
    }
}

/// Describes this machine; `work` lies on the disk under test.
pub(crate) fn describe(work: &Path) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
        line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    Machine {
        cores: thread::available_parallelism().map_or(1, std::num::NonZero::get),
        processor: value(&read("/proc/cpuinfo"), "model name"),
        memory_bytes: memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        file_system: file_system(&read("/proc/self/mounts"), work),
    }
}

/// The type of the file system a folder lies on: that of the longest mount point above it.
pub(crate) fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point)).max_by_key(|(point, _)| point.len());
    above.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Chained SHA-256 digests of 32 bytes a second on one core: to see whether the machine drifted between two moments.
pub(crate) fn calibrate() -> f64 {
    let (start, mut digests) = (Instant::now(), 0_u64);
    let mut digest = Sha256::digest(b"x");
    while start.elapsed() < CALIBRATION {
        for _ in 0..1_000 {
            digest = Sha256::digest(digest);
        }
        digests += 1_000;
    }
    std::hint::black_box(digest);
    real(digests) / start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\ntmpfs /tmpfiles xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/srv/work")), "ext4");
        assert_eq!(file_system(mounts, Path::new("/tmp/work")), "tmpfs");
        assert_eq!(file_system("", Path::new("/srv")), "unknown");
    }
}
