//! An independent judge of letters: a small Python program around that language's `email` package and its strict policy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::folder::Folder;
use crate::process::{Program, installed};

const SCRIPT: &str = include_str!("judge.py");

/// Time for one run, however many files.
const PATIENCE: Duration = Duration::from_mins(2);

/// Files judged in one run: arguments have a limit.
const BATCH: usize = 500;

/// A name and an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mailbox {
    /// The name, decoded; empty if there is none.
    pub name: String,
    /// The address.
    pub address: String,
}

/// One part of a letter; a multipart is one too, before its own parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    /// Such as `text/plain`.
    pub content_type: String,
    /// In lower case.
    pub charset: Option<String>,
    /// The Content-Transfer-Encoding.
    pub encoding: Option<String>,
    /// `inline` or `attachment`.
    pub disposition: Option<String>,
    /// The file name, decoded.
    pub filename: Option<String>,
    /// The Content-ID with its angle brackets.
    pub content_id: Option<String>,
}

/// What the judge found in one file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// The file.
    pub file: PathBuf,
    /// All headers, in order, decoded and unfolded.
    pub headers: Vec<(String, String)>,
    /// From.
    pub from: Vec<Mailbox>,
    /// To.
    pub to: Vec<Mailbox>,
    /// Cc.
    pub cc: Vec<Mailbox>,
    /// Reply-To.
    pub reply_to: Vec<Mailbox>,
    /// The subject, decoded.
    pub subject: Option<String>,
    /// The Message-ID with its angle brackets.
    pub message_id: Option<String>,
    /// The date in ISO 8601, if it could be read.
    pub date: Option<String>,
    /// All parts in order, the letter itself first.
    pub parts: Vec<Part>,
    /// The `text/plain` body, decoded.
    pub text: Option<String>,
    /// The `text/html` body, decoded.
    pub html: Option<String>,
    /// What the parser holds against the letter.
    pub defects: Vec<String>,
    /// What the bytes do wrong: line ends, line lengths, bytes beyond ASCII in headers, long encoded words, missing or doubled headers.
    pub complaints: Vec<String>,
}

impl Verdict {
    /// The first header of this name, letter case aside, decoded.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether nothing is held against the letter.
    pub fn is_clean(&self) -> bool {
        self.defects.is_empty() && self.complaints.is_empty()
    }

    /// Demands a letter without fault.
    ///
    /// # Panics
    /// If something is held against it; the message says what.
    #[track_caller]
    pub fn assert_clean(&self) -> &Self {
        assert!(self.is_clean(), "{}: {:?} {:?}", self.file.display(), self.defects, self.complaints);
        self
    }
}

/// Judges these files; the verdicts come in the same order.
///
/// # Panics
/// If Python 3 is not installed or a file cannot be read.
pub fn judge(files: &[impl AsRef<Path>]) -> Vec<Verdict> {
    let python = installed("python3", "python3");
    let folder = Folder::new("judge");
    let script = folder.write("judge.py", SCRIPT);
    let mut verdicts = Vec::with_capacity(files.len());
    for batch in files.chunks(BATCH) {
        let paths = batch.iter().map(|file| std::path::absolute(file).expect("a path can be made absolute"));
        // The output files are appended to: each run needs its own folder.
        let run = folder.join(verdicts.len().to_string());
        std::fs::create_dir(&run).expect("a folder in our own folder can be made");
        let ended = Program::new(&python).args(["-I".into(), script.clone()]).args(paths).run(&run, PATIENCE);
        assert!(ended.status.success(), "the judge failed: {}", ended.stderr);
        let batch: Vec<Verdict> = serde_json::from_str(&ended.stdout).expect("the judge writes JSON");
        verdicts.extend(batch);
    }
    verdicts
}

/// Judges one letter given as bytes.
///
/// # Panics
/// As [`judge`].
pub fn judge_bytes(letter: &[u8]) -> Verdict {
    let folder = Folder::new("letter");
    let file = folder.write("letter.eml", letter);
    judge(&[file]).remove(0)
}
