//! Letters for ways out that take the recipients from the header: the one whom the environment guard has let through, and nobody else, stands there.
//!
//! A letter has one set of bytes for all its items. By SMTP the envelope says who gets a copy; a pickup directory without envelope headers and Microsoft Graph
//! would send to everybody in To, Cc and Bcc.

use crate::smtp::whole_lines;

/// The letter with `to` as its only recipient, lines whole. The letter itself, if it is addressed so already.
pub(crate) fn addressed_to_alone(message: &[u8], to: &str, out: &mut Vec<u8>) {
    if is_addressed_to_alone(message, to) {
        whole_lines(message, out);
        return;
    }
    out.extend_from_slice(format!("To: {to}\r\n").as_bytes());
    let (fields, body) = split(message);
    for field in fields.into_iter().filter(|field| recipient_field(field).is_none()) {
        whole_lines(field, out);
    }
    whole_lines(body, out);
}

/// Header fields with their folded lines, and the rest from the empty line on.
pub(crate) fn split(message: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut fields = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < message.len() {
        let line = message[at..].iter().position(|b| *b == b'\n').map_or(message.len(), |end| at + end + 1);
        let folded = matches!(message[at], b' ' | b'\t');
        if !folded && at > start {
            fields.push(&message[start..at]);
            start = at;
        }
        if matches!(&message[at..line], b"\r\n" | b"\n") {
            return (fields, &message[at..]);
        }
        at = line;
    }
    fields.push(&message[start..]);
    (fields, &[])
}

/// The value of a field from which a mail server would take recipients.
fn recipient_field(field: &[u8]) -> Option<&[u8]> {
    let colon = field.iter().position(|b| *b == b':')?;
    let name = field[..colon].trim_ascii_end().to_ascii_lowercase();
    matches!(name.as_slice(), b"to" | b"cc" | b"bcc" | b"resent-to" | b"resent-cc" | b"resent-bcc").then(|| &field[colon + 1..])
}

/// Whether the headers name this recipient and nobody else.
fn is_addressed_to_alone(message: &[u8], to: &str) -> bool {
    let (fields, _) = split(message);
    let named: Vec<&[u8]> = fields.into_iter().filter_map(recipient_field).collect();
    let [only] = named.as_slice() else { return false };
    let only = String::from_utf8_lossy(only);
    let only = only.trim();
    only.matches('@').count() == 1 && (only.eq_ignore_ascii_case(to) || only.to_lowercase().ends_with(&format!("<{}>", to.to_lowercase())))
}
