//! What an event may hold and a letter must survive.

use crate::{a_notice, an_event, imprint, stationery};
use serde_json::json;
use tidings_core::notice::Reason;
use tidings_render::RenderError;

#[test]
fn markup_in_values_stays_text() {
    let event = an_event(
        "membership.joined",
        json!({
            "object": {"type": "group", "name": "<script>alert(1)</script>"},
            "member": {"name": "\"><img src=x onerror=alert(1)>", "mail": "eve@example.org"},
            "details": {"note": "{{ organisation.name }} {% for x in y %}\n<b>bold</b>", "link": "https://example.org/?a=1&b='x'"},
        }),
    );
    let mut notice = a_notice(&event, event.member.as_ref().unwrap());
    notice.reader.reasons = vec![Reason::of("member", "<i>")];
    let written = stationery().write(&event, &notice, &imprint()).unwrap();
    for wrong in ["<script", "<img src=x", "<b>bold", "<i>"] {
        assert!(!written.html.contains(wrong), "{wrong}");
    }
    assert!(written.html.contains("&lt;script&gt;"));
    assert!(written.html.contains("{{ organisation.name }} {% for x in y %}<br>&lt;b&gt;bold"));
    assert!(!written.html.contains("b='x'"), "a quote could end the attribute");
}

#[test]
fn a_line_break_in_a_header_value_stops_the_letter() {
    let stationery = stationery();
    for evil in ["Ada\r\nBcc: eve@example.org", "Ada\nX: y", "Ada\0", "Ada\r"] {
        let event = an_event("test", json!({"object": {"mail": "ada@example.org"}}));
        let mut notice = a_notice(&event, event.object.as_ref().unwrap());
        notice.reader.party.name = Some(evil.into());
        assert!(matches!(stationery.write(&event, &notice, &imprint()), Err(RenderError::Header { name: "To", .. })), "{evil:?}");

        let mut event = an_event("object.created", json!({"object": {"mail": "ada@example.org"}}));
        let notice = a_notice(&event, event.object.as_ref().unwrap());
        event.object.as_mut().unwrap().name = Some(format!("{evil} and more"));
        assert!(matches!(stationery.write(&event, &notice, &imprint()), Err(RenderError::Header { name: "Subject", .. })), "{evil:?}");

        let mut imprint = imprint();
        imprint.from_name = Some(evil.into());
        let event = an_event("test", json!({"object": {"mail": "ada@example.org"}}));
        let notice = a_notice(&event, event.object.as_ref().unwrap());
        assert!(matches!(stationery.write(&event, &notice, &imprint), Err(RenderError::Header { name: "From", .. })), "{evil:?}");
        imprint.from_name = None;
        imprint.message_id = "a@b\r\nBcc: eve@example.org";
        assert!(matches!(stationery.write(&event, &notice, &imprint), Err(RenderError::Header { name: "Message-ID", .. })));
    }
}

#[test]
fn a_long_subject_is_cut() {
    let event = an_event("object.created", json!({"object": {"name": "Ä".repeat(500), "mail": "ada@example.org"}}));
    let written = stationery().write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap();
    assert_eq!(written.subject.chars().count(), 200);
    assert!(written.subject.ends_with("Ä…"));
}

#[test]
fn attributes_that_smell_of_secrets_are_not_shown() {
    let event = an_event(
        "object.changed",
        json!({"object": {"mail": "ada@example.org"}, "before": {"userPassword": "old-one"}, "after": {"userPassword": "new-one", "l": "Köln"}}),
    );
    let written = stationery().write(&event, &a_notice(&event, event.object.as_ref().unwrap()), &imprint()).unwrap();
    assert!(written.text.contains("userPassword: ••• → •••"), "{}", written.text);
    assert!(written.text.contains("Town: – → Köln"), "{}", written.text);
    assert!(!written.html.contains("new-one"));
}
