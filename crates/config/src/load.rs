//! Loading: the file is read, every value checked against the table of keys, the sections built, and all problems told at once.

use crate::{
    agent,
    node::{self, Node},
    problem,
    problem::{Problem, Problems, Source},
    read::{self, Table},
    sections::{self, Query, Settings},
};
use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};
use tidings_core::policy::RuleSet;

/// The environment as an argument: gives a variable's value by its name. Only the binary knows the real one.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// How closely to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Whether pickup folders must be there and writable, and the folders of output files be there. Nothing is written for it. Wanted before mail is sent; not
    /// wanted where a configuration is looked at on another machine. Default: false.
    pub check_folders: bool,
}

/// A configuration without problems.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// What the operator should know all the same, in the order of the files.
    pub warnings: Vec<Problem>,
}

/// Loads a configuration file; one whose name ends in `.json` is an agent's ([`is_appsettings`]). Relative paths in it are relative to its folder.
///
/// # Errors
/// All [`Problems`] at once.
pub fn load(path: &Path, env: Environment<'_>) -> Result<Loaded, Problems> {
    load_with(path, env, LoadOptions::default())
}

/// Loads a configuration file, looking as closely as `options` say.
///
/// # Errors
/// All [`Problems`] at once.
pub fn load_with(path: &Path, env: Environment<'_>, options: LoadOptions) -> Result<Loaded, Problems> {
    match read_text(path) {
        Ok(text) => load_text(&text, path, env, options),
        Err(message) => Err(Problems(vec![Problem { file: path.to_owned(), line: 0, column: 0, key: String::new(), message }])),
    }
}

/// Loads a configuration from a text as if it stood in the file `path`, which need not be there.
///
/// # Errors
/// All [`Problems`] at once.
pub fn load_text(text: &str, path: &Path, env: Environment<'_>, options: LoadOptions) -> Result<Loaded, Problems> {
    if is_appsettings(path) {
        return agent::load_text(text, path, env, options);
    }
    let (source, tree) = parse(text, path)?;
    let loading = Loading::of(&source, path, env, options);
    read::check(&loading, &tree, &sections::ROOT, "");
    let settings = sections::build(&loading, &Table::root(&tree, &sections::ROOT), path);
    let (problems, warnings) = loading.told(path);
    match settings {
        Some(settings) if problems.is_empty() => Ok(Loaded { settings, warnings }),
        _ => Err(Problems(problems)),
    }
}

/// Whether a file is the `appsettings.json` of an agent, which its name's ending says: such a file is JSON with .NET's habits and means the small house of
/// `tidings agent`. Any other is a `tidings.toml`.
pub fn is_appsettings(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The text as a tree of values with their places.
fn parse(text: &str, path: &Path) -> Result<(Source, Node), Problems> {
    let source = Source::of(path, text);
    let tree = node::from_toml(source.text())
        .map_err(|errors| Problems(errors.into_iter().map(|(at, message)| source.problem(at, "", message)).collect()))?;
    Ok((source, tree))
}

/// Rules that are tried out, without problems.
#[derive(Debug)]
pub struct Drafts {
    /// The rules that would be in force: the built-in ones, those of the directories' switches, the drafts.
    pub rules: RuleSet,
    /// The stored queries that there would be: the drafts', and those of the configuration that they do not replace by name.
    pub queries: Vec<Query>,
    /// What the operator should know all the same, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Loads a file of drafts, which holds `[[rule]]` tables as a configuration does, and `[[query]]` tables if they need any, and nothing else. They stand in place of
/// all rules that the configuration writes in full; its relays, directories, switches and queries stay.
///
/// # Errors
/// All [`Problems`] at once.
pub fn load_drafts(path: &Path, beside: &Settings, env: Environment<'_>) -> Result<Drafts, Problems> {
    let text = read_text(path)
        .map_err(|message| Problems(vec![Problem { file: path.to_owned(), line: 0, column: 0, key: String::new(), message }]))?;
    let (source, tree) = parse(&text, path)?;
    let loading = Loading::of(&source, path, env, LoadOptions::default());
    for entry in tree.entries() {
        if sections::DRAFTS.find(&entry.name).is_none() && sections::ROOT.find(&entry.name).is_some() {
            let message = "stands in the configuration alone; drafts hold [[rule]] and [[query]]";
            loading.problem(entry.name_span.start, entry.name.clone(), message);
        } else {
            read::check_entry(&loading, entry, &sections::DRAFTS, "");
        }
    }
    let (rules, queries) = sections::build_drafts(&loading, &Table::root(&tree, &sections::DRAFTS), beside);
    let (problems, warnings) = loading.told(path);
    if problems.is_empty() { Ok(Drafts { rules, queries, warnings }) } else { Err(Problems(problems)) }
}

/// A file's text, or why there is none.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    /// No configuration is longer than this.
    const LONGEST: u64 = 4 << 20;
    let length = std::fs::metadata(path).map_err(|e| format!("cannot be read: {}", said(&e)))?.len();
    if length > LONGEST {
        return Err(format!("is {length} bytes long; a configuration has at most {LONGEST}"));
    }
    let bytes = std::fs::read(path).map_err(|e| format!("cannot be read: {}", said(&e)))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())
}

