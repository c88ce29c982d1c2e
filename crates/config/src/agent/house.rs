//! The section `Tidings` of an agent's file: the keys of `tidings.toml`, spelled as .NET spells them (`TlsCertFile` for `tls_cert_file`; without regard to case
//! and underscores, so that both are taken), those of `[server]` without a heading. It is brought into the form that every section reads.

use crate::{
    keys::{Section, Shape},
    load::Loading,
    node::{Entry, Node, Value},
    problem::{Problem, Source, did_you_mean},
    sections::{alerts, database, letters, log, organisation, relay, safety, server},
};
use std::{cell::RefCell, collections::BTreeMap, ops::Range, path::Path};

/// The tables that may stand in `Tidings`. There are no directories, queries and rules: an agent tells of what it is posted, and only by the built-in rules.
static TABLES: [(&str, &Section); 7] = [
    ("organisation", &organisation::ORGANISATION),
    ("database", &database::DATABASE),
    ("safety", &safety::SAFETY),
    ("letters", &letters::LETTERS),
    ("log", &log::LOG),
    ("relay", &relay::RELAY),
    ("alerts", &alerts::ALERTS),
];

/// The key that only agents have.
const HAND_OVER: &str = "hand_over_uri";

/// What an agent listens on, and keeps its data in, unless its file says otherwise: a `tidings serve` on the same machine has other ones.
const DEFAULTS: [(&str, &str); 2] = [("listen", "127.0.0.1:8026"), ("data_dir", "./tidings-agent-data")];

/// The name of the one relay, in lists and histories.
const RELAY_NAME: &str = "mail";

/// The house that an agent's file describes.
pub(crate) struct House {
    /// In the form of a `tidings.toml`.
    pub(crate) tree: Node,
    /// `Tidings.HandOverUri`, and where it stands.
    pub(crate) hand_over: Option<(String, Problem)>,
    /// The variables of the environment that gave a value, by dotted key.
    variables: BTreeMap<String, String>,
}

/// A word without regard to case and underscores.
fn folded(word: &str) -> String {
    word.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

/// `tls_cert_file` as .NET spells it: `TlsCertFile`.
fn pascal(word: &str) -> String {
    word.split('_').map(|part| part[..1.min(part.len())].to_uppercase() + part.get(1..).unwrap_or_default()).collect()
}

struct Reader<'a> {
    loading: &'a Loading<'a>,
    source: &'a Source,
    variables: RefCell<BTreeMap<String, String>>,
    /// Where the section stands.
    span: Range<usize>,
}

impl House {
    pub(crate) fn read(loading: &Loading<'_>, source: &Source, root: &Node, path: &Path) -> Self {
        let ours = root.entries().iter().rev().find(|entry| entry.name.eq_ignore_ascii_case("Tidings"));
        let span = ours.map_or(0..0, |entry| entry.node.span.clone());
        let reader = Reader { loading, source, variables: RefCell::default(), span: span.clone() };
        if let Some(entry) = ours
            && !matches!(entry.node.value, Value::Table(_) | Value::Null)
        {
            loading.problem(span.start, "Tidings", format!("must be an object, not {}", entry.node.what()));
        }
        for entry in root.entries().iter().filter(|entry| entry.name.to_ascii_lowercase().starts_with("tidings:")) {
            loading.problem(entry.name_span.start, entry.name.clone(), "is not read in this form; write `\"Tidings\": { … }`");
        }
        let written = ours.map(|entry| entry.node.entries()).unwrap_or_default();
        reader.check_names("Tidings", written, &|name| {
            server::SERVER.keys.iter().any(|key| folded(key.name) == name)
                || TABLES.iter().any(|(table, _)| folded(table) == name)
                || folded(HAND_OVER) == name
        });
        let mut tables = vec![("server", reader.table(written, &server::SERVER, "server", &["Tidings".to_owned()], false))];
        for (name, section) in TABLES {
            let inner = written.iter().rev().find(|entry| folded(&entry.name) == folded(name));
            let at = vec!["Tidings".to_owned(), pascal(name)];
            if let Some(entry) = inner
                && !matches!(entry.node.value, Value::Table(_) | Value::Null)
            {
                loading.problem(entry.node.span.start, at.join("."), format!("must be an object, not {}", entry.node.what()));
            }
            let path = if name == "relay" { "relay[0]" } else { name };
            let mut table = reader.table(inner.map(|entry| entry.node.entries()).unwrap_or_default(), section, path, &at, true);
            if let Some(node) = inner {
                table.span = node.node.span.clone();
            }
            // A section that nobody speaks of is absent, as in a tidings.toml.
            if name == "relay" || inner.is_some() || !table.entries().is_empty() {
                tables.push((name, table));
            }
        }
        let hand_over = reader.hand_over(written);
        let tree = reader.tree(tables, path);
        Self { tree, hand_over, variables: reader.variables.into_inner() }
    }

