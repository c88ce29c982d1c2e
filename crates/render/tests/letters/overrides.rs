//! The templates folder: a file there replaces one part of one language, the rest stays built in.

use crate::{imprint, organisation};
use std::{fs, path::Path};
use tempfile::TempDir;
use tidings_core::{Kind, Locale};
use tidings_render::{Size, Stationery, StationeryOptions, Written};

struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load(&self) -> Result<Stationery, Vec<String>> {
        let options =
            StationeryOptions { organisation: organisation(), templates: Some(self.0.path().to_owned()), ..StationeryOptions::default() };
        Stationery::load(options).map_err(|problems| {
            let root = format!("{}/", self.0.path().display());
            problems.iter().map(|problem| problem.to_string().replace(&root, "")).collect()
        })
    }

    fn problems(&self) -> Vec<String> {
        self.load().err().unwrap_or_default()
    }
}

fn preview(stationery: &Stationery, kind: &str, locale: &str) -> Written {
    stationery.preview(Kind::find(kind).unwrap(), &locale.parse().unwrap(), Size::Full).unwrap()
}

#[test]
fn one_part_of_one_language_is_replaced() {
    let stationery = Folder::with(&[
        ("test/subject.de.txt", "Probe für {{ reader.label }}\n"),
        ("membership.joined/body.fr.html", "<p>[[ lead ]]</p>\n<p>Bienvenue !</p>\n"),
        ("membership.left/subject.txt", "{{ member.label }} – {{ object.label }}\n"),
    ])
    .load()
    .unwrap();
    assert_eq!(preview(&stationery, "test", "de").subject, "Probe für Jörg Weiß");
    assert_eq!(preview(&stationery, "test", "en").subject, "Test letter from Example & Sons");
    assert!(preview(&stationery, "test", "de").text.contains("Dies ist eine Testnachricht"));
    assert!(preview(&stationery, "membership.joined", "fr").html.contains("<p>Bienvenue !</p>"));
    assert!(!preview(&stationery, "membership.joined", "fr").text.contains("Bienvenue"));
    assert_eq!(preview(&stationery, "membership.left", "de").subject, "Jörg Weiß – Gehaltsabrechnung");
    assert_eq!(preview(&stationery, "membership.left", "en").subject, "Linus Martin – Payroll");
}

#[test]
fn a_layout_and_single_texts_are_replaced() {
    let stationery = Folder::with(&[
        ("layout.de.html", "<html><body><h1>Haus</h1>\n[[ body ]]\n[[ reasons ]]</body></html>\n"),
        ("locales/de.toml", "[common]\ngreeting = \"Hallo & <willkommen>,\"\n"),
    ])
    .load()
    .unwrap();
    let german = preview(&stationery, "test", "de");
    assert!(german.html.starts_with("<html><body><h1>Haus</h1>"));
    assert!(german.text.starts_with("Hallo & <willkommen>,\n"));
    assert!(preview(&stationery, "test", "en").html.contains("<!doctype html>"));
}

#[test]
fn a_language_is_added_and_its_gaps_are_filled_along_the_chain() {
    let stationery = Folder::with(&[("locales/it.toml", "[common]\ngreeting = \"Buongiorno,\"\n[test]\nsubject = \"Prova & errore\"\n")])
        .load()
        .unwrap();
    let italian = preview(&stationery, "test", "it-CH");
    assert_eq!((italian.locale.as_str(), italian.subject.as_str()), ("it", "Prova & errore"));
    assert!(italian.text.starts_with("Buongiorno,\n\nThis is a test letter."), "{}", italian.text);
    // A kind of which the catalogue says nothing is not half Italian: it is English.
    let english = preview(&stationery, "membership.joined", "it");
    assert_eq!(english.tried.iter().map(Locale::as_str).collect::<Vec<_>>(), ["it", "en"]);
}

#[test]
fn a_variable_that_the_kind_does_not_declare_is_refused_with_its_place() {
    let problems = Folder::with(&[
        ("test/body.txt", "Hello\n{{ details.hots }}\n"),
        ("test/subject.txt", "{{ subject }}{{ env }}\n"),
        ("membership.joined/body.html", "{% set d = details %}{{ d.secret }}\n"),
    ])
    .problems();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(
        problems[0].starts_with("membership.joined/body.html:1:12: `details` is not a variable of `membership.joined`"),
        "{problems:#?}"
    );
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("test/body.txt:2:4: `details.hots` is not a variable of `test`; did you mean `details.host`?")),
        "{problems:#?}"
    );
    assert!(problems.iter().any(|p| p.starts_with("test/subject.txt:1:4: `subject` is not a variable")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.starts_with("test/subject.txt:1:17: `env` is not")), "{problems:#?}");
}

#[test]
fn an_optional_value_used_without_asking_is_found_when_loading() {
    let problems = Folder::with(&[("test/body.txt", "Hello\n\n{{ details.note }}\n")]).problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("test/body.txt:3: ") && problems[0].contains("absent here"), "{problems:#?}");
    assert!(problems[0].contains("minimal sample"), "{problems:#?}");
}

