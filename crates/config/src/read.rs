//! Reading a tree of values by the table of keys. First [`check`] walks the whole tree and tells every unknown key and every value of the wrong shape; then
//! the sections take their values out quietly through [`Table`] and look only at what concerns several keys at once.

use crate::{
    keys::{Key, Section, Shape},
    load::Loading,
    node::{Entry, Node, Value},
    problem::{did_you_mean, shown},
    units,
};
use std::{path::PathBuf, time::Duration};
use tidings_core::Address;

fn dotted(path: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let name = if bare { name.to_owned() } else { format!("\"{}\"", shown(name)) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Tells every unknown key and every value of the wrong shape in a table.
pub(crate) fn check(loading: &Loading<'_>, node: &Node, section: &'static Section, path: &str) {
    for entry in node.entries() {
        check_entry(loading, entry, section, path);
    }
}

/// Tells what is wrong with one entry of a table.
pub(crate) fn check_entry(loading: &Loading<'_>, entry: &Entry, section: &'static Section, path: &str) {
    let name = dotted(path, &entry.name);
    match section.find(&entry.name) {
        None => {
            let names = section.names();
            let hint = did_you_mean(&entry.name, names.iter().map(String::as_str));
            loading.problem(entry.name_span.start, name, format!("there is no such key{hint}"));
        }
        Some(key) => check_value(loading, &entry.node, &key.shape, &name),
    }
}

fn check_value(loading: &Loading<'_>, node: &Node, shape: &Shape, path: &str) {
    let at = node.span.start;
    let wrong = |message: String| loading.problem(at, path, message);
    match (shape, &node.value) {
        (Shape::Flag, Value::Flag(_)) => {}
        (Shape::Number(least, most), Value::Integer(number)) => {
            if !number.is_some_and(|n| (*least..=*most).contains(&n)) {
                let found = number.map_or_else(|| "this number".to_owned(), |n| n.to_string());
                wrong(format!("{found} is out of range ({least}–{most})"));
            }
        }
        (Shape::Port, Value::Integer(number)) => {
            if !number.is_some_and(|n| (1..=65535).contains(&n)) {
                wrong(format!("{} is not a port (1–65535)", number.map_or_else(|| "this number".to_owned(), |n| n.to_string())));
            }
        }
        (Shape::ReplyCodes, Value::Integer(number)) => {
            if !number.is_some_and(|n| (400..=599).contains(&n)) {
                wrong(format!("{} is no code of a refusal (400–599)", number.map_or_else(|| "this number".to_owned(), |n| n.to_string())));
            }
        }
        (Shape::Duration, Value::Integer(Some(number))) => wrong(crate::error::UnitError::NoUnit(number.to_string()).to_string()),
        (Shape::Texts | Shape::Durations, Value::List(list)) => {
            let inner = if matches!(shape, Shape::Texts) { &Shape::Text } else { &Shape::Duration };
            for (index, one) in list.iter().enumerate() {
                check_value(loading, one, inner, &format!("{path}[{index}]"));
            }
        }
        (Shape::Servers, Value::List(list)) => {
            for (index, one) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match &one.value {
                    // A list within the list is none.
                    Value::List(_) => loading.problem(one.span.start, path, format!("must be an address, not {}", one.what())),
                    _ => check_value(loading, one, shape, &path),
                }
            }
        }
        (Shape::Map, Value::Table(entries)) => {
            for entry in entries {
                check_value(loading, &entry.node, &Shape::Text, &dotted(path, &entry.name));
            }
        }
        (Shape::Table(section), Value::Table(_)) => check(loading, node, section, path),
        (Shape::Tables(section), Value::List(list)) => {
            for (index, one) in list.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if matches!(one.value, Value::Table(_)) {
                    check(loading, one, section, &path);
                } else {
                    loading.problem(one.span.start, path, format!("must be a table, not {}", one.what()));
                }
            }
        }
        (
            Shape::Flag
            | Shape::Number(..)
            | Shape::Port
            | Shape::Texts
            | Shape::Durations
            | Shape::Map
            | Shape::Table(_)
            | Shape::Tables(_),
            _,
        ) => {
            wrong(format!("must be {}, not {}", shape.called(), node.what()));
        }
        (_, Value::Text(text)) => {
            if let Some(fault) = shape.fault(text) {
                wrong(fault);
            }
        }
        _ => wrong(format!("must be {}, not {}", shape.called(), node.what())),
    }
}

/// A table of a checked tree. A value that is absent gives its default; one of the wrong shape has been told already and counts as absent.
#[derive(Debug, Clone)]
pub(crate) struct Table<'a> {
    node: Option<&'a Node>,
    section: &'static Section,
    path: String,
    /// Where the table stands, for problems about what is missing.
    at: usize,
}

