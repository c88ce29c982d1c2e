//! The confirmation page: one question and one button, or a clear word why not. It works without script, loads nothing, and repeats nothing of what it was asked with.

use crate::confirm::LinkFault;
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use std::{collections::BTreeMap, fmt::Write as _};
use tidings_core::Locale;
use tidings_render::Stationery;

/// The table of the catalogues that holds the page's words.
const TABLE: &str = "confirmation";

/// After how long a reader who came too often, or while the database was away, may come again, in seconds.
const LATER_S: &str = "60";

/// What a page says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Say {
    Ask,
    Fault(LinkFault),
    Busy,
    Unavailable,
}

impl Say {
    const fn key(self) -> &'static str {
        match self {
            Self::Ask => "",
            Self::Fault(LinkFault::Invalid) => "invalid",
            Self::Fault(LinkFault::Expired) => "expired",
            Self::Fault(LinkFault::Used) => "used",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Ask => StatusCode::OK,
            Self::Fault(LinkFault::Invalid) => StatusCode::BAD_REQUEST,
            Self::Fault(LinkFault::Expired | LinkFault::Used) => StatusCode::GONE,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The pages in every language.
pub struct Pages {
    words: BTreeMap<Locale, (Locale, BTreeMap<String, String>)>,
    default: Locale,
    name: String,
    style: String,
    policy: HeaderValue,
}

impl Pages {
    /// In the organisation's name and with the languages of its letters; `hand_over` is where the form may lead in the end.
    pub fn new(stationery: &Stationery, hand_over: &str) -> Self {
        let organisation = stationery.organisation();
        let languages = stationery.locales().into_iter().chain([organisation.default_locale.clone()]);
        let words = languages.map(|locale| (locale.clone(), stationery.texts(TABLE, &locale))).collect();
        let style = STYLE.replace("COLOUR", &organisation.colour).replace("INK", organisation.ink());
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        // A form's target holds for the redirection behind it, too (CSP 3 §6.4.1).
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
            origin(hand_over)
        );
        let policy = HeaderValue::from_str(&policy).expect("the settings' addresses hold no control characters");
        Self { words, default: organisation.default_locale.clone(), name: organisation.name.clone(), style, policy }
    }

    /// The page in the first of these languages that we have: that of the letter, else those that the browser asks for.
    pub(crate) fn show(&self, say: Say, letter: Option<&str>, accepted: Option<&str>) -> Response {
        let (locale, words) = self.words(letter, accepted);
        let word = |key: &str| escaped(words.get(key).map(String::as_str).unwrap_or_default());
        let mut body = String::new();
        let title = if say == Say::Ask { word("title") } else { word(&format!("{}_title", say.key())) };
        let _ = write!(body, "<h1>{title}</h1>");
        if say == Say::Ask {
            // Without an action a form goes to the page's own address, with its query: nothing of it has to be repeated here.
            let _ = write!(
                body,
                "<p>{}</p><form method=\"post\"><button type=\"submit\">{}</button></form><p class=\"small\">{}</p><p class=\"small\">{}</p>",
                word("lead"),
                word("button"),
                word("once"),
                word("unexpected")
            );
        } else {
            let _ = write!(body, "<p>{}</p>", word(say.key()));
        }
        let page = format!(
            "<!doctype html>\n<html lang=\"{locale}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title} – {name}</title><style>{style}</style></head>\n\
             <body><main><p class=\"name\">{name}</p>{body}</main></body></html>\n",
            name = escaped(&self.name),
            style = self.style,
        );
        let mut response = (say.status(), page).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
        if matches!(say, Say::Busy | Say::Unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(LATER_S));
        }
        response
    }

    fn words(&self, letter: Option<&str>, accepted: Option<&str>) -> &(Locale, BTreeMap<String, String>) {
        let asked = accepted.unwrap_or_default().split(',').take(10).map(|one| one.split(';').next().unwrap_or_default().trim());
        // English stands at the end of every chain; asked for by nobody, it comes only behind the default.
        let known = |tag: &str| {
            let locale: Locale = tag.parse().ok()?;
            let forms = locale.chain(&locale).into_iter().filter(|form| form.language() == locale.language());
            forms.into_iter().find_map(|form| self.words.get(&form))
        };
        let found = letter.into_iter().chain(asked).find_map(known);
        found.or_else(|| self.words.get(&self.default)).expect("the default language is among them")
    }
}

