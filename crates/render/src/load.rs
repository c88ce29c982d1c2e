//! Loading: every kind in every language becomes three compiled templates, each checked for what it uses, and tried on the samples.

use crate::{
    assemble::{Assembled, assemble},
    calendar::Calendar,
    catalogue::{Catalogue, Text},
    context::{Mentions, Words},
    environment::{environment, explain},
    error::{RenderError, TemplateProblem},
    sample::{self, Size},
    source::{Part, Sources, nearest, shorter_forms},
    stationery::{Letter, Stationery, sample_imprint},
    variables,
};
use minijinja::{Environment, Value};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tidings_core::{
    Address, Event, Kind, Locale,
    kind::KINDS,
    notice::{Notice, Reason},
};

/// Letters by kind, in every language.
type Letters = HashMap<&'static str, Vec<(Locale, Letter)>>;
/// Where the lines of the compiled templates come from, by template name.
pub(crate) type Origins = HashMap<String, Assembled>;

/// Compiles everything.
pub(crate) fn compile(
    sources: &Sources,
    default: &Locale,
    problems: &mut Vec<TemplateProblem>,
) -> (Environment<'static>, Letters, Origins) {
    let mut desk = Desk { env: environment(), origins: HashMap::new(), used: BTreeSet::new(), sources, problems };
    let mut letters: Letters = HashMap::new();
    for locale in sources.locales() {
        let chain = chain(sources, &locale, default);
        let language = Language::of(&locale, chain, desk.problems);
        for kind in KINDS {
            if has_letter(sources, kind, &locale)
                && let Some(letter) = desk.letter(kind, &locale, &language)
            {
                letters.entry(kind.name).or_default().push((locale.clone(), letter));
            }
        }
    }
    desk.unused_texts();
    (desk.env, letters, desk.origins)
}

/// The catalogues to look into for a language, nearest first.
fn chain<'a>(sources: &'a Sources, locale: &Locale, default: &Locale) -> Vec<&'a Catalogue> {
    locale.chain(default).iter().filter_map(|tag| sources.catalogues.get(tag)).collect()
}

/// A language has a letter if it, or a shorter form of its tag, says at least something of its own about the kind.
fn has_letter(sources: &Sources, kind: &Kind, locale: &Locale) -> bool {
    shorter_forms(locale).any(|tag| {
        sources.has_own(kind.name, &tag)
            || sources.catalogues.get(&tag).is_some_and(|catalogue| catalogue.below(kind.name).next().is_some())
    })
}

/// What a language brings to all its letters.
struct Language<'a> {
    chain: Vec<&'a Catalogue>,
    value: Value,
    calendar: Arc<Calendar>,
    words: Arc<Words>,
}

impl<'a> Language<'a> {
    fn of(locale: &Locale, chain: Vec<&'a Catalogue>, problems: &mut Vec<TemplateProblem>) -> Self {
        let mut need = |key: String| {
            let found = chain.iter().find_map(|catalogue| catalogue.get(&key)).map(|text| text.text.clone());
            found.unwrap_or_else(|| {
                let path = PathBuf::from(format!("locales/{locale}.toml"));
                problems.push(TemplateProblem { path, line: None, column: None, message: format!("`{key}` is missing") });
                String::new()
            })
        };
        let calendar = Calendar {
            months: (0..12).map(|month| need(format!("calendar.months.{month}"))).collect(),
            weekdays: (0..7).map(|day| need(format!("calendar.weekdays.{day}"))).collect(),
            date: need("calendar.date".into()),
            datetime: need("calendar.datetime".into()),
            first_day: need("calendar.first_day".into()),
        };
        let (yes, no) = (need("common.yes".into()), need("common.no".into()));
        let mut attributes = BTreeMap::new();
        for catalogue in chain.iter().rev() {
            attributes.extend(catalogue.below("attribute").map(|(name, text)| (name.to_lowercase(), text.text.clone())));
        }
        let words = Words { attributes, yes, no };
        Self { chain, value: Value::from(locale.as_str()), calendar: Arc::new(calendar), words: Arc::new(words) }
    }

