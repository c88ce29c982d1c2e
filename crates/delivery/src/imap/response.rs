//! What an IMAP server says (RFC 9051 §7, RFC 3501 §7), taken apart: lines with their literals, and values in them. Bounded, whatever it sends.

/// The longest line without its literals: the answer to a search for 100,000 messages, with room.
const LONGEST_LINE: usize = 2 << 20;
/// The longest literal: a mail as far as it is looked at, with room.
const LONGEST_LITERAL: usize = 2 << 20;
/// Most literals of a response.
const MOST_LITERALS: usize = 64;
/// Stands in a line for a literal; no line holds it otherwise (RFC 9051 §9, CHAR8).
const LITERAL: u8 = 0;
/// How deep lists may stand in one another.
const DEEPEST: usize = 16;

/// Not IMAP, or more than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Whom a response is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    Untagged,
    /// `+`: the server waits for more.
    Continue,
    Of(String),
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) tag: Tag,
    /// What stands behind the tag, with [`LITERAL`] for each literal.
    line: Vec<u8>,
    literals: Vec<Vec<u8>>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Nil,
    /// Unquoted, such as `FETCH`, `42` or `BODY[]<0>`.
    Atom(String),
    /// Quoted, or a literal.
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(self, Self::Atom(atom) if atom.eq_ignore_ascii_case(word))
    }

    pub(super) fn number(&self) -> Option<u32> {
        match self {
            Self::Atom(atom) => atom.parse().ok(),
            _ => None,
        }
    }
}

impl Response {
    /// The response at the beginning of what was received, and its length; `None` if it is not whole yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let (mut at, mut text, mut literals) = (0, Vec::new(), Vec::new());
        loop {
            let Some(end) = bytes[at..].iter().position(|b| *b == b'\n').map(|end| at + end) else {
                return if bytes.len() - at > LONGEST_LINE { Err(Malformed("a line without an end")) } else { Ok(None) };
            };
            let line = bytes[at..end].strip_suffix(b"\r").unwrap_or(&bytes[at..end]);
            if line.contains(&LITERAL) {
                return Err(Malformed("a line with NUL"));
            }
            at = end + 1;
            let Some((before, length)) = literal(line) else {
                text.extend_from_slice(line);
                return Ok(Some((Self::of(&text, literals), at)));
            };
            text.extend_from_slice(before);
            text.push(LITERAL);
            if length > LONGEST_LITERAL || literals.len() >= MOST_LITERALS || text.len() > LONGEST_LINE {
                return Err(Malformed("more than was asked for"));
            }
            let Some(content) = bytes.get(at..at + length) else { return Ok(None) };
            literals.push(content.to_vec());
            at += length;
        }
    }

    fn of(text: &[u8], literals: Vec<Vec<u8>>) -> Self {
        let (tag, rest) = match text.iter().position(|b| *b == b' ') {
            Some(space) => (&text[..space], &text[space + 1..]),
            None => (text, &text[text.len()..]),
        };
        let tag = match tag {
            b"*" => Tag::Untagged,
            b"+" => Tag::Continue,
            tag => Tag::Of(String::from_utf8_lossy(tag).into_owned()),
        };
        Self { tag, line: rest.to_vec(), literals }
    }

    /// Bytes it takes in memory, more or less.
    pub(super) fn size(&self) -> usize {
        self.line.len() + self.literals.iter().map(Vec::len).sum::<usize>() + 64
    }

    /// The line as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.line).replace('\0', "…")
    }

    /// Its first word.
    pub(super) fn word(&self) -> String {
        self.text().split(' ').next().unwrap_or_default().to_ascii_uppercase()
    }

    /// What stands behind its first word.
    pub(super) fn words(&self) -> String {
        self.text().split_once(' ').map(|(_, rest)| rest.to_owned()).unwrap_or_default()
    }

    /// The response code in brackets (RFC 9051 §7.1) of a status response, as `NAME rest`.
    pub(super) fn code(&self) -> Option<String> {
        let words = self.words();
        let (code, _) = words.strip_prefix('[')?.split_once(']')?;
        Some(code.to_owned())
    }

    /// All values of the line.
    pub(super) fn values(&self) -> Result<Vec<Value>, Malformed> {
        let mut reader = Values { line: &self.line, at: 0, literals: self.literals.iter() };
        let values = reader.list(0)?;
        if reader.at < self.line.len() { Err(Malformed("a bracket too many")) } else { Ok(values) }
    }
}

/// A line's end that says how long the literal is that follows (RFC 9051 §4.3), and what stands before it.
fn literal(line: &[u8]) -> Option<(&[u8], usize)> {
    let open = line.iter().rposition(|b| *b == b'{')?;
    let digits = line[open + 1..].strip_suffix(b"}")?;
    let digits = digits.strip_suffix(b"+").unwrap_or(digits);
    let length = std::str::from_utf8(digits).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))?;
    // What does not fit in a number is longer than anything that is taken.
    Some((line[..open].strip_suffix(b"~").unwrap_or(&line[..open]), length.parse().unwrap_or(usize::MAX)))
}

