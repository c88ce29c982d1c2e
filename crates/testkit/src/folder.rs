//! A folder for one neighbour or one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A temporary folder that is removed when dropped, unless the test is failing: then it is kept and its place printed.
#[derive(Debug)]
pub struct Folder {
    dir: TempDir,
}

impl Folder {
    /// A new empty folder whose name starts with `tidings-` and `name`. Others may look into it: mail programs run under users of their own.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("tidings-{name}-")).tempdir().expect("a temporary folder can be made");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the mode of our own folder can be set");
        Self { dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file inside, with the folders it needs, and returns its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("folders in our own folder can be made");
        }
        fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("kept for a look: {}", self.dir.path().display());
        }
    }
}
