//! Chooses a database by its URL, and lets only one `tidings serve` work on it.

use crate::{
    bounce::Bounces,
    error::StoreError,
    mirror::Mirror,
    nodes::Nodes,
    postgres::{PostgresStore, PostgresTuning},
    seal::SealKey,
    sqlite::{SqliteStore, Tuning},
    store::Store,
};
use rustix::fs::FlockOperation;
use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidings_core::Clock;

/// Where in `meta` it stands that a database is an unfinished copy, and how far it has come.
pub(crate) const COPY_NOTE: &str = "copy";

/// What opening a database needs.
pub struct OpenOptions {
    /// `sqlite:` and a path, absolute or relative to `data_dir`; or a `postgres://` URL as libpq takes it, with its password.
    pub url: String,
    /// The folder of the house's own files; made if it is not there.
    pub data_dir: PathBuf,
    /// The key for sensitive letters.
    pub key: SealKey,
    /// Tells the time of leases and acceptances. A database on a server goes by the server's own.
    pub clock: Arc<dyn Clock>,
    /// Intake pauses while the database's disk has fewer free bytes than this. Of a server's disk nothing is known until it is full.
    pub min_free_bytes: u64,
}

/// A database holds the outbox, the mirror and what came back, takes them into one transaction, and knows who serves it. Where only one of them is needed, an `Arc` of this is an
/// `Arc` of that.
pub trait Database: Store + Mirror + Nodes + Bounces {}

impl<T: Store + Mirror + Nodes + Bounces> Database for T {}

/// Opens the database, making it or bringing it up to date if need be.
///
/// # Errors
/// [`StoreError::Open`] if the URL, the folder or the file cannot be used, [`StoreError::Newer`] if a newer version wrote it, [`StoreError::Key`] if the key is
/// not the one it was made with, [`StoreError::Unavailable`] if another process keeps it locked.
pub async fn open(options: OpenOptions) -> Result<Arc<dyn Database>, StoreError> {
    if is_on_server(&options.url) {
        return Ok(PostgresStore::open(options, PostgresTuning::default()).await?);
    }
    Ok(SqliteStore::open(options, Tuning::default()).await?)
}

/// Whether a URL names a database on a server, and not a file.
pub fn is_on_server(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// The path of the database that a URL names. Of a database on a server: where its files on this machine are, should it have any; the lock of `tidings serve` is one.
///
/// # Errors
/// [`StoreError::Open`] if the URL names none that this version can use.
pub fn database_path(url: &str, data_dir: &Path) -> Result<PathBuf, StoreError> {
    let refuse = |why: &str| StoreError::Open { path: PathBuf::from(without_secrets(url)), source: why.into() };
    if is_on_server(url) {
        return Ok(data_dir.join("postgres"));
    }
    let path = url.strip_prefix("sqlite:").ok_or_else(|| refuse("the URL of a database begins with sqlite: or postgres://"))?;
    // `sqlite:///srv/tidings.db` is what other programs write for an absolute path.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(':') || path.ends_with('/') {
        return Err(refuse("the URL of an SQLite database names a file: sqlite:tidings.db"));
    }
    Ok(data_dir.join(path))
}

/// A URL without the user and password that it may hold.
pub(crate) fn without_secrets(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => url.to_owned(),
    }
}

/// Held while `tidings serve` works on a database; given back when dropped, and by the system when the process dies.
#[derive(Debug)]
pub struct ServeLock {
    file: fs::File,
}

/// What `tidings serve` says of itself in its lock file, for commands on the same machine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServeNote {
    /// Its process.
    pub pid: i32,
    /// How often it was told to take another configuration since it started.
    pub reloads: u64,
    /// Whether the last of them is in force.
    pub in_force: bool,
    /// What is to be said of the last: problems if it was refused, else what has changed and what needs a restart.
    pub said: Vec<String>,
}

impl ServeLock {
    /// Writes the note, in place of the one before.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn tell(&self, note: &ServeNote) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        let text = serde_json::to_vec(note)?;
        self.file.set_len(0)?;
        self.file.write_all_at(&text, 0)
    }
}

/// What the `tidings serve` that works on a database says of itself; `None` if none does.
///
/// # Errors
/// [`StoreError::Open`] if the lock file cannot be read, or holds no note although it is locked: it is being written at this moment, or belongs to an older version.
pub fn serve_note(database: &Path) -> Result<Option<ServeNote>, StoreError> {
    let path = lock_path(database);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open { path: path.clone(), source };
    let mut file = match fs::OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    };
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).map_err(|error| failed(error.into()))?;
    serde_json::from_str(&text).map(Some).map_err(|error| failed(error.into()))
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

/// Takes the lock that only `tidings serve` takes. Commands of other processes work on the same database meanwhile and do not ask for it.
///
/// The lock is on a file beside the database, not on the database: closing a second handle of that would drop SQLite's own locks (POSIX advisory locks are
/// given back when any handle of the file is closed).
///
/// # Errors
/// [`StoreError::InUse`] if another process holds it, [`StoreError::Open`] if the lock file cannot be made.
pub fn lock_exclusive(database: &Path) -> Result<ServeLock, StoreError> {
    let path = lock_path(database);
    let failed = |error: std::io::Error| StoreError::Open { path: path.clone(), source: error.into() };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(ServeLock { file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(database.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let error = database_path(url, Path::new("/data")).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    }

    #[test]
    fn a_url_names_a_file_in_the_data_folder_or_anywhere() {
        assert_eq!(database_path("sqlite:tidings.db", Path::new("/data")).unwrap(), Path::new("/data/tidings.db"));
        assert_eq!(database_path("sqlite:/srv/t.db", Path::new("/data")).unwrap(), Path::new("/srv/t.db"));
        assert_eq!(database_path("sqlite:///srv/t.db", Path::new("/data")).unwrap(), Path::new("/srv/t.db"));
    }

    #[test]
    fn other_urls_are_refused_by_name_and_without_their_password() {
        let error = refusal("mysql://tidings:hunter2@db.example.org/tidings");
        assert!(error.contains("begins with sqlite: or postgres://") && !error.contains("hunter2"), "{error}");
        assert!(refusal("sqlite:").contains("names a file"));
        assert!(refusal("sqlite::memory:").contains("names a file"));
    }

    #[test]
    fn only_one_serve_works_on_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("tidings.db");
        let lock = lock_exclusive(&database).unwrap();
        assert!(matches!(lock_exclusive(&database), Err(StoreError::InUse(path)) if path == database));
        let note = ServeNote { pid: 42, reloads: 1, in_force: true, said: vec!["a long line that a shorter one follows".to_owned()] };
        lock.tell(&note).unwrap();
        let shorter = ServeNote { said: Vec::new(), ..note };
        lock.tell(&shorter).unwrap();
        assert_eq!(serve_note(&database).unwrap(), Some(shorter));
        drop(lock);
        assert_eq!(serve_note(&database).unwrap(), None, "nobody works on it any more");
        lock_exclusive(&database).unwrap();
    }
}
