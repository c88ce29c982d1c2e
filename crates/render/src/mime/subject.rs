//! The subject of a finished letter, read back from its bytes: for a digest that lists letters which are not sent.

use base64::{Engine, engine::general_purpose::STANDARD};
use tidings_core::Locale;

/// What a finished letter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its subject.
    pub subject: String,
    /// The language it is written in.
    pub locale: Option<Locale>,
}

/// Reads subject and language of a letter that this house has written; `None` if there is no subject.
pub fn glance(letter: &[u8]) -> Option<Glance> {
    let end = letter.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(letter.len());
    let head = String::from_utf8_lossy(&letter[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let field = |name: &str| {
        head.split("\r\n").find_map(|line| line.split_once(": ").filter(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value))
    };
    Some(Glance { subject: decoded(field("Subject")?), locale: field("Content-Language").and_then(|text| text.trim().parse().ok()) })
}

/// A field's value with its encoded words (RFC 2047) decoded; blanks between two of them belong to the encoding (§6.2).
fn decoded(value: &str) -> String {
    let mut text = Vec::new();
    let mut after_word = false;
    for (place, token) in value.split(' ').enumerate() {
        let word = encoded_word(token);
        if place > 0 && !(after_word && word.is_some()) {
            text.push(b' ');
        }
        after_word = word.is_some();
        text.extend(word.unwrap_or_else(|| token.as_bytes().to_vec()));
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn encoded_word(token: &str) -> Option<Vec<u8>> {
    let mut parts = token.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, how, text) = (parts.next()?, parts.next()?, parts.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    if how.eq_ignore_ascii_case("b") {
        return STANDARD.decode(text).ok();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => b' ',
            b'=' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::header::Header;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read(subject in "\\PC{1,120}") {
            let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assume!(!subject.is_empty());
            let mut letter = Vec::new();
            let mut header = Header::new(&mut letter);
            header.text("Subject", &subject).unwrap();
            header.plain("Content-Language", "de").unwrap();
            letter.extend_from_slice(b"\r\nSubject: not this one\r\n");
            let read = glance(&letter).unwrap();
            prop_assert_eq!(read.subject, subject);
            prop_assert_eq!(read.locale.map(|locale| locale.to_string()), Some("de".to_owned()));
        }
    }
}
