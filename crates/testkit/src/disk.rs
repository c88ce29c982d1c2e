//! A small disk, to be filled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::folder::Folder;
use crate::process::{Program, installed};

/// A file system of its own on a folder, as long as it lives. Needs root.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one, with these options of mount(8).
    ///
    /// # Panics
    /// If that is not allowed: it needs root.
    #[track_caller]
    pub fn mount(on: &Path, options: &str) -> Self {
        let folder = Folder::new("mount");
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"].map(PathBuf::from);
        let mounted = Program::new(installed("mount", "mount")).args(arguments).args([on]).run(folder.path(), Duration::from_secs(10));
        assert!(mounted.status.success(), "this test mounts a small file system and must run as root: {}", mounted.stderr);
        Self(on.to_owned())
    }

    /// Changes its options while it is in use, such as `size=32m`.
    ///
    /// # Panics
    /// If they cannot be changed so.
    #[track_caller]
    pub fn remount(&self, options: &str) {
        let folder = Folder::new("mount");
        let arguments = ["-o".into(), format!("remount,{options}").into(), self.0.clone()];
        let mounted = Program::new(installed("mount", "mount")).args(arguments).run(folder.path(), Duration::from_secs(10));
        assert!(mounted.status.success(), "{}", mounted.stderr);
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a server that is still about may have files open.
        let folder = Folder::new("umount");
        let unmounted =
            Program::new(installed("umount", "mount")).args(["-l".into(), self.0.clone()]).run(folder.path(), Duration::from_secs(10));
        assert!(unmounted.status.success() || std::thread::panicking(), "{}", unmounted.stderr);
    }
}