#[test]
fn broken_endless_and_reaching_templates_are_refused() {
    let problem = |name: &str, text: &str| Folder::with(&[(name, text)]).problems().join("\n");
    assert!(
        problem("test/body.txt", "a\n{% if %}\n").starts_with("test/body.txt:2: syntax error"),
        "{}",
        problem("test/body.txt", "a\n{% if %}\n")
    );
    assert!(problem("test/body.txt", "{% include '../../etc/passwd' %}\n").contains("`{% include %}` is not available"));
    assert!(
        problem("test/body.html", "{% autoescape false %}{{ object.label }}{% endautoescape %}\n")
            .contains("`{% autoescape %}` is not available")
    );
    assert!(problem("test/body.html", "{{ object.label | safe }}\n").contains("filter"));
    let endless = "{% for a in 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' %}{% for b in reader.mail ~ reader.mail ~ reader.mail %}{% for c in reader.mail ~ reader.mail ~ reader.mail %}{% for d in reader.mail %}x{% endfor %}{% endfor %}{% endfor %}{% endfor %}\n";
    assert!(
        problem(
            "test/body.txt",
            &endless
                .replace("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", "reader.mail | list")
                .replace("reader.mail ~ reader.mail ~ reader.mail", "reader.mail | list")
                .replace("in reader.mail %}", "in reader.mail | list %}")
        )
        .contains("fuel")
    );
    assert!(problem("test/subject.txt", "\n").contains("is empty"));
    assert!(problem("test/subject.txt", "a\nb\n").contains("control character"));
    assert!(problem("test/body.txt", "[[ nonsense ]]\n").starts_with("test/body.txt:1:1: no catalogue has a text `nonsense`"));
    let unclosed = problem("test/body.txt", "{% if actor %}\nHello\n");
    assert!(unclosed.starts_with("test/body.txt:"), "{unclosed}");
    assert!(problem("layout.html", "<p>\n").contains("[[ body ]]"));
    assert!(problem("locales/de.toml", "[common]\ngreeting = Hallo\n").starts_with("locales/de.toml:2:"));
    assert!(problem("locales/de.toml", "[common]\ngreting = \"Hallo\"\n").contains("did you mean `common.greeting`?"));
    assert!(problem("locales/de.toml", "[common]\ngreeting = \"Hallo {{ reader.nam }}\"\n").starts_with("locales/de.toml:2: `reader.nam`"));
}

#[test]
fn unknown_names_are_named_with_the_likely_one() {
    let problems = Folder::with(&[
        ("membership.join/subject.txt", "x"),
        ("test/subjekt.txt", "x"),
        ("test/body.deutsch!.txt", "x"),
        ("layuot.html", "x"),
        ("locales/german.yaml", "x"),
    ])
    .problems()
    .join("\n");
    assert!(problems.contains("`membership.join` is not a kind of letter; did you mean `membership.joined`?"), "{problems}");
    assert!(problems.contains("test/subjekt.txt: `subjekt.txt` is not a part of a letter; did you mean `subject.txt`?"), "{problems}");
    assert!(problems.contains("test/body.deutsch!.txt: `deutsch!` is not a language tag"), "{problems}");
    assert!(problems.contains("layuot.html: `layuot.html` is not a part of a letter; did you mean `layout.html`?"), "{problems}");
    assert!(problems.contains("locales/german.yaml: a catalogue is called by its language"), "{problems}");
}

#[test]
fn links_out_of_the_folder_and_huge_files_are_refused() {
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "top secret").unwrap();
    let folder = Folder::with(&[("test/body.txt", &"x".repeat(300 * 1024))]);
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.0.path().join(name)).unwrap();
    link(&outside.path().join("secret"), "test/subject.txt");
    link(outside.path(), "account.created");
    let problems = folder.problems().join("\n");
    assert!(problems.contains("test/body.txt: is 307200 bytes large; at most 262144 are allowed"), "{problems}");
    assert!(problems.contains("test/subject.txt: is a link that leads out of the templates folder"), "{problems}");
    assert!(problems.contains("account.created: is a link that leads out of the templates folder"), "{problems}");
}

#[test]
fn a_folder_that_is_not_there_is_a_problem() {
    let options =
        StationeryOptions { organisation: organisation(), templates: Some("/nowhere/at/all".into()), ..StationeryOptions::default() };
    let problems = Stationery::load(options).unwrap_err();
    assert!(problems[0].message.starts_with("cannot be opened"), "{problems:?}");
}

#[test]
fn a_letter_that_fails_on_real_values_is_an_error_without_the_values() {
    // Both samples have a name; the event below has none.
    let stationery = Folder::with(&[(
        "test/body.txt",
        "{% if reader.locale == 'en' and not reader.name and event.id == '1' %}{{ details.note }}{% endif %}\n",
    )])
    .load()
    .unwrap();
    let event = crate::an_event("test", serde_json::json!({"object": {"mail": "ada@example.org", "locale": "en"}}));
    let error = stationery.write(&event, &crate::a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap_err().to_string();
    assert!(error.contains("en/test/body.txt") && error.contains("absent here") && !error.contains("ada"), "{error}");
}