impl<'a> Table<'a> {
    pub(crate) fn root(node: &'a Node, section: &'static Section) -> Self {
        Self { node: Some(node), section, path: String::new(), at: 0 }
    }

    /// The dotted name of one of its keys.
    pub(crate) fn key(&self, name: &str) -> String {
        dotted(&self.path, name)
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where the table stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Where a key's value stands; the table itself if it is absent.
    pub(crate) fn place(&self, name: &str) -> usize {
        self.raw(name).map_or(self.at, |node| node.span.start)
    }

    /// Whether a key is written.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Whether the table itself is written.
    pub(crate) fn is_written(&self) -> bool {
        self.node.is_some()
    }

    /// The keys that are written, in order.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&'a str, usize)> {
        self.node.into_iter().flat_map(Node::entries).map(|entry| (entry.name.as_str(), entry.name_span.start))
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(name))
    }

    fn default_of(&self, name: &str) -> Option<&'static str> {
        let key = self.section.find(name);
        debug_assert!(key.is_some(), "`{name}` stands in no table of keys");
        key.and_then(|key| key.default)
    }

    /// A text as written, or the default.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        match self.raw(name).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text),
            Some(_) => None,
            None => self.default_of(name),
        }
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// A text that has a parser of its own.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.raw(name).map(|node| &node.value) {
            Some(Value::Flag(flag)) => *flag,
            _ => self.default_of(name) == Some("true"),
        }
    }

    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let number = match self.raw(name).map(|node| &node.value) {
            Some(Value::Integer(number)) => *number,
            Some(_) => None,
            None => self.default_of(name)?.parse().ok(),
        };
        T::try_from(number?).ok()
    }

    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        units::duration(self.text(name)?).ok()
    }

    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        units::size(self.text(name)?).ok()
    }

    pub(crate) fn address(&self, name: &str) -> Option<Address> {
        Address::parse(self.text(name)?).ok()
    }

    /// A path, taken relative to the folder of the configuration file.
    pub(crate) fn file(&self, name: &str, loading: &Loading<'_>) -> Option<PathBuf> {
        self.text(name).map(|text| loading.resolve(text))
    }

    /// The texts of a list with their places; a default is not foreseen.
    pub(crate) fn texts(&self, name: &str) -> Vec<(usize, &'a str)> {
        let Some(Value::List(list)) = self.raw(name).map(|node| &node.value) else { return Vec::new() };
        let text = |node: &'a Node| match &node.value {
            Value::Text(text) => Some((node.span.start, text.as_str())),
            _ => None,
        };
        list.iter().filter_map(text).collect()
    }

    /// The texts of a key that holds one or a list of them, with their places.
    pub(crate) fn one_or_more(&self, name: &str) -> Vec<(usize, &'a str)> {
        match self.raw(name).map(|node| (node.span.start, &node.value)) {
            Some((at, Value::Text(text))) => vec![(at, text)],
            _ => self.texts(name),
        }
    }

    /// The names and texts of a free table, each with the place of its name.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(usize, &'a str, &'a str)> {
        let entries = self.raw(name).map(Node::entries).unwrap_or_default();
        let pair = |entry: &'a Entry| match &entry.node.value {
            Value::Text(text) => Some((entry.name_span.start, entry.name.as_str(), text.as_str())),
            _ => None,
        };
        entries.iter().filter_map(pair).collect()
    }

    /// A table inside, written or not.
    pub(crate) fn table(&self, name: &str) -> Self {
        let Some(Key { shape: Shape::Table(section), .. }) = self.section.find(name) else {
            unreachable!("`{name}` is no table in the table of keys")
        };
        let node = self.raw(name).filter(|node| matches!(node.value, Value::Table(_)));
        Self { node, section, path: self.key(name), at: node.map_or(self.at, |node| node.span.start) }
    }

    /// The tables of a list.
    pub(crate) fn tables(&self, name: &str) -> Vec<Self> {
        let Some(Key { shape: Shape::Tables(section), .. }) = self.section.find(name) else {
            unreachable!("`{name}` is no list of tables in the table of keys")
        };
        let Some(Value::List(list)) = self.raw(name).map(|node| &node.value) else { return Vec::new() };
        let path = self.key(name);
        let table =
            |(index, node): (usize, &'a Node)| Self { node: Some(node), section, path: format!("{path}[{index}]"), at: node.span.start };
        list.iter().enumerate().filter(|(_, node)| matches!(node.value, Value::Table(_))).map(table).collect()
    }
}
