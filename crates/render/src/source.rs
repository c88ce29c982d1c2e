//! Where templates come from: built into the program, and over them the files of the configured folder.

use crate::{catalogue::Catalogue, error::TemplateProblem};
use include_dir::{Dir, include_dir};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tidings_core::{Kind, Locale};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../templates");
static LOCALES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../locales");

/// Largest file that is read from the templates folder.
const MAX_BYTES: u64 = 256 * 1024;

/// The files that make up letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Subject,
    Text,
    Html,
    LayoutText,
    LayoutHtml,
}

impl Part {
    const LETTER: [Self; 3] = [Self::Subject, Self::Text, Self::Html];
    const SHARED: [Self; 2] = [Self::LayoutText, Self::LayoutHtml];

    /// Stem and extension of its file.
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Subject => ("subject", "txt"),
            Self::Text => ("body", "txt"),
            Self::Html => ("body", "html"),
            Self::LayoutText => ("layout", "txt"),
            Self::LayoutHtml => ("layout", "html"),
        }
    }

    fn file_name(self) -> String {
        let (stem, extension) = self.file();
        format!("{stem}.{extension}")
    }
}

/// One template file.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

type Key = (Option<&'static str>, Part, Option<Locale>);

/// All template files and catalogues.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: HashMap<Key, Arc<Source>>,
    pub(crate) catalogues: BTreeMap<Locale, Catalogue>,
    samples: HashMap<&'static str, Arc<Source>>,
}

impl Sources {
    /// The built-in files, and over them those of `folder`.
    pub(crate) fn load(folder: Option<&Path>, problems: &mut Vec<TemplateProblem>) -> Self {
        let mut sources = Self::default();
        sources.add_built_in(problems);
        if let Some(folder) = folder {
            sources.add_folder(folder, problems);
        }
        sources
    }

    fn add_built_in(&mut self, problems: &mut Vec<TemplateProblem>) {
        let source = |name: &str| {
            let file = TEMPLATES.get_file(name)?;
            let text = file.contents_utf8()?.to_owned();
            Some(Arc::new(Source { path: Path::new("templates").join(name), text }))
        };
        for part in Part::SHARED {
            if let Some(found) = source(&part.file_name()) {
                self.files.insert((None, part, None), found);
            }
        }
        for kind in tidings_core::kind::KINDS {
            for part in Part::LETTER {
                if let Some(found) = source(&format!("{}/{}", kind.name, part.file_name())) {
                    self.files.insert((Some(kind.name), part, None), found);
                }
            }
            if let Some(found) = source(&format!("{}/sample.toml", kind.name)) {
                self.samples.insert(kind.name, found);
            }
        }
        for file in LOCALES.files() {
            let path = Path::new("locales").join(file.path());
            let locale = file.path().file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(locale), Some(text)) = (locale, file.contents_utf8()) {
                self.add_catalogue(locale, text, &path, true, problems);
            }
        }
    }

    fn add_catalogue(&mut self, locale: Locale, text: &str, path: &Path, built_in: bool, problems: &mut Vec<TemplateProblem>) {
        match Catalogue::read(text, path, built_in) {
            Ok(catalogue) => self.catalogues.entry(locale).or_default().merge(catalogue),
            Err(mut found) => problems.append(&mut found),
        }
    }

    fn add_folder(&mut self, folder: &Path, problems: &mut Vec<TemplateProblem>) {
        let root = match folder.canonicalize() {
            Ok(root) if root.is_dir() => root,
            Ok(_) => return problems.push(problem(folder, "is not a folder")),
            Err(error) => return problems.push(problem(folder, format!("cannot be opened: {error}"))),
        };
        for (path, name) in entries(folder, problems) {
            if path.is_dir() {
                if !stays_inside(&path, &root, problems) {
                    continue;
                }
                if name == "locales" {
                    self.add_locales(&path, &root, problems);
                } else if let Some(kind) = Kind::find(&name) {
                    self.add_files(&path, &root, Some(kind.name), &Part::LETTER, problems);
                } else {
                    let near = nearest(&name, tidings_core::kind::KINDS.iter().map(|kind| kind.name).chain(["locales"]));
                    problems.push(problem(&path, format!("`{name}` is not a kind of letter{near}")));
                }
            }
        }
        self.add_files(folder, &root, None, &Part::SHARED, problems);
    }

    /// Every file of a folder that is the override of a part.
    fn add_files(&mut self, folder: &Path, root: &Path, kind: Option<&'static str>, parts: &[Part], problems: &mut Vec<TemplateProblem>) {
        for (path, name) in entries(folder, problems) {
            if path.is_dir() {
                if kind.is_some() {
                    problems.push(problem(
                        &path,
                        "a kind's folder holds files only: subject.txt, body.txt, body.html, each also as subject.de.txt",
                    ));
                }
                continue;
            }
            match part_of(&name, parts) {
                Ok((part, locale)) => {
                    if let Some(text) = read(&path, root, problems) {
                        self.files.insert((kind, part, locale), Arc::new(Source { path, text }));
                    }
                }
                Err(message) => problems.push(problem(&path, message)),
            }
        }
    }

    fn add_locales(&mut self, folder: &Path, root: &Path, problems: &mut Vec<TemplateProblem>) {
        for (path, name) in entries(folder, problems) {
            let locale = name.strip_suffix(".toml").map(str::parse::<Locale>);
            match locale {
                Some(Ok(locale)) => {
                    if let Some(text) = read(&path, root, problems) {
                        self.add_catalogue(locale, &text, &path, false, problems);
                    }
                }
                Some(Err(error)) => problems.push(problem(&path, error.to_string())),
                None => problems.push(problem(&path, "a catalogue is called by its language, such as `de.toml` or `pt-BR.toml`")),
            }
        }
    }

    /// The file for a part in a language: the language's own override, the one for all languages, the built-in.
    pub(crate) fn find(&self, kind: Option<&'static str>, part: Part, locale: &Locale) -> Option<&Arc<Source>> {
        let tags = shorter_forms(locale).map(Some).chain([None]);
        tags.into_iter().find_map(|tag| self.files.get(&(kind, part, tag)))
    }

    /// Whether the folder holds a file of this kind for this language itself.
    pub(crate) fn has_own(&self, kind: &'static str, locale: &Locale) -> bool {
        Part::LETTER.iter().any(|part| self.files.contains_key(&(Some(kind), *part, Some(locale.clone()))))
    }

    /// The kind's sample.
    pub(crate) fn sample(&self, kind: &Kind) -> Option<&Arc<Source>> {
        self.samples.get(kind.name)
    }

    /// Every language that has a catalogue or a template of its own.
    pub(crate) fn locales(&self) -> Vec<Locale> {
        let mut all: Vec<Locale> =
            self.catalogues.keys().chain(self.files.keys().filter_map(|(_, _, locale)| locale.as_ref())).cloned().collect();
        all.sort();
        all.dedup();
        all
    }
}

