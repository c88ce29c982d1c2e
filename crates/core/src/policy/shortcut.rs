//! Shortcuts: what can be said of a condition by looking at the event's data as it is, without making CEL values of it.
//!
//! Most conditions compare texts, ask for truth values and whether something is there. Those are decided here, hundreds a millisecond; whatever is not as plain as that (another
//! type than expected, a key that is missing, a function) is left to CEL, which also words what is wrong. So a shortcut never says anything else than CEL would.

use crate::event::Event;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, operators};
use serde_json::{Map, Value};

/// A condition as far as it is plain.
#[derive(Debug, Clone)]
pub(super) enum Shortcut {
    /// Both are the same text, or (`false`) they are not.
    Same(Term, Term, bool),
    /// One text begins with, ends with or holds another one.
    Part(Part, Term, Term),
    /// It is a truth value.
    Holds(Term),
    /// It has this field.
    Has(Term, String),
    Not(Box<Self>),
    Both(Box<Self>, Box<Self>),
    Either(Box<Self>, Box<Self>),
    /// The test holds for one of a list.
    Any(Term, Box<Self>),
    /// Only CEL knows.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Start,
    End,
    Inside,
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Text(String),
    Path(Root, Vec<String>),
}

/// Where a path begins.
#[derive(Debug, Clone)]
pub(super) enum Root {
    /// The whole data.
    Data,
    /// A name in the data.
    Name(String),
    /// An attribute of the event.
    Type,
    Source,
    Id,
    /// What a macro goes through, so many macros outside this place.
    Bound(usize),
}

/// The names in the data that are known as such (see [`super::condition::NAMES`]).
const IN_DATA: [&str; 6] = ["actor", "object", "member", "before", "after", "details"];

