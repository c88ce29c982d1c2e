//! Replies of a relay (RFC 5321 §4.2): parsing out of the byte buffer, with limits on what a relay may make us keep.

use std::fmt::Write as _;

/// Longest line of a reply, its end included; RFC 5321 §4.5.3.1.5 wants 512, real relays send more.
pub(crate) const MAX_LINE: usize = 4096;
/// Most lines of one reply.
const MAX_LINES: usize = 100;
/// Most characters of a reply that go into a history.
const MAX_TEXT: usize = 500;

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced(pub u8, pub u16, pub u16);

/// A whole reply, all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The basic code, 200 to 599.
    pub code: u16,
    /// The enhanced code, if there is one and its class agrees with the basic code (RFC 2034 §4); if not, the basic code wins.
    pub enhanced: Option<Enhanced>,
    /// The lines behind the code, joined by `\n`.
    text: String,
}

/// Bytes that are not a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Reply {
    /// The lines behind the code.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n')
    }

    /// The whole reply as one line, cut if it is very long: `250 2.0.0 Ok: queued as 1234`.
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(self.text.len().min(MAX_TEXT) + 4);
        let _ = write!(line, "{} ", self.code);
        if self.text.len() <= MAX_TEXT && !self.text.contains('\n') {
            line.push_str(&self.text);
        } else {
            line.extend(self.text.chars().take(MAX_TEXT).map(|c| if c == '\n' { ' ' } else { c }));
        }
        if line.ends_with(' ') {
            line.pop();
        }
        line
    }

    /// The first digit: 2, 3, 4 or 5.
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// Takes one reply from the front of `bytes`; gives it with its length, or `None` if it is not whole yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut code = None;
        let mut text = String::new();
        let mut at = 0;
        for number in 0.. {
            if number == MAX_LINES {
                return Err(Malformed("a reply of more than 100 lines"));
            }
            let rest = &bytes[at..];
            let Some(end) = rest.iter().take(MAX_LINE).position(|b| *b == b'\n') else {
                let early = rest.len().min(3);
                if !rest[..early].iter().all(u8::is_ascii_digit) {
                    return Err(Malformed("a reply line that does not begin with three digits"));
                }
                return if rest.len() >= MAX_LINE { Err(Malformed("a reply line longer than 4096 bytes")) } else { Ok(None) };
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            at += end + 1;
            let (found, last, words) = split(line)?;
            if code.is_some_and(|code| code != found) {
                return Err(Malformed("a reply whose lines carry different codes"));
            }
            code = Some(found);
            if number > 0 {
                text.push('\n');
            }
            match std::str::from_utf8(words) {
                Ok(words) if words.bytes().all(|b| b >= b' ' && b.is_ascii() && b != 0x7F) => text.push_str(words),
                _ => text.extend(String::from_utf8_lossy(words).chars().map(|c| if c.is_control() { '?' } else { c })),
            }
            if last {
                let enhanced = enhanced(found, &text);
                return Ok(Some((Self { code: found, enhanced, text }, at)));
            }
        }
        unreachable!("the loop ends at its limit of lines")
    }
}

/// One line: its code, whether it is the last, its text.
fn split(line: &[u8]) -> Result<(u16, bool, &[u8]), Malformed> {
    let digits = line.get(..3).filter(|d| d.iter().all(u8::is_ascii_digit));
    let Some(digits) = digits else { return Err(Malformed("a reply line that does not begin with three digits")) };
    let code = digits.iter().fold(0, |code, d| code * 10 + u16::from(d - b'0'));
    if !(200..600).contains(&code) {
        return Err(Malformed("a reply code outside 200 to 599"));
    }
    match line.get(3) {
        None => Ok((code, true, &[])),
        Some(b' ') => Ok((code, true, &line[4..])),
        Some(b'-') => Ok((code, false, &line[4..])),
        Some(_) => Err(Malformed("a reply code that is followed by neither a space nor a hyphen")),
    }
}

fn enhanced(code: u16, text: &str) -> Option<Enhanced> {
    let word = text.split([' ', '\n']).next()?;
    let mut parts = word.split('.');
    let (class, subject, detail) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next().is_none() && u16::from(class) == code / 100).then_some(Enhanced(class, subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(text: &str) -> Reply {
        Reply::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn several_lines_are_one_reply_and_what_follows_stays() {
        let bytes = b"250-first\r\n250 second\r\n354 next\r\n";
        let (reply, length) = Reply::parse(bytes).unwrap().unwrap();
        assert_eq!((reply.code, reply.line().as_str(), length), (250, "250 first second", 23));
    }

    #[test]
    fn an_enhanced_code_counts_only_if_it_agrees_with_the_basic_one() {
        assert_eq!(whole("550 5.1.1 nobody\r\n").enhanced, Some(Enhanced(5, 1, 1)));
        assert_eq!(whole("550 4.1.1 nobody\r\n").enhanced, None);
        assert_eq!(whole("550 5.1 nobody\r\n").enhanced, None);
    }

    #[test]
    fn what_is_no_reply_is_told_from_what_is_not_whole() {
        assert_eq!(Reply::parse(b"25").unwrap(), None);
        assert_eq!(Reply::parse(b"250-a\r\n25").unwrap(), None);
        let long = [b"250 ".as_slice(), &[b'x'; 5000]].concat();
        let many = "250-x\r\n".repeat(101);
        for wrong in
            [b"ok\r\n".as_slice(), b"HTTP", b"250-a\r\n251 b\r\n", b"999 x\r\n", b"150 x\r\n", b"250_x\r\n", &long, many.as_bytes()]
        {
            assert!(Reply::parse(wrong).is_err(), "{}", String::from_utf8_lossy(&wrong[..wrong.len().min(20)]));
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_history() {
        assert_eq!(whole("550 a\x1b[31mb\0c\r\n").line(), "550 a?[31mb?c");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_the_length_stays_within(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, length))) = Reply::parse(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