/// The tag itself and its shorter forms: `zh-Hant-TW`, `zh-Hant`, `zh`.
pub(crate) fn shorter_forms(locale: &Locale) -> impl Iterator<Item = Locale> {
    let language = locale.language().to_owned();
    // Against itself as the default, the chain is the tag's own shortenings, then English.
    let english = language == "en";
    locale.chain(locale).into_iter().filter(move |tag| tag.language() == language && (english || tag.as_str() != "en"))
}

/// Name and path of what a folder holds, sorted; hidden files are nobody's business.
fn entries(folder: &Path, problems: &mut Vec<TemplateProblem>) -> Vec<(PathBuf, String)> {
    let listed = fs::read_dir(folder).and_then(|list| list.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>());
    match listed {
        Ok(mut paths) => {
            paths.sort();
            let named = paths.into_iter().filter_map(|path| {
                let name = path.file_name()?.to_string_lossy().into_owned();
                Some((path, name))
            });
            named.filter(|(_, name)| !name.starts_with('.')).collect()
        }
        Err(error) => {
            problems.push(problem(folder, format!("cannot be read: {error}")));
            Vec::new()
        }
    }
}

/// Which part a file name means: `subject.txt`, `subject.de.txt`.
fn part_of(name: &str, parts: &[Part]) -> Result<(Part, Option<Locale>), String> {
    for part in parts {
        let (stem, extension) = part.file();
        let Some(middle) = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension)).and_then(|rest| rest.strip_suffix('.'))
        else {
            continue;
        };
        return match middle.strip_prefix('.') {
            None if middle.is_empty() => Ok((*part, None)),
            Some(tag) => {
                tag.parse().map(|locale| (*part, Some(locale))).map_err(|error: tidings_core::locale::LocaleError| error.to_string())
            }
            None => continue,
        };
    }
    let names: Vec<String> = parts.iter().map(|part| part.file_name()).collect();
    let near = nearest(name, names.iter().map(String::as_str));
    Err(format!(
        "`{name}` is not a part of a letter{near} (allowed: {}, each also with a language: {})",
        names.join(", "),
        names[0].replacen('.', ".de.", 1)
    ))
}

pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|one| (strsim::jaro_winkler(one, name), one))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, near)| format!("; did you mean `{near}`?"))
}

fn problem(path: &Path, message: impl Into<String>) -> TemplateProblem {
    TemplateProblem { path: path.to_owned(), line: None, column: None, message: message.into() }
}

/// A link that leads out of the folder is refused: it could show any file of the machine in a letter.
fn stays_inside(path: &Path, root: &Path, problems: &mut Vec<TemplateProblem>) -> bool {
    match path.canonicalize() {
        Ok(real) if real.starts_with(root) => true,
        Ok(_) => {
            problems.push(problem(path, "is a link that leads out of the templates folder"));
            false
        }
        Err(error) => {
            problems.push(problem(path, format!("cannot be opened: {error}")));
            false
        }
    }
}

fn read(path: &Path, root: &Path, problems: &mut Vec<TemplateProblem>) -> Option<String> {
    if !stays_inside(path, root, problems) {
        return None;
    }
    let found = fs::metadata(path).map_err(|error| format!("cannot be read: {error}")).and_then(|about| {
        if !about.is_file() {
            return Err("is not a file".to_owned());
        }
        if about.len() > MAX_BYTES {
            return Err(format!("is {} bytes large; at most {MAX_BYTES} are allowed", about.len()));
        }
        let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
        String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
    });
    match found {
        // A byte order mark at the start is an editor's habit, not part of the letter.
        Ok(text) => Some(text.strip_prefix('\u{FEFF}').map_or_else(|| text.clone(), str::to_owned).replace("\r\n", "\n")),
        Err(message) => {
            problems.push(problem(path, message));
            None
        }
    }
}
