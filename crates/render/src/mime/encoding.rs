//! Transfer encodings for bodies (RFC 2045 §6): everything leaves as ASCII with lines of at most 76 characters and CRLF.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Longest line of an encoded body, without CRLF (RFC 2045 §6.7, §6.8).
const LINE: usize = 76;
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// How a text body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is: ASCII with short lines.
    SevenBit,
    /// Quoted-printable (RFC 2045 §6.7): mostly ASCII.
    QuotedPrintable,
    /// Base64 (RFC 2045 §6.8): scripts in which nearly every letter is beyond ASCII.
    Base64,
}

impl Encoding {
    /// The smallest encoding that carries `text` safely.
    pub(crate) fn for_text(text: &str) -> Self {
        let beyond = text.bytes().filter(|b| !b.is_ascii()).count();
        if beyond * 4 > text.len() {
            Self::Base64
        } else if beyond == 0 && text.split('\n').all(is_plain_line) {
            Self::SevenBit
        } else {
            Self::QuotedPrintable
        }
    }

    /// The value of `Content-Transfer-Encoding`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }

    /// Appends `text` in this encoding; it ends with CRLF.
    pub(crate) fn write(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Self::SevenBit => {
                for line in lines(text) {
                    out.extend_from_slice(line.as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
            }
            Self::QuotedPrintable => {
                for line in lines(text) {
                    quoted_printable_line(line.as_bytes(), out);
                }
            }
            Self::Base64 => {
                let mut canonical = String::with_capacity(text.len() + 64);
                for line in lines(text) {
                    canonical.push_str(line);
                    canonical.push_str("\r\n");
                }
                base64_lines(canonical.as_bytes(), out);
            }
        }
    }
}

/// A line that may stay as it is: short, printable, no blank at its end, no start that a mailbox file or an SMTP server could take for its own.
fn is_plain_line(line: &str) -> bool {
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.len() <= LINE
        && !line.ends_with([' ', '\t'])
        && !line.starts_with("From ")
        && line != "."
        && line.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}

/// The lines of a text whatever its line ends are; a final line end does not start another line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line))
}

fn quoted_printable_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        // A run of plain bytes is copied at once; one column stays free for the `=` of a soft line break.
        let run = literal_run(&rest[..rest.len().min(LINE - 1 - column)]);
        let run = if run == rest.len() && matches!(rest[run - 1], b' ' | b'\t') { run - 1 } else { run };
        let from = column == 0 && (rest.starts_with(b"From ") || rest == b".");
        if run > 0 && !from {
            out.extend_from_slice(&rest[..run]);
            column += run;
            rest = &rest[run..];
        } else if column + 3 > LINE - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        } else {
            let byte = rest[0];
            out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            column += 3;
            rest = &rest[1..];
        }
        if column >= LINE - 1 && !rest.is_empty() {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// How many bytes at the beginning quoted-printable may show as they are. Looks at eight at a time, which the compiler turns into one comparison.
fn literal_run(bytes: &[u8]) -> usize {
    let all = |eight: &[u8]| eight.iter().fold(true, |all, &byte| all & is_literal(byte));
    let whole = bytes.chunks_exact(8).take_while(|eight| all(eight)).count() * 8;
    whole + bytes[whole..].iter().take_while(|&&byte| is_literal(byte)).count()
}

/// Whether quoted-printable may show the byte as it is (RFC 2045 §6.7 rules 2 and 3).
fn is_literal(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte) && byte != b'='
}

/// Appends base64 in lines of 76 characters.
pub(crate) fn base64_lines(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(LINE / 4 * 3) {
        let start = out.len();
        out.resize(start + chunk.len().div_ceil(3) * 4, 0);
        STANDARD.encode_slice(chunk, &mut out[start..]).expect("four characters for three bytes have been reserved");
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str, encoding: Encoding) -> String {
        let mut out = Vec::new();
        encoding.write(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn decoded_quoted_printable(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let joined = text.replace("=\r\n", "");
        let bytes = joined.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] == b'=' {
                out.push(u8::from_str_radix(&joined[at + 1..at + 3], 16).unwrap());
                at += 3;
            } else {
                out.push(bytes[at]);
                at += 1;
            }
        }
        out
    }

    #[test]
    fn the_encoding_fits_the_script() {
        assert_eq!(Encoding::for_text("Hello\nAda\n"), Encoding::SevenBit);
        assert_eq!(Encoding::for_text("Grüße aus Köln und viel mehr Text"), Encoding::QuotedPrintable);
        assert_eq!(Encoding::for_text("パスワードの有効期限"), Encoding::Base64);
        assert_eq!(Encoding::for_text("From here on\n"), Encoding::QuotedPrintable);
        assert_eq!(Encoding::for_text(&"x".repeat(77)), Encoding::QuotedPrintable);
    }

    #[test]
    fn a_blank_at_the_end_and_a_from_at_the_start_are_encoded() {
        assert_eq!(encoded("a \nFrom b\n.\n", Encoding::QuotedPrintable), "a=20\r\n=46rom b\r\n=2E\r\n");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_quoted_printable(text in "[\\PC\\n\t=.]{0,300}") {
            let written = encoded(&text, Encoding::QuotedPrintable);
            prop_assert!(written.is_ascii());
            for line in written.split("\r\n") {
                prop_assert!(line.len() <= LINE && !line.contains(['\r', '\n']) && !line.ends_with([' ', '\t']), "{line:?}");
            }
            let mut canonical = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\r\n");
            canonical.push_str("\r\n");
            prop_assert_eq!(String::from_utf8(decoded_quoted_printable(&written)).unwrap(), canonical);
        }

        #[test]
        fn base64_lines_are_short_and_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            base64_lines(&bytes, &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert!(text.split("\r\n").all(|line| line.len() <= LINE));
            prop_assert_eq!(STANDARD.decode(text.replace("\r\n", "")).unwrap(), bytes);
        }
    }
}
