//! The letters of every kind in every language, as `tidings preview` shows them: judged as mail, and looked at in a browser in light and dark.
//!
//! The pictures stay in the target folder, under `tmp/letters/`, for people to look at.

mod house;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use base64::Engine as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tidings_core::kind::KINDS;
use tidings_testkit::browser::{Scheme, dump_dom, screenshot};
use tidings_testkit::folder::Folder;
use tidings_testkit::judge::{Verdict, judge};

use house::{House, run};

const LOCALES: [&str; 3] = ["en", "de", "fr"];

/// What a broken template leaves behind.
const MARKS: [&str; 14] = ["{{", "}}", "{%", "%}", "{#", "#}", "[[", "]]", "None", "undefined", "Undefined", "NaN", "&amp;amp;", "&lt;br"];

/// Contrast of readable text: WCAG 2.2, success criterion 1.4.3.
const READABLE: f64 = 4.5;

/// A letter to look at: a kind, a language, and whether everything or only the necessary is filled in.
#[derive(Clone, Copy)]
struct Sample {
    kind: &'static str,
    locale: &'static str,
    minimal: bool,
}

impl Sample {
    fn all() -> Vec<Self> {
        let of =
            |kind: &'static str| LOCALES.into_iter().flat_map(move |locale| [false, true].map(|minimal| Self { kind, locale, minimal }));
        KINDS.iter().flat_map(|kind| of(kind.name)).collect()
    }

    fn name(self) -> String {
        format!("{}.{}.{}", self.kind, self.locale, if self.minimal { "minimal" } else { "full" })
    }

    /// What `tidings preview` prints.
    fn preview(self, format: &str) -> String {
        let mut arguments = vec!["preview", self.kind, "--locale", self.locale, "--format", format];
        arguments.extend(self.minimal.then_some("--minimal"));
        let ended = run(&arguments);
        assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        assert_eq!(ended.stderr, "", "{arguments:?}");
        ended.stdout
    }
}

