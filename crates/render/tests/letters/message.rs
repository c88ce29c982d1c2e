//! The bytes: fit for every relay, and always the same.

use crate::{a_notice, an_event, imprint, organisation, stationery};
use proptest::prelude::*;
use serde_json::json;
use std::sync::LazyLock;
use tidings_core::{
    Locale,
    kind::KINDS,
    notice::{Reader, Reason},
    subject::Party,
};
use tidings_render::{Logo, Organisation, Size, Stationery, StationeryOptions};

static STATIONERY: LazyLock<Stationery> = LazyLock::new(stationery);

fn check_lines(bytes: &[u8]) {
    assert!(bytes.is_ascii() && bytes.ends_with(b"\r\n"));
    let text = std::str::from_utf8(bytes).unwrap();
    for line in text.split("\r\n") {
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(line.len() <= 998, "{line:?}");
    }
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.split("\r\n").all(|line| line.len() <= 78));
}

fn header(text: &str, name: &str) -> Option<String> {
    let (header, _) = text.split_once("\r\n\r\n")?;
    let unfolded = header.replace("\r\n ", " ");
    unfolded.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
}

#[test]
fn every_letter_fits_every_relay_and_is_the_same_each_time() {
    for kind in KINDS {
        for locale in ["en", "de", "fr"] {
            let locale: Locale = locale.parse().unwrap();
            let one = STATIONERY.preview(kind, &locale, Size::Full).unwrap();
            check_lines(&one.bytes);
            assert_eq!(one.bytes, STATIONERY.preview(kind, &locale, Size::Full).unwrap().bytes);
        }
    }
}

#[test]
fn the_header_says_what_a_relay_and_a_reader_need() {
    let event = an_event("test", json!({"object": {"name": "Jörg Weiß", "mail": "joerg@example.org", "locale": "de"}}));
    let mut notice = a_notice(&event, event.object.as_ref().unwrap());
    notice.rule = "prüfung".into();
    notice.reader.reasons = vec![Reason::of("owner", "Gehälter, alle"), Reason::plain("address")];
    let boss = Party { name: Some("King, Ada".into()), ..Party::from_address("boss@example.org".parse().unwrap()) };
    notice.cc = vec![Reader { address: boss.mail.clone().unwrap(), party: boss, reasons: vec![] }];
    let mut imprint = imprint();
    imprint.reply_to = Some("help@example.org".parse().unwrap());
    let text = String::from_utf8(STATIONERY.write(&event, &notice, &imprint).unwrap().bytes).unwrap();
    let expected = [
        ("From", "Example & Sons <no-reply@example.org>"),
        ("To", "=?UTF-8?Q?J=C3=B6rg_Wei=C3=9F?= <joerg@example.org>"),
        ("Cc", "\"King, Ada\" <boss@example.org>"),
        ("Reply-To", "help@example.org"),
        ("Subject", "Testnachricht von Example & Sons"),
        ("Date", "Sat, 21 Nov 2026 09:00:00 +0000"),
        ("Message-ID", "<01h2x.1@example.org>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("Content-Language", "de"),
        ("X-Tidings-Event", "00000000004k7"),
        ("X-Tidings-Kind", "test"),
        ("X-Tidings-Rule", "pr%C3%BCfung"),
        ("X-Tidings-Reason", "owner=Geh%C3%A4lter%2C alle, address"),
        ("MIME-Version", "1.0"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&text, name).as_deref(), Some(value));
    }
    assert!(text.find("text/plain").unwrap() < text.find("text/html").unwrap(), "the richest form stands last (RFC 2046 §5.1.4)");
}

#[test]
fn an_inline_logo_travels_with_the_html() {
    let logo = Logo::Inline { bytes: vec![0x89, b'P', b'N', b'G', 1, 2, 3], media_type: "image/png".into() };
    let organisation = Organisation { logo: Some(logo), ..organisation() };
    let stationery = Stationery::load(StationeryOptions { organisation, ..StationeryOptions::default() }).unwrap();
    let written = stationery.preview(&KINDS[0], &Locale::english(), Size::Minimal).unwrap();
    let text = String::from_utf8(written.bytes.clone()).unwrap();
    check_lines(&written.bytes);
    assert!(written.html.contains("src=\"cid:logo@tidings\""));
    for part in
        ["multipart/alternative", "multipart/related", "Content-ID: <logo@tidings>", "Content-Type: image/png", "\r\niVBORwECAw==\r\n"]
    {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn names_in_any_script_reach_their_readers() {
    for name in ["山田 太郎", "محمد الأحمد", "Ada 👩‍👩‍👧‍👦 King", "Łukasz Żółć", "Иван Петров"]
    {
        let event = an_event(
            "membership.joined",
            json!({"object": {"type": "group", "name": format!("Gruppe {name}")}, "member": {"name": name, "mail": "a@example.org", "locale": "ja"}}),
        );
        let written = STATIONERY.write(&event, &a_notice(&event, event.member.as_ref().unwrap()), &imprint()).unwrap();
        check_lines(&written.bytes);
        assert!(written.subject.contains(name) && written.text.contains(name) && written.html.contains(name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_name_gives_a_letter_that_any_relay_takes(name in "\\PC{1,300}", note in "[\\PC\n]{1,400}") {
        prop_assume!(!name.trim().is_empty() && !note.trim().is_empty());
        let event = an_event("object.created", json!({"object": {"name": name, "mail": "ada@example.org"}, "details": {"note": note}}));
        let mut notice = a_notice(&event, event.object.as_ref().unwrap());
        notice.rule.clone_from(&name);
        notice.reader.reasons = vec![Reason::of("owner", name.clone()), Reason::of("manager", name)];
        check_lines(&STATIONERY.write(&event, &notice, &imprint()).unwrap().bytes);
    }
}
