//! `PasswordResetSettings` beside its mail: in which languages letters are written, and how links are made.

use super::{Agent, ConfirmationUri, TwoWay, house::House};
use crate::{
    dotnet::{Block, Found},
    load::{Loading, shown},
    node::Node,
    problem::{Problem, Source},
    sections::web_address,
};
use std::time::Duration;
use tidings_core::Locale;

const PARTS: [&str; 5] = ["EncryptionCertificate", "MailSettings", "NotificationSettings", "TokenBuildingSettings", "TwoFactorSettings"];

/// How long a link holds unless the file says otherwise: `03:00:00`.
const VALID_FOR: Duration = Duration::from_secs(3 * 3600);

/// No link may hold longer: it lies in a mailbox all that time.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The paths that an agent's page may not have, because something else stands there.
const TAKEN: [&str; 5] = ["/v1/", "/healthz", "/readyz", "/metrics", "/.well-known/"];

pub(super) fn read(loading: &Loading<'_>, source: &Source, root: &Node, house: &House) -> Agent {
    let block = |path| Block { loading, source, root, path };
    block(&["PasswordResetSettings"]).check_keys(&PARTS);
    let notification = block(&["PasswordResetSettings", "NotificationSettings"]);
    notification.check_keys(&["Cultures"]);
    let token = block(&["PasswordResetSettings", "TokenBuildingSettings"]);
    token.check_keys(&["ValidFor"]);
    let links = block(&["PasswordResetSettings", "TwoFactorSettings"]);
    links.check_keys(&["ApplicationUri", "ResetConfirmationUri"]);
    let cultures = notification.list("Cultures").into_iter().filter_map(|found| match found.text.trim().parse() {
        Ok(locale) => Some(locale),
        Err(error) => {
            notification.told(&found.place, format!("{error}"));
            None
        }
    });
    let cultures: Vec<Locale> = cultures.collect();
    let valid_for = valid_for(&token);
    let (application, confirmation) = (links.value("ApplicationUri"), links.value("ResetConfirmationUri"));
    let wanted = application.is_some() || confirmation.is_some() || links.node().is_some();
    if !wanted {
        if let Some((_, place)) = &house.hand_over {
            let message = "has no effect without PasswordResetSettings.TwoFactorSettings: no links are made";
            loading.warning_elsewhere(Problem { message: message.to_owned(), ..place.clone() });
        }
        return Agent { cultures, two_way: None };
    }
    for (name, there) in [("ApplicationUri", application.is_some()), ("ResetConfirmationUri", confirmation.is_some())] {
        if !there {
            let place = Problem { key: links.key(name), ..links.place() };
            links.told(&place, "is missing; links cannot be made without it");
        }
    }
    let application = application.and_then(|found| hand_over(&links, &found.text, &found.place));
    let hand_over_uri = match &house.hand_over {
        Some((text, place)) => hand_over(&links, text, place),
        None => application,
    };
    let confirmation = confirmation.and_then(|found| match self::confirmation(&found.text) {
        Ok(uri) => {
            warn_in_clear(&links, &found, "the link, which is as good as a password for its life time, travels in clear");
            Some(uri)
        }
        Err(message) => {
            links.told(&found.place, message);
            None
        }
    });
    let two_way = confirmation.zip(hand_over_uri).map(|(confirmation, hand_over_uri)| TwoWay { confirmation, hand_over_uri, valid_for });
    Agent { cultures, two_way }
}

fn warn_in_clear(block: &Block<'_>, found: &Found, message: &str) {
    let rest = found.text.trim().strip_prefix("http://");
    let local = rest.is_some_and(|rest| ["localhost", "127.", "[::1]"].iter().any(|host| rest.starts_with(host)));
    if rest.is_some() && !local {
        block.warned(&found.place, format!("is not https: {message}"));
    }
}

/// The address that a reader is sent on to.
fn hand_over(block: &Block<'_>, text: &str, place: &Problem) -> Option<String> {
    let text = text.trim();
    let fault = match web_address(text) {
        Err(message) => Some(message),
        Ok(()) if text.contains('#') => Some(format!("`{}` has a fragment; the code is given in the query", shown(text))),
        Ok(()) if !origin_is_plain(text) => Some(format!("`{}`: a host of letters, digits, dots and hyphens is wanted", shown(text))),
        Ok(()) => None,
    };
    match fault {
        Some(message) => {
            block.told(place, message);
            None
        }
        None => Some(text.to_owned()),
    }
}

