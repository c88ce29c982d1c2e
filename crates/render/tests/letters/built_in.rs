//! Every built-in letter, full and minimal, in every language.

use crate::{a_notice, an_event, imprint, stationery};
use serde_json::json;
use std::fmt::Write as _;
use tidings_core::{Kind, Locale, kind::KINDS, notice::Reason, subject::Party};
use tidings_render::Size;

#[test]
fn every_kind_has_a_letter_in_english_german_and_french() {
    let stationery = stationery();
    let locales: Vec<String> = stationery.locales().iter().map(ToString::to_string).collect();
    assert_eq!(locales, ["de", "en", "fr"]);
    for kind in KINDS {
        for locale in stationery.locales() {
            let mut all = String::new();
            for size in [Size::Full, Size::Minimal] {
                let written = stationery.preview(kind, &locale, size).unwrap();
                assert_eq!(written.locale, locale, "{}", kind.name);
                let rest = format!("{}{}", written.text, written.html);
                for wrong in ["{{", "{%", "[[", "None", "none\n", "undefined", "  \n", " .", " ,", "\n\n\n"] {
                    assert!(!written.text.contains(wrong), "{} {locale}: {wrong:?} in\n{}", kind.name, written.text);
                }
                assert!(!rest.contains("[["), "{} {locale}", kind.name);
                writeln!(all, "===== {size:?}\nSubject: {}\n\n{}", written.subject, written.text).unwrap();
            }
            insta::assert_snapshot!(format!("{}.{locale}", kind.name), all);
        }
    }
}

#[test]
fn somebody_else_reads_about_a_person_not_about_themselves() {
    let stationery = stationery();
    let mut all = String::new();
    for kind in KINDS.iter().filter(|kind| !kind.built_in.is_empty() && kind.name != "test") {
        for locale in stationery.locales() {
            let (event, mut notice) = stationery.sample(kind, &locale, Size::Full);
            notice.reader.address = "boss@example.org".parse().unwrap();
            notice.reader.party.name = Some("Boss".into());
            notice.reader.reasons = vec![Reason::of("manager", "Ada"), Reason::plain("address"), Reason::of("owner", "Payroll")];
            let written = stationery.write(&event, &notice, &imprint()).unwrap();
            writeln!(all, "===== {} {locale}\nSubject: {}\n\n{}", kind.name, written.subject, written.text).unwrap();
        }
    }
    insta::assert_snapshot!("somebody_else", all);
}

#[test]
fn who_looks_after_what_is_said_to_everybody_in_their_words() {
    let stationery = stationery();
    let group = json!({"type": "group", "name": "Payroll"});
    let person = json!({"type": "user", "name": "Linus Martin", "mail": "linus@example.org"});
    let grace = json!({"name": "Grace Miller", "mail": "grace@example.org"});
    let helpdesk = json!({"type": "group", "name": "Helpdesk"});
    let cases = [
        ("owner", &group, &grace, "member", "grace@example.org"),
        ("owner", &group, &grace, "actor", "ada@example.org"),
        ("additional_owner", &group, &helpdesk, "members", "eve@example.org"),
        ("manager", &person, &grace, "member", "grace@example.org"),
        ("manager", &person, &grace, "object", "linus@example.org"),
        ("manager", &person, &grace, "manager", "boss@example.org"),
        ("janitor", &json!({"type": "house", "name": "Number 7"}), &grace, "owner", "boss@example.org"),
    ];
    let mut all = String::new();
    for (kind, locale) in
        ["management.added", "management.removed"].into_iter().flat_map(|kind| ["en", "de", "fr"].map(|locale| (kind, locale)))
    {
        for (role, object, member, reason, address) in &cases {
            let actor = json!({"name": "Ada King", "mail": "ada@example.org"});
            let event = an_event(kind, json!({"actor": actor, "object": object, "member": member, "details": {"role": role}}));
            let mut notice = a_notice(&event, &person_of(address, locale));
            notice.reader.reasons = vec![Reason::of(reason, "Helpdesk")];
            let written = stationery.write(&event, &notice, &imprint()).unwrap();
            let body = written.text.split("\n\n").skip(1).take(2).collect::<Vec<_>>().join("\n");
            let why = written.text.lines().skip_while(|line| *line != "--").nth(1).unwrap();
            writeln!(all, "===== {kind} {locale}: {role}, told to the {reason}\nSubject: {}\n{body}\n{why}\n", written.subject).unwrap();
        }
    }
    insta::assert_snapshot!("management", all);
}

fn person_of(address: &str, locale: &str) -> Party {
    Party { locale: Some(locale.parse().unwrap()), ..Party::from_address(address.parse().unwrap()) }
}

#[test]
fn the_html_of_a_letter_with_everything_in_it() {
    let written = stationery().preview(Kind::find("object.changed").unwrap(), &Locale::english(), Size::Full).unwrap();
    insta::assert_snapshot!("object.changed.html", written.html);
}

#[test]
fn the_language_is_the_first_of_the_readers_chain() {
    let stationery = stationery();
    let written = |locale: &str| {
        let event = an_event("test", json!({"object": {"mail": "ada@example.org", "locale": locale}}));
        let notice = a_notice(&event, event.object.as_ref().unwrap());
        stationery.write(&event, &notice, &imprint()).unwrap()
    };
    let austrian = written("de-AT");
    assert_eq!(austrian.locale.as_str(), "de");
    assert_eq!(austrian.tried.iter().map(Locale::as_str).collect::<Vec<_>>(), ["de-AT", "de"]);
    let japanese = written("ja");
    assert_eq!(japanese.locale.as_str(), "en");
    assert_eq!(japanese.tried.iter().map(Locale::as_str).collect::<Vec<_>>(), ["ja", "en"]);
}

#[test]
fn days_are_counted_and_plural_is_right() {
    let stationery = stationery();
    let subject = |locale: &str, at: &str| {
        let event =
            an_event("password.expiring", json!({"object": {"mail": "ada@example.org", "locale": locale}, "details": {"expires_at": at}}));
        stationery.write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap().subject
    };
    assert_eq!(subject("en", "2026-11-20"), "Your password has expired");
    assert_eq!(subject("en", "2026-11-21T08:00:00Z"), "Your password has expired");
    assert_eq!(subject("en", "2026-11-21"), "Your password expires today");
    assert_eq!(subject("de", "2026-11-22"), "Ihr Passwort läuft morgen ab");
    assert_eq!(subject("fr", "2026-11-23"), "Votre mot de passe expire dans 2 jours");
}

#[test]
fn times_are_the_readers_own() {
    let stationery = stationery();
    let text = |timezone: serde_json::Value| {
        let event = an_event("test", json!({"object": {"mail": "ada@example.org", "timezone": timezone}}));
        stationery.write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap().text
    };
    assert!(text(json!("Asia/Tokyo")).contains("21 November 2026 at 18:00 (JST)"));
    // Unknown zones and none at all mean the organisation's own.
    assert!(text(json!("Mars/Olympus")).contains("at 10:00 (CET)"));
    assert!(text(json!(null)).contains("at 10:00 (CET)"));
}
