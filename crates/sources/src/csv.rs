//! Files with a row for each object: what an HR system exports.
//!
//! A full file says everything: who does not stand in it is gone. A delta file says changes, in a column `change`. Either way a file is first surveyed (its form, its rows,
//! how much would vanish) and only then taken, so that a file that is refused has changed nothing. What does not live here: comparing and telling (`intake`).

mod delta;
mod digest;
mod error;
mod folder;
mod form;
mod full;
mod layout;
mod order;
mod plan;
mod reader;
mod report;
mod row;
mod values;

pub use error::CsvError;
pub use folder::CsvWatch;
pub use plan::{BadRows, CsvPlan, Mode};
pub use report::{Fault, Report};

use std::{path::Path, sync::Arc};
use tidings_intake::Feed;

/// How far a load is: rows taken, and rows there are.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Takes one file, whichever mode it is in.
///
/// # Errors
/// [`CsvError`] if the file cannot be read or nothing can be recorded now. A file that is refused is no error: its report says so.
pub async fn load(feed: &Feed, plan: &Arc<CsvPlan>, file: &Path, mode: Mode, progress: &Progress) -> Result<Report, CsvError> {
    match mode {
        Mode::Full => full::load(feed, plan, file, progress).await,
        Mode::Delta => delta::load(feed, plan, file, progress).await,
    }
}
