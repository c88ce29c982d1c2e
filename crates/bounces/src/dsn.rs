//! Delivery status notifications: the part for programs (RFC 3464 §2, with addresses beyond ASCII RFC 6533 §3).

use crate::{
    classify::{action, telling},
    mime::{Fields, Leaf, lines},
    report::{Reported, one_line},
};

/// Recipients of one report that are looked at.
pub(crate) const MOST_RECIPIENTS: usize = 100;

/// What the part for programs says.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) reporter: Option<String>,
    pub(crate) envelope: Option<String>,
    pub(crate) recipients: Vec<Reported>,
}

/// The media types of the part.
pub(crate) const MEDIA: [&str; 2] = ["message/delivery-status", "message/global-delivery-status"];

/// Reads the part: a block of fields for the message, then one for each recipient. Blocks are told apart by what they hold, because some hosts write everything
/// into one, and some leave out the first.
pub(crate) fn status(leaf: &Leaf<'_>) -> Status {
    let mut status = Status::default();
    for fields in blocks(leaf.bytes()) {
        if let Some(host) = fields.get("reporting-mta").map(typed).filter(|host| !host.is_empty()) {
            status.reporter.get_or_insert_with(|| one_line(&host));
        }
        if let Some(envelope) = fields.get("original-envelope-id") {
            status.envelope.get_or_insert_with(|| envelope.trim().to_owned());
        }
        if status.recipients.len() < MOST_RECIPIENTS
            && ["final-recipient", "original-recipient", "action", "status"].iter().any(|name| fields.has(name))
        {
            status.recipients.push(recipient(&fields));
        }
    }
    status
}

/// Blocks of fields with empty lines between them.
fn blocks(text: &[u8]) -> Vec<Fields> {
    let mut blocks = vec![Vec::new()];
    for line in lines(text) {
        let empty = line.trim_ascii().is_empty();
        if empty && blocks.last().is_some_and(|block| !block.is_empty()) {
            if blocks.len() > MOST_RECIPIENTS {
                break;
            }
            blocks.push(Vec::new());
        } else if !empty && let Some(block) = blocks.last_mut() {
            block.extend_from_slice(line);
            block.push(b'\n');
        }
    }
    blocks.iter().map(|block| Fields::of(block)).filter(|fields| !fields.is_empty()).collect()
}

fn recipient(fields: &Fields) -> Reported {
    let mut names: Vec<String> = Vec::new();
    for field in ["original-recipient", "final-recipient"] {
        for name in fields.get(field).map(addresses).unwrap_or_default() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let diagnostic = fields.get("diagnostic-code").map(typed).unwrap_or_default();
    let code = telling(fields.get("status"), &diagnostic);
    Reported {
        class: action(fields.get("action").unwrap_or_default(), code, &diagnostic),
        names,
        status: code.map(|code| code.to_string()),
        diagnostic: one_line(&diagnostic),
    }
}

/// What stands behind the type of a typed field: `smtp; 550 5.1.1 …`, `dns; mx.example.org`.
fn typed(value: &str) -> String {
    let kind = value.split_once(';').filter(|(kind, _)| {
        let kind = kind.trim();
        !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    kind.map_or(value, |(_, rest)| rest).trim().to_owned()
}

/// The address of a recipient field, as it stands there and, should it be written in xtext (RFC 3461 §4, RFC 6533 §3), decoded as well: hosts differ in whether they
/// undo it.
fn addresses(value: &str) -> Vec<String> {
    let written = bare(&typed(value));
    let decoded = if written.contains("\\x{") { decode_unicode(&written) } else { decode_xtext(&written) };
    [Some(written), decoded].into_iter().flatten().filter(|address| address.contains('@')).collect()
}

/// An address without angle brackets and what stands around them.
pub(crate) fn bare(text: &str) -> String {
    let inner = text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(text, |(inner, _)| inner);
    inner.trim().trim_matches(['"', '\'']).chars().take(320).collect()
}

/// `ada+2Bx@example.org` → `ada+x@example.org`; `None` if nothing is encoded, or not so.
fn decode_xtext(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let (byte, after) = match (*byte, after) {
            (b'+', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?, after)
            }
            (b'+', _) => return None,
            other => other,
        };
        out.push(byte);
        rest = after;
    }
    String::from_utf8(out).ok().filter(|decoded| decoded != text && !decoded.contains(char::is_control))
}

/// `j\x{F6}rg@example.org` → `jörg@example.org`.
fn decode_unicode(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let (digits, tail) = after.split_once('}')?;
        out.push_str(before);
        out.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).filter(|c| !c.is_control())?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_their_encoding() {
        assert_eq!(addresses("rfc822; ada@example.org"), ["ada@example.org"]);
        assert_eq!(addresses("RFC822;<ada@example.org>"), ["ada@example.org"]);
        assert_eq!(addresses("ada@example.org"), ["ada@example.org"]);
        assert_eq!(addresses("rfc822;ada+2Bx@example.org"), ["ada+2Bx@example.org", "ada+x@example.org"]);
        assert_eq!(addresses("rfc822;ada+x@example.org"), ["ada+x@example.org"]);
        assert_eq!(addresses("utf-8;j\\x{F6}rg@example.org"), ["j\\x{F6}rg@example.org", "jörg@example.org"]);
        assert!(addresses("x400; /C=de/").is_empty());
    }
}