/// Scheme, host and port of a web address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// Two colours of the organisation, else the letters' own.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;background:#f2f4f7;color:#1c2430;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
main{max-width:30rem;margin:8vh auto 0;padding:2rem;background:#fff;border-top:4px solid COLOUR;border-radius:8px;box-sizing:border-box}\
.name{margin:0 0 1.5rem;font-weight:600;color:#5b6472}\
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}\
p{margin:0 0 1rem;overflow-wrap:anywhere}\
.small{font-size:.875rem;color:#5b6472}\
button{margin:.5rem 0 1.5rem;padding:.75rem 1.5rem;border:0;border-radius:6px;background:COLOUR;color:INK;font:inherit;font-weight:600;cursor:pointer}\
button:focus-visible{outline:3px solid #1c2430;outline-offset:2px}\
@media (prefers-color-scheme:dark){body{background:#12161c;color:#e7eaf0}main{background:#1b212a}.name,.small{color:#a5adba}button:focus-visible{outline-color:#fff}}\
@media (max-width:32rem){main{margin:0;min-height:100vh;border-radius:0}}";

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_render::{Organisation, StationeryOptions};

    const SAYS: [Say; 6] = [
        Say::Ask,
        Say::Fault(LinkFault::Invalid),
        Say::Fault(LinkFault::Expired),
        Say::Fault(LinkFault::Used),
        Say::Busy,
        Say::Unavailable,
    ];

    fn pages(name: &str) -> Pages {
        let organisation = Organisation { name: name.to_owned(), ..Organisation::default() };
        let stationery = Stationery::load(StationeryOptions { organisation, ..StationeryOptions::default() }).unwrap();
        Pages::new(&stationery, "https://app.example.org:8443/choose?x=1")
    }

    async fn text(response: Response) -> String {
        String::from_utf8(axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn every_page_in_every_language_is_as_it_was_reviewed() {
        let pages = pages("Nord & <Wind>");
        let mut all = String::new();
        for locale in pages.words.keys() {
            let _ = writeln!(all, "===== {locale}");
            for say in SAYS {
                let response = pages.show(say, Some(locale.as_str()), None);
                let status = response.status();
                let page = text(response).await.replace(&pages.style, "…");
                assert!(!page.contains("http") && !page.contains("script") && !page.contains("<Wind>"), "{page}");
                let _ = writeln!(all, "----- {status}\n{}", page.replace("><", ">\n<"));
            }
        }
        insta::assert_snapshot!(all);
        let policy = pages.policy.to_str().unwrap();
        let (hash, rest) = policy.strip_prefix("default-src 'none'; style-src 'sha256-").and_then(|rest| rest.split_once('\'')).unwrap();
        assert_eq!(hash.len(), 44);
        assert_eq!(rest, "; form-action 'self' https://app.example.org:8443; base-uri 'none'; frame-ancestors 'none'");
    }

    #[tokio::test]
    async fn the_letters_language_comes_first_then_the_browsers_then_the_houses() {
        let pages = pages("Nordwind");
        for (letter, accepted, language) in [
            (Some("fr-CA"), Some("de"), "fr"),
            (None, Some("sv, de-CH;q=0.9, fr;q=0.8"), "de"),
            (Some("sv"), Some("*, q=1,;;,\"'<"), "en"),
            (Some("not a tag"), Some("fr"), "fr"),
            (None, None, "en"),
        ] {
            let page = text(pages.show(Say::Ask, letter, accepted)).await;
            assert!(page.contains(&format!("<html lang=\"{language}\">")), "{letter:?} {accepted:?}: {page}");
        }
    }

    #[test]
    fn every_language_has_every_word() {
        let pages = pages("Nordwind");
        let english = &pages.words[&Locale::english()].1;
        for (asked, (found, words)) in &pages.words {
            assert_eq!(asked, found, "{asked} has words of its own");
            assert!(words.keys().eq(english.keys()), "{asked}");
            let same: Vec<_> = words.iter().filter(|(key, text)| *asked != Locale::english() && english.get(*key) == Some(text)).collect();
            assert_eq!(same, [], "{asked}: as in English");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for url in ["https://a.example.org:8443", "https://a.example.org:8443/x?y#z", "https://a.example.org:8443?y"] {
            assert_eq!(origin(url), "https://a.example.org:8443");
        }
    }
}
