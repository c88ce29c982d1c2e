//! A file as rows, in bounded memory; opened once, so that another one that takes its name meanwhile is not mixed into it.

use super::{
    error::CsvError,
    form,
    layout::Layout,
    plan::{CsvPlan, Mode},
    row::{self, Bad, Row},
};
use std::{
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, Read, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// An open file of rows.
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    begun: Metadata,
}

/// Rows that travel together from the reading thread.
const CHUNK: usize = 500;

impl Source {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> Result<Self, CsvError> {
        let failed = |source| CsvError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let begun = file.metadata().map_err(failed)?;
        if !begun.is_file() {
            return Err(failed(io::Error::other("it is not a file")));
        }
        Ok(Self { path: path.to_owned(), file, begun })
    }

    /// What is wrong with its form, as line and reason.
    pub(crate) fn flaw(&self, plan: &CsvPlan) -> Result<Option<form::Flaw>, CsvError> {
        self.rewound()
            .and_then(|file| form::flaw(BufReader::with_capacity(1 << 16, file), plan.delimiter))
            .map_err(|source| self.failed(source))
    }

    /// Goes through its rows; the heading is read first, and refused if a column is missing.
    pub(crate) fn rows(
        &self,
        plan: &CsvPlan,
        mode: Mode,
        mut each: impl FnMut(Result<Row, Bad>) -> bool,
    ) -> Result<Result<Layout, String>, CsvError> {
        let failed = |source| self.failed(source);
        // At the end of a line of two characters the reader has counted only the first when the next row begins.
        let behind = u64::from(self.has_long_line_ends().map_err(failed)?);
        let file = self.rewound().map_err(failed)?;
        let mut reader =
            csv::ReaderBuilder::new().delimiter(plan.delimiter).flexible(true).has_headers(true).buffer_capacity(1 << 16).from_reader(file);
        let headings = reader.headers().map_err(|error| failed(as_io(error)))?.clone();
        let layout = match Layout::of(&headings.iter().collect::<Vec<_>>(), plan, mode) {
            Ok(layout) => layout,
            Err(why) => return Ok(Err(why)),
        };
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| failed(as_io(error)))? {
            let line = record.position().map_or(0, csv::Position::line) + behind;
            // A line of blanks or of delimiters alone is what spreadsheets leave behind.
            if record.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            let fields: Vec<&str> = record.iter().collect();
            if !each(row::read(&fields, line, &layout, plan)) {
                break;
            }
        }
        Ok(Ok(layout))
    }

    /// Sends its rows in chunks from a thread of their own.
    pub(crate) fn stream(self: &Arc<Self>, plan: &Arc<CsvPlan>, mode: Mode) -> mpsc::Receiver<Result<Vec<Row>, CsvError>> {
        let (sender, receiver) = mpsc::channel(4);
        let (source, plan) = (Arc::clone(self), Arc::clone(plan));
        tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = source.rows(&plan, mode, |row| {
                chunk.extend(row.ok());
                chunk.len() < CHUNK || sender.blocking_send(Ok(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)))).is_ok()
            });
            // If nobody listens any more, there is nobody to tell.
            let _ = match read {
                Ok(_) => sender.blocking_send(Ok(chunk)),
                Err(error) => sender.blocking_send(Err(error)),
            };
        });
        receiver
    }

    /// Says so if it was written to since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), CsvError> {
        let now = self.file.metadata().map_err(|source| self.failed(source))?;
        let same = now.len() == self.begun.len() && now.modified().ok() == self.begun.modified().ok();
        if same { Ok(()) } else { Err(CsvError::Changed(self.path.clone())) }
    }

    /// Whether its first line ends with carriage return and line feed.
    fn has_long_line_ends(&self) -> io::Result<bool> {
        let mut line = Vec::new();
        BufReader::new(self.rewound()?).take(1 << 20).read_until(b'\n', &mut line)?;
        Ok(line.ends_with(b"\r\n"))
    }

    fn rewound(&self) -> io::Result<&File> {
        (&self.file).seek(io::SeekFrom::Start(0))?;
        Ok(&self.file)
    }

    fn failed(&self, source: io::Error) -> CsvError {
        CsvError::Read { path: self.path.clone(), source }
    }
}

fn as_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}
