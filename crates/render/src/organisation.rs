//! Whose letters these are: name, logo, colour, and what to fall back on.

use crate::error::TemplateProblem;
use jiff::tz::TimeZone;
use std::path::PathBuf;
use tidings_core::{Locale, event::is_web_url};

/// Largest inline logo, in bytes: it travels with every letter.
pub const MAX_LOGO_BYTES: usize = 256 * 1024;

/// The organisation's logo.
#[derive(Debug, Clone)]
pub enum Logo {
    /// Loaded by the reader's mail program, if the reader allows that.
    Url(String),
    /// Part of every letter, always shown.
    Inline {
        /// The picture.
        bytes: Vec<u8>,
        /// `image/png`, `image/jpeg` or `image/gif`; mail programs show no others.
        media_type: String,
    },
}

/// The organisation in whose name letters go out.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// Shown at the head and the foot of every letter.
    pub name: String,
    /// Shown above the name.
    pub logo: Option<Logo>,
    /// For the head line and buttons, `#rrggbb`.
    pub colour: String,
    /// The language for readers whose own is not known or has no letters.
    pub default_locale: Locale,
    /// IANA time zone for readers whose own is not known, `Europe/Berlin`.
    pub default_timezone: String,
    /// Where the name in the letter's foot leads.
    pub website: Option<String>,
}

impl Default for Organisation {
    fn default() -> Self {
        Self {
            name: "Tidings".to_owned(),
            logo: None,
            colour: "#2457a6".to_owned(),
            default_locale: Locale::english(),
            default_timezone: "UTC".to_owned(),
            website: None,
        }
    }
}

impl Organisation {
    /// Everything that is wrong with the settings.
    pub(crate) fn check(&self, problems: &mut Vec<TemplateProblem>) {
        let mut wrong = |key: &str, message: String| {
            let path = PathBuf::from("[organisation]");
            problems.push(TemplateProblem { path, line: None, column: None, message: format!("{key}: {message}") });
        };
        if self.name.trim().is_empty() || self.name.chars().any(char::is_control) {
            wrong("name", "must be one line of text".to_owned());
        }
        if rgb(&self.colour).is_none() {
            wrong("colour", format!("`{}` is not a colour of the form `#rrggbb`", self.colour));
        }
        if TimeZone::get(&self.default_timezone).is_err() {
            wrong("default_timezone", format!("`{}` is not a time zone such as `Europe/Berlin` (IANA)", self.default_timezone));
        }
        if self.website.as_deref().is_some_and(|url| !is_web_url(url)) {
            wrong("website", "is not an http or https address".to_owned());
        }
        match &self.logo {
            Some(Logo::Url(url)) if !is_web_url(url) => wrong("logo", "is not an http or https address".to_owned()),
            Some(Logo::Inline { media_type, .. }) if !["image/png", "image/jpeg", "image/gif"].contains(&media_type.as_str()) => {
                wrong("logo", "must be a PNG, JPEG or GIF picture; mail programs show no others".to_owned());
            }
            Some(Logo::Inline { bytes, .. }) if bytes.is_empty() || bytes.len() > MAX_LOGO_BYTES => {
                wrong("logo", format!("is {} bytes large; 1 to {MAX_LOGO_BYTES} are allowed", bytes.len()));
            }
            _ => {}
        }
    }

    /// Black or white, whichever reads better on the organisation's colour (WCAG 2.1, contrast ratio).
    pub fn ink(&self) -> &'static str {
        let channel = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = rgb(&self.colour).unwrap_or_default();
        let luminance = 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
        if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) { "#111111" } else { "#ffffff" }
    }
}

fn rgb(colour: &str) -> Option<[u8; 3]> {
    let hex = colour.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let part = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    Some([part(0)?, part(2)?, part(4)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ink_reads_on_the_colour() {
        let on = |colour: &str| Organisation { colour: colour.into(), ..Organisation::default() }.ink();
        assert_eq!(on("#2457a6"), "#ffffff");
        assert_eq!(on("#ffd500"), "#111111");
    }

    #[test]
    fn all_wrong_settings_are_named_at_once() {
        let mut problems = Vec::new();
        let organisation = Organisation {
            name: "a\nb".into(),
            colour: "blue".into(),
            default_timezone: "Mars/Olympus".into(),
            website: Some("javascript:alert(1)".into()),
            logo: Some(Logo::Inline { bytes: vec![1], media_type: "image/svg+xml".into() }),
            ..Organisation::default()
        };
        organisation.check(&mut problems);
        let keys: Vec<_> = problems.iter().map(|p| p.message.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(keys, ["name", "colour", "default_timezone", "website", "logo"]);
    }
}
