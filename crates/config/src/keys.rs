//! The table of keys: what may stand in a configuration file. The loader checks every value against it, and the reference is written from it.

use crate::units;
use tidings_core::{Address, Lane, Locale, schedule::Cron};

/// A section, or a table inside one.
#[derive(Debug)]
pub(crate) struct Section {
    /// What it settles, in a sentence or two.
    pub(crate) meaning: &'static str,
    /// Its keys in the order of the reference.
    pub(crate) keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What holds if the key is absent, as it would be written, without quotation marks.
    pub(crate) default: Option<&'static str>,
    pub(crate) meaning: &'static str,
}

/// What a key's value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A text that is not empty and holds no control characters.
    Text,
    /// An expression, checked where it is used.
    Expression,
    Flag,
    /// A whole number from … to …
    Number(i64, i64),
    /// A TCP port.
    Port,
    Duration,
    Size,
    /// A file or folder; relative to the folder of the configuration file.
    Path,
    Address,
    Listen,
    /// A web address, `http` or `https`.
    Url,
    Colour,
    Locale,
    Timezone,
    Lane,
    Cron,
    /// One of these words; the second list holds words of later versions.
    Choice(&'static [&'static str], &'static [&'static str]),
    Texts,
    Durations,
    /// Free names, each with a text.
    Map,
    /// The address of an LDAP server, or a list of them.
    Servers,
    /// A part in percent, from 0 to 100.
    Percent,
    /// Codes of SMTP refusals: a number, or a text such as `5xx`.
    ReplyCodes,
    /// Enhanced codes of refusals (RFC 3463).
    EnhancedCodes,
    /// A secret: stands for the key itself and its twins `…_file`, `…_env` and `…_command`.
    Secret,
    Table(&'static Section),
    /// `[[name]]`, any number of times.
    Tables(&'static Section),
}

/// The endings of a secret's twins.
pub(crate) const TWINS: [&str; 3] = ["_file", "_env", "_command"];

impl Section {
    /// The key of this name, or the secret whose twin it is.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        let direct = self.keys.iter().find(|key| key.name == name);
        direct.or_else(|| {
            let base = TWINS.iter().find_map(|twin| name.strip_suffix(twin))?;
            self.keys.iter().find(|key| key.name == base && matches!(key.shape, Shape::Secret))
        })
    }

    /// Every name that may be written, for "did you mean".
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for key in self.keys {
            names.push(key.name.to_owned());
            if matches!(key.shape, Shape::Secret) {
                names.extend(TWINS.iter().map(|twin| format!("{}{twin}", key.name)));
            }
        }
        names
    }
}