/// What is there at the end of a path.
enum There<'e> {
    Json(&'e Value),
    Map(&'e Map<String, Value>),
    Text(&'e str),
    /// A name that the event does not have: an empty map, as for CEL.
    Nothing,
}

/// What macros around a place are going through, the innermost first.
struct Bound<'e> {
    item: &'e Value,
    outer: Option<&'e Self>,
}

impl Shortcut {
    /// The shortcut of an expression, if there is one worth taking.
    pub(super) fn of(expression: &Expr) -> Option<Self> {
        let shortcut = Self::read(expression, &mut Vec::new());
        shortcut.may_decide().then_some(shortcut)
    }

    /// Whether the condition holds; `None` if CEL has to say.
    pub(super) fn holds(&self, event: &Event) -> Option<bool> {
        self.decide(event, None)
    }

    fn may_decide(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Not(one) | Self::Any(_, one) => one.may_decide(),
            Self::Both(one, other) | Self::Either(one, other) => one.may_decide() || other.may_decide(),
            _ => true,
        }
    }

    fn read(expression: &Expr, bound: &mut Vec<String>) -> Self {
        match expression {
            Expr::Call(call) => Self::of_call(call, bound),
            Expr::Comprehension(comprehension) => Self::of_macro(comprehension, bound),
            Expr::Select(select) if select.test => {
                Term::read(&select.operand.expr, bound).map_or(Self::Unknown, |of| Self::Has(of, select.field.clone()))
            }
            Expr::Select(_) | Expr::Ident(_) => Term::read(expression, bound).map_or(Self::Unknown, Self::Holds),
            _ => Self::Unknown,
        }
    }

    fn of_call(call: &CallExpr, bound: &mut Vec<String>) -> Self {
        let boxed = |one: Self| Box::new(one);
        match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            (operators::LOGICAL_NOT, None, [one]) => Self::Not(boxed(Self::read(&one.expr, bound))),
            (operators::LOGICAL_AND, None, [one, other]) => {
                Self::Both(boxed(Self::read(&one.expr, bound)), boxed(Self::read(&other.expr, bound)))
            }
            (operators::LOGICAL_OR, None, [one, other]) => {
                Self::Either(boxed(Self::read(&one.expr, bound)), boxed(Self::read(&other.expr, bound)))
            }
            (name @ (operators::EQUALS | operators::NOT_EQUALS), None, [one, other]) => {
                match (Term::read(&one.expr, bound), Term::read(&other.expr, bound)) {
                    (Some(one), Some(other)) => Self::Same(one, other, name == operators::EQUALS),
                    _ => Self::Unknown,
                }
            }
            (name @ ("startsWith" | "endsWith" | "contains"), Some(of), [part]) => {
                let how = match name {
                    "startsWith" => Part::Start,
                    "endsWith" => Part::End,
                    _ => Part::Inside,
                };
                match (Term::read(&of.expr, bound), Term::read(&part.expr, bound)) {
                    (Some(of), Some(part)) => Self::Part(how, of, part),
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    /// `list.exists(x, test)`, which the parser has made a loop of (CEL's language definition, "Macros").
    fn of_macro(looped: &ComprehensionExpr, bound: &mut Vec<String>) -> Self {
        let begins_false = matches!(&looped.accu_init.expr, Expr::Literal(LiteralValue::Boolean(no)) if !*no.inner());
        let is_sum = |expression: &Expr| matches!(expression, Expr::Ident(name) if *name == looped.accu_var);
        let Expr::Call(step) = &looped.loop_step.expr else { return Self::Unknown };
        let [sum, test] = step.args.as_slice() else { return Self::Unknown };
        let is_exists = begins_false
            && looped.iter_var2.is_none()
            && step.func_name == operators::LOGICAL_OR
            && is_sum(&sum.expr)
            && is_sum(&looped.result.expr);
        let list = if is_exists { Term::read(&looped.iter_range.expr, bound) } else { None };
        let Some(list) = list else { return Self::Unknown };
        bound.push(looped.iter_var.clone());
        let test = Self::read(&test.expr, bound);
        bound.pop();
        Self::Any(list, Box::new(test))
    }

    fn decide(&self, event: &Event, bound: Option<&Bound<'_>>) -> Option<bool> {
        match self {
            Self::Same(one, other, same) => Some((one.text(event, bound)? == other.text(event, bound)?) == *same),
            Self::Part(how, of, part) => {
                let (of, part) = (of.text(event, bound)?, part.text(event, bound)?);
                Some(match how {
                    Part::Start => of.starts_with(part),
                    Part::End => of.ends_with(part),
                    Part::Inside => of.contains(part),
                })
            }
            Self::Holds(term) => match term.there(event, bound)? {
                There::Json(Value::Bool(holds)) => Some(*holds),
                _ => None,
            },
            Self::Has(of, field) => match of.there(event, bound)? {
                There::Nothing => Some(false),
                There::Json(Value::Object(map)) | There::Map(map) => match map.get(field) {
                    None => Some(false),
                    Some(Value::Null) => None,
                    Some(_) => Some(true),
                },
                _ => None,
            },
            Self::Not(one) => one.decide(event, bound).map(|holds| !holds),
            // What is wrong on one side is of no account if the other side decides.
            Self::Both(one, other) => match one.decide(event, bound) {
                Some(true) => other.decide(event, bound),
                Some(false) => Some(false),
                None => other.decide(event, bound).filter(|holds| !holds),
            },
            Self::Either(one, other) => match one.decide(event, bound) {
                Some(false) => other.decide(event, bound),
                Some(true) => Some(true),
                None => other.decide(event, bound).filter(|holds| *holds),
            },
            Self::Any(list, test) => {
                let There::Json(Value::Array(items)) = list.there(event, bound)? else { return None };
                let mut any = Some(false);
                for item in items {
                    match test.decide(event, Some(&Bound { item, outer: bound })) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                any
            }
            Self::Unknown => None,
        }
    }
}

impl Term {
    fn read(expression: &Expr, bound: &[String]) -> Option<Self> {
        match expression {
            Expr::Literal(LiteralValue::String(text)) => Some(Self::Text(text.inner().to_owned())),
            Expr::Select(select) if !select.test => match Self::read(&select.operand.expr, bound)? {
                Self::Path(Root::Name(root), steps) if root == "event" && steps.is_empty() => match select.field.as_str() {
                    "type" => Some(Self::Path(Root::Type, Vec::new())),
                    "source" => Some(Self::Path(Root::Source, Vec::new())),
                    "id" => Some(Self::Path(Root::Id, Vec::new())),
                    _ => None,
                },
                Self::Path(root, mut steps) => {
                    steps.push(select.field.clone());
                    Some(Self::Path(root, steps))
                }
                Self::Text(_) => None,
            },
            Expr::Ident(name) => {
                let root = match bound.iter().rev().position(|other| other == name) {
                    Some(outside) => Root::Bound(outside),
                    None if name == "data" => Root::Data,
                    None if name == "event" || IN_DATA.contains(&name.as_str()) => Root::Name(name.clone()),
                    None => return None,
                };
                Some(Self::Path(root, Vec::new()))
            }
            _ => None,
        }
    }

    fn text<'e>(&'e self, event: &'e Event, bound: Option<&Bound<'e>>) -> Option<&'e str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Path(..) => match self.there(event, bound)? {
                There::Json(Value::String(text)) => Some(text),
                There::Text(text) => Some(text),
                _ => None,
            },
        }
    }

    fn there<'e>(&'e self, event: &'e Event, bound: Option<&Bound<'e>>) -> Option<There<'e>> {
        let Self::Path(root, steps) = self else { return None };
        let mut there = match root {
            Root::Data => There::Map(&event.data),
            Root::Name(name) if name == "event" => return None,
            Root::Name(name) => event.data.get(name).map_or(There::Nothing, There::Json),
            Root::Type => There::Text(event.kind.name),
            Root::Source => There::Text(&event.source),
            Root::Id => There::Text(&event.id),
            Root::Bound(outside) => {
                let mut bound = bound?;
                for _ in 0..*outside {
                    bound = bound.outer?;
                }
                There::Json(bound.item)
            }
        };
        for step in steps {
            there = match there {
                There::Map(map) | There::Json(Value::Object(map)) => There::Json(map.get(step)?),
                _ => return None,
            };
        }
        Some(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::condition::{Condition, Scope},
        testing::an_event,
    };
    use proptest::prelude::*;
    use serde_json::json;
    use std::sync::LazyLock;

    /// Texts that fit some of the data below, and some that are wrong for all of it.
    const CONDITIONS: [&str; 24] = [
        "object.name == 'a'",
        "'a' != object.name",
        "object.name.startsWith('a') || member.enabled",
        "object.name.contains('a') && object.name.endsWith('b')",
        "!(member.enabled)",
        "has(member.manager) && member.manager.mail == 'a'",
        "has(object.owners) || has(before.x)",
        "object.owners.exists(o, o.mail == 'a')",
        "object.owners.exists(o, o.name.startsWith('a') && o.enabled)",
        "object.owners.exists(o, member.owners.exists(p, p.mail == o.mail))",
        "object.owners.exists(object, object.mail == 'a')",
        "member.enabled && object.name == member.name",
        "object.name == member.manager.name || actor.name == 'a'",
        "data.object.name == 'a' && event.type == 'membership.joined'",
        "event.source == 'a' || event.id.startsWith('4')",
        "object == 'a'",
        "member.enabled",
        "member",
        "details.count > 3 || object.name == 'a'",
        "object.name == 'a' && size(object.owners) > 1",
        "object.owners.all(o, o.mail == 'a')",
        "!has(actor.mail) || actor.mail != 'b'",
        "event == 'a' || object.name != 'a'",
        "(object.name == 'a') == (member.name == 'a')",
    ];

    static COMPILED: LazyLock<Vec<Condition>> =
        LazyLock::new(|| CONDITIONS.into_iter().map(|source| Condition::compile(source).unwrap()).collect());

    fn value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(json!("a")), Just(json!("ab")), Just(json!(true)), Just(json!(false)), Just(json!(5)), Just(Value::Null)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop::sample::select(vec!["name", "mail", "enabled", "manager", "owners", "count", "x"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_shortcut_says_what_cel_says_or_nothing(object in value(), member in value(), actor in value(), details in value()) {
            let mut event = an_event().build();
            event.data = Map::new();
            for (name, value) in [("object", object), ("member", member), ("actor", actor), ("details", details)] {
                event.data.insert(name.to_owned(), value);
            }
            for condition in COMPILED.iter() {
                if let Some(said) = condition.shortcut(&event) {
                    prop_assert_eq!(condition.holds(&Scope::of(&event)), Ok(said), "{:?} of {:?}", condition, event.data);
                }
            }
        }
    }

    #[test]
    fn plain_conditions_are_decided_without_cel() {
        let event = an_event()
            .with("object", json!({"name": "Payroll", "owners": [{"mail": "a@example.org"}, {"mail": "b@example.org"}]}))
            .with("member", json!({"name": "Ada", "enabled": true}))
            .build();
        for (source, said) in [
            ("object.name == 'Payroll' && member.enabled", Some(true)),
            ("object.owners.exists(o, o.mail == 'c@example.org')", Some(false)),
            ("has(member.manager) && member.manager.mail == 'x'", Some(false)),
            ("!has(before.name) && event.type.startsWith('membership.')", Some(true)),
            ("object.size == 'x'", None),
            ("details.count > 3", None),
        ] {
            assert_eq!(Condition::compile(source).unwrap().shortcut(&event), said, "{source}");
        }
    }
}
