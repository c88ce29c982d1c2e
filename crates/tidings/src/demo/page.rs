//! The demo's page: what happened on the left, the letters on the right, each as its reader sees it. Rendered on the server, works without script.

use super::{company::PEOPLE, script::Script, tally::Tally};
use axum::{
    Router,
    extract::{Path, State},
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use mail_parser::{Message, MessageParser};
use minijinja::{Environment, Value, context};
use std::sync::{Arc, LazyLock};
use tidings_sink::Received;
use tidings_web::Problem;

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.add_template("overview.html", include_str!("page/overview.html")).expect("a built-in page compiles");
    pages.add_template("letter.html", include_str!("page/letter.html")).expect("a built-in page compiles");
    pages
});

/// How many letters the overview lists.
const SHOWN: usize = 60;

/// A page may load nothing but our own style and frames.
const PAGE_POLICY: &str =
    "default-src 'none'; style-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A letter may load nothing at all, and may be framed by the page only.
const LETTER_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'";

/// The demo's routes.
pub fn routes(script: Arc<Script>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/letters/{number}", get(letter))
        .route("/letters/{number}/html", get(letter_html))
        .route("/style.css", get(style))
        .with_state(script)
}

async fn overview(State(script): State<Arc<Script>>) -> Response {
    let letters = script.sink.letters();
    let tally = match script.tally().await {
        Ok(tally) => tally,
        Err(error) => {
            tracing::error!(error = %crate::exit::chain(&error), "the demo cannot count");
            return Problem::plain(axum::http::StatusCode::SERVICE_UNAVAILABLE).into_response();
        }
    };
    let rows: Vec<_> = letters.iter().enumerate().rev().take(SHOWN).map(|(index, letter)| row(index + 1, letter)).collect();
    let (relay_down, over) = script.state();
    let lines: Vec<_> = script.lines().into_iter().map(|line| context! { at => line.at, what => line.what, tone => line.tone }).collect();
    let Tally { events, known, letters: written, arrived, waiting, retries, duplicates, lost } = tally;
    let tally = context! { events, known, letters => written, arrived, waiting, retries, duplicates, lost };
    page("overview.html", context! { lines, letters => rows, total => letters.len(), tally, relay_down, over })
}

async fn letter(State(script): State<Arc<Script>>, Path(number): Path<usize>) -> Response {
    let letters = script.sink.letters();
    let Some(letter) = number.checked_sub(1).and_then(|index| letters.get(index)) else { return Problem::not_found().into_response() };
    let Some(message) = MessageParser::default().parse(&letter.bytes) else {
        return Problem::not_found().detail("the letter is no message").into_response();
    };
    let headers: Vec<_> = ["X-Tidings-Reason", "X-Tidings-Rule", "X-Tidings-Kind", "Message-ID"]
        .iter()
        .filter_map(|name| letter.header(name).map(|value| context! { name => *name, value => value }))
        .collect();
    let text = message.body_text(0).unwrap_or_default();
    page(
        "letter.html",
        context! { letter => row(number, letter), text => text, headers => headers, newer => letters.len() > number, older => number > 1 },
    )
}

async fn letter_html(State(script): State<Arc<Script>>, Path(number): Path<usize>) -> Response {
    let letters = script.sink.letters();
    let found = number.checked_sub(1).and_then(|index| letters.get(index));
    let Some(message) = found.and_then(|letter| MessageParser::default().parse(&letter.bytes)) else {
        return Problem::not_found().into_response();
    };
    let html = message.body_html(0).unwrap_or_default().into_owned();
    ([(CONTENT_SECURITY_POLICY, LETTER_POLICY)], Html(html)).into_response()
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8"), (CACHE_CONTROL, "max-age=60")], include_str!("page/style.css")).into_response()
}

fn page(name: &str, values: Value) -> Response {
    match PAGES.get_template(name).and_then(|template| template.render(values)) {
        Ok(html) => ([(CONTENT_SECURITY_POLICY, PAGE_POLICY)], Html(html)).into_response(),
        Err(error) => {
            tracing::error!(page = name, error = %error, "a page cannot be shown");
            Problem::plain(axum::http::StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}

/// A letter as the list shows it.
fn row(number: usize, letter: &Received) -> Value {
    let message = MessageParser::default().parse(&letter.bytes);
    let to = letter.to.first().cloned().unwrap_or_default();
    let reader = PEOPLE.iter().find(|person| person.mail == to);
    let name = reader.map_or_else(|| to.clone(), |person| person.name.to_owned());
    let initials: String = name.split_whitespace().filter_map(|word| word.chars().next()).take(2).collect();
    let at = jiff::Timestamp::try_from(letter.at).map(|at| at.strftime("%H:%M:%S").to_string()).unwrap_or_default();
    context! {
        number, to, name, initials, at,
        reads => reader.map(|person| person.locale),
        subject => message.as_ref().and_then(Message::subject).unwrap_or_default(),
        from => message.as_ref().and_then(|m| m.from()).and_then(|from| from.first()).and_then(|one| one.name()).unwrap_or_default(),
        language => letter.header("Content-Language").unwrap_or_default(),
        kind => letter.header("X-Tidings-Kind").unwrap_or_default(),
    }
}
