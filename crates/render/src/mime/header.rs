//! Header fields: folded (RFC 5322 §2.2.3), any script as encoded words (RFC 2047), nothing that could start a field of its own.

use crate::error::RenderError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tidings_core::{Address, Timestamp, address::is_header_safe};

/// Where a header line is folded (RFC 5322 §2.1.1: should be at most 78).
const LINE: usize = 76;
/// Longest encoded word (RFC 2047 §2).
const WORD: usize = 75;
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The header of one message under construction.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
}

impl<'a> Header<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, column: 0 }
    }

    /// A field with free text in any script, such as `Subject`.
    pub(crate) fn text(&mut self, name: &'static str, value: &str) -> Result<(), RenderError> {
        safe(name, value)?;
        self.name(name);
        if is_plain_text(value) && value.split(' ').all(|word| word.len() < LINE) {
            for word in value.split(' ') {
                self.token(word);
            }
        } else {
            self.encoded_words(value);
        }
        self.end();
        Ok(())
    }

    /// A field whose value is ASCII by construction, folded at its blanks.
    pub(crate) fn plain(&mut self, name: &'static str, value: &str) -> Result<(), RenderError> {
        safe(name, value)?;
        if !value.is_ascii() {
            return Err(RenderError::Header { name, why: "holds a character beyond ASCII".to_owned() });
        }
        self.name(name);
        for word in value.split(' ') {
            self.token(word);
        }
        self.end();
        Ok(())
    }

    /// A field with mail addresses, such as `To`. Nothing is written when there are none.
    pub(crate) fn addresses<'b>(
        &mut self,
        name: &'static str,
        mailboxes: impl IntoIterator<Item = (Option<&'b str>, &'b Address)>,
    ) -> Result<(), RenderError> {
        let mut first = true;
        for (display, address) in mailboxes {
            if first {
                self.name(name);
            } else {
                self.out.push(b',');
                self.column += 1;
            }
            first = false;
            safe(name, address.as_str())?;
            if let Some(display) = display.filter(|text| !text.trim().is_empty()) {
                safe(name, display)?;
                self.phrase(display.trim());
                self.token(&format!("<{address}>"));
            } else {
                self.token(address.as_str());
            }
        }
        if !first {
            self.end();
        }
        Ok(())
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
        self.column = name.len() + 1;
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    /// One token behind a blank; on a line of its own if it does not fit.
    fn token(&mut self, token: &str) {
        if self.column + 1 + token.len() > LINE && self.column > 1 && !token.is_empty() {
            self.out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        self.out.push(b' ');
        self.out.extend_from_slice(token.as_bytes());
        self.column += 1 + token.len();
    }

    /// A display name (RFC 5322 §3.2.5): as it is, quoted, or as encoded words.
    fn phrase(&mut self, name: &str) {
        let atoms = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~ ".contains(&b);
        if !is_plain_text(name) || name.len() > 60 {
            self.encoded_words(name);
        } else if name.bytes().all(atoms) {
            for word in name.split(' ') {
                self.token(word);
            }
        } else {
            self.token(&format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")));
        }
    }

    /// RFC 2047: words of at most 75 characters, each with whole letters, one a line. Latin scripts stay half readable
    /// in the Q form, others are shorter in base64.
    fn encoded_words(&mut self, text: &str) {
        let quoted: usize = text.bytes().map(|b| if is_word_literal(b) || b == b' ' { 1 } else { 3 }).sum();
        let base64 = quoted > text.len() * 2;
        let (open, close): (&[u8], &[u8]) = if base64 { (b"=?UTF-8?B?", b"?=") } else { (b"=?UTF-8?Q?", b"?=") };
        let room = |column: usize| (LINE - (column + 1).min(LINE)).min(WORD).saturating_sub(open.len() + close.len());
        let mut rest = text;
        while !rest.is_empty() {
            let mut fits = fitting(rest, room(self.column), base64);
            if fits == 0 || (fits < rest.len() && room(self.column) < 24) {
                self.out.extend_from_slice(b"\r\n");
                self.column = 0;
                fits = fitting(rest, room(0), base64);
            }
            let (word, after) = rest.split_at(fits);
            let start = self.out.len();
            self.out.push(b' ');
            self.out.extend_from_slice(open);
            if base64 {
                self.out.extend_from_slice(STANDARD.encode(word).as_bytes());
            } else {
                quoted_word(word, self.out);
            }
            self.out.extend_from_slice(close);
            self.column += self.out.len() - start;
            rest = after;
        }
    }
}

/// How many bytes of `text`, in whole letters, fit into `room` encoded characters.
fn fitting(text: &str, room: usize, base64: bool) -> usize {
    let mut used = 0;
    let mut bytes = 0;
    for c in text.chars() {
        let length = c.len_utf8();
        used = if base64 {
            (bytes + length).div_ceil(3) * 4
        } else if c == ' ' || c.is_ascii() && is_word_literal(c as u8) {
            used + 1
        } else {
            used + 3 * length
        };
        if used > room {
            break;
        }
        bytes += length;
    }
    bytes
}

/// What the Q encoding may show as it is, also inside a phrase (RFC 2047 §5 rule 3).
fn is_word_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'*' | b'+' | b'-' | b'/')
}

