//! The stationery: every letter of every language, compiled once, ready to be written.

use crate::{
    calendar::{Calendar, Moment},
    context::{self, Mentions, Setting, Words},
    environment::explain,
    error::{RenderError, TemplateProblem},
    load,
    mime::{InlineImage, LOGO_ID, Message},
    organisation::{Logo, Organisation},
    sample::{SAMPLE_TIME, Size},
    source::{Sources, shorter_forms},
};
use jiff::tz::TimeZone;
use minijinja::{Environment, Value};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};
use tidings_core::{Address, Event, Id, Kind, Locale, Timestamp, notice::Notice, outbox::Pattern};

/// Longest subject, in characters; a longer one is cut and ends in `…`.
pub const MAX_SUBJECT_CHARS: usize = 200;

/// The kind whose letters lead to a directory's password portal (Netwrix Directory Manager: "This URL is included in password expiry warning emails").
const EXPIRING: &str = "password.expiring";

/// What letters are made from.
#[derive(Debug, Clone, Default)]
pub struct StationeryOptions {
    /// In whose name they go out.
    pub organisation: Organisation,
    /// A folder whose files replace built-in ones, each a part of a letter in one language.
    pub templates: Option<PathBuf>,
    /// Where people change their passwords, by directory; the first one stands in samples, too.
    pub portals: Vec<(String, String)>,
}

/// What stands on one letter beside its content.
#[derive(Debug, Clone)]
pub struct Imprint<'a> {
    /// The sender.
    pub from: Address,
    /// The sender's name.
    pub from_name: Option<String>,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<Address>,
    /// The Message-ID, with or without its angle brackets; fixed once for all attempts.
    pub message_id: &'a str,
    /// The letter's date; days are counted from here.
    pub date: Timestamp,
    /// The event's id in this house.
    pub event_id: Id,
}

/// A finished letter.
#[derive(Debug, Clone)]
pub struct Written {
    /// One line, at most [`MAX_SUBJECT_CHARS`] characters.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// The HTML; an inline logo is referred to by `cid:`.
    pub html: String,
    /// The whole message (RFC 5322), CRLF throughout.
    pub bytes: Vec<u8>,
    /// The language it is written in.
    pub locale: Locale,
    /// The languages that were tried, in order; the last one is `locale`.
    pub tried: Vec<Locale>,
    /// What letters of this kind and language have in common; absent for kinds that hold secrets.
    pub pattern: Option<Arc<Pattern>>,
}

/// One kind's letter in one language: the names of its compiled parts, and what the language brings.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) mentions: Mentions,
    pub(crate) locale: Value,
    pub(crate) calendar: Arc<Calendar>,
    pub(crate) words: Arc<Words>,
    /// What its letters have in common, made when the first of them is written.
    pub(crate) pattern: OnceLock<Option<Arc<Pattern>>>,
}

/// Writes letters. Made once, shared by all who write.
#[derive(Debug)]
pub struct Stationery {
    pub(crate) env: Environment<'static>,
    pub(crate) letters: HashMap<&'static str, Vec<(Locale, Letter)>>,
    pub(crate) sources: Sources,
    pub(crate) organisation: Organisation,
    pub(crate) zone: TimeZone,
    portals: Vec<(String, String)>,
    organisation_value: Value,
}

impl Stationery {
    /// Reads, checks and compiles every letter, and writes every sample of every kind in every language as a trial.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line and what is allowed.
    pub fn load(options: StationeryOptions) -> Result<Self, Vec<TemplateProblem>> {
        let StationeryOptions { organisation, templates, portals } = options;
        let mut problems = Vec::new();
        organisation.check(&mut problems);
        let sources = Sources::load(templates.as_deref(), &mut problems);
        let (env, letters, origins) = load::compile(&sources, &organisation.default_locale, &mut problems);
        let logo = match &organisation.logo {
            Some(Logo::Url(url)) => Some(url.clone()),
            Some(Logo::Inline { .. }) => Some(format!("cid:{LOGO_ID}")),
            None => None,
        };
        let organisation_value = context::organisation(
            &organisation.name,
            logo.as_deref(),
            &organisation.colour,
            organisation.ink(),
            organisation.website.as_deref(),
        );
        let zone = TimeZone::get(&organisation.default_timezone).unwrap_or(TimeZone::UTC);
        let stationery = Self { env, letters, sources, organisation, zone, portals, organisation_value };
        if problems.is_empty() {
            load::try_samples(&stationery, &origins, &mut problems);
        }
        if problems.is_empty() { Ok(stationery) } else { Err(load::sorted(problems)) }
    }

