//! From the bytes of a mail to what it says.

use crate::{
    automatic::{Ignored, automatic},
    dsn, feedback,
    mime::{Fields, Leaf, Mail, lines},
    report::{Form, Reading, Report, Reported},
    text,
};

/// Bytes of a mail that are looked at: a report says what it has to say before it gives back the letter.
pub const LONGEST: usize = 1 << 20;

/// Names of one sort that are kept.
const MOST_NAMES: usize = 40;

/// Media types of the letter, or its header, that came back.
const RETURNED: [&str; 5] = ["message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "message/rfc822-headers"];

/// Reads a mail. Never fails: what is no report is ignored, with the reason.
pub fn read(raw: &[u8]) -> Reading {
    let raw = without_mbox_line(&raw[..raw.len().min(LONGEST)]);
    let mail = Mail::of(raw);
    if let Some(leaf) = mail.leaf(&dsn::MEDIA) {
        let mut status = dsn::status(leaf);
        explain(&mail, &mut status.recipients);
        if !status.recipients.is_empty() {
            return Reading::Report(assemble(&mail, Form::Dsn, status.reporter, status.envelope, status.recipients));
        }
    }
    if let Some(leaf) = mail.leaf(&feedback::MEDIA) {
        return match feedback::feedback(leaf) {
            Some(found) => Reading::Report(assemble(&mail, Form::Feedback, found.reporter, found.envelope, vec![found.recipient])),
            None => Reading::Ignored(Ignored::Statistics),
        };
    }
    if mail.leaf(&["message/disposition-notification", "message/global-disposition-notification"]).is_some() {
        return Reading::Ignored(Ignored::Receipt);
    }
    let words = mail.words();
    // A form that is known first: mail servers write under the same fields as people's vacation programs (RFC 3834 §5).
    if let Some(told) = text::told(&mail, &words) {
        return Reading::Report(assemble(&mail, told.form, told.reporter, None, told.recipients));
    }
    Reading::Ignored(automatic(&mail).unwrap_or(Ignored::NotAReport))
}

/// Some hosts (Exim, of its own refusals) say only in the words for people why: where the part for programs has nothing but a class, the words are taken as well.
fn explain(mail: &Mail<'_>, recipients: &mut [Reported]) {
    let silent = |one: &Reported| {
        one.diagnostic.is_empty() && one.class.is_bounce() && one.status.as_deref().is_none_or(|code| code.ends_with(".0.0"))
    };
    if !recipients.iter().any(silent) {
        return;
    }
    let Some(told) = text::told(mail, &mail.words()) else { return };
    for one in recipients.iter_mut().filter(|one| silent(one)) {
        if let Some(said) =
            told.recipients.iter().find(|said| said.class.is_bounce() && said.names.iter().any(|name| one.names.contains(name)))
        {
            (one.class, one.diagnostic) = (said.class, said.diagnostic.clone());
            one.status = said.status.clone().or_else(|| one.status.take());
        }
    }
}

/// A mail out of an mbox, or from a pipe that adds its line: `From MAILER-DAEMON Sun Nov 22 …`.
pub(crate) fn without_mbox_line(raw: &[u8]) -> &[u8] {
    if !raw.starts_with(b"From ") {
        return raw;
    }
    raw.iter().position(|byte| *byte == b'\n').map_or(raw, |end| &raw[end + 1..])
}

fn assemble(mail: &Mail<'_>, form: Form, reporter: Option<String>, envelope: Option<String>, recipients: Vec<Reported>) -> Report {
    let mut report = Report {
        form,
        reporter,
        envelopes: envelope.into_iter().collect(),
        message_ids: Vec::new(),
        events: Vec::new(),
        returned_to: Vec::new(),
        recipients,
    };
    // What the letter itself says, where it came back; then what the report answers.
    for leaf in mail.leaves.iter().filter(|leaf| RETURNED.contains(&leaf.media.as_str())) {
        returned(&Fields::of(leaf.bytes()), &mut report);
    }
    for leaf in mail.leaves.iter().filter(|leaf| leaf.media.starts_with("text/") && leaf.media != "text/rfc822-headers") {
        returned(&quoted(leaf), &mut report);
    }
    for name in ["in-reply-to", "references", "x-ms-exchange-parent-message-id"] {
        for value in mail.fields.all(name) {
            add_all(&mut report.message_ids, message_ids(value));
        }
    }
    for name in
        ["to", "cc", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "apparently-to", "x-rcpt-to"]
    {
        for value in mail.fields.all(name) {
            add_all(&mut report.returned_to, addresses(value));
        }
    }
    report
}

/// What the header of the letter tells.
fn returned(fields: &Fields, report: &mut Report) {
    for value in fields.all("message-id") {
        add_all(&mut report.message_ids, message_ids(value));
    }
    add_all(&mut report.events, fields.all("x-tidings-event").map(|value| value.trim().to_owned()));
    for name in ["return-path", "x-return-path", "errors-to"] {
        for value in fields.all(name) {
            add_all(&mut report.returned_to, addresses(value));
        }
    }
}

/// Lines of a text that look like the fields by which a letter is known: servers that write for people quote its header, some indented, some behind `>`.
fn quoted(leaf: &Leaf<'_>) -> Fields {
    let mut block = Vec::new();
    let text = leaf.text();
    let mut open = false;
    for line in lines(text.as_bytes()) {
        let line = line.trim_ascii_start();
        let line = line.strip_prefix(b">").map_or(line, <[u8]>::trim_ascii_start);
        let begins = |name: &str| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name.as_bytes());
        if begins("message-id:") || begins("x-tidings-event:") || begins("return-path:") {
            block.extend_from_slice(line);
            block.push(b'\n');
            open = line.ends_with(b":");
        } else if open && line.starts_with(b"<") {
            // The value was too long for the name's line.
            block.pop();
            block.push(b' ');
            block.extend_from_slice(line);
            block.push(b'\n');
            open = false;
        } else {
            open = false;
        }
        if block.len() > 16 * 1024 {
            break;
        }
    }
    Fields::of(&block)
}

fn add_all(list: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for one in more {
        if list.len() < MOST_NAMES && !one.is_empty() && one.len() <= 1000 && !list.contains(&one) {
            list.push(one);
        }
    }
}

/// What stands between angle brackets; a lone word with an @ without them.
fn message_ids(value: &str) -> Vec<String> {
    let mut found: Vec<String> =
        value.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(id, _)| id.trim().to_owned()).take(MOST_NAMES).collect();
    if found.is_empty() && value.contains('@') && !value.trim().contains(char::is_whitespace) {
        found.push(value.trim().to_owned());
    }
    found
}

/// Whatever may be an address in a field of addresses.
fn addresses(value: &str) -> Vec<String> {
    let words = value.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '(' | ')' | '"'));
    words.filter(|word| word.contains('@')).map(str::to_owned).take(MOST_NAMES).collect()
}