/// Whether scheme, host and port may stand in a header as they are (the page names them in its content security policy).
fn origin_is_plain(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']' | b'_'))
}

/// Takes a confirmation address apart.
fn confirmation(text: &str) -> Result<ConfirmationUri, String> {
    let text = text.trim();
    web_address(text)?;
    let form = || format!("`{}` must end in a parameter for the token, such as `…/PasswordReset/Activate/?activationCode=`", shown(text));
    let (_, rest) = text.split_once("://").ok_or_else(form)?;
    let (before, query) = rest.split_once('?').ok_or_else(form)?;
    let path = before.find('/').map_or("/", |at| &before[at..]);
    let last = query.rsplit('&').next().unwrap_or_default();
    let parameter = last.strip_suffix('=').filter(|name| !name.is_empty()).ok_or_else(form)?;
    let plain = |text: &str, more: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b));
    if !plain(parameter, b"-_.") {
        return Err(format!("`{}`: the parameter's name may hold letters, digits, `-`, `_` and `.`", shown(text)));
    }
    if !plain(path, b"-_.~/") || path.contains("//") || path.split('/').any(|part| part == "." || part == "..") {
        return Err(format!("`{}`: its path may hold letters, digits, `-`, `_`, `.`, `~` and single slashes", shown(text)));
    }
    if let Some(taken) = TAKEN.iter().find(|taken| path == **taken || path.starts_with(**taken) && taken.ends_with('/')) {
        return Err(format!("`{}`: the agent has something else at {taken}", shown(text)));
    }
    Ok(ConfirmationUri { base: text.to_owned(), path: path.to_owned(), parameter: parameter.to_owned() })
}

fn valid_for(token: &Block<'_>) -> Duration {
    let Some(found) = token.value("ValidFor") else { return VALID_FOR };
    match span(found.text.trim()) {
        Some(span) if !span.is_zero() && span <= LONGEST => span,
        Some(_) => {
            token.told(&found.place, format!("`{}` is out of range (00:00:01 to 7.00:00:00)", shown(&found.text)));
            VALID_FOR
        }
        None => {
            let message =
                format!("`{}` is not of the form HH:mm:ss, such as 03:00:00; a day and more is written 1.00:00:00", shown(&found.text));
            token.told(&found.place, message);
            VALID_FOR
        }
    }
}

/// A `TimeSpan` as .NET writes one: `[d.]HH:mm:ss`. .NET itself reads `24:00:00` as 24 days, so that is refused.
fn span(text: &str) -> Option<Duration> {
    let (days, time) = match text.split_once('.') {
        Some((days, time)) => (number(days, 3)?, time),
        None => (0, text),
    };
    let mut parts = time.split(':');
    let mut next = |below: u64| parts.next().and_then(|part| number(part, 2)).filter(|part| *part < below);
    let (hours, minutes, seconds) = (next(24)?, next(60)?, next(60)?);
    parts.next().is_none().then(|| Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60 + seconds))
}

fn number(text: &str, longest: usize) -> Option<u64> {
    let fits = (1..=longest).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_hours_minutes_and_seconds() {
        assert_eq!(span("03:00:00"), Some(VALID_FOR));
        assert_eq!(span("1.02:03:04"), Some(Duration::from_secs(93_784)));
        for wrong in ["", "3", "3h", "24:00:00", "00:60:00", "00:00:60", "03:00", "03:00:00:00", "-1:00:00", "1.2.3", "003:00:00"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_confirmation_address_ends_in_a_parameter() {
        let uri = confirmation("http://localhost:5000/PasswordReset/Activate/?activationCode=").unwrap();
        assert_eq!((uri.path.as_str(), uri.parameter.as_str()), ("/PasswordReset/Activate/", "activationCode"));
        assert_eq!(confirmation("https://agent.example.org?lang=x&t=").unwrap().path, "/");
        for wrong in [
            "https://a.example.org/reset",
            "https://a.example.org/reset?code",
            "https://a.example.org/?=",
            "https://a.example.org/#t=",
            "https://a.example.org/v1/x?t=",
            "https://a.example.org/healthz?t=",
            "https://a.example.org/a/{b}?t=",
            "https://a.example.org/../x?t=",
            "ftp://a.example.org/?t=",
        ] {
            assert!(confirmation(wrong).is_err(), "{wrong}");
        }
    }
}