    /// A key as written in a template: the kind's own text first, then the one that all kinds share.
    fn text(&self, kind: &Kind, key: &str) -> Option<(String, &'a Text)> {
        [format!("{}.{key}", kind.name), format!("common.{key}"), key.to_owned()]
            .into_iter()
            .find_map(|full| self.chain.iter().find_map(|catalogue| catalogue.get(&full)).map(|text| (full, text)))
    }
}

struct Desk<'a, 'b> {
    env: Environment<'static>,
    origins: Origins,
    /// Full keys of all texts that some letter uses.
    used: BTreeSet<String>,
    sources: &'a Sources,
    problems: &'b mut Vec<TemplateProblem>,
}

impl Desk<'_, '_> {
    fn letter(&mut self, kind: &'static Kind, locale: &Locale, language: &Language<'_>) -> Option<Letter> {
        let subject = self.part(kind, Part::Subject, locale, language)?;
        let text = self.part(kind, Part::Text, locale, language)?;
        let html = self.part(kind, Part::Html, locale, language)?;
        let mentions = [&subject, &text, &html]
            .into_iter()
            .map(|name| Mentions::in_source(&self.origins[name].source))
            .fold(Mentions::default(), Mentions::or);
        Some(Letter {
            subject,
            text,
            html,
            mentions,
            locale: language.value.clone(),
            calendar: Arc::clone(&language.calendar),
            words: Arc::clone(&language.words),
            pattern: OnceLock::new(),
        })
    }

    /// Joins, checks and compiles one part; its name in the environment.
    fn part(&mut self, kind: &'static Kind, part: Part, locale: &Locale, language: &Language<'_>) -> Option<String> {
        let (layout, file) = match part {
            Part::Text => (Some(Part::LayoutText), "body.txt"),
            Part::Html => (Some(Part::LayoutHtml), "body.html"),
            _ => (None, "subject.txt"),
        };
        let name = format!("{locale}/{}/{file}", kind.name);
        let Some(body) = self.sources.find(Some(kind.name), part, locale) else {
            self.problems.push(TemplateProblem {
                path: PathBuf::from(format!("templates/{}/{file}", kind.name)),
                line: None,
                column: None,
                message: "is missing".to_owned(),
            });
            return None;
        };
        let layout = layout.and_then(|part| self.sources.find(None, part, locale));
        let lookup = |key: &str| language.text(kind, key);
        let joined = assemble(layout, body, part == Part::Html, &lookup, self.problems);
        self.used.extend(joined.texts.iter().map(|(key, _)| key.clone()));
        if let Err(error) = self.env.add_template_owned(name.clone(), joined.source.clone()) {
            // A block left open in the body shows itself only in the layout behind it, so the body alone is asked first.
            let alone = assemble(None, body, part == Part::Html, &lookup, &mut Vec::new());
            let problem = match self.env.add_template_owned(format!("{name} alone"), alone.source.clone()) {
                Err(own) => at_line(&alone, own.line(), explain(&own)),
                Ok(()) => at_line(&joined, error.line(), explain(&error)),
            };
            self.problems.push(problem);
            return None;
        }
        let template = self.env.get_template(&name).expect("it was added just now");
        let mut wrong: Vec<String> = template
            .undeclared_variables(true)
            .into_iter()
            .filter(|path| !variables::is_allowed(kind, path, part == Part::Subject))
            .collect();
        wrong.sort();
        for path in wrong {
            let (file, line, column) = joined.place_of(&path);
            self.problems.push(TemplateProblem { path: file.to_owned(), line, column, message: variables::refusal(kind, &path) });
        }
        self.origins.insert(name.clone(), joined);
        Some(name)
    }

    /// A text of the folder's catalogues that no letter uses is most likely a slip of the pen.
    fn unused_texts(&mut self) {
        let english = self.sources.catalogues.get(&Locale::english());
        for catalogue in self.sources.catalogues.values() {
            for (key, text) in catalogue.0.iter().filter(|(_, text)| !text.built_in) {
                let known = self.used.contains(key)
                    || english.and_then(|texts| texts.get(key)).is_some_and(|text| text.built_in)
                    || ["calendar.", "attribute.", "sample."].iter().any(|table| key.starts_with(table));
                if !known {
                    let near = nearest(key, self.used.iter().map(String::as_str));
                    let message = format!("no letter uses a text `{key}`{near}");
                    self.problems.push(TemplateProblem { path: text.path.clone(), line: Some(text.line), column: None, message });
                }
            }
        }
    }
}