struct Values<'a> {
    line: &'a [u8],
    at: usize,
    literals: std::slice::Iter<'a, Vec<u8>>,
}

impl Values<'_> {
    /// Values up to a closing bracket or the end.
    fn list(&mut self, depth: usize) -> Result<Vec<Value>, Malformed> {
        if depth > DEEPEST {
            return Err(Malformed("lists too deep in one another"));
        }
        let mut values = Vec::new();
        while let Some(byte) = self.line.get(self.at) {
            match byte {
                b' ' => self.at += 1,
                b')' => break,
                b'(' => {
                    self.at += 1;
                    values.push(Value::List(self.list(depth + 1)?));
                    if self.line.get(self.at) != Some(&b')') {
                        return Err(Malformed("a list without an end"));
                    }
                    self.at += 1;
                }
                b'"' => values.push(Value::Text(self.quoted()?)),
                &LITERAL => {
                    self.at += 1;
                    values.push(Value::Text(self.literals.next().cloned().unwrap_or_default()));
                }
                _ => values.push(self.atom()),
            }
        }
        Ok(values)
    }

    fn quoted(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            match self.line.get(self.at) {
                None => return Err(Malformed("a text without an end")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    text.extend(self.line.get(self.at + 1));
                    self.at += 2;
                }
                Some(byte) => {
                    text.push(*byte);
                    self.at += 1;
                }
            }
        }
    }

    /// Up to a blank or bracket; what stands in square brackets belongs to it.
    fn atom(&mut self) -> Value {
        let (start, mut within) = (self.at, false);
        while let Some(byte) = self.line.get(self.at) {
            match byte {
                b'[' => within = true,
                b']' => within = false,
                b' ' | b'(' | b')' | b'"' | &LITERAL if !within => break,
                _ => {}
            }
            self.at += 1;
        }
        let atom = String::from_utf8_lossy(&self.line[start..self.at]).into_owned();
        if atom.eq_ignore_ascii_case("nil") { Value::Nil } else { Value::Atom(atom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Response {
        let (response, length) = Response::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        response
    }

    #[test]
    fn a_mail_stands_in_a_literal() {
        let response = parsed("* 12 FETCH (UID 34 BODY[]<0> {12}\r\na: b\r\n)\r\n{3} FLAGS (\\Seen))\r\n");
        assert_eq!(response.tag, Tag::Untagged);
        let values = response.values().unwrap();
        assert!(values[0].number() == Some(12) && values[1].is("fetch"));
        let Value::List(parts) = &values[2] else { panic!("{values:?}") };
        assert!(parts[0].is("UID") && parts[1].number() == Some(34) && parts[2].is("BODY[]<0>"));
        assert_eq!((&parts[3], &parts[5]), (&Value::Text(b"a: b\r\n)\r\n{3}".to_vec()), &Value::List(vec![Value::Atom("\\Seen".into())])));
    }

    #[test]
    fn codes_and_words_are_read() {
        let response = parsed("A7 NO [TRYCREATE] no such (folder\r\n");
        assert_eq!(response.tag, Tag::Of("A7".to_owned()));
        assert_eq!((response.word().as_str(), response.code().as_deref()), ("NO", Some("TRYCREATE")));
        assert_eq!(parsed("* OK [UIDVALIDITY 42] good\r\n").code().as_deref(), Some("UIDVALIDITY 42"));
        assert_eq!(parsed("+ \r\n").tag, Tag::Continue);
        assert_eq!(parsed("+\r\n").tag, Tag::Continue);
        let values = parsed("* LIST (\\HasNoChildren) \"/\" \"a \\\"b\\\"\" NIL BODY[HEADER.FIELDS (TO CC)]\r\n").values().unwrap();
        assert_eq!((&values[3], &values[4]), (&Value::Text(b"a \"b\"".to_vec()), &Value::Nil));
        assert!(values[5].is("BODY[HEADER.FIELDS (TO CC)]"));
    }

    #[test]
    fn what_is_too_much_or_no_imap_is_refused_before_it_is_kept() {
        assert!(Response::parse(b"* 1 FETCH (BODY[] {99999999}\r\n").is_err());
        assert!(Response::parse(b"* 1 FETCH (BODY[] {99999999999999999999999}\r\n").is_err());
        assert!(Response::parse(&vec![b'x'; LONGEST_LINE + 2]).is_err());
        assert!(Response::parse(b"* a\0b\r\n").is_err());
        for text in ["* (\r\n", "* \"a\r\n", "* a)\r\n", &format!("* {}\r\n", "(".repeat(99))] {
            assert!(parsed(text).values().is_err(), "{text}");
        }
        assert_eq!(Response::parse(b"* 1 FETCH (BODY[] {10}\r\nabc"), Ok(None));
        assert_eq!(Response::parse(b"* OK"), Ok(None));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((response, length))) = Response::parse(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = (response.values(), response.code(), response.word());
            }
        }
    }
}
