//! Files that appear in a folder, counted by the kernel's notices (inotify(7)) instead of listing the folder again and again.

use anyhow::{Context, Result, bail};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use std::{
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, Instant},
};

/// Bytes of notices read at a time: some two thousand of them.
const NOTICES: usize = 64 * 1024;

/// The watch of one folder.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    notices: OwnedFd,
    ending: &'static [u8],
    files: u64,
    buffer: Box<[MaybeUninit<u8>]>,
}

impl FolderWatch {
    /// Watches for files whose final name ends so, made there or renamed to it.
    ///
    /// # Errors
    /// If the kernel gives no watch.
    pub(crate) fn on(folder: &Path, ending: &'static str) -> Result<Self> {
        let notices = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).context("asking the kernel for notices")?;
        let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&notices, folder, kinds).with_context(|| format!("watching {}", folder.display()))?;
        Ok(Self { notices, ending: ending.as_bytes(), files: 0, buffer: Box::new_uninit_slice(NOTICES) })
    }

    /// Files so far, as of the last look.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Waits until there are so many files and returns the moment.
    ///
    /// # Errors
    /// If they are not there `within` this time, or the kernel has dropped notices.
    pub(crate) async fn wait_for(&mut self, files: u64, within: Duration) -> Result<Instant> {
        let start = Instant::now();
        loop {
            self.look()?;
            if self.files >= files {
                return Ok(Instant::now());
            }
            if start.elapsed() > within {
                bail!("{} of {files} files after {within:?}", self.files);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn look(&mut self) -> Result<()> {
        let mut reader = inotify::Reader::new(&self.notices, &mut self.buffer);
        loop {
            match reader.next() {
                Ok(notice) => {
                    if notice.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                        bail!("the kernel has dropped notices");
                    }
                    if notice.file_name().is_some_and(|name| name.to_bytes().ends_with(self.ending)) {
                        self.files += 1;
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno).context("reading the kernel's notices"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[tokio::test]
    async fn files_count_once_they_have_their_final_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = FolderWatch::on(folder.path(), ".eml").unwrap();
        for number in 0..300 {
            fs::write(folder.path().join(format!("{number}.part")), "x").unwrap();
        }
        watch.look().unwrap();
        assert_eq!(watch.files(), 0);
        for number in 0..300 {
            fs::rename(folder.path().join(format!("{number}.part")), folder.path().join(format!("{number}.eml"))).unwrap();
        }
        watch.wait_for(300, Duration::from_secs(20)).await.unwrap();
        assert!(watch.wait_for(301, Duration::from_millis(1)).await.is_err());
    }
}
