//! The template engine as this house runs it: strict, escaping, bounded, with nothing to reach out to.

use crate::calendar::Moment;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, escape_formatter, syntax::SyntaxConfig, value::ValueKind,
};

/// Steps that one part of one letter may take. The longest built-in part takes about two thousand; an endless loop ends here.
const FUEL: u64 = 200_000;

/// The name under which the filters find the [`Moment`]. No template may use it: it is not on any list of allowed variables.
pub(crate) const MOMENT: &str = "__moment";

/// An empty environment with the house's rules and filters.
pub(crate) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    // Blocks on lines of their own leave no trace. Catalogue texts switch this off for themselves.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    env.set_syntax(syntax.expect("the delimiters are the engine's own"));
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(60);
    env.set_debug(false);
    env.set_auto_escape_callback(|name| if name.rsplit('.').next() == Some("html") { AutoEscape::Html } else { AutoEscape::None });
    env.set_formatter(|out, state, value| match value.kind() {
        ValueKind::None => {
            Err(Error::new(ErrorKind::UndefinedError, "an optional value is absent here; ask first with `{% if … %}` or give a `default`"))
        }
        ValueKind::Undefined | ValueKind::String | ValueKind::Number | ValueKind::Bool => escape_formatter(out, state, value),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "a whole object or list cannot be written; name one of its fields")),
    });
    // `safe` and `tojson` let markup through, `pprint` and `debug` show more than a letter may say.
    for filter in ["safe", "tojson", "pprint", "format"] {
        env.remove_filter(filter);
    }
    for function in ["range", "dict", "debug", "namespace"] {
        env.remove_global(function);
    }
    env.add_filter("date", |state: &State, value: Value| with_moment(state, &value, Moment::date));
    env.add_filter("datetime", |state: &State, value: Value| with_moment(state, &value, Moment::datetime));
    env.add_filter("days_until", |state: &State, value: Value| with_moment(state, &value, Moment::days_until));
    env.add_test("past", |state: &State, value: Value| with_moment(state, &value, Moment::is_past));
    env
}

fn with_moment<T>(state: &State, value: &Value, step: impl Fn(&Moment, &str) -> Option<T>) -> Result<T, Error> {
    let moment = state.lookup(MOMENT).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "dates cannot be computed inside a macro; compute them outside and pass the result")
    })?;
    let moment = moment.downcast_object_ref::<Moment>().expect("only the house sets this name");
    let text =
        value.as_str().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "expected a date or a moment, found something else"))?;
    step(moment, text).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "expected a date such as 2026-12-31 or a moment such as 2026-12-31T09:00:00Z")
    })
}

/// What went wrong, without any value of the event: such values may be secrets, and this text goes to logs.
pub(crate) fn explain(error: &Error) -> String {
    let detail = match error.kind() {
        ErrorKind::UndefinedError | ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest => error.detail(),
        _ => None,
    };
    match detail {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