/// What `tidings preview` prints for each sample, in order; two at a time.
fn previews(samples: &[Sample], format: &str) -> Vec<String> {
    let (next, printed) = (Mutex::new(0), Mutex::new(vec![String::new(); samples.len()]));
    let work = || {
        loop {
            let at = {
                let mut next = next.lock().expect("nobody panics while holding this");
                *next += 1;
                *next - 1
            };
            let Some(sample) = samples.get(at) else { return };
            let text = sample.preview(format);
            printed.lock().expect("nobody panics while holding this")[at] = text;
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    printed.into_inner().expect("nobody panicked")
}

#[track_caller]
fn assert_no_marks(name: &str, part: &str, text: &str) {
    for mark in MARKS {
        assert!(!text.contains(mark), "{name}: {mark} in the {part}:\n{text}");
    }
}

#[test]
fn every_letter_is_faultless_mail() {
    let samples = Sample::all();
    assert_eq!(samples.len(), KINDS.len() * 6);
    let folder = Folder::new("letters");
    let files: Vec<PathBuf> = samples
        .iter()
        .zip(previews(&samples, "eml"))
        .map(|(sample, letter)| folder.write(format!("{}.eml", sample.name()), letter))
        .collect();
    let verdicts = judge(&files);
    assert_eq!(verdicts.len(), samples.len());
    for (sample, verdict) in samples.iter().zip(&verdicts) {
        check(&sample.name(), *sample, verdict);
    }
    // The language shows: no letter reads the same in two of them.
    for one in samples.iter().zip(&verdicts) {
        for other in samples.iter().zip(&verdicts).filter(|other| other.0.kind == one.0.kind && other.0.locale > one.0.locale) {
            assert_ne!(one.1.text, other.1.text, "{} and {}", one.0.name(), other.0.name());
            assert_ne!(one.1.subject, other.1.subject, "{} and {}", one.0.name(), other.0.name());
        }
    }
}

fn check(name: &str, sample: Sample, verdict: &Verdict) {
    verdict.assert_clean();
    let header = |wanted: &str| verdict.header(wanted).unwrap_or_else(|| panic!("{name}: there is no {wanted}"));
    assert_eq!(header("Content-Language"), sample.locale, "{name}");
    assert_eq!(header("X-Tidings-Kind"), sample.kind, "{name}");
    assert_eq!(header("Auto-Submitted"), "auto-generated", "{name}: RFC 3834 §5");
    for needed in ["X-Tidings-Event", "X-Tidings-Rule", "X-Tidings-Reason"] {
        assert!(!header(needed).is_empty(), "{name}: {needed}");
    }
    assert!(verdict.date.is_some(), "{name}: the date cannot be read");
    assert!(verdict.message_id.as_ref().is_some_and(|id| id.starts_with('<') && id.contains('@') && id.ends_with('>')), "{name}");
    assert_eq!((verdict.from.len(), verdict.to.len(), verdict.cc.len()), (1, 1, 0), "{name}: {verdict:?}");
    let types: Vec<&str> = verdict.parts.iter().map(|part| part.content_type.as_str()).collect();
    assert_eq!(types, ["multipart/alternative", "text/plain", "text/html"], "{name}");

    let subject = verdict.subject.as_deref().unwrap_or_default();
    assert!(!subject.trim().is_empty() && subject.trim() == subject, "{name}: the subject is {subject:?}");
    let (text, html) = (verdict.text.as_deref().unwrap_or_default(), verdict.html.as_deref().unwrap_or_default());
    assert!(text.split_whitespace().count() > 15, "{name}: hardly any text: {text}");
    assert!(!text.contains("\n\n\n") && !text.contains("\r\n\r\n\r\n"), "{name}: a hole in the text:\n{text}");
    assert!(!text.contains("&#") && !text.contains("&amp;") && !text.contains("&quot;"), "{name}: the text is escaped as HTML:\n{text}");
    for (part, content) in [("subject", subject), ("text", text), ("page", html)] {
        assert_no_marks(name, part, content);
    }
    // Nothing, as template engines write it; a page says `display:none`.
    for word in [subject, text].into_iter().flat_map(|part| part.split(|c: char| !c.is_alphanumeric())) {
        assert!(!matches!(word, "none" | "null" | "nil"), "{name}: the word {word} in\n{subject}\n{text}");
    }
    assert!(html.contains(&format!("<html lang=\"{}\"", sample.locale)), "{name}: the page does not say its language");
    assert_eq!((html.matches("<html").count(), html.matches("</html>").count()), (1, 1), "{name}");
    assert!(!html.contains("<script") && !html.contains("http-equiv"), "{name}: mail programs would refuse it");
    // What must be told is told in both forms.
    let must = match sample.kind {
        "password.reset" if !sample.minimal => vec!["kiwi-Tango-58-lampe"],
        "password.reset_link" => vec!["https://portal.example.org/reset?token=3f8a1c5e9b7d4260"],
        _ => vec![],
    };
    // The page may write a slash as a character reference.
    let shown = html.replace("&#x2f;", "/");
    for told in must {
        assert!(text.contains(told) && shown.contains(told), "{name}: {told} is not told:\n{text}\n{html}");
    }
}

#[test]
fn a_letter_wears_the_organisations_name_colour_and_logo() {
    // The smallest PNG there is: one pixel.
    let logo = base64::engine::general_purpose::STANDARD
        .decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
        .expect("it is base64");
    let house = House::furnish(|config| {
        fs::write(config.folder().join("logo.png"), &logo).expect("our own folder can be written");
        config.set("organisation", "name", "\"Bäckerei <Groß & Söhne>\"");
        config.set("organisation", "logo", "\"logo.png\"");
        config.set("organisation", "colour", "\"#ffd400\"");
    });
    let folder = Folder::new("letters");
    let letter = |locale: &str| {
        let ended = house.command(&["preview", "membership.joined", "--locale", locale, "--format", "eml"]);
        assert!(ended.status.success(), "{}", ended.stderr);
        folder.write(format!("{locale}.eml"), ended.stdout)
    };
    for verdict in judge(&LOCALES.map(letter)) {
        verdict.assert_clean();
        let (text, html) = (verdict.text.as_deref().unwrap_or_default(), verdict.html.as_deref().unwrap_or_default());
        assert!(text.contains("Bäckerei <Groß & Söhne>"), "{text}");
        assert!(html.contains("Bäckerei &lt;Groß &amp; Söhne&gt;") && !html.contains("<Groß"), "{html}");
        assert!(html.contains("#ffd400"), "{html}");
        let picture = verdict.parts.iter().find(|part| part.content_type == "image/png").expect("the logo is in the letter");
        let id = picture.content_id.as_deref().expect("the page must be able to name it").trim_matches(['<', '>']);
        assert!(html.contains(&format!("cid:{id}")), "the page does not show {id}: {html}");
        assert!(verdict.parts.iter().any(|part| part.content_type == "multipart/related"), "{:?}", verdict.parts);
    }
}

/// One letter in one frame, as the page `measure.html` found it.
#[derive(Debug, Deserialize)]
struct Measured {
    name: String,
    /// Pixels that stick out sideways.
    overflow: i64,
    /// Relative luminance behind everything, and of the letter's own ground.
    ground: f64,
    card: f64,
    /// Texts that can be seen.
    texts: usize,
    /// The worst contrast of a text, and that text.
    contrast: f64,
    hardest: String,
    /// Words that stand on two lines.
    broken: Vec<String>,
}

#[test]
fn every_letter_fits_its_window_and_can_be_read_in_light_and_dark() {
    let samples = Sample::all();
    let pages = previews(&samples, "html");
    measure(&samples, &pages);
    take_pictures(&samples, &pages);
}

/// Narrow and wide, light and dark: nothing sticks out, every text has contrast, no word is broken.
fn measure(samples: &[Sample], pages: &[String]) {
    let folder = Folder::new("letters");
    let mut frames = String::new();
    for (sample, page) in samples.iter().zip(pages) {
        for (width, scheme) in [(360, "dark"), (800, "light")] {
            let name = format!("{} {width} {scheme}", sample.name());
            frame(&mut frames, page, &format!("name=\"{name}\" width=\"{width}\" style=\"color-scheme:{scheme}\""));
        }
    }
    let measured: Vec<Measured> = ask(&folder, include_str!("letters/measure.html").replace("LETTERS", &frames));
    assert_eq!(measured.len(), samples.len() * 2);
    let mut wrong = String::new();
    let mut say = |found: &Measured, what: &str| writeln!(wrong, "{}: {what}", found.name).expect("a String takes everything");
    for found in &measured {
        if found.overflow > 0 {
            say(found, &format!("{} pixels stick out sideways", found.overflow));
        }
        if found.texts < 7 {
            say(found, &format!("only {} texts can be seen", found.texts));
        }
        if found.contrast < READABLE {
            say(found, &format!("“{}” has a contrast of only {:.1}", found.hardest, found.contrast));
        }
        if !found.broken.is_empty() {
            say(found, &format!("words are broken in two: {}", found.broken.join(", ")));
        }
        let dark = found.name.ends_with(" dark");
        if dark && (found.ground > 0.03 || found.card > 0.06) {
            say(found, &format!("is not dark: {:.2} with {:.2} on it", found.ground, found.card));
        }
        if !dark && (found.ground < 0.7 || found.card < 0.9) {
            say(found, &format!("is not light: {:.2} with {:.2} on it", found.ground, found.card));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// One cell of a picture, as the page `pixels.html` found it. From 0, black, to 1, white.
#[derive(Debug, Deserialize)]
struct Cell {
    /// The pixel in the corner, which is page.
    corner: f64,
    /// The average.
    mean: f64,
    /// Different colours: none but one on a blank cell, many where there are letters.
    colours: usize,
}

/// The size of a letter in the pictures.
const CELL: (u32, u32) = (420, 1050);

/// All letters of a language on one picture, in light and in dark, and a look at the colours.
fn take_pictures(samples: &[Sample], pages: &[String]) {
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("letters");
    fs::create_dir_all(&pictures).expect("the target folder can be written");
    let folder = Folder::new("letters");
    let columns = u32::try_from(KINDS.len()).expect("few kinds");
    let mut images = String::new();
    for locale in LOCALES {
        let mut sheet =
            "<!doctype html><meta charset=\"utf-8\"><style>:root{color-scheme:light dark}body{margin:0}iframe{border:0;float:left}</style>"
                .to_owned();
        for minimal in [false, true] {
            for (_, page) in samples.iter().zip(pages).filter(|(sample, _)| sample.locale == locale && sample.minimal == minimal) {
                frame(&mut sheet, page, &format!("width=\"{}\" height=\"{}\" scrolling=\"no\"", CELL.0, CELL.1));
            }
        }
        let sheet = folder.write(format!("{locale}.html"), sheet).display().to_string();
        for scheme in [Scheme::Light, Scheme::Dark] {
            let to = pictures.join(format!("{locale}-{}.png", format!("{scheme:?}").to_lowercase()));
            let picture = screenshot(&sheet, &to, (CELL.0 * columns, CELL.1 * 2), scheme);
            assert_eq!((picture.width, picture.height), (CELL.0 * columns, CELL.1 * 2));
            let png = base64::engine::general_purpose::STANDARD.encode(fs::read(&to).expect("it was just taken"));
            let cells = columns * 2;
            writeln!(images, "<img src=\"data:image/png;base64,{png}\" data-columns=\"{columns}\" data-rows=\"2\" data-cells=\"{cells}\">")
                .expect("a String takes everything");
        }
    }
    let seen: Vec<Vec<Cell>> = ask(&folder, include_str!("letters/pixels.html").replace("PICTURES", &images));
    assert_eq!(seen.len(), LOCALES.len() * 2);
    for (locale, both) in LOCALES.iter().zip(seen.chunks(2)) {
        assert_eq!((both[0].len(), both[1].len()), (KINDS.len() * 2, KINDS.len() * 2));
        for (at, (light, dark)) in both[0].iter().zip(&both[1]).enumerate() {
            let name = format!("{} {locale} {}", KINDS[at % KINDS.len()].name, if at < KINDS.len() { "full" } else { "minimal" });
            assert!(light.colours > 50 && dark.colours > 50, "{name} is blank: {light:?} {dark:?}");
            assert!(light.corner > 0.85 && light.mean > 0.75, "{name} is not light: {light:?}");
            assert!(dark.corner < 0.15 && dark.mean < 0.3, "{name} is not dark: {dark:?}");
        }
    }
}

/// Adds a page as a frame; frames of one document load faster than a browser a page.
fn frame(to: &mut String, page: &str, attributes: &str) {
    let escaped = page.replace('&', "&amp;").replace('"', "&quot;");
    writeln!(to, "<iframe {attributes} srcdoc=\"{escaped}\"></iframe>").expect("a String takes everything");
}

/// Loads a page that leaves JSON in the element `result`.
fn ask<T: DeserializeOwned>(folder: &Folder, page: String) -> T {
    let dom = dump_dom(&folder.write("ask.html", page).display().to_string());
    let (_, result) = dom.rsplit_once("<pre id=\"result\">").expect("the page has a place for its result");
    let (result, _) = result.split_once("</pre>").expect("the element ends");
    serde_json::from_str(result).unwrap_or_else(|error| panic!("no result ({error}): {result}"))
}
