//! Conditions: CEL expressions (Common Expression Language) over an event's data.
//!
//! Names in scope: `event` (type, source, id, subject, time), `actor`, `object`, `member`, `before`, `after`, `details`, and `data` for the whole.

use super::shortcut::Shortcut;
use crate::event::Event;
use cel::{Context, Env, Program, Value as Cel, objects::Key};
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

/// The names a condition may use.
pub const NAMES: [&str; 8] = ["event", "actor", "object", "member", "before", "after", "details", "data"];

/// A compiled condition.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    program: Arc<Program>,
    shortcut: Option<Arc<Shortcut>>,
}

/// Why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// What is wrong and what is allowed.
    pub message: String,
    /// The line inside the expression, counted from 1, if known.
    pub line: Option<usize>,
    /// The column in that line, counted from 1, if known.
    pub column: Option<usize>,
}

impl Condition {
    /// Compiles an expression and checks that it speaks only of names that exist.
    ///
    /// # Errors
    /// [`ConditionError`] with the place inside the expression.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.first();
            ConditionError {
                message: first.map_or_else(|| "is not a CEL expression".to_owned(), |e| format!("is not a CEL expression: {}", e.msg)),
                line: first.and_then(|e| usize::try_from(e.pos.0).ok()).filter(|&l| l > 0),
                column: first.and_then(|e| usize::try_from(e.pos.1).ok()).filter(|&c| c > 0),
            }
        })?;
        let bound = bound_names(source);
        let known = |name: &&str| NAMES.contains(name) || bound.contains(name) || name.starts_with('@');
        if let Some(unknown) = program.references().variables().into_iter().find(|name| !known(name)) {
            let place = place_of(source, unknown);
            return Err(ConditionError {
                message: format!("`{unknown}` is not known here; allowed are {}", NAMES.join(", ")),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
            });
        }
        let shortcut = Shortcut::of(&program.expression().expr).map(Arc::new);
        Ok(Self { source: source.into(), program: Arc::new(program), shortcut })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it holds, as far as that shows without the values of a [`Scope`]; `None` if they are needed.
    pub fn shortcut(&self, event: &Event) -> Option<bool> {
        self.shortcut.as_ref()?.holds(event)
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// Why it cannot be computed (a missing key, a comparison of unlike things), or that it is not a truth value.
    pub fn holds(&self, scope: &Scope) -> Result<bool, String> {
        match self.evaluate(scope)? {
            Cel::Bool(holds) => Ok(holds),
            other => Err(format!("gives {}, not true or false", other.type_of())),
        }
    }

    /// Its value as JSON, for audiences that are expressions.
    ///
    /// # Errors
    /// Why it cannot be computed.
    pub fn value(&self, scope: &Scope) -> Result<Value, String> {
        self.evaluate(scope)?.json().map_err(|_| "gives a value that is no JSON".to_owned())
    }

    fn evaluate(&self, scope: &Scope) -> Result<Cel, String> {
        self.program.execute(&scope.0).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.source)
    }
}

/// The values of one event, as conditions see them. Made once per event, however many conditions ask.
pub struct Scope(Context<'static, 'static>);

impl Scope {
    /// The scope of an event.
    pub fn of(event: &Event) -> Self {
        // The functions of the language are the same for all; to make them costs a hundred times what an expression does.
        static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        for name in ["actor", "object", "member", "before", "after", "details"] {
            let value = event.data.get(name).map_or_else(|| Cel::Map(HashMap::<Key, Cel>::new().into()), to_cel);
            context.add_variable_from_value(name, value);
        }
        context.add_variable_from_value("data", map_to_cel(&event.data));
        let text = |text: &str| Cel::from(text);
        let about: HashMap<Key, Cel> = [
            ("type", text(event.kind.name)),
            ("source", text(&event.source)),
            ("id", text(&event.id)),
            ("subject", text(event.subject.as_deref().unwrap_or_default())),
            ("time", text(&event.time.to_string())),
        ]
        .into_iter()
        .map(|(name, value)| (Key::from(name), value))
        .collect();
        context.add_variable_from_value("event", Cel::Map(about.into()));
        Self(context)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scope")
    }
}

/// Line and column of a name in an expression, both counted from 1: where it first stands as a whole word that is no field of something else.
fn place_of(source: &str, name: &str) -> Option<(usize, usize)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |at: &usize| !source[..*at].ends_with(|c| in_word(c) || c == '.') && !source[at + name.len()..].starts_with(in_word);
    let at = source.match_indices(name).map(|(at, _)| at).find(stands)?;
    let line_start = source[..at].rfind('\n').map_or(0, |end| end + 1);
    Some((source[..at].matches('\n').count() + 1, source[line_start..at].chars().count() + 1))
}

/// The variables that the expression's own macros bind: `o` of `owners.filter(o, …)`.
fn bound_names(source: &str) -> Vec<&str> {
    let mut bound = Vec::new();
    for (place, _) in source.match_indices('(') {
        let (before, after) = (&source[..place], &source[place + 1..]);
        let is_macro = ["all", "exists", "exists_one", "map", "filter"].iter().any(|name| before.trim_end().ends_with(&format!(".{name}")));
        if let Some((name, _)) = after.split_once(',').filter(|_| is_macro) {
            bound.push(name.trim());
        }
    }
    bound
}

fn map_to_cel(map: &Map<String, Value>) -> Cel {
    let map: HashMap<Key, Cel> = map.iter().map(|(name, value)| (Key::from(name.as_str()), to_cel(value))).collect();
    Cel::Map(map.into())
}

/// JSON to CEL. Whole numbers become `int`, so that `details.count > 3` compares alike with alike.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or(f64::NAN)), Cel::Int),
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(list) => Cel::List(Arc::new(list.iter().map(to_cel).collect::<Vec<_>>())),
        Value::Object(map) => map_to_cel(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::an_event;
    use serde_json::json;

    fn holds(source: &str) -> Result<bool, String> {
        let event = an_event().with("details", json!({"count": 5, "tags": ["a", "b"]})).build();
        Condition::compile(source).unwrap().holds(&Scope::of(&event))
    }

    #[test]
    fn conditions_see_the_event() {
        assert_eq!(holds(r#"object.name == "Payroll" && details.count > 3"#), Ok(true));
        assert_eq!(holds(r#"event.type.startsWith("membership.") && "b" in details.tags"#), Ok(true));
        assert_eq!(holds(r"has(member.manager) && !has(before.name)"), Ok(true));
        assert_eq!(holds(r#"object.name.matches("^Pay")"#), Ok(true));
    }

    #[test]
    fn a_missing_key_and_a_value_that_is_no_truth_are_errors_not_answers() {
        assert!(holds("before.name == 'x'").unwrap_err().contains("name"));
        assert!(holds("details.count").unwrap_err().contains("not true or false"));
    }

    #[test]
    fn what_does_not_compile_is_refused_with_the_reason() {
        assert!(Condition::compile("object.name ==").unwrap_err().message.starts_with("is not a CEL expression"));
        let error = Condition::compile("user.name == 'x'").unwrap_err();
        assert!(error.message.contains("`user` is not known here; allowed are event, actor"), "{error}");
        let error = Condition::compile("object.user == 'x' &&\n  user.name == 'x'").unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(3)));
    }
}
