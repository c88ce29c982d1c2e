//! Single values as people write them into files.

use jiff::{civil::Date, tz::TimeZone};
use tidings_core::{
    Timestamp,
    directory::{Link, LinkRole},
};

/// `true` or `false` in the words of English, German and French, and 1 or 0.
pub(crate) fn flag(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "y" | "1" | "on" | "x" | "active" | "enabled" | "ja" | "wahr" | "aktiv" | "oui" | "vrai" | "actif" => Ok(true),
        "false" | "no" | "n" | "0" | "off" | "inactive" | "disabled" | "nein" | "falsch" | "inaktiv" | "non" | "faux" | "inactif" => {
            Ok(false)
        }
        _ => Err(format!("`{}` is neither true nor false", shown(text))),
    }
}

/// Another object, by its key, for ever or for a time: `g7`, `g7 until 2026-12-31`, `g7 from 2026-12-01 until 2026-12-31`.
pub(crate) fn link(text: &str, role: LinkRole, timezone: &TimeZone) -> Result<Link, String> {
    let (rest, ends_at) = cut(text, " until ", |date| end_of(date, timezone))?;
    let (to, starts_at) = cut(rest, " from ", |date| start_of(date, timezone))?;
    if to.is_empty() {
        return Err("a key is missing before the date".to_owned());
    }
    if let (Some(starts), Some(ends)) = (starts_at, ends_at)
        && ends <= starts
    {
        return Err(format!("`{}` ends before it begins", shown(text)));
    }
    Ok(Link { starts_at, ends_at, ..Link::new(role, to) })
}

/// What stands before a word, and the moment behind it; a text that only looks like that (`Back from holiday`) stays whole.
fn cut<'a>(text: &'a str, word: &str, moment: impl Fn(&str) -> Option<Timestamp>) -> Result<(&'a str, Option<Timestamp>), String> {
    let Some((before, behind)) = text.rsplit_once(word) else { return Ok((text.trim(), None)) };
    let behind = behind.trim();
    if !behind.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok((text.trim(), None));
    }
    match moment(behind) {
        Some(moment) => Ok((before.trim(), Some(moment))),
        None => Err(format!("`{}` is not a date such as 2026-12-31, or a moment such as 2026-12-31T18:00:00Z", shown(behind))),
    }
}

fn start_of(text: &str, timezone: &TimeZone) -> Option<Timestamp> {
    text.parse().ok().or_else(|| Some(text.parse::<Date>().ok()?.to_zoned(timezone.clone()).ok()?.timestamp()))
}

/// A bare date is meant with that day.
fn end_of(text: &str, timezone: &TimeZone) -> Option<Timestamp> {
    text.parse().ok().or_else(|| Some(text.parse::<Date>().ok()?.at(23, 59, 59, 0).to_zoned(timezone.clone()).ok()?.timestamp()))
}

/// A text of the file for a report: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_be_for_a_time() {
        let of = |text: &str| {
            let link = link(text, LinkRole::Member, &TimeZone::UTC)?;
            let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string()).unwrap_or_default();
            Ok::<_, String>((link.to, text(link.starts_at), text(link.ends_at)))
        };
        assert_eq!(of(" g7 "), Ok(("g7".into(), String::new(), String::new())));
        assert_eq!(of("g7 until 2026-12-31"), Ok(("g7".into(), String::new(), "2026-12-31T23:59:59Z".into())));
        assert_eq!(
            of("Team West from 2026-12-01 until 2026-12-31T18:00:00+01:00"),
            Ok(("Team West".into(), "2026-12-01T00:00:00Z".into(), "2026-12-31T17:00:00Z".into()))
        );
        assert_eq!(of("Back from holiday").unwrap().0, "Back from holiday");
        for wrong in ["g7 until 2026-13-31", "g7 until 31.12.2026", " until 2026-12-31", "g7 from 2026-12-31 until 2026-12-01"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_flag_is_a_word_of_several_languages() {
        assert_eq!((flag("Ja"), flag("0"), flag("INACTIF")), (Ok(true), Ok(false), Ok(false)));
        assert!(flag("perhaps").unwrap_err().contains("perhaps"));
    }
}
