//! JSON with the habits of .NET configuration files: comments, trailing commas, a byte order mark; and with those of manuals: lines of `...` that stand for
//! what the manual leaves out, and fragments without the outer braces.

use crate::{
    error::JsonError,
    node::{Entry, Node, Value},
};

/// Nesting beyond this is refused, so that a hostile file cannot exhaust the stack.
const DEEPEST: usize = 64;

/// The tree of a JSON text.
pub(crate) fn parse(text: &str) -> Result<Node, JsonError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.blanks()?;
    let start = parser.at;
    let node = if parser.peek() == Some('{') {
        parser.value()?
    } else {
        // A fragment as manuals print it: `"MailSettings": { … }`.
        let entries = parser.members(None)?;
        Node { span: start..parser.at, value: Value::Table(entries) }
    };
    parser.blanks()?;
    match parser.peek() {
        None => Ok(node),
        Some(c) => Err(parser.wrong(format!("`{c}` stands behind the end of the outermost object"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip(&mut self, text: &str) -> bool {
        let there = self.text[self.at..].starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    fn wrong(&self, message: impl Into<String>) -> JsonError {
        JsonError { message: message.into(), offset: self.at }
    }

    fn expected(&self, what: &str) -> JsonError {
        match self.peek() {
            Some(c) => self.wrong(format!("expected {what}, found `{}`", crate::problem::shown(&c.to_string()))),
            None => self.wrong(format!("expected {what}, found the end of the file")),
        }
    }

    /// Skips blanks, comments and ellipses. An ellipsis may stand wherever a blank may: manuals use it on lines of its own.
    fn blanks(&mut self) -> Result<(), JsonError> {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            if self.skip("//") {
                self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
            } else if self.text[self.at..].starts_with("/*") {
                let Some(end) = self.text[self.at + 2..].find("*/") else { return Err(self.wrong("the comment has no end")) };
                self.at += end + 4;
            } else if !(self.skip("...") || self.skip("…")) {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Node, JsonError> {
        self.blanks()?;
        let start = self.at;
        let value = match self.peek() {
            Some('{') => {
                self.deeper()?;
                self.at += 1;
                let entries = self.members(Some('}'))?;
                self.depth -= 1;
                Value::Table(entries)
            }
            Some('[') => {
                self.deeper()?;
                self.at += 1;
                let list = self.elements()?;
                self.depth -= 1;
                Value::List(list)
            }
            Some('"') => Value::Text(self.text_literal()?),
            Some(c) if c == '-' || c.is_ascii_alphanumeric() => self.word()?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Node { span: start..self.at, value })
    }

    fn deeper(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(self.wrong(format!("nested more than {DEEPEST} deep"))) } else { Ok(()) }
    }

    /// The members of an object up to its brace, or of a fragment up to the end of the text.
    fn members(&mut self, end: Option<char>) -> Result<Vec<Entry>, JsonError> {
        let mut entries = Vec::new();
        loop {
            self.blanks()?;
            if self.ends(end) {
                return Ok(entries);
            }
            if self.peek() != Some('"') {
                return Err(self.expected("a key in quotation marks"));
            }
            let start = self.at;
            let name = self.text_literal()?;
            let name_span = start..self.at;
            self.blanks()?;
            if !self.skip(":") {
                return Err(self.expected("`:`"));
            }
            entries.push(Entry { name, name_span, node: self.value()? });
            self.separator(end)?;
        }
    }

    fn elements(&mut self) -> Result<Vec<Node>, JsonError> {
        let mut list = Vec::new();
        loop {
            self.blanks()?;
            if self.ends(Some(']')) {
                return Ok(list);
            }
            list.push(self.value()?);
            self.separator(Some(']'))?;
        }
    }

    fn ends(&mut self, end: Option<char>) -> bool {
        let there = self.peek() == end;
        if there && end.is_some() {
            self.at += 1;
        }
        there
    }

    /// A comma, unless the end follows. The comma may be missing only where an ellipsis took its place.
    fn separator(&mut self, end: Option<char>) -> Result<(), JsonError> {
        let before = self.at;
        self.blanks()?;
        if self.skip(",") || self.peek() == end {
            return Ok(());
        }
        let between = &self.text[before..self.at];
        if between.contains("...") || between.contains('…') {
            return Ok(());
        }
        Err(self.expected(match end {
            Some(']') => "`,` or `]`",
            Some(_) => "`,` or `}`",
            None => "`,` or the end",
        }))
    }

    fn word(&mut self) -> Result<Value, JsonError> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')).count();
        let word = &rest[..length];
        let value = match word {
            "true" => Value::Flag(true),
            "false" => Value::Flag(false),
            "null" => Value::Null,
            _ if word.bytes().enumerate().all(|(i, b)| b.is_ascii_digit() || i == 0 && b == b'-') => Value::Integer(word.parse().ok()),
            _ if word.parse::<f64>().is_ok_and(f64::is_finite) && !word.starts_with(char::is_alphabetic) => Value::Float(word.to_owned()),
            _ => return Err(self.wrong(format!("`{}` is not a value; a text stands in quotation marks", crate::problem::shown(word)))),
        };
        self.at += length;
        Ok(value)
    }

    fn text_literal(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                '\n' | '\r' => break,
                c => text.push(c),
            }
        }
        self.at = start;
        Err(self.wrong("the text has no closing quotation mark on its line"))
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at - 1;
        let c = self.peek().unwrap_or_default();
        self.at += c.len_utf8().min(self.text.len() - self.at);
        Ok(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{C}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.hex(at)?;
                let pair = if (0xD800..0xDC00).contains(&first) && self.skip("\\u") { Some(self.hex(at)?) } else { None };
                let units = [Some(first), pair].into_iter().flatten();
                char::decode_utf16(units)
                    .next()
                    .and_then(Result::ok)
                    .ok_or_else(|| JsonError { message: "half a surrogate pair".into(), offset: at })?
            }
            // A Windows path written with single backslashes is the usual cause.
            _ => {
                return Err(JsonError {
                    message: format!(
                        "`\\{}` is no escape; write a backslash twice, as in \"C:\\\\Mails\"",
                        crate::problem::shown(&c.to_string())
                    ),
                    offset: at,
                });
            }
        })
    }

    fn hex(&mut self, at: usize) -> Result<u16, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += if digits.is_some() { 4 } else { 0 };
        digits.ok_or_else(|| JsonError { message: "`\\u` needs four hexadecimal digits".into(), offset: at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_trailing_commas_ellipses_and_fragments_are_read() {
        let tree = parse("{ // server\n...\n\"a\": [1, 2,], /* b */ \"b\": {\"c\": \"x\\u00e9\\\\\",},\n}").unwrap();
        assert!(matches!(&tree.get("a").unwrap().value, Value::List(list) if list.len() == 2));
        assert!(matches!(&tree.get("b").unwrap().get("c").unwrap().value, Value::Text(text) if text == "xé\\"));
        assert!(parse("\"MailSettings\": {\"Host\": \"h\"}").unwrap().get("MailSettings").unwrap().get("Host").is_some());
        assert!(parse("{\"a\": 1 ... \"b\": 2}").unwrap().get("b").is_some());
    }

    #[test]
    fn what_is_no_json_is_refused_with_place_and_reason() {
        let error = |text: &str| parse(text).unwrap_err();
        assert_eq!(error("{\"a\": 1 \"b\": 2}"), JsonError { message: "expected `,` or `}`, found `\"`".into(), offset: 8 });
        assert_eq!(error("{\"a\": yes}").offset, 6);
        assert!(error(r#"{"a": "C:\Mails"}"#).message.contains("write a backslash twice"));
        assert!(error("{\"a\": \"x").message.contains("no closing quotation mark"));
        assert!(error("{} x").message.contains("behind the end"));
        assert!(error(&"[".repeat(100)).message.contains("expected a key"));
        assert!(error(&format!("{{\"a\":{}", "[".repeat(100))).message.contains("deep"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"[{}\[\]:,"\\/*.u0-9a-c \né-]{0,60}"#) {
            let _ = parse(&text);
        }
    }
}
