//! A watched folder: what is put into it is read, and moved into `done` or `failed` with a report beside it.

use super::{
    Progress,
    error::CsvError,
    load,
    plan::{CsvPlan, Mode},
    report::{ENDING, Report},
};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use tidings_intake::Feed;

/// What tells one state of a file from another.
type Stamp = (u64, Option<SystemTime>);

/// Watches the folder of one directory.
pub struct CsvWatch {
    feed: Arc<Feed>,
    plan: Arc<CsvPlan>,
    folder: PathBuf,
    /// Files as they were at the last look.
    seen: HashMap<String, Stamp>,
    /// Files that were read and could not be moved away.
    stuck: HashMap<String, Stamp>,
}

impl CsvWatch {
    /// A watch; `None` if the directory has no folder.
    pub fn new(feed: Arc<Feed>, plan: Arc<CsvPlan>) -> Option<Self> {
        let folder = plan.folder.clone()?;
        Some(Self { feed, plan, folder, seen: HashMap::new(), stuck: HashMap::new() })
    }

    /// Looks into the folder again and again. Can be dropped at any point: whatever was half read is read again.
    pub async fn run(mut self) {
        let directory = self.plan.directory.clone();
        loop {
            let looked = self.look().await;
            let noted = match &looked {
                Ok(reports) => match reports.iter().rev().find_map(|report| report.refused.as_ref().map(|_| report)) {
                    Some(refused) => self.feed.source_failed(&directory, &format!("{} was {}", refused.file, refused.summary())).await,
                    None if reports.is_empty() => Ok(()),
                    None => self.feed.source_works(&directory).await,
                },
                // Read again at the next look: no news yet.
                Err(CsvError::Changed(_)) => Ok(()),
                Err(error) => {
                    let why = format!("{:#}", Chain(error));
                    tracing::warn!(directory = %directory, error = %why, "files cannot be taken");
                    self.feed.source_failed(&directory, &why).await
                }
            };
            if let Err(error) = noted {
                tracing::warn!(directory = %directory, error = %error, "the standing of a directory cannot be written");
            }
            tokio::time::sleep(self.plan.poll_every).await;
        }
    }

    /// Takes every file that is complete: as it was at the last look, and not under a name that its writer has not finished with.
    ///
    /// # Errors
    /// [`CsvError`]; what was taken before stays taken.
    pub async fn look(&mut self) -> Result<Vec<Report>, CsvError> {
        let found = self.list()?;
        let mut reports = Vec::new();
        for (name, mode, stamp) in &found {
            let complete = self.seen.get(name) == Some(stamp);
            if complete && self.stuck.get(name) != Some(stamp) {
                reports.push(self.take(name, *mode, *stamp).await?);
            }
        }
        self.seen = found.into_iter().map(|(name, _, stamp)| (name, stamp)).collect();
        self.stuck.retain(|name, _| self.seen.contains_key(name));
        Ok(reports)
    }

    /// Files of ours, the oldest first.
    fn list(&self) -> Result<Vec<(String, Mode, Stamp)>, CsvError> {
        let failed = |source: io::Error| CsvError::Folder { path: self.folder.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // A file that was taken away meanwhile is none.
            let Some((mode, data)) = self.plan.mode_of(&name).zip(fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)) else {
                continue;
            };
            found.push((name, mode, (data.len(), data.modified().ok())));
        }
        found.sort_by(|one, other| (one.2.1, &one.0).cmp(&(other.2.1, &other.0)));
        Ok(found)
    }

    async fn take(&mut self, name: &str, mode: Mode, stamp: Stamp) -> Result<Report, CsvError> {
        let path = self.folder.join(name);
        let silent: Progress = Arc::new(|_, _| {});
        let report = load(&self.feed, &self.plan, &path, mode, &silent).await?;
        let directory = &self.plan.directory;
        if report.refused.is_some() {
            tracing::error!(directory = %directory, file = %name, "{}", report.summary());
        } else {
            tracing::info!(directory = %directory, file = %name, "{}", report.summary());
        }
        if let Err(source) = put_away(&self.folder, name, &report) {
            // Read once is enough, even if it stays where it is.
            self.stuck.insert(name.to_owned(), stamp);
            return Err(CsvError::Move { path, source });
        }
        Ok(report)
    }
}

/// Moves a file into `done` or `failed`, and writes the report beside it; a name that is taken there gets a number.
fn put_away(folder: &Path, name: &str, report: &Report) -> io::Result<()> {
    let to = folder.join(if report.refused.is_some() { "failed" } else { "done" });
    fs::create_dir_all(&to)?;
    let free = |name: &str| !to.join(name).exists() && !to.join(format!("{name}{ENDING}")).exists();
    let mut names = std::iter::once(name.to_owned()).chain((2..=u32::MAX).map(|number| format!("{number}-{name}")));
    let name_there = names.find(|name| free(name)).ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    fs::write(to.join(format!("{name_there}{ENDING}")), report.to_string())?;
    fs::rename(folder.join(name), to.join(name_there))
}

/// An error with all its causes in one line.
struct Chain<'a>(&'a CsvError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut cause: Option<&dyn std::error::Error> = Some(self.0);
        let mut first = true;
        while let Some(error) = cause {
            write!(f, "{}{error}", if first { "" } else { ": " })?;
            first = false;
            cause = error.source();
        }
        Ok(())
    }
}