    /// A problem under the name that the operator wrote.
    pub(crate) fn renamed(&self, mut problem: Problem) -> Problem {
        let ours = problem.key.starts_with("server") || TABLES.iter().any(|(table, _)| problem.key.starts_with(table));
        if !ours {
            return problem;
        }
        if let Some(variable) = self.variables.get(&problem.key) {
            return Problem { line: 0, column: 0, key: variable.clone(), ..problem };
        }
        let steps: Vec<&str> = problem.key.split('.').collect();
        let steps = steps.iter().skip(usize::from(steps[0] == "server")).map(|step| pascal(step.strip_suffix("[0]").unwrap_or(step)));
        problem.key = ["Tidings".to_owned()].into_iter().chain(steps).collect::<Vec<_>>().join(".");
        problem
    }
}

impl Reader<'_> {
    /// Tells names that nothing is called, and those that are given twice.
    fn check_names(&self, at: &str, written: &[Entry], known: &dyn Fn(&str) -> bool) {
        for (index, entry) in written.iter().enumerate() {
            let key = format!("{at}.{}", entry.name);
            if written[..index].iter().any(|earlier| folded(&earlier.name) == folded(&entry.name)) {
                self.loading.problem(entry.name_span.start, key.clone(), "is given twice");
            }
            if !known(&folded(&entry.name)) {
                let top = server::SERVER.names().into_iter().chain(TABLES.iter().map(|(table, _)| (*table).to_owned()));
                let names: Vec<String> = top.chain([HAND_OVER.to_owned()]).map(|name| pascal(&name)).collect();
                let hint = did_you_mean(&entry.name, names.iter().map(String::as_str));
                self.loading.problem(entry.name_span.start, key, format!("there is no such key{hint}"));
            }
        }
    }

    /// An object's entries as a table of this section; the environment comes before the file. `strict` tells what is not known.
    fn table(&self, written: &[Entry], section: &'static Section, path: &str, at: &[String], strict: bool) -> Node {
        if strict {
            let names: Vec<String> = section.names();
            for (index, entry) in written.iter().enumerate() {
                let key = format!("{}.{}", at.join("."), entry.name);
                if written[..index].iter().any(|earlier| folded(&earlier.name) == folded(&entry.name)) {
                    self.loading.problem(entry.name_span.start, key.clone(), "is given twice");
                }
                if !names.iter().any(|name| folded(name) == folded(&entry.name)) {
                    let spelled: Vec<String> = names.iter().map(|name| pascal(name)).collect();
                    let hint = did_you_mean(&entry.name, spelled.iter().map(String::as_str));
                    self.loading.problem(entry.name_span.start, key, format!("there is no such key{hint}"));
                }
            }
        }
        let mut entries = Vec::new();
        for name in section.names() {
            let shape = &section.find(&name).expect("a section knows its own names").shape;
            let entry = written.iter().rev().find(|entry| folded(&entry.name) == folded(&name));
            let steps: Vec<String> = at.iter().cloned().chain([pascal(&name)]).collect();
            let dotted = format!("{path}.{name}");
            let node = self
                .environment(shape, &steps, &dotted)
                .or_else(|| entry.map(|entry| self.shaped(&entry.node, shape, &dotted, &steps)))
                .or_else(|| self.inner_environment(shape, &dotted, &steps));
            if let Some(node) = node.filter(|node| !matches!(node.value, Value::Null)) {
                let name_span = entry.map_or_else(|| self.span.clone(), |entry| entry.name_span.clone());
                entries.push(Entry { name, name_span, node });
            }
        }
        Node { span: self.span.clone(), value: Value::Table(entries) }
    }

    /// A table inside that only the environment speaks of.
    fn inner_environment(&self, shape: &Shape, dotted: &str, steps: &[String]) -> Option<Node> {
        let Shape::Table(section) = shape else { return None };
        let table = self.table(&[], section, dotted, steps, true);
        (!table.entries().is_empty()).then_some(table)
    }

    fn variable(&self, steps: &[String]) -> Option<(String, String)> {
        let variable = steps.join("__");
        [variable.clone(), variable.to_uppercase()].into_iter().find_map(|name| self.loading.env(&name).map(|value| (value, name)))
    }

    /// What the environment says; lists are given entry by entry (`…__0`).
    fn environment(&self, shape: &Shape, steps: &[String], dotted: &str) -> Option<Node> {
        let text = |text: String| Node { span: self.span.clone(), value: Value::Text(text) };
        match shape {
            Shape::Table(_) | Shape::Tables(_) | Shape::Map => None,
            Shape::Texts | Shape::Durations => {
                let one = |index: usize| self.variable(&steps.iter().cloned().chain([index.to_string()]).collect::<Vec<_>>());
                let list: Vec<Node> = (0..).map_while(one).map(|(value, _)| text(value)).collect();
                (!list.is_empty()).then(|| Node { span: self.span.clone(), value: Value::List(list) })
            }
            _ => {
                let (value, variable) = self.variable(steps)?;
                self.variables.borrow_mut().insert(dotted.to_owned(), variable);
                Some(coerced(&text(value), shape))
            }
        }
    }

    /// A value of the file as this shape wants it.
    fn shaped(&self, node: &Node, shape: &Shape, path: &str, at: &[String]) -> Node {
        match (shape, &node.value) {
            (Shape::Table(section), Value::Table(entries)) => {
                Node { span: node.span.clone(), ..self.table(entries, section, path, at, true) }
            }
            (Shape::Tables(section), Value::List(list)) => {
                let tables = list.iter().enumerate().map(|(index, one)| match &one.value {
                    Value::Table(entries) => {
                        let table = self.table(entries, section, &format!("{path}[{index}]"), at, true);
                        Node { span: one.span.clone(), ..table }
                    }
                    _ => one.clone(),
                });
                Node { span: node.span.clone(), value: Value::List(tables.collect()) }
            }
            _ => coerced(node, shape),
        }
    }

    fn hand_over(&self, written: &[Entry]) -> Option<(String, Problem)> {
        let steps = ["Tidings".to_owned(), pascal(HAND_OVER)];
        if let Some((text, variable)) = self.variable(&steps) {
            return Some((text, Problem { line: 0, column: 0, key: variable, ..self.source.problem(0, "", "") }));
        }
        let entry = written.iter().rev().find(|entry| folded(&entry.name) == folded(HAND_OVER))?;
        let place = self.source.problem(entry.node.span.start, steps.join("."), "");
        match &entry.node.value {
            Value::Text(text) => Some((text.clone(), place)),
            Value::Null => None,
            _ => {
                let message = format!("must be a web address in quotation marks, not {}", entry.node.what());
                self.loading.problem_elsewhere(Problem { message, ..place });
                None
            }
        }
    }

    /// Everything together: what is not written is as agents have it, and the one relay reads its settings from this very file.
    fn tree(&self, tables: Vec<(&'static str, Node)>, path: &Path) -> Node {
        let text = |text: &str| Node { span: self.span.clone(), value: Value::Text(text.to_owned()) };
        let named = |name: &str, node: Node| Entry { name: name.to_owned(), name_span: self.span.clone(), node };
        let mut entries = Vec::new();
        for (name, mut table) in tables {
            if let Value::Table(keys) = &mut table.value {
                match name {
                    "server" => {
                        for (key, value) in DEFAULTS {
                            if keys.iter().all(|entry| entry.name != key) {
                                keys.push(named(key, text(value)));
                            }
                        }
                    }
                    "database" => {
                        for key in keys.extract_if(.., |entry| ["url", "password"].iter().any(|refused| entry.name.starts_with(refused))) {
                            let message = "does not belong here: an agent keeps its outbox in a database of its own, in the data folder";
                            self.loading.problem(key.name_span.start, format!("database.{}", key.name), message);
                        }
                    }
                    "relay" => {
                        for key in keys.extract_if(.., |entry| ["name", "kind", "appsettings", "next"].contains(&entry.name.as_str())) {
                            let message = "does not belong here: an agent has one relay, the MailSettings of this file";
                            self.loading.problem(key.name_span.start, format!("relay.{}", key.name), message);
                        }
                        let file = path.file_name().unwrap_or_default().to_string_lossy();
                        keys.extend([named("name", text(RELAY_NAME)), named("appsettings", text(&file))]);
                        table = Node { span: table.span.clone(), value: Value::List(vec![table]) };
                    }
                    _ => {}
                }
            }
            entries.push(named(name, table));
        }
        Node { span: self.span.clone(), value: Value::Table(entries) }
    }
}

/// Numbers and flags may be given as texts, and texts as numbers.
fn coerced(node: &Node, shape: &Shape) -> Node {
    let value = match (shape, &node.value) {
        (Shape::Flag, Value::Text(text)) if text.trim().eq_ignore_ascii_case("true") => Value::Flag(true),
        (Shape::Flag, Value::Text(text)) if text.trim().eq_ignore_ascii_case("false") => Value::Flag(false),
        (Shape::Number(..) | Shape::Port, Value::Text(text)) => match text.trim().parse() {
            Ok(number) => Value::Integer(Some(number)),
            Err(_) => return node.clone(),
        },
        (Shape::Text | Shape::Expression | Shape::Secret, Value::Integer(Some(number))) => Value::Text(number.to_string()),
        _ => return node.clone(),
    };
    Node { span: node.span.clone(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_spelled_in_two_ways() {
        assert_eq!(pascal("tls_cert_file"), "TlsCertFile");
        assert_eq!(folded("TlsCertFile"), folded("tls_cert_file"));
    }
}
