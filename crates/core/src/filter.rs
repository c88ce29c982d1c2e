//! Filters in the syntax of SCIM (RFC 7644 §3.4.2.2): parsed, printed, and held against JSON objects.
//!
//! Provisioning clients send them, and stored queries of the configuration are written in them. Beyond the RFC's grammar one thing is understood because clients send it:
//! an attribute of selected elements, `emails[type eq "work"].value eq "ada@example.org"`. What deliberately does not live here: SCIM's schemas, and which objects are searched.

mod matches;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;
use std::fmt;

/// A filter. It prints in normal form, and what it prints parses to the same filter.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All of these hold.
    And(Vec<Filter>),
    /// One of these holds.
    Or(Vec<Filter>),
    /// This does not hold.
    Not(Box<Filter>),
    /// The attribute passes the test.
    Attribute(Attribute, Test),
    /// One element of the attribute's values passes the filter, and with it the test of its sub-attribute, if there is one.
    Element(Attribute, Box<Filter>, Option<(String, Test)>),
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `pr`: there is a value, and it is not empty.
    Present,
    /// It compares so with a text, a number, a truth value or null.
    Compare(Operator, Value),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `eq`: equal.
    Equal,
    /// `ne`: not equal.
    NotEqual,
    /// `co`: contains.
    Contains,
    /// `sw`: starts with.
    StartsWith,
    /// `ew`: ends with.
    EndsWith,
    /// `gt`: greater, later, or after in the alphabet.
    Greater,
    /// `ge`: greater or equal.
    GreaterOrEqual,
    /// `lt`: less, earlier, or before in the alphabet.
    Less,
    /// `le`: less or equal.
    LessOrEqual,
}

/// The way to an attribute: `userName`, `name.familyName`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value`. Names are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The schema that the name is of, if it is said.
    pub schema: Option<String>,
    /// The attribute's name.
    pub name: String,
    /// The sub-attribute's name.
    pub sub: Option<String>,
}

/// What a change is aimed at (RFC 7644 §3.5.2, `PATH`): an attribute, or selected elements of one, or a sub-attribute of those.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// The attribute; its sub-attribute is `None` if elements are selected.
    pub attribute: Attribute,
    /// Which elements.
    pub select: Option<Filter>,
    /// The sub-attribute of the selected elements.
    pub sub: Option<String>,
}

/// A text that is not a filter, or not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {message}", at = .at + 1)]
pub struct FilterError {
    /// What is wrong, and what is allowed.
    pub message: String,
    /// Where: counts characters from 0.
    pub at: usize,
}

impl Operator {
    /// All operators.
    pub const ALL: [Self; 9] = [
        Self::Equal,
        Self::NotEqual,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
        Self::Greater,
        Self::GreaterOrEqual,
        Self::Less,
        Self::LessOrEqual,
    ];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "eq",
            Self::NotEqual => "ne",
            Self::Contains => "co",
            Self::StartsWith => "sw",
            Self::EndsWith => "ew",
            Self::Greater => "gt",
            Self::GreaterOrEqual => "ge",
            Self::Less => "lt",
            Self::LessOrEqual => "le",
        }
    }

    /// Whether it asks for an order, which truth values and null do not have.
    pub const fn is_order(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual)
    }

    /// Whether it looks into a text.
    pub const fn is_textual(self) -> bool {
        matches!(self, Self::Contains | Self::StartsWith | Self::EndsWith)
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}:")?;
        }
        f.write_str(&self.name)?;
        self.sub.iter().try_for_each(|sub| write!(f, ".{sub}"))
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("pr"),
            Self::Compare(operator, value) => write!(f, "{} {value}", operator.as_str()),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(terms) => joined(f, terms, " and ", |term| matches!(term, Self::And(_) | Self::Or(_))),
            Self::Or(terms) => joined(f, terms, " or ", |term| matches!(term, Self::Or(_))),
            Self::Not(term) => write!(f, "not ({term})"),
            Self::Attribute(attribute, test) => write!(f, "{attribute} {test}"),
            Self::Element(attribute, filter, None) => write!(f, "{attribute}[{filter}]"),
            Self::Element(attribute, filter, Some((sub, test))) => write!(f, "{attribute}[{filter}].{sub} {test}"),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, terms: &[Filter], by: &str, grouped: impl Fn(&Filter) -> bool) -> fmt::Result {
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            f.write_str(by)?;
        }
        if grouped(term) {
            write!(f, "({term})")?;
        } else {
            write!(f, "{term}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.attribute)?;
        if let Some(select) = &self.select {
            write!(f, "[{select}]")?;
        }
        self.sub.iter().try_for_each(|sub| write!(f, ".{sub}"))
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}