impl Shape {
    /// What a value of this shape is called in a message: "must be …".
    pub(crate) fn called(&self) -> &'static str {
        match self {
            Self::Text | Self::Expression | Self::Secret => "a text in quotation marks",
            Self::Flag => "true or false, without quotation marks",
            Self::Number(..) => "a whole number, without quotation marks",
            Self::Port => "a port (1–65535), without quotation marks",
            Self::Duration => "a duration such as \"15m\" (ms, s, m, h, d)",
            Self::Size => "a size such as \"256MiB\"",
            Self::Path => "a path in quotation marks",
            Self::Address => "a mail address in quotation marks",
            Self::Listen => "an address and port such as \"127.0.0.1:8025\"",
            Self::Url => "a web address in quotation marks",
            Self::Colour => "a colour such as \"#1f5f8b\"",
            Self::Locale => "a language tag such as \"en\" or \"de-AT\"",
            Self::Timezone => "a time zone such as \"Europe/Berlin\"",
            Self::Lane => "a lane in quotation marks",
            Self::Cron => "a cron expression such as \"*/5 * * * *\"",
            Self::Choice(..) => "a word in quotation marks",
            Self::Texts => "a list of texts such as [\"a\", \"b\"]",
            Self::Durations => "a list of durations such as [\"1m\", \"5m\"]",
            Self::Map => "a table of texts such as { mail = \"mail\" }",
            Self::Servers => "an address such as \"ldaps://dc1.example.org\", or a list of them",
            Self::Percent => "a part such as \"20%\"",
            Self::ReplyCodes => "a code such as 554, \"5xx\" or \"450-459\"",
            Self::EnhancedCodes => "an enhanced code such as \"5.7.1\" or \"5.7.*\"",
            Self::Table(_) => "a table",
            Self::Tables(_) => "a list of tables, each under a [[heading]]",
        }
    }

    /// What is wrong with a text of this shape, if anything.
    pub(crate) fn fault(&self, text: &str) -> Option<String> {
        let shown = crate::problem::shown(text);
        match self {
            _ if text.contains('\0') => Some("holds a NUL character".to_owned()),
            Self::Expression | Self::Secret => None,
            _ if text.trim().is_empty() => Some(format!("is empty; it must be {}", self.called())),
            Self::Text | Self::Path if !tidings_core::address::is_header_safe(text) => {
                Some("holds a line break or another control character".to_owned())
            }
            Self::Duration => match units::duration(text) {
                Ok(duration) if duration.is_zero() => Some(format!("`{shown}` must be longer than nothing")),
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            },
            Self::Size => units::size(text).err().map(|e| e.to_string()),
            Self::Percent => units::percent(text).err().map(|e| e.to_string()),
            Self::Servers => crate::sections::directory::ldap_server(text).err(),
            Self::Address => Address::parse(text).err().map(|e| e.to_string()),
            Self::Listen => text.parse::<std::net::SocketAddr>().err().map(|_| listen_fault(text)),
            Self::Url => crate::sections::web_address(text).err(),
            Self::Colour => {
                let right = text.len() == 7 && text.starts_with('#') && text[1..].bytes().all(|b| b.is_ascii_hexdigit());
                (!right).then(|| format!("`{shown}` is not a colour such as \"#1f5f8b\""))
            }
            Self::Locale => text.parse::<Locale>().err().map(|e| e.to_string()),
            Self::Timezone => jiff::tz::TimeZone::get(text)
                .err()
                .map(|_| format!("`{shown}` is not a time zone such as \"Europe/Berlin\" or \"UTC\" (IANA)")),
            Self::Lane => text.parse::<Lane>().err().map(|e| e.to_string()),
            Self::ReplyCodes => crate::sections::replies::codes(text).err(),
            Self::EnhancedCodes => crate::sections::replies::enhanced(text).err(),
            Self::Cron => text.parse::<Cron>().err().map(|e| e.to_string()),
            Self::Choice(words, later) => {
                if words.contains(&text) {
                    None
                } else if later.contains(&text) {
                    Some(format!("`{shown}` is not supported by this version; allowed are {}", words.join(", ")))
                } else {
                    let hint = crate::problem::did_you_mean(text, words.iter().copied());
                    Some(format!("`{shown}` is not allowed here; allowed are {}{hint}", words.join(", ")))
                }
            }
            _ => None,
        }
    }
}

fn listen_fault(text: &str) -> String {
    let shown = crate::problem::shown(text);
    if let Some((host, port)) = text.rsplit_once(':')
        && host.parse::<std::net::IpAddr>().is_ok()
        && port.bytes().all(|b| b.is_ascii_digit())
        && !port.is_empty()
    {
        return format!("`{shown}`: {port} is not a port (0–65535)");
    }
    format!("`{shown}` is not an IP address and port such as \"127.0.0.1:8025\" or \"[::1]:8025\"")
}

/// A key without a default.
pub(crate) const fn key(name: &'static str, shape: Shape, meaning: &'static str) -> Key {
    Key { name, shape, default: None, meaning }
}

/// A key with a default.
pub(crate) const fn preset(name: &'static str, shape: Shape, default: &'static str, meaning: &'static str) -> Key {
    Key { name, shape, default: Some(default), meaning }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(section: &'static Section, seen: &mut impl FnMut(&'static Key)) {
        for key in section.keys {
            seen(key);
            if let Shape::Table(inner) | Shape::Tables(inner) = key.shape {
                walk(inner, seen);
            }
        }
    }

    #[test]
    fn every_default_is_a_value_that_the_key_accepts() {
        let mut defaults = 0;
        walk(&crate::sections::ROOT, &mut |key| {
            let Some(default) = key.default else { return };
            defaults += 1;
            match key.shape {
                Shape::Number(least, most) => assert!((least..=most).contains(&default.parse().unwrap()), "{}", key.name),
                Shape::Flag => assert!(default.parse::<bool>().is_ok(), "{}", key.name),
                Shape::Texts | Shape::Durations => {}
                ref shape => assert_eq!(shape.fault(default), None, "{}", key.name),
            }
        });
        assert!(defaults > 15);
    }

    #[test]
    fn every_key_says_what_it_means() {
        walk(&crate::sections::ROOT, &mut |key| {
            assert!(key.meaning.ends_with('.'), "{}", key.name);
        });
    }
}
