//! Settings files as .NET reads them: keys without regard to case and also joined by colons (`"MailSettings:Host"`), numbers and flags given as texts, the
//! environment before the file (`MailSettings__Host`), the last of several equal keys.

use crate::{
    load::Loading,
    node::{Node, Value},
    problem::{Problem, Source, did_you_mean},
};

/// Follows a path of keys without regard to case; a key may hold several steps joined by colons.
pub(crate) fn follow<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    if path.is_empty() {
        return Some(node);
    }
    // .NET lets the last of several equal keys win.
    node.entries().iter().rev().find_map(|entry| {
        (1..=path.len())
            .find(|&steps| entry.name.eq_ignore_ascii_case(&path[..steps].join(":")))
            .and_then(|steps| follow(&entry.node, &path[steps..]))
    })
}

/// A value with the place it comes from.
pub(crate) struct Found {
    pub(crate) text: String,
    pub(crate) place: Problem,
}

/// A block of such a file, there or not.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) loading: &'a Loading<'a>,
    pub(crate) source: &'a Source,
    pub(crate) root: &'a Node,
    pub(crate) path: &'static [&'static str],
}

impl<'a> Block<'a> {
    /// The block itself, if the file has it.
    pub(crate) fn node(&self) -> Option<&'a Node> {
        follow(self.root, self.path)
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.path.join("."))
    }

    /// Where the whole block stands.
    pub(crate) fn place(&self) -> Problem {
        self.source.problem(self.node().map_or(0, |block| block.span.start), self.path.join("."), "")
    }

    pub(crate) fn told(&self, place: &Problem, message: impl Into<String>) {
        self.loading.problem_elsewhere(Problem { message: message.into(), ..place.clone() });
    }

    pub(crate) fn warned(&self, place: &Problem, message: impl Into<String>) {
        self.loading.warning_elsewhere(Problem { message: message.into(), ..place.clone() });
    }

    /// What the environment says for a key, with the variable's name.
    fn environment_value(&self, name: &str) -> Option<(String, String)> {
        let variable = format!("{}__{name}", self.path.join("__"));
        let spellings = [variable.clone(), variable.to_uppercase()];
        spellings.into_iter().find_map(|spelling| self.loading.env(&spelling).map(|value| (value, spelling)))
    }

    /// A value as text, the environment before the file. Empty texts and nulls count as absent, as manuals leave them.
    pub(crate) fn value(&self, name: &str) -> Option<Found> {
        if let Some((text, variable)) = self.environment_value(name) {
            let place = Problem { line: 0, column: 0, key: variable, ..self.place() };
            return Some(Found { text, place }).filter(|found| !found.text.is_empty());
        }
        let path: Vec<&str> = self.path.iter().copied().chain([name]).collect();
        let node = follow(self.root, &path)?;
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(Some(number)) => number.to_string(),
            Value::Float(number) => number.clone(),
            Value::Flag(flag) => flag.to_string(),
            _ => return None,
        };
        Some(Found { text, place: self.source.problem(node.span.start, self.key(name), "") }).filter(|found| !found.text.is_empty())
    }

    /// The texts of a list; the environment gives them one by one (`…__0`, `…__1`), and replaces those of the file at the same place.
    pub(crate) fn list(&self, name: &str) -> Vec<Found> {
        let path: Vec<&str> = self.path.iter().copied().chain([name]).collect();
        let node = follow(self.root, &path);
        let mut list = Vec::new();
        match node.map(|node| (&node.value, node)) {
            Some((Value::List(nodes), _)) => {
                for (index, one) in nodes.iter().enumerate() {
                    let place = self.source.problem(one.span.start, format!("{}[{index}]", self.key(name)), "");
                    match &one.value {
                        Value::Text(text) => list.push(Found { text: text.clone(), place }),
                        _ => self.told(&place, format!("must be a text, not {}", one.what())),
                    }
                }
            }
            None | Some((Value::Null, _)) => {}
            Some((_, node)) => {
                let place = self.source.problem(node.span.start, self.key(name), "");
                self.told(&place, format!("must be a list of texts, not {}", node.what()));
            }
        }
        for index in 0.. {
            let Some((text, variable)) = self.environment_value(&format!("{name}__{index}")) else { break };
            let found = Found { text, place: Problem { line: 0, column: 0, key: variable, ..self.place() } };
            match list.get_mut(index) {
                Some(there) => *there = found,
                None => list.push(found),
            }
        }
        list
    }

    /// Tells a block that is none, and keys that are given twice or are not known.
    pub(crate) fn check_keys(&self, known: &[&str]) {
        let Some(block) = self.node() else { return };
        if !matches!(block.value, Value::Table(_) | Value::Null) {
            self.told(&self.place(), format!("must be an object, not {}", block.what()));
        }
        for (index, entry) in block.entries().iter().enumerate() {
            let place = self.source.problem(entry.name_span.start, self.key(&entry.name), "");
            if block.entries()[..index].iter().any(|earlier| earlier.name.eq_ignore_ascii_case(&entry.name)) {
                self.told(&place, "is given twice");
            }
            // `"MailSettings:Host"` is a key of the block below.
            let first = entry.name.split(':').next().unwrap_or_default();
            if !known.iter().any(|key| key.eq_ignore_ascii_case(first)) {
                self.warned(&place, format!("is not known and has no effect{}", did_you_mean(&entry.name, known.iter().copied())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn keys_are_found_without_regard_to_case_and_joined_by_colons() {
        let root = json::parse(r#"{"mailsettings": {"HOST": "a"}, "X:Y": {"Z": 1}}"#).unwrap();
        assert!(follow(&root, &["MailSettings", "Host"]).is_some());
        assert!(follow(&root, &["x", "y", "z"]).is_some());
        assert!(follow(&root, &["x", "z"]).is_none());
    }
}