    /// The first of these languages that is known, itself or in a shorter form of its tag, built in or by this folder; no letter is compiled for the answer. What is
    /// wrong with the folder is told when the letters are loaded.
    pub fn first_known<'a>(templates: Option<&Path>, wanted: &'a [Locale]) -> Option<&'a Locale> {
        let known = Sources::load(templates, &mut Vec::new()).locales();
        wanted.iter().find(|locale| shorter_forms(locale).any(|form| known.contains(&form)))
    }

    /// Every language that has at least one letter.
    pub fn locales(&self) -> Vec<Locale> {
        let mut all: Vec<Locale> = self.letters.values().flatten().map(|(locale, _)| locale.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The texts below a table of the catalogues, for pages: those of the first language of the chain that has any, completed from the languages behind it; and that
    /// language. They are as written: nothing is put into them.
    pub fn texts(&self, table: &str, locale: &Locale) -> (Locale, BTreeMap<String, String>) {
        let chain = locale.chain(&self.organisation.default_locale);
        let mut found: Option<Locale> = None;
        let mut texts = BTreeMap::new();
        for (locale, catalogue) in chain.iter().filter_map(|tag| Some((tag, self.sources.catalogues.get(tag)?))) {
            for (key, text) in catalogue.below(table) {
                found.get_or_insert_with(|| locale.clone());
                texts.entry(key.to_owned()).or_insert_with(|| text.text.clone());
            }
        }
        (found.unwrap_or_else(Locale::english), texts)
    }

    /// In whose name letters go out.
    pub fn organisation(&self) -> &Organisation {
        &self.organisation
    }

    /// Writes the letter that `notice` calls for.
    ///
    /// The same arguments always give the same bytes.
    ///
    /// # Errors
    /// [`RenderError`]: the letter must be held then; nothing of it may be sent.
    pub fn write(&self, event: &Event, notice: &Notice, imprint: &Imprint<'_>) -> Result<Written, RenderError> {
        let (tried, letter) = self.choose(notice)?;
        let locale = tried.last().cloned().ok_or(RenderError::NoLetter(notice.kind.name))?;
        let mut written = self.compose(letter, locale, event, notice, imprint)?;
        written.tried = tried;
        if !notice.kind.sensitive() {
            written.pattern = letter.pattern.get_or_init(|| self.pattern(letter, notice.kind, &written.locale, imprint)).clone();
        }
        Ok(written)
    }

    /// The sample of a letter, under the imprint of a real one. Nothing of a real event stands in it.
    fn pattern(&self, letter: &Letter, kind: &'static Kind, locale: &Locale, imprint: &Imprint<'_>) -> Option<Arc<Pattern>> {
        let (event, notice) = self.sample(kind, locale, Size::Full);
        let imprint = Imprint {
            from_name: imprint.from_name.clone(),
            from: imprint.from.clone(),
            reply_to: imprint.reply_to.clone(),
            ..sample_imprint()
        };
        let written = self.compose(letter, locale.clone(), &event, &notice, &imprint).ok()?;
        Some(Arc::new(Pattern::new(written.bytes)))
    }

    fn compose(
        &self,
        letter: &Letter,
        locale: Locale,
        event: &Event,
        notice: &Notice,
        imprint: &Imprint<'_>,
    ) -> Result<Written, RenderError> {
        let zone = notice.reader.party.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(|| self.zone.clone());
        let setting = Setting {
            organisation: &self.organisation_value,
            locale: &letter.locale,
            words: &letter.words,
            moment: Moment { at: imprint.date, zone, calendar: Arc::clone(&letter.calendar) },
            mentions: letter.mentions,
            portal: self.portal(event),
        };
        let context = context::context(event, notice, setting);
        let subject = one_line(&self.render(&letter.subject, context.clone())?)?;
        if subject.is_empty() {
            return Err(RenderError::EmptySubject { kind: notice.kind.name, locale: locale.to_string() });
        }
        let context = context::with_subject(&context, &subject);
        let text = tidy(&self.render(&letter.text, context.clone())?);
        let html = self.render(&letter.html, context)?;
        let logo = match &self.organisation.logo {
            Some(Logo::Inline { bytes, media_type }) if html.contains(&format!("cid:{LOGO_ID}")) => Some(InlineImage { media_type, bytes }),
            _ => None,
        };
        let bytes = Message {
            notice,
            from: (imprint.from_name.as_deref(), &imprint.from),
            reply_to: imprint.reply_to.as_ref(),
            message_id: imprint.message_id,
            date: imprint.date,
            event_id: imprint.event_id,
            locale: &locale,
            subject: &subject,
            text: &text,
            html: &html,
            logo,
        }
        .bytes()?;
        Ok(Written { subject, text, html, bytes, locale, tried: Vec::new(), pattern: None })
    }

    /// Where the person whose password expires changes it, if the event does not say so itself: as the directory that the person is of has it.
    fn portal(&self, event: &Event) -> Option<&str> {
        let directory = event.directory().filter(|_| event.kind.name == EXPIRING)?;
        self.portals.iter().find(|(name, _)| name == directory).map(|(_, url)| url.as_str())
    }

    /// The made-up event and notice of a kind, with people who speak `locale`.
    pub fn sample(&self, kind: &'static Kind, locale: &Locale, size: Size) -> (Event, Notice) {
        let (mut event, notice) =
            load::sample(self, kind, locale, size).expect("every sample was written once when the letters were loaded");
        if let Some((_, url)) = self.portals.first().filter(|_| kind.name == EXPIRING && matches!(size, Size::Full))
            && let Some(details) = event.data.get_mut("details")
        {
            details["portal_url"] = url.as_str().into();
        }
        (event, notice)
    }

    /// The letter of a kind's sample in the first language of the reader's chain that has it.
    ///
    /// # Errors
    /// As [`Stationery::write`].
    pub fn preview(&self, kind: &'static Kind, locale: &Locale, size: Size) -> Result<Written, RenderError> {
        let (event, notice) = self.sample(kind, locale, size);
        self.write(&event, &notice, &sample_imprint())
    }

    fn choose(&self, notice: &Notice) -> Result<(Vec<Locale>, &Letter), RenderError> {
        let none = || RenderError::NoLetter(notice.kind.name);
        let default = &self.organisation.default_locale;
        let mut chain = notice.reader.party.locale.as_ref().unwrap_or(default).chain(default);
        let letters = self.letters.get(notice.kind.name).ok_or_else(none)?;
        let found = |locale: &Locale| letters.iter().find(|(one, _)| one == locale).map(|(_, letter)| letter);
        let (index, letter) = chain.iter().enumerate().find_map(|(index, locale)| Some((index, found(locale)?))).ok_or_else(none)?;
        chain.truncate(index + 1);
        Ok((chain, letter))
    }

    fn render(&self, template: &str, context: Value) -> Result<String, RenderError> {
        self.env.get_template(template).and_then(|compiled| compiled.render(context)).map_err(|error| RenderError::Template {
            template: template.to_owned(),
            why: explain(&error),
            line: error.line(),
        })
    }
}

/// What stands on a preview.
pub(crate) fn sample_imprint() -> Imprint<'static> {
    Imprint {
        from: Address::parse("no-reply@example.org").expect("a valid address"),
        from_name: None,
        reply_to: None,
        message_id: "sample@example.org",
        date: SAMPLE_TIME.parse().expect("a moment in RFC 3339"),
        event_id: Id::from_number(0),
    }
}

/// The subject as it may stand in a header: trimmed, one line, not too long.
fn one_line(rendered: &str) -> Result<String, RenderError> {
    let subject = rendered.trim();
    if let Some(control) = subject.chars().find(|c| c.is_control()) {
        return Err(RenderError::Header { name: "Subject", why: format!("holds a control character (U+{:04X})", u32::from(control)) });
    }
    Ok(match subject.char_indices().nth(MAX_SUBJECT_CHARS) {
        Some(_) => {
            let cut = subject.char_indices().nth(MAX_SUBJECT_CHARS - 1).map_or(subject.len(), |(at, _)| at);
            format!("{}…", subject[..cut].trim_end())
        }
        None => subject.to_owned(),
    })
}

/// Plain text without blanks at line ends and without more than one empty line in a row: absent paragraphs leave no holes.
fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.trim().lines().map(str::trim_end) {
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}
