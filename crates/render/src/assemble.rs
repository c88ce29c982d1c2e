//! From files and catalogue texts to one template: layout and body are joined, and every `[[ key ]]` is replaced by the text of the language.
//!
//! This is done once, when the letters are loaded. Texts are put on one line, so that line numbers in errors stay those of the files.

use crate::{
    catalogue::{Text, place},
    error::TemplateProblem,
    source::Source,
};
use std::{fmt::Write as _, path::Path, sync::Arc};

/// How deep catalogue texts may mention each other.
const MAX_DEPTH: usize = 5;

/// A joined template and where its pieces come from.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) source: String,
    /// First line in `source`, the file, and the line there.
    pieces: Vec<(u32, Arc<Source>, u32)>,
    /// The catalogue texts that were put in, with their full keys.
    pub(crate) texts: Vec<(String, Text)>,
}

/// Finds the text for a key as written in a template; also gives the full key.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<(String, &'a Text)>;

/// Joins `layout` and `body`; the layout's line `[[ body ]]` is where the body stands.
pub(crate) fn assemble(
    layout: Option<&Arc<Source>>,
    body: &Arc<Source>,
    html: bool,
    lookup: Lookup<'_>,
    problems: &mut Vec<TemplateProblem>,
) -> Assembled {
    let mut out = Assembled::default();
    let mut step = Step { out: &mut out, html, lookup, problems, line: 1 };
    match layout {
        None => step.add(body, 1, &body.text),
        Some(layout) => {
            let Some((above, below)) = layout.text.split_once("[[ body ]]\n") else {
                step.problem(&layout.path, None, "a layout needs a line `[[ body ]]` where the letter's body stands".to_owned());
                return out;
            };
            step.add(layout, 1, above);
            step.add(body, 1, &body.text);
            let below_line = u32::try_from(above.matches('\n').count()).unwrap_or(0) + 2;
            step.add(layout, below_line, below);
        }
    }
    out
}

impl Assembled {
    /// File and line of a line of the joined source.
    pub(crate) fn origin(&self, line: u32) -> (&Path, u32) {
        let (start, source, first) = self.pieces.iter().rev().find(|(start, ..)| *start <= line).unwrap_or(&self.pieces[0]);
        (&source.path, first + line.saturating_sub(*start))
    }

    /// Where a variable is first used: in a file, or in the catalogue text that brought it in.
    pub(crate) fn place_of(&self, variable: &str) -> (&Path, Option<u32>, Option<u32>) {
        for (_, source, _) in &self.pieces {
            if let Some(at) = word_at(&source.text, variable) {
                let (line, column) = place(&source.text, at);
                return (&source.path, line, column);
            }
        }
        let text = self.texts.iter().find(|(_, text)| word_at(&text.text, variable).is_some());
        text.map_or((&self.pieces[0].1.path, None, None), |(_, text)| (&text.path, Some(text.line), None))
    }
}

struct Step<'a, 'b> {
    out: &'b mut Assembled,
    html: bool,
    lookup: Lookup<'a>,
    problems: &'b mut Vec<TemplateProblem>,
    line: u32,
}

impl Step<'_, '_> {
    fn problem(&mut self, path: &Path, at: Option<(Option<u32>, Option<u32>)>, message: String) {
        let (line, column) = at.unwrap_or_default();
        self.problems.push(TemplateProblem { path: path.to_owned(), line, column, message });
    }

    /// Appends a piece of a file whose first line is `first` there.
    fn add(&mut self, source: &Arc<Source>, first: u32, text: &str) {
        self.out.pieces.push((self.line, Arc::clone(source), first));
        let offset = text.as_ptr() as usize - source.text.as_ptr() as usize;
        for word in ["include", "import", "from", "extends", "autoescape"] {
            if let Some(at) = tag_at(text, word) {
                let message = format!("`{{% {word} %}}` is not available: a letter is made of its own files and the layout only");
                self.problem(&source.path, Some(place(&source.text, offset + at)), message);
            }
        }
        let mut done = 0;
        while let Some(open) = text[done..].find("[[") {
            let open = done + open;
            let Some(close) = text[open..].find("]]").map(|close| open + close) else { break };
            self.out.source.push_str(&text[done..open]);
            let key = text[open + 2..close].trim();
            if !self.put_text(key, 0) {
                self.problem(
                    &source.path,
                    Some(place(&source.text, offset + open)),
                    format!("no catalogue has a text `{key}` for this letter"),
                );
            }
            done = close + 2;
        }
        self.out.source.push_str(&text[done..]);
        if !self.out.source.ends_with('\n') {
            self.out.source.push('\n');
        }
        self.line = u32::try_from(self.out.source.matches('\n').count()).unwrap_or(u32::MAX - 1) + 1;
    }

    /// Puts in the text of `key`; false if there is none.
    fn put_text(&mut self, key: &str, depth: usize) -> bool {
        let Some((full, text)) = (self.lookup)(key).filter(|_| depth < MAX_DEPTH) else { return false };
        let (path, line) = (text.path.clone(), text.line);
        let one_line = text.text.replace('\n', " ");
        if !self.out.texts.iter().any(|(seen, _)| *seen == full) {
            self.out.texts.push((full, text.clone()));
        }
        let mut rest = one_line.as_str();
        while let Some(open) = rest.find(['{', '[']) {
            let (literal, tail) = rest.split_at(open);
            self.put_literal(literal);
            let closing = match tail.as_bytes() {
                [b'{', b'{', ..] => "}}",
                [b'{', b'%', ..] => "%}",
                [b'{', b'#', ..] => "#}",
                [b'[', b'[', ..] => "]]",
                _ => {
                    self.put_literal(&tail[..1]);
                    rest = &tail[1..];
                    continue;
                }
            };
            let Some(close) = tail.find(closing) else {
                self.problem(&path, Some((Some(line), None)), format!("`{}` is not closed by `{closing}`", &tail[..2]));
                return true;
            };
            let inner = &tail[2..close];
            match closing {
                "]]" => {
                    if !self.put_text(inner.trim(), depth + 1) {
                        self.problem(
                            &path,
                            Some((Some(line), None)),
                            format!("no catalogue has a text `{}` for this letter", inner.trim()),
                        );
                    }
                }
                // Blanks and line ends around a block inside a text are the author's.
                "%}" if !inner.starts_with(['-', '+']) && !inner.ends_with(['-', '+']) => {
                    write!(self.out.source, "{{%+{inner}+%}}").expect("a String takes everything");
                }
                _ => self.out.source.push_str(&tail[..close + 2]),
            }
            rest = &tail[close + 2..];
        }
        self.put_literal(rest);
        true
    }

    fn put_literal(&mut self, text: &str) {
        if self.html {
            for c in text.chars() {
                match c {
                    '&' => self.out.source.push_str("&amp;"),
                    '<' => self.out.source.push_str("&lt;"),
                    '>' => self.out.source.push_str("&gt;"),
                    '"' => self.out.source.push_str("&quot;"),
                    _ => self.out.source.push(c),
                }
            }
        } else {
            self.out.source.push_str(text);
        }
    }
}

/// Where a block tag of this name stands.
fn tag_at(text: &str, word: &str) -> Option<usize> {
    text.match_indices("{%").map(|(at, _)| at).find(|&at| {
        let inner = text[at + 2..].trim_start_matches(['-', '+']).trim_start();
        inner.strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

/// Where a dotted name stands as a word of its own.
fn word_at(text: &str, name: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    text.match_indices(name).map(|(at, _)| at).find(|&at| !text[..at].ends_with(part) && !text[at + name.len()..].starts_with(part))
}
