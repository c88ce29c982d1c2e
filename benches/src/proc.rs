//! What the kernel says about processes and the machine (`/proc`, see proc(5)).

use crate::stats::real;
use anyhow::{Context, Result};
use std::{fs, path::Path};

/// Where one process stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessReading {
    /// User and system time so far, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The same of children that have ended and were waited for.
    pub(crate) children_cpu_seconds: f64,
    /// Bytes handed to the block layer so far; 0 where the kernel does not count them.
    pub(crate) written_bytes: u64,
    /// Resident memory now, in bytes (`VmRSS`).
    pub(crate) resident_bytes: u64,
    /// The most resident memory so far, in bytes (`VmHWM`).
    pub(crate) peak_bytes: u64,
}

/// Reads a live process.
///
/// # Errors
/// If it has ended.
pub(crate) fn read(pid: u32) -> Result<ProcessReading> {
    let text = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("reading /proc/{pid}/{name}"));
    let stat = text("stat")?;
    // The name in parentheses may hold blanks; fields are counted from behind it: utime is field 14 of the whole line.
    let fields: Vec<u64> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let ticks = |from: usize| real(fields.iter().skip(from).take(2).sum()) / ticks_per_second();
    let status = text("status")?;
    let io = text("io").unwrap_or_default();
    Ok(ProcessReading {
        cpu_seconds: ticks(11),
        children_cpu_seconds: ticks(13),
        written_bytes: number_after(&io, "write_bytes:"),
        resident_bytes: number_after(&status, "VmRSS:") * 1024,
        peak_bytes: number_after(&status, "VmHWM:") * 1024,
    })
}

/// The processes that a process has started and that run.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Busy seconds of all cores together since the machine started.
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub(crate) fn machine_busy_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq softirq steal: busy is all but idle and iowait; stolen time was not ours.
    let busy = [0, 1, 2, 5, 6].into_iter().filter_map(|field| fields.get(field)).sum();
    Ok(real(busy) / ticks_per_second())
}

/// Bytes of all files below a folder. Files that vanish meanwhile count nothing.
pub(crate) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Bytes that this user may still write to the file system of a folder.
///
/// # Errors
/// If the folder cannot be reached.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(folder).with_context(|| format!("asking for the free space of {}", folder.display()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

fn ticks_per_second() -> f64 {
    real(rustix::param::clock_ticks_per_second())
}

fn number_after(text: &str, key: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| value.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_process_can_be_read() {
        let reading = read(std::process::id()).unwrap();
        assert!(reading.resident_bytes > 100_000 && reading.peak_bytes >= reading.resident_bytes, "{reading:?}");
        assert!(machine_busy_seconds().unwrap() > 0.0);
        assert!(free_bytes(Path::new("/")).is_ok() && free_bytes(Path::new("/no such folder")).is_err());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(read(u32::MAX).is_err());
    }
}