/// An operating system's error in words that are the same everywhere for the usual cases.
pub(crate) fn said(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// One loading under way: what is read, relative to what, and what was found wrong so far.
pub(crate) struct Loading<'a> {
    source: &'a Source,
    folder: PathBuf,
    env: Environment<'a>,
    options: LoadOptions,
    agent: bool,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Loading<'a> {
    pub(crate) fn of(source: &'a Source, path: &Path, env: Environment<'a>, options: LoadOptions) -> Self {
        let (problems, warnings) = (RefCell::default(), RefCell::default());
        Self { source, folder: folder_of(path), env, options, agent: is_appsettings(path), problems, warnings }
    }

    /// Whether what is loaded is an agent's file, rather than that of a house.
    pub(crate) fn is_agent(&self) -> bool {
        self.agent
    }

    /// The problems and the warnings, those of the file itself first, then those of the files it names.
    pub(crate) fn told(self, path: &Path) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |list: RefCell<Vec<Problem>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|p| (p.file != path, p.clone()));
            list.dedup();
            list
        };
        (in_order(self.problems), in_order(self.warnings))
    }
}

impl Loading<'_> {
    /// Notes what is wrong at a byte of the configuration file.
    pub(crate) fn problem(&self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        /// Nobody reads more; a file that is something else altogether must not take minutes to say so.
        const MOST: usize = 500;
        if self.problems.borrow().len() < MOST {
            self.problems.borrow_mut().push(self.source.problem(at, key, message));
        }
    }

    /// Notes what the operator should know.
    pub(crate) fn warning(&self, at: usize, key: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(self.source.problem(at, key, message));
    }

    /// Notes what is wrong in another file.
    pub(crate) fn problem_elsewhere(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Notes a warning about another file.
    pub(crate) fn warning_elsewhere(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
    }

    /// The text of the configuration file.
    pub(crate) fn text(&self) -> &str {
        self.source.text()
    }

    /// Line and column of a byte of the configuration file.
    pub(crate) fn place(&self, at: usize) -> (usize, usize) {
        self.source.place(at)
    }

    pub(crate) fn env(&self, name: &str) -> Option<String> {
        (self.env)(name)
    }

    pub(crate) fn options(&self) -> LoadOptions {
        self.options
    }

    /// The folder of the configuration file.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path as seen from the folder of the configuration file.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        if self.folder == Path::new(".") { PathBuf::from(path) } else { self.folder.join(path.strip_prefix("./").unwrap_or(path)) }
    }

    /// The bytes of a file that a key names; what stands against it is told.
    pub(crate) fn file(&self, table: &Table<'_>, name: &str) -> Option<Vec<u8>> {
        let path = table.file(name, self)?;
        let read = std::fs::read(&path).map_err(|e| said(&e));
        read.map_err(|why| self.problem(table.place(name), table.key(name), format!("cannot read `{}`: {why}", path.display()))).ok()
    }

    /// The bytes of a PEM file that a key names, which must hold a block of this label (RFC 7468 §2).
    pub(crate) fn pem(&self, table: &Table<'_>, name: &str, label: &str) -> Option<Vec<u8>> {
        let bytes = self.file(table, name)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(&format!("-----BEGIN ENCRYPTED {label}-----")) {
            self.problem(
                table.place(name),
                table.key(name),
                "is locked with a passphrase, which cannot be asked for; write the key without one",
            );
            return None;
        }
        let holds =
            text.lines().any(|line| line.trim_end().starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{label}-----")));
        if !holds {
            let path = table.file(name, self)?;
            let message = format!("`{}` holds no PEM block `-----BEGIN {label}-----`", path.display());
            self.problem(table.place(name), table.key(name), message);
        }
        holds.then_some(bytes)
    }

    /// Checks, if asked for, that a folder is there and can be written into; the answer is what stands against it.
    pub(crate) fn folder_fault(&self, folder: &Path) -> Option<String> {
        if !self.options().check_folders {
            return None;
        }
        match std::fs::metadata(folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some(format!("the folder `{}` is not there", folder.display())),
            Err(e) => Some(format!("the folder `{}`: {}", folder.display(), said(&e))),
            Ok(data) if !data.is_dir() => Some(format!("`{}` is not a folder", folder.display())),
            Ok(_) => {
                use rustix::fs::Access;
                let access = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
                access.err().map(|_| format!("the folder `{}` is not writable for this user", folder.display()))
            }
        }
    }
}

/// Where the text of a string value begins, if it stands in the file as it is read: behind its quotation marks, and without an escape.
pub(crate) fn literal_start(source: &str, at: usize, text: &str) -> Option<usize> {
    let rest = source.get(at..)?;
    let start = ["'''\r\n", "'''\n", "\"\"\"\r\n", "\"\"\"\n", "'''", "\"\"\"", "'", "\""]
        .iter()
        .find(|mark| rest.starts_with(**mark))
        .map(|mark| at + mark.len())?;
    source.get(start..).filter(|inner| inner.starts_with(text)).map(|_| start)
}

/// A found text for a message.
pub(crate) fn shown(text: &str) -> String {
    problem::shown(text)
}
