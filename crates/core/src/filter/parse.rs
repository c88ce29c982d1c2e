//! From text to filter: a descent through RFC 7644's grammar (§3.4.2.2, figure 1), `and` binding tighter than `or`.

use super::{Attribute, Filter, FilterError, Operator, Path, Test};
use serde_json::Value;

/// Parentheses, brackets and `not` may be nested so deep.
const MAX_DEPTH: usize = 50;

/// The longest text that is read, in bytes.
const MAX_LENGTH: usize = 32 * 1024;

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`] with the place, if it is not one, is nested more than 50 deep or longer than 32 KiB.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut reader = Reader::new(text)?;
        let filter = reader.or()?;
        reader.blanks();
        if reader.rest().is_empty() { Ok(filter) } else { Err(reader.expected("`and`, `or` or the end")) }
    }
}

impl Path {
    /// Reads the path of a change.
    ///
    /// # Errors
    /// [`FilterError`], as for [`Filter::parse`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut reader = Reader::new(text)?;
        reader.blanks();
        let attribute = reader.attribute()?;
        let mut path = Self { attribute, select: None, sub: None };
        if reader.take("[") {
            path.select = Some(reader.selection()?);
            path.sub = reader.sub_attribute()?;
        }
        reader.blanks();
        if reader.rest().is_empty() { Ok(path) } else { Err(reader.expected("the end of the path")) }
    }
}

impl Attribute {
    /// Reads the way to an attribute, as `attributes`, `excludedAttributes` and `sortBy` name one.
    ///
    /// # Errors
    /// [`FilterError`], as for [`Filter::parse`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut reader = Reader::new(text)?;
        reader.blanks();
        let attribute = reader.attribute()?;
        reader.blanks();
        if reader.rest().is_empty() { Ok(attribute) } else { Err(reader.expected("the end of the attribute's name")) }
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes, always between two characters.
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Result<Self, FilterError> {
        let reader = Self { text, at: 0, depth: 0 };
        if text.len() > MAX_LENGTH { Err(reader.wrong(format!("longer than {MAX_LENGTH} bytes"))) } else { Ok(reader) }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, message: impl Into<String>) -> FilterError {
        FilterError { message: message.into(), at: self.text[..self.at].chars().count() }
    }

    fn expected(&self, what: &str) -> FilterError {
        let found: String = self.rest().chars().take_while(|c| !c.is_whitespace()).take(30).collect();
        self.wrong(if found.is_empty() { format!("expected {what}, found the end") } else { format!("expected {what}, found `{found}`") })
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, what: &str) -> bool {
        let there = self.rest().starts_with(what);
        if there {
            self.at += what.len();
        }
        there
    }

    /// The characters that may stand in a word.
    fn word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| c.is_whitespace() || "()[]\"".contains(c)).unwrap_or(rest.len());
        &rest[..end]
    }

    /// Takes a keyword, which is written in any case (RFC 5234 §2.3) and ends where a word ends.
    fn keyword(&mut self, keyword: &str) -> bool {
        let there = self.word().eq_ignore_ascii_case(keyword);
        if there {
            self.at += keyword.len();
        }
        there
    }

    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.wrong(format!("nested more than {MAX_DEPTH} deep"))) } else { Ok(()) }
    }

    fn or(&mut self) -> Result<Filter, FilterError> {
        let mut terms = vec![self.and()?];
        loop {
            self.blanks();
            if !self.keyword("or") {
                return Ok(one_or(terms, Filter::Or));
            }
            terms.push(self.and()?);
        }
    }

    fn and(&mut self) -> Result<Filter, FilterError> {
        let mut terms = vec![self.term()?];
        loop {
            self.blanks();
            if !self.keyword("and") {
                return Ok(one_or(terms, Filter::And));
            }
            terms.push(self.term()?);
        }
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        self.blanks();
        let start = self.at;
        if self.keyword("not") {
            self.blanks();
            if self.take("(") {
                return Ok(Filter::Not(Box::new(self.group()?)));
            }
            // An attribute may be called so.
            self.at = start;
        }
        if self.take("(") { self.group() } else { self.expression() }
    }

    /// What stands between parentheses; the first one is taken already.
    fn group(&mut self) -> Result<Filter, FilterError> {
        self.deeper()?;
        let filter = self.or()?;
        self.blanks();
        if !self.take(")") {
            return Err(self.expected("`and`, `or` or `)`"));
        }
        self.depth -= 1;
        Ok(filter)
    }

    /// What stands between brackets; the first one is taken already.
    fn selection(&mut self) -> Result<Filter, FilterError> {
        self.deeper()?;
        let filter = self.or()?;
        self.blanks();
        if !self.take("]") {
            return Err(self.expected("`and`, `or` or `]`"));
        }
        self.depth -= 1;
        Ok(filter)
    }

    fn expression(&mut self) -> Result<Filter, FilterError> {
        let attribute = self.attribute()?;
        if !self.take("[") {
            let test = self.test()?;
            return Ok(Filter::Attribute(attribute, test));
        }
        let filter = Box::new(self.selection()?);
        let sub = match self.sub_attribute()? {
            Some(sub) => Some((sub, self.test()?)),
            None => None,
        };
        Ok(Filter::Element(attribute, filter, sub))
    }

    fn sub_attribute(&mut self) -> Result<Option<String>, FilterError> {
        if !self.take(".") {
            return Ok(None);
        }
        let word = self.word();
        if !is_name(word) {
            return Err(self.expected("the name of a sub-attribute"));
        }
        self.at += word.len();
        Ok(Some(word.to_owned()))
    }

    fn attribute(&mut self) -> Result<Attribute, FilterError> {
        let word = self.word();
        if word.is_empty() {
            return Err(self.expected("the name of an attribute"));
        }
        // A schema's name holds dots (`2.0`), so it is split off first, at its last colon.
        let (schema, rest) = match word.rsplit_once(':') {
            Some((schema, rest)) => (Some(schema), rest),
            None => (None, word),
        };
        if schema.is_some_and(|schema| schema.len() < 5 || !schema.as_bytes()[..4].eq_ignore_ascii_case(b"urn:") || !is_urn(schema)) {
            return Err(self.expected("an attribute, or one with its schema before it: `urn:…:User:userName`"));
        }
        let (name, sub) = match rest.split_once('.') {
            // The name of a schema alone, as in `urn:…:2.0:User`, is an attribute, too: its last part then is the name.
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        if !is_name(name) || !sub.is_none_or(is_name) {
            return Err(self.expected("the name of an attribute: letters, digits, `-` and `_`, a sub-attribute behind one dot"));
        }
        self.at += word.len();
        Ok(Attribute { schema: schema.map(str::to_owned), name: name.to_owned(), sub: sub.map(str::to_owned) })
    }

    fn test(&mut self) -> Result<Test, FilterError> {
        self.blanks();
        if self.keyword("pr") {
            return Ok(Test::Present);
        }
        let Some(operator) = Operator::ALL.into_iter().find(|operator| self.keyword(operator.as_str())) else {
            return Err(self.expected("one of eq, ne, co, sw, ew, gt, ge, lt, le, pr"));
        };
        self.blanks();
        let start = self.at;
        let value = self.value()?;
        let unfit = match &value {
            Value::String(_) => None,
            _ if operator.is_textual() => Some("looks into a text"),
            Value::Bool(_) | Value::Null if operator.is_order() => Some("asks for an order, which this value does not have"),
            _ => None,
        };
        match unfit {
            None => Ok(Test::Compare(operator, value)),
            Some(why) => {
                self.at = start;
                Err(self.wrong(format!("`{}` {why}", operator.as_str())))
            }
        }
    }

    /// A value as JSON writes it; the words in any case, as the grammar's literals are.
    fn value(&mut self) -> Result<Value, FilterError> {
        if self.rest().starts_with('"') {
            let text = self.quoted()?;
            let value =
                serde_json::from_str::<String>(text).map_err(|error| self.wrong(format!("not a text as JSON writes it: {error}")))?;
            self.at += text.len();
            return Ok(Value::String(value));
        }
        let word = self.word();
        let value = match word.to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            _ => word.parse::<serde_json::Number>().ok().map(Value::Number),
        };
        let value = value.ok_or_else(|| self.expected("a value: \"text\", a number, true, false or null"))?;
        self.at += word.len();
        Ok(value)
    }

    /// A quoted text with its quotes; not taken yet.
    fn quoted(&self) -> Result<&'a str, FilterError> {
        let rest = self.rest();
        let mut escaped = false;
        for (index, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Ok(&rest[..=index]),
                _ => {}
            }
        }
        Err(self.wrong("the text that begins here does not end"))
    }
}

fn one_or(mut terms: Vec<Filter>, many: impl Fn(Vec<Filter>) -> Filter) -> Filter {
    if terms.len() == 1 { terms.remove(0) } else { many(terms) }
}

/// `ATTRNAME` (RFC 7643 §2.1), or `$ref`.
fn is_name(name: &str) -> bool {
    let plain = name.strip_prefix('$').unwrap_or(name);
    plain.starts_with(|c: char| c.is_ascii_alphabetic()) && plain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The characters that a URN may hold (RFC 8141 §2, as far as schemas use them).
fn is_urn(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/%+=@!$'*,;".contains(&b)) && !text.ends_with(':')
}
