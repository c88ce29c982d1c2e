//! Replies (RFC 5321 §4.2) with their enhanced status codes (RFC 3463), which are left out where they are not announced.

use std::borrow::Cow;

/// One reply of a single line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Empty where a reply has none (220, 334, 354).
    pub(crate) enhanced: &'static str,
    pub(crate) text: Cow<'static, str>,
}

impl Reply {
    pub(crate) fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, enhanced, text: text.into() }
    }

    /// Bad order of commands.
    pub(crate) fn out_of_order(text: &'static str) -> Self {
        Self::new(503, "5.5.1", text)
    }

    /// Bad syntax of a parameter.
    pub(crate) fn bad_argument(text: &'static str) -> Self {
        Self::new(501, "5.5.4", text)
    }

    /// The bytes on the wire.
    pub(crate) fn render(&self, with_enhanced: bool) -> Vec<u8> {
        let Self { code, enhanced, text } = self;
        if with_enhanced && !enhanced.is_empty() {
            format!("{code} {enhanced} {text}\r\n").into_bytes()
        } else {
            format!("{code} {text}\r\n").into_bytes()
        }
    }
}

/// A reply given as text, in wire form: every line ends in CRLF.
pub(crate) fn render_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + 2);
    for line in text.trim_end_matches(['\r', '\n']).split('\n') {
        bytes.extend_from_slice(line.trim_end_matches('\r').as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enhanced_code_appears_only_where_it_is_announced() {
        let reply = Reply::new(250, "2.1.0", "sender ok");
        assert_eq!(reply.render(true), b"250 2.1.0 sender ok\r\n");
        assert_eq!(reply.render(false), b"250 sender ok\r\n");
        assert_eq!(Reply::new(354, "", "go on").render(true), b"354 go on\r\n");
    }

    #[test]
    fn a_reply_text_of_several_lines_ends_each_in_crlf() {
        assert_eq!(render_text("421-one\n421 two"), b"421-one\r\n421 two\r\n");
        assert_eq!(render_text("250 ok\r\n"), b"250 ok\r\n");
    }
}