fn at_line(joined: &Assembled, line: Option<usize>, message: String) -> TemplateProblem {
    let (path, line) = joined.origin(line.and_then(|line| u32::try_from(line).ok()).unwrap_or(1));
    TemplateProblem { path: path.to_owned(), line: Some(line), column: None, message }
}

/// The sample of a kind.
pub(crate) fn sample(stationery: &Stationery, kind: &'static Kind, locale: &Locale, size: Size) -> Result<(Event, Notice), String> {
    let source = stationery.sources.sample(kind).ok_or("there is no sample.toml")?;
    let chain = chain(&stationery.sources, locale, &stationery.organisation.default_locale);
    sample::sample(kind, source, size, locale, &chain)
}

/// Writes every sample in every language, to the person concerned and to somebody else.
pub(crate) fn try_samples(stationery: &Stationery, origins: &Origins, problems: &mut Vec<TemplateProblem>) {
    for kind in KINDS {
        let locales = stationery.letters.get(kind.name).map(|list| list.iter().map(|(locale, _)| locale.clone()).collect::<Vec<_>>());
        if locales.is_none() {
            let path = PathBuf::from(format!("templates/{}", kind.name));
            problems.push(TemplateProblem { path, line: None, column: None, message: "there is no letter of this kind".to_owned() });
        }
        for (locale, size) in locales.iter().flatten().flat_map(|locale| [(locale, Size::Minimal), (locale, Size::Full)]) {
            match sample(stationery, kind, locale, size) {
                Ok((event, notice)) => {
                    for notice in [to_somebody_else(&notice), notice] {
                        if let Err(error) = stationery.write(&event, &notice, &sample_imprint()) {
                            problems.push(trial_problem(stationery, origins, &error, &event, locale, size));
                        }
                    }
                }
                Err(message) => problems.push(TemplateProblem {
                    path: PathBuf::from(format!("templates/{}/sample.toml", kind.name)),
                    line: None,
                    column: None,
                    message: format!("{message} (language {locale})"),
                }),
            }
        }
    }
}

/// The same news, told to an owner who is not part of it.
pub(crate) fn to_somebody_else(notice: &Notice) -> Notice {
    let mut notice = notice.clone();
    notice.reader.address = Address::parse("somebody.else@example.org").expect("a valid address");
    notice.reader.party.mail = Some(notice.reader.address.clone());
    notice.reader.reasons = vec![Reason::plain("address")];
    notice
}

/// A failed trial, with the file and line of the part that failed.
fn trial_problem(
    stationery: &Stationery,
    origins: &Origins,
    error: &RenderError,
    event: &Event,
    locale: &Locale,
    size: Size,
) -> TemplateProblem {
    let size = if size == Size::Full { "full" } else { "minimal" };
    let about = format!("(with the {size} sample in language {locale})");
    if let RenderError::Template { template, why, line } = error
        && let Some(joined) = origins.get(template)
    {
        return at_line(joined, *line, format!("{why} {about}"));
    }
    let subject = stationery.sources.find(Some(event.kind.name), Part::Subject, locale);
    let path = subject.map_or_else(|| PathBuf::from(event.kind.name), |source| source.path.clone());
    TemplateProblem { path, line: None, column: None, message: format!("{error} {about}") }
}

/// In the order of files and lines, each place once.
pub(crate) fn sorted(mut problems: Vec<TemplateProblem>) -> Vec<TemplateProblem> {
    let place = |p: &TemplateProblem| (p.path.clone(), p.line, p.column);
    problems.sort_by_cached_key(place);
    // One slip in a layout or a shared text shows up in every kind and language: it is told once.
    problems.dedup_by(|a, b| place(a) == place(b) && (a.line.is_some() || a.message == b.message));
    problems
}
