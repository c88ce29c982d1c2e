//! Everything a subject needs: the program, a folder on the disk under test, the neighbours.

use crate::{
    args::{Group, Options, Scale},
    child,
    flush::Shim,
    letter, machine,
    postfix::Postfix,
    program,
    smtp_tools::Source,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tempfile::TempDir;

/// What is set up once for the whole run. Dropped, its folder goes.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How much is measured.
    pub(crate) scale: Scale,
    /// The program under test.
    pub(crate) program: PathBuf,
    /// Where `smtp-sink` listens when it runs.
    pub(crate) sink_addr: SocketAddr,
    groups: Vec<Group>,
    shim: Option<Shim>,
    /// The mean size of the files in the pickup directory, in bytes.
    file_size: AtomicU64,
    /// Before `folder`, whose files it uses until it is stopped.
    postfix: Option<Postfix>,
    folder: TempDir,
}

impl Bench {
    /// Builds the program, makes the folder and lays out Postfix, as far as the groups asked for need them.
    ///
    /// # Errors
    /// If something that is needed is missing.
    pub(crate) async fn prepare(options: Options) -> Result<Self> {
        let (scale, groups) = (options.scale(), options.groups());
        let any_of = |wanted: &[Group]| groups.iter().any(|group| wanted.contains(group));
        let folder = work_folder(options.work)?;
        let serves = groups.iter().any(|group| group.serves());
        let program = match options.binary {
            Some(path) => path.canonicalize().with_context(|| format!("looking for {}", path.display()))?,
            None if serves => program::build().await?,
            None => PathBuf::new(),
        };
        let shim = if serves || any_of(&[Group::Postfix, Group::Postgres]) { Some(Shim::compile(folder.path()).await?) } else { None };
        let sink_addr = child::free_address()?;
        let postfix = match &shim {
            Some(shim) if any_of(&[Group::Postfix, Group::Postgres]) => {
                Some(Postfix::lay_out(&folder.path().join("postfix"), sink_addr, shim)?)
            }
            _ => None,
        };
        let bench = Self { scale, program, sink_addr, groups, shim, file_size: AtomicU64::new(letter::USUAL_SIZE as u64), postfix, folder };
        bench.set_letter_size(letter::USUAL_SIZE)?;
        Ok(bench)
    }

    /// Makes the files of the bare loop as large as those of the pickup directory.
    pub(crate) fn set_file_size(&self, bytes: u64) {
        self.file_size.store(bytes, Ordering::Relaxed);
    }

    /// The size of the files of the bare loop, in bytes.
    pub(crate) fn file_size(&self) -> u64 {
        self.file_size.load(Ordering::Relaxed)
    }

    /// Whether this group was asked for.
    pub(crate) fn measures(&self, group: Group) -> bool {
        self.groups.contains(&group)
    }

    /// The folder on the disk under test.
    pub(crate) fn work(&self) -> &Path {
        self.folder.path()
    }

    /// What counts flushes.
    ///
    /// # Errors
    /// If nothing that flushes was asked for.
    pub(crate) fn shim(&self) -> Result<Shim> {
        self.shim.clone().context("nothing that flushes was asked for")
    }

    /// Makes the letter of `smtp-source` as long as the server's own letters are on average.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn set_letter_size(&self, wire_bytes: usize) -> Result<()> {
        fs::write(self.letter(), letter::of_size(wire_bytes)).context("writing the letter of smtp-source")
    }

    /// `smtp-source` with its letter.
    ///
    /// # Errors
    /// If it is not installed.
    pub(crate) fn source(&self) -> Result<Source> {
        Source::new(self.letter())
    }

    /// The Postfix instance.
    ///
    /// # Errors
    /// If it was not asked for.
    pub(crate) fn postfix(&self) -> Result<&Postfix> {
        self.postfix.as_ref().context("Postfix was not asked for")
    }

    fn letter(&self) -> PathBuf {
        self.work().join("letter.eml")
    }
}

/// Makes a folder of our own on the disk under test. Memory is no disk: durability would cost nothing there.
fn work_folder(wanted: Option<PathBuf>) -> Result<TempDir> {
    let parent = wanted.map_or_else(|| program::target_folder().map(|target| target.join("bench")), Ok)?;
    fs::create_dir_all(&parent).with_context(|| format!("making {}", parent.display()))?;
    let parent = parent.canonicalize().with_context(|| format!("looking for {}", parent.display()))?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mount points")?;
    let file_system = machine::file_system(&mounts, &parent);
    ensure!(
        file_system != "tmpfs" && file_system != "ramfs",
        "{} lies in memory ({file_system}); give a folder on a disk with --work",
        parent.display()
    );
    let folder =
        tempfile::Builder::new().prefix("run-").tempdir_in(&parent).with_context(|| format!("making a folder in {}", parent.display()))?;
    // Postfix's processes run as users of their own and have to get in.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).context("opening the folder to Postfix")?;
    Ok(folder)
}
