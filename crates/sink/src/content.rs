//! The content of a letter on its way in: unstuffing dots (RFC 5321 §4.5.2), counting octets, noticing line ends that stand alone.

use crate::wire::Input;

/// A part of a line longer than this is moved out of the input before its end is known.
const LONG_LINE: usize = 64 * 1024;

/// Content being collected, by DATA or by BDAT.
#[derive(Debug)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    /// Octets seen, also those not kept.
    size: u64,
    /// Largest size kept, 0 for no limit.
    limit: u64,
    at_line_start: bool,
}

impl Content {
    pub(crate) fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), size: 0, limit, at_line_start: true }
    }

    /// Takes what the input holds, up to and without the final dot; true once that was seen. What follows the dot stays in the input.
    pub(crate) fn take_stuffed(&mut self, input: &mut Input) -> bool {
        loop {
            let rest = input.rest();
            let Some(end) = crlf(rest) else {
                // No end of line yet. Only the last byte can be half of one.
                if rest.len() > LONG_LINE {
                    let part = rest.len() - 1;
                    let line = self.unstuffed(&rest[..part]);
                    self.push(line);
                    self.at_line_start = false;
                    input.consume(part);
                }
                return false;
            };
            let line = &rest[..end];
            if self.at_line_start && line == b".\r\n" {
                input.consume(end);
                return true;
            }
            let line = self.unstuffed(line);
            self.push(line);
            self.at_line_start = true;
            input.consume(end);
        }
    }

    /// Takes up to `left` octets as they are (BDAT) and says how many are still to come.
    pub(crate) fn take_raw(&mut self, input: &mut Input, left: u64) -> u64 {
        let have = input.rest();
        let take = have.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.push(&have[..take]);
        input.consume(take);
        left - take as u64
    }

    fn unstuffed<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        if self.at_line_start { line.strip_prefix(b".").unwrap_or(line) } else { line }
    }

    fn push(&mut self, part: &[u8]) {
        self.size += part.len() as u64;
        if self.too_large() {
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(part);
        }
    }

    pub(crate) fn too_large(&self) -> bool {
        self.limit != 0 && self.size > self.limit
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether a CR or LF stands alone somewhere (RFC 5321 §2.3.8 forbids it).
    pub(crate) fn has_bare_newline(&self) -> bool {
        let mut before = 0;
        for byte in &self.bytes {
            if (before == b'\r') != (*byte == b'\n') {
                return true;
            }
            before = *byte;
        }
        before == b'\r'
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The index just after the first CRLF.
fn crlf(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\n') {
        let at = from + at;
        if at > 0 && bytes[at - 1] == b'\r' {
            return Some(at + 1);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(pieces: &[&[u8]], limit: u64) -> (Content, bool, Vec<u8>) {
        let mut input = Input::default();
        let mut content = Content::new(limit);
        let mut ended = false;
        for piece in pieces {
            input.extend(piece);
            if !ended {
                ended = content.take_stuffed(&mut input);
            }
        }
        let rest = input.rest().to_vec();
        (content, ended, rest)
    }

    #[test]
    fn dots_are_unstuffed_and_what_follows_the_final_dot_stays() {
        let (content, ended, rest) = fed(&[b"a\r\n..b\r\n.c\r\n.\r\nMAIL"], 0);
        assert!(ended);
        assert_eq!(content.into_bytes(), b"a\r\n.b\r\nc\r\n");
        assert_eq!(rest, b"MAIL");
    }

    #[test]
    fn the_final_dot_is_found_however_it_is_cut() {
        let whole = b"a\r\n..\r\n\r\n.\r\nX";
        for cut in 0..whole.len() {
            let (content, ended, rest) = fed(&[&whole[..cut], &whole[cut..]], 0);
            assert!(ended, "cut at {cut}");
            assert_eq!(content.into_bytes(), b"a\r\n.\r\n\r\n", "cut at {cut}");
            assert_eq!(rest, b"X", "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = whole.chunks(1).collect();
        let (content, ended, _) = fed(&bytes, 0);
        assert!(ended);
        assert_eq!(content.into_bytes(), b"a\r\n.\r\n\r\n");
    }

    #[test]
    fn a_dot_after_a_lone_newline_ends_nothing() {
        let (content, ended, _) = fed(&[b"a\n.\nb\r.\rc\r\n.\n\r\n.\r\n"], 0);
        assert!(ended);
        assert!(content.has_bare_newline());
        assert_eq!(content.into_bytes(), b"a\n.\nb\r.\rc\r\n\n\r\n");
    }

    #[test]
    fn bare_newlines_are_noticed() {
        for (text, bare) in
            [(&b"a\r\nb\r\n"[..], false), (b"a\nb", true), (b"a\rb", true), (b"a\r\r\n", true), (b"a\r", true), (b"", false)]
        {
            let mut content = Content::new(0);
            content.push(text);
            assert_eq!(content.has_bare_newline(), bare, "{text:?}");
        }
    }

    #[test]
    fn very_long_lines_are_taken_in_parts_and_too_much_is_not_kept() {
        let long = vec![b'x'; 3 * LONG_LINE];
        let (content, ended, _) = fed(&[b"..", &long, b"\r", b"\n.\r\n"], 0);
        assert!(ended);
        assert_eq!(content.size(), long.len() as u64 + 3);
        let (content, ended, _) = fed(&[&long, b"\r\n.\r\n"], 1000);
        assert!(ended && content.too_large());
        assert!(content.into_bytes().is_empty());
    }
}
