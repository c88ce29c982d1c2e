//! Search filters: from their written form (RFC 4515) to the wire's (RFC 4511 §4.5.1.7).

use super::ber::{SEQUENCE, Writer};

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{filter}` is not an LDAP filter (RFC 4515): {why} at character {at}")]
pub struct FilterError {
    /// The text.
    pub filter: String,
    /// What is wrong.
    pub why: &'static str,
    /// Where, counted from 1.
    pub at: usize,
}

/// Filters within filters.
const MAX_DEPTH: usize = 50;

/// The wire's form of a filter.
///
/// # Errors
/// [`FilterError`] with the place.
pub(crate) fn compile(filter: &str) -> Result<Vec<u8>, FilterError> {
    let text = filter.trim();
    let mut parser = Parser { text: text.as_bytes(), at: 0 };
    let mut writer = Writer::new();
    let mut parsed = parser.filter(&mut writer, 0);
    if parsed.is_ok() && parser.at < parser.text.len() {
        parsed = Err("something follows the filter");
    }
    match parsed {
        Ok(()) => Ok(writer.finish()),
        Err(why) => {
            Err(FilterError { filter: text.to_owned(), why, at: text.get(..parser.at).map_or(parser.at, |read| read.chars().count()) + 1 })
        }
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn filter(&mut self, writer: &mut Writer, depth: usize) -> Result<(), &'static str> {
        if depth > MAX_DEPTH {
            return Err("filters are nested too deep");
        }
        self.eat(b'(', "`(` is missing")?;
        match self.peek() {
            Some(sign @ (b'&' | b'|')) => {
                self.at += 1;
                let mut inside = Writer::new();
                while self.peek() == Some(b'(') {
                    self.filter(&mut inside, depth + 1)?;
                }
                writer.value(if sign == b'&' { 0xa0 } else { 0xa1 }, &inside.finish());
            }
            Some(b'!') => {
                self.at += 1;
                let mut inside = Writer::new();
                self.filter(&mut inside, depth + 1)?;
                writer.value(0xa2, &inside.finish());
            }
            _ => self.item(writer)?,
        }
        self.eat(b')', "`)` is missing")
    }

    fn item(&mut self, writer: &mut Writer) -> Result<(), &'static str> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-.;:_".contains(&byte)) {
            self.at += 1;
        }
        let name = &self.text[start..self.at];
        let (name, tag) = match (name.strip_suffix(b":"), self.peek()) {
            (Some(rule), Some(b'=')) => {
                self.at += 1;
                return self.extensible(rule, writer);
            }
            (None, Some(b'=')) => (name, 0xa3),
            (None, Some(b'>')) => (name, 0xa5),
            (None, Some(b'<')) => (name, 0xa6),
            (None, Some(b'~')) => (name, 0xa8),
            _ => return Err("an attribute with `=`, `>=`, `<=`, `~=` or `:=` was expected"),
        };
        if name.is_empty() || name.contains(&b':') {
            return Err("the name of an attribute is missing");
        }
        if tag != 0xa3 {
            self.at += 1;
        }
        self.eat(b'=', "`=` is missing")?;
        let parts = self.value()?;
        match parts.as_slice() {
            [only] => _ = writer.nest(tag, |w| _ = w.octets(name).octets(only)),
            _ if tag != 0xa3 => return Err("`*` can only stand behind `=`"),
            [first, last] if first.is_empty() && last.is_empty() => _ = writer.value(0x87, name),
            [first, middle @ .., last] => {
                writer.nest(0xa4, |w| {
                    w.octets(name);
                    w.nest(SEQUENCE, |w| {
                        if !first.is_empty() {
                            w.value(0x80, first);
                        }
                        middle.iter().filter(|part| !part.is_empty()).for_each(|part| _ = w.value(0x81, part));
                        if !last.is_empty() {
                            w.value(0x82, last);
                        }
                    });
                });
            }
            [] => return Err("a value is missing"),
        }
        Ok(())
    }

    /// `attribute:dn:rule:=value`, of which attribute, `dn` and rule may be missing, not all at once. `left` is what stands before the last `:`.
    fn extensible(&mut self, left: &[u8], writer: &mut Writer) -> Result<(), &'static str> {
        let mut parts = left.split(|byte| *byte == b':');
        let attribute = parts.next().unwrap_or_default();
        let mut rest: Vec<&[u8]> = parts.collect();
        let of_dn = rest.first().is_some_and(|part| part.eq_ignore_ascii_case(b"dn"));
        if of_dn {
            rest.remove(0);
        }
        let rule = match rest.as_slice() {
            [] if attribute.is_empty() => return Err("a matching rule or an attribute is missing"),
            [] => None,
            [rule] if !rule.is_empty() => Some(*rule),
            _ => return Err("one matching rule was expected"),
        };
        let value = match self.value()?.as_slice() {
            [only] => only.clone(),
            _ => return Err("`*` cannot stand behind `:=`"),
        };
        writer.nest(0xa9, |w| {
            if let Some(rule) = rule {
                w.value(0x81, rule);
            }
            if !attribute.is_empty() {
                w.value(0x82, attribute);
            }
            w.value(0x83, &value);
            if of_dn {
                w.value(0x84, &[0xff]);
            }
        });
        Ok(())
    }

    /// A value up to `)`, cut at each `*`.
    fn value(&mut self) -> Result<Vec<Vec<u8>>, &'static str> {
        let mut parts = vec![Vec::new()];
        loop {
            match self.peek() {
                None => return Err("`)` is missing"),
                Some(b')') => return Ok(parts),
                Some(b'(') => return Err("`(` within a value is written `\\28`"),
                Some(b'*') => parts.push(Vec::new()),
                Some(b'\\') => {
                    let digits = self.text.get(self.at + 1..self.at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                    let byte = digits
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                        .ok_or("`\\` needs two hexadecimal digits behind it")?;
                    parts.last_mut().expect("there is always one").push(byte);
                    self.at += 2;
                }
                Some(byte) => parts.last_mut().expect("there is always one").push(byte),
            }
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8, otherwise: &'static str) -> Result<(), &'static str> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(otherwise)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_has_its_form_on_the_wire() {
        assert_eq!(compile("(cn=ab)").unwrap(), b"\xa3\x08\x04\x02cn\x04\x02ab");
        assert_eq!(compile("(cn=*)").unwrap(), b"\x87\x02cn");
        assert_eq!(compile("(n>=5)").unwrap(), b"\xa5\x06\x04\x01n\x04\x015");
        assert_eq!(compile("(n<=5)").unwrap(), b"\xa6\x06\x04\x01n\x04\x015");
        assert_eq!(compile("(n~=5)").unwrap(), b"\xa8\x06\x04\x01n\x04\x015");
        assert_eq!(compile("(&(a=1)(!(b=2)))").unwrap(), b"\xa0\x12\xa3\x06\x04\x01a\x04\x011\xa2\x08\xa3\x06\x04\x01b\x04\x012");
        assert_eq!(compile("(|)").unwrap(), b"\xa1\x00");
        assert_eq!(compile("(c=a*b*c)").unwrap(), b"\xa4\x0e\x04\x01c\x30\x09\x80\x01a\x81\x01b\x82\x01c");
        assert_eq!(compile("(c=a*)").unwrap(), b"\xa4\x08\x04\x01c\x30\x03\x80\x01a");
        assert_eq!(compile(r"(c=\2a\e4)").unwrap(), b"\xa3\x07\x04\x01c\x04\x02*\xe4");
        assert_eq!(compile("(u:1.2.3:=2)").unwrap(), b"\xa9\x0d\x81\x051.2.3\x82\x01u\x83\x012");
        assert_eq!(compile("(o:dn:=x)").unwrap(), b"\xa9\x09\x82\x01o\x83\x01x\x84\x01\xff");
    }

    #[test]
    fn what_is_no_filter_is_named_with_its_place() {
        for (text, at) in
            [("cn=a", 1), ("(cn=a", 6), ("(cn)", 4), ("(cn=a)x", 7), (r"(cn=\zz)", 5), ("(=a)", 2), ("(n>=*)", 6), ("(&(a=1)", 8)]
        {
            assert_eq!(compile(text).unwrap_err().at, at, "{text}");
        }
        assert!(compile(&"(!".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r"[()&|!a=*\\<>~:ü0-9 ]{0,40}") {
            let _ = compile(&text);
        }
    }
}
