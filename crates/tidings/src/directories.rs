//! The directories' sources: made from the configuration, at work while the house is open, and exchanged when the configuration is.

use crate::exit::Misuse;
use anyhow::Result;
use std::sync::Arc;
use tidings_config::{self as sections, Directory, DirectorySource, Settings};
use tidings_intake::Feed;
use tidings_sources::csv::{BadRows, CsvPlan, CsvWatch};
use tokio::task::JoinHandle;

/// Sources at work. Dropped, they stop; whatever is recorded is recorded whole, so that may be at any point.
#[derive(Default)]
pub struct Sources(Vec<JoinHandle<()>>);

impl Drop for Sources {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Everything that sources need to begin; made before the sources of an older configuration stop.
pub struct Plans {
    csv: Vec<CsvPlan>,
}

impl Plans {
    /// The plans of all directories.
    pub fn of(settings: &Settings) -> Self {
        let csv = settings.directories.iter().filter_map(|directory| match &directory.source {
            DirectorySource::Csv(source) => Some(csv_plan(directory, source, &settings.organisation)),
            _ => None,
        });
        Self { csv: csv.collect() }
    }

    /// Sets all sources to work.
    pub fn start(self, feed: &Arc<Feed>) -> Sources {
        let watches = self.csv.into_iter().filter_map(|plan| CsvWatch::new(Arc::clone(feed), Arc::new(plan)));
        Sources(watches.map(|watch| tokio::spawn(watch.run())).collect())
    }
}

/// The directory of this name.
///
/// # Errors
/// [`Misuse`] with the names there are.
pub fn find<'a>(settings: &'a Settings, name: &str) -> Result<&'a Directory> {
    settings.directory(name).ok_or_else(|| {
        let names: Vec<&str> = settings.directories.iter().map(|directory| directory.name.as_str()).collect();
        let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        Misuse(format!("no directory is called `{name}`; {there}")).into()
    })
}

/// A directory's section as the plan of its files.
pub fn csv_plan(directory: &Directory, source: &sections::CsvSource, organisation: &sections::Organisation) -> CsvPlan {
    CsvPlan {
        directory: directory.name.clone(),
        folder: source.folder.clone(),
        files: source.files.clone(),
        delta_files: source.delta_files.clone(),
        delimiter: source.delimiter,
        list_separator: source.list_separator,
        columns: source.columns.clone(),
        bad_rows: match source.bad_rows {
            sections::BadRows::Skip => BadRows::Skip,
            sections::BadRows::Refuse => BadRows::Refuse,
        },
        most_vanishing_percent: source.most_vanishing_percent,
        poll_every: source.poll_every,
        first_load_told: directory.first_load_told,
        timezone: organisation.default_timezone.clone(),
    }
}
