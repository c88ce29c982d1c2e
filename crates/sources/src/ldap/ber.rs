//! The part of the Basic Encoding Rules that LDAP uses (RFC 4511 §5.1): definite lengths, tags of one octet.

/// What cannot be read as BER, or not as what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub(crate) &'static str);

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The tag of the next value; `None` at the end.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next value with its tag.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let Some(Header { tag, head, length }) = header(self.rest)? else { return Err(Malformed("it ends early")) };
        let end = head.checked_add(length).filter(|end| *end <= self.rest.len()).ok_or(Malformed("a value is longer than the message"))?;
        let content = &self.rest[head..end];
        self.rest = &self.rest[end..];
        Ok((tag, content))
    }

    /// The next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.any()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed("another kind of value was expected")),
        }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek() == Some(tag) { Ok(Some(self.any()?.1)) } else { Ok(None) }
    }

    /// What the next value, of this tag, is made of.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, Malformed> {
        Ok(Self::new(self.expect(tag)?))
    }

    /// The next value as a whole number of this tag (INTEGER, ENUMERATED).
    pub(crate) fn number(&mut self, tag: u8) -> Result<i64, Malformed> {
        number(self.expect(tag)?)
    }

    /// The next value as text. What is not UTF-8 is replaced: such text is only shown.
    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.expect(OCTETS)?).into_owned())
    }
}

/// A whole number (X.690 §8.3).
pub(crate) fn number(content: &[u8]) -> Result<i64, Malformed> {
    if content.is_empty() || content.len() > 8 {
        return Err(Malformed("a number of an impossible length"));
    }
    let start = if content[0] & 0x80 == 0 { 0 } else { -1 };
    Ok(content.iter().fold(start, |sum: i64, byte| (sum << 8) | i64::from(*byte)))
}

/// The beginning of a value: its tag, how long tag and length are, and how long the content is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) tag: u8,
    pub(crate) head: usize,
    pub(crate) length: usize,
}

/// Reads the beginning of a value; `None` if it is not all there yet.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let [tag, first, more @ ..] = bytes else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Malformed("a tag of several octets"));
    }
    if first & 0x80 == 0 {
        return Ok(Some(Header { tag: *tag, head: 2, length: usize::from(*first) }));
    }
    let octets = usize::from(first & 0x7f);
    if octets == 0 || octets > 4 {
        return Err(Malformed("a length that LDAP does not have"));
    }
    let Some(length) = more.get(..octets) else { return Ok(None) };
    let length = length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    Ok(Some(Header { tag: *tag, head: 2 + octets, length }))
}

/// Writes values one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// What is encoded already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.extend_from_slice(encoded);
        self
    }

    pub(crate) fn value(&mut self, tag: u8, content: &[u8]) -> &mut Self {
        self.0.push(tag);
        let length = content.len();
        if length < 0x80 {
            self.0.push(u8::try_from(length).expect("it is below 128"));
        } else {
            let bytes = length.to_be_bytes();
            let octets = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            self.0.push(0x80 | u8::try_from(octets.len()).expect("a length has at most eight octets"));
            self.0.extend_from_slice(octets);
        }
        self.0.extend_from_slice(content);
        self
    }

    /// A value made of what `inside` writes.
    pub(crate) fn nest(&mut self, tag: u8, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let mut writer = Self::new();
        inside(&mut writer);
        self.value(tag, &writer.0)
    }

    pub(crate) fn number(&mut self, tag: u8, number: i64) -> &mut Self {
        let bytes = number.to_be_bytes();
        // As few octets as keep the sign (X.690 §8.3.2).
        let spare =
            bytes.windows(2).take_while(|two| (two[0] == 0 && two[1] & 0x80 == 0) || (two[0] == 0xff && two[1] & 0x80 != 0)).count();
        self.value(tag, &bytes[spare..])
    }

    pub(crate) fn octets(&mut self, content: &[u8]) -> &mut Self {
        self.value(OCTETS, content)
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.octets(text.as_bytes())
    }

    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.value(BOOLEAN, &[if value { 0xff } else { 0 }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(number: i64) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.number(INTEGER, number);
        writer.finish()
    }

    #[test]
    fn numbers_take_as_few_octets_as_they_can() {
        assert_eq!(written(0), [2, 1, 0]);
        assert_eq!(written(127), [2, 1, 127]);
        assert_eq!(written(128), [2, 2, 0, 128]);
        assert_eq!(written(-1), [2, 1, 0xff]);
        assert_eq!(written(-128), [2, 1, 0x80]);
        assert_eq!(written(-129), [2, 2, 0xff, 0x7f]);
    }

    #[test]
    fn long_values_have_long_lengths() {
        let mut writer = Writer::new();
        writer.octets(&[7; 300]);
        let bytes = writer.finish();
        assert_eq!(bytes[..4], [4, 0x82, 1, 44]);
        assert_eq!(Reader::new(&bytes).expect(OCTETS).unwrap(), [7; 300]);
    }

    #[test]
    fn what_is_cut_is_an_error_and_no_panic() {
        let mut writer = Writer::new();
        writer.nest(SEQUENCE, |w| _ = w.number(INTEGER, 5).text("abc"));
        let bytes = writer.finish();
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).any().is_err());
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: i64) {
            prop_assert_eq!(Reader::new(&written(number)).number(INTEGER), Ok(number));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.any().is_ok() {}
        }
    }
}
