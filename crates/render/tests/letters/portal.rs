//! Where a person whose password expires is led to: the event's own place, else the directory's, else none.

use crate::{a_notice, an_event, imprint, organisation};
use serde_json::{Value, json};
use tidings_core::{Kind, Locale};
use tidings_render::{Size, Stationery, StationeryOptions, Written};

const CORP: &str = "https://portal.example.org/password";
const LAB: &str = "https://lab.example.org/password?from=letter&to=you";

fn stationery() -> Stationery {
    let portals = [("corp", CORP), ("lab", LAB)].map(|(directory, url)| (directory.to_owned(), url.to_owned())).to_vec();
    Stationery::load(StationeryOptions { organisation: organisation(), portals, ..StationeryOptions::default() }).unwrap()
}

fn expiring(stationery: &Stationery, directory: Option<&str>, locale: &str, mut details: Value) -> Written {
    details["expires_at"] = json!("2026-12-01");
    let object =
        json!({"type": "user", "id": "u3", "name": "Linus", "mail": "linus@example.org", "locale": locale, "directory": directory});
    let event = an_event("password.expiring", json!({"object": object, "details": details}));
    stationery.write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap()
}

#[test]
fn the_directorys_portal_stands_in_text_and_html_of_every_language() {
    let stationery = stationery();
    for locale in stationery.locales() {
        let written = expiring(&stationery, Some("corp"), locale.as_str(), json!({}));
        assert_eq!(written.locale, locale);
        assert!(written.text.lines().any(|line| line == CORP), "{}", written.text);
        assert!(written.html.replace("&#x2f;", "/").contains(&format!("<a href=\"{CORP}\"")), "{locale}");
    }
    let lab = expiring(&stationery, Some("lab"), "en", json!({}));
    assert!(lab.text.contains(LAB) && lab.html.replace("&#x2f;", "/").contains("from=letter&amp;to=you"), "{}", lab.html);
}

#[test]
fn the_events_own_portal_wins() {
    let written = expiring(&stationery(), Some("corp"), "en", json!({"portal_url": "https://own.example.org/"}));
    assert!(written.text.contains("https://own.example.org/") && !written.text.contains(CORP), "{}", written.text);
    let written = expiring(&stationery(), Some("corp"), "en", json!({"portal_url": null}));
    assert!(written.text.contains(CORP), "nothing is no place of its own: {}", written.text);
}

#[test]
fn without_a_portal_the_letter_reads_right() {
    let stationery = stationery();
    for (directory, locale) in [(None, "en"), (Some("elsewhere"), "de"), (Some("elsewhere"), "fr")] {
        let written = expiring(&stationery, directory, locale, json!({}));
        assert!(!written.text.contains("https://") && !written.html.contains("<a href"), "{}", written.text);
        assert!(!written.text.contains(":\n\n"), "a colon leads to nothing: {}", written.text);
    }
}

#[test]
fn other_letters_lead_nowhere_they_did_not_before() {
    let stationery = stationery();
    let object = json!({"id": "u3", "mail": "linus@example.org", "directory": "corp"});
    for (kind, details) in [("account.created", json!({})), ("password.reset", json!({"password": "x"}))] {
        let event = an_event(kind, json!({"object": object, "details": details}));
        let written = stationery.write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap();
        assert!(!written.text.contains(CORP), "{}", written.text);
    }
}

#[test]
fn a_preview_shows_the_first_directorys_portal() {
    let kind = Kind::find("password.expiring").unwrap();
    let portals = vec![("lab".to_owned(), LAB.to_owned())];
    let stationery = Stationery::load(StationeryOptions { portals, ..StationeryOptions::default() }).unwrap();
    assert!(stationery.preview(kind, &Locale::english(), Size::Full).unwrap().text.contains(LAB));
    assert!(!stationery.preview(kind, &Locale::english(), Size::Minimal).unwrap().text.contains(LAB));
}