fn quoted_word(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push(b'_'),
            _ if is_word_literal(byte) => out.push(byte),
            _ => out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

/// Whether a text may stand in a header unencoded: printable ASCII, no run of blanks that folding could harm, nothing that looks like an encoded word.
fn is_plain_text(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b)) && !text.contains("=?") && !text.contains("  ") && text == text.trim()
}

/// CR, LF, NUL and their kin are refused, never cleaned away: a value that holds them was made to deceive.
fn safe(name: &'static str, value: &str) -> Result<(), RenderError> {
    match value.chars().find(|c| c.is_control()) {
        Some(c) if c != '\t' || !is_header_safe(value) => {
            Err(RenderError::Header { name, why: format!("holds a control character (U+{:04X})", u32::from(c)) })
        }
        _ => Ok(()),
    }
}

/// A value as an ASCII token for our own `X-Tidings-…` fields: `%`, `,` and all beyond printable ASCII as `%XX` of its UTF-8, cut at `limit` characters.
pub(crate) fn ascii_token(value: &str, limit: usize) -> String {
    let mut token = String::with_capacity(value.len());
    for c in value.trim().chars() {
        let mut piece = String::new();
        if (' '..='~').contains(&c) && c != '%' && c != ',' {
            piece.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                piece.push('%');
                piece.push(char::from(HEX[usize::from(byte >> 4)]));
                piece.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
        if token.len() + piece.len() > limit {
            break;
        }
        token.push_str(&piece);
    }
    let mut squeezed = token.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if squeezed.is_empty() {
        squeezed.push('-');
    }
    squeezed
}

/// RFC 5322 §3.3, in UTC whoever reads it: `Sat, 21 Nov 2026 09:00:00 +0000`.
pub(crate) fn date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let moment = at.to_zoned(jiff::tz::TimeZone::UTC);
    let day = DAYS[usize::try_from(moment.weekday().to_monday_zero_offset()).expect("a weekday is 0 to 6")];
    let month = MONTHS[usize::try_from(moment.month() - 1).expect("a month is 1 to 12")];
    format!("{day}, {} {month} {:04} {:02}:{:02}:{:02} +0000", moment.day(), moment.year(), moment.hour(), moment.minute(), moment.second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject(value: &str) -> String {
        let mut out = Vec::new();
        Header::new(&mut out).text("Subject", value).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn to(name: &str) -> String {
        let mut out = Vec::new();
        let address = Address::parse("ada@example.org").unwrap();
        Header::new(&mut out).addresses("To", [(Some(name), &address)]).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A small decoder of RFC 2047, written from the RFC and sharing nothing with the encoder.
    pub(super) fn decoded(value: &str) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        let mut after_word = false;
        let mut rest = value;
        while !rest.is_empty() {
            let blanks = rest.len() - rest.trim_start_matches(' ').len();
            let (gap, tail) = rest.split_at(blanks);
            let token = tail.split(' ').next().unwrap_or("");
            if let Some(word) = token.strip_prefix("=?UTF-8?").and_then(|w| w.strip_suffix("?=")) {
                assert!(token.len() <= 75, "{token}");
                if !after_word {
                    bytes.extend_from_slice(gap.as_bytes());
                }
                let (how, text) = word.split_at(2);
                if how == "B?" {
                    let part = STANDARD.decode(text).unwrap();
                    assert!(std::str::from_utf8(&part).is_ok(), "letters must not be torn: {token}");
                    bytes.extend(part);
                } else {
                    let mut at = 0;
                    let text = text.as_bytes();
                    while at < text.len() {
                        match text[at] {
                            b'_' => bytes.push(b' '),
                            b'=' => {
                                bytes.push(u8::from_str_radix(std::str::from_utf8(&text[at + 1..at + 3]).unwrap(), 16).unwrap());
                                at += 2;
                            }
                            other => bytes.push(other),
                        }
                        at += 1;
                    }
                }
                after_word = true;
            } else {
                bytes.extend_from_slice(gap.as_bytes());
                bytes.extend_from_slice(token.as_bytes());
                after_word = false;
            }
            rest = &tail[token.len()..];
        }
        String::from_utf8(bytes).unwrap()
    }

    fn unfolded(header: &str, name: &str) -> String {
        assert!(header.is_ascii() && header.ends_with("\r\n"), "{header:?}");
        for line in header.split("\r\n") {
            assert!(line.len() <= 998 && !line.contains(['\r', '\n']), "{line:?}");
            assert!(line.is_empty() || !line.trim().is_empty(), "a line of blanks: {header:?}");
        }
        let one = header.replace("\r\n", "");
        one.strip_prefix(name).unwrap().strip_prefix(": ").unwrap().to_owned()
    }

    #[test]
    fn plain_text_stays_readable_and_is_folded_at_blanks() {
        assert_eq!(subject("You joined the group Payroll"), "Subject: You joined the group Payroll\r\n");
        let long = subject("word ".repeat(30).trim_end());
        assert!(long.split("\r\n").all(|line| line.len() <= 78), "{long}");
    }

    #[test]
    fn a_name_is_quoted_only_where_it_must_be() {
        assert_eq!(to("Ada King"), "To: Ada King <ada@example.org>\r\n");
        assert_eq!(to("King, Ada \"A\\\""), "To: \"King, Ada \\\"A\\\\\\\"\" <ada@example.org>\r\n");
        assert_eq!(to("Jörg"), "To: =?UTF-8?Q?J=C3=B6rg?= <ada@example.org>\r\n");
    }

    #[test]
    fn line_breaks_and_nul_are_refused_in_every_field() {
        let mut out = Vec::new();
        for evil in ["a\r\nBcc: eve@example.org", "a\nb", "a\0b", "a\rb", "a\u{85}b"] {
            assert!(Header::new(&mut out).text("Subject", evil).is_err(), "{evil:?}");
            assert!(Header::new(&mut out).plain("X-Tidings-Rule", evil).is_err(), "{evil:?}");
            let address = Address::parse("ada@example.org").unwrap();
            assert!(Header::new(&mut out).addresses("To", [(Some(evil), &address)]).is_err(), "{evil:?}");
        }
    }

    #[test]
    fn a_date_is_in_utc() {
        assert_eq!(date("2026-11-21T10:00:05+01:00".parse().unwrap()), "Sat, 21 Nov 2026 09:00:05 +0000");
    }

    #[test]
    fn a_token_is_short_printable_ascii() {
        assert_eq!(ascii_token("Gehälter, alle", 80), "Geh%C3%A4lter%2C alle");
        assert_eq!(ascii_token("ää", 7), "%C3%A4");
        assert_eq!(ascii_token("a\r\nb", 80), "a%0D%0Ab");
    }

    proptest! {
        #[test]
        fn any_subject_is_ascii_and_comes_back(text in "\\PC{1,200}") {
            let text = text.trim();
            prop_assume!(!text.is_empty());
            prop_assert_eq!(decoded(&unfolded(&subject(text), "Subject")), text);
        }

        #[test]
        fn any_name_is_ascii_and_comes_back(text in "\\PC{1,200}") {
            let text = text.trim();
            prop_assume!(!text.is_empty());
            let value = unfolded(&to(text), "To");
            let phrase = value.strip_suffix(" <ada@example.org>").unwrap();
            let name = match phrase.strip_prefix('"').and_then(|p| p.strip_suffix('"')) {
                Some(quoted) => {
                    let mut plain = String::new();
                    let mut escaped = false;
                    for c in quoted.chars() {
                        if escaped || c != '\\' { plain.push(c); escaped = false } else { escaped = true }
                    }
                    plain
                }
                None => decoded(phrase),
            };
            prop_assert_eq!(name, text);
        }
    }
}
