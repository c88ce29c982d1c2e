//! Language tags (RFC 5646, the part that mail needs: language, script, region) and the chain of languages that is tried for a reader.

use std::{fmt, str::FromStr};

/// A language tag in canonical case, like `de`, `de-AT`, `zh-Hant-TW`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locale(Box<str>);

/// A text that is not a language tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a language tag such as `en`, `de-AT` or `pt-BR` (RFC 5646)")]
pub struct LocaleError(pub String);

impl Locale {
    /// English, the language every letter exists in.
    pub fn english() -> Self {
        Self("en".into())
    }

    /// The tag as written in headers and file names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The language alone: `de` of `de-AT`.
    pub fn language(&self) -> &str {
        self.0.split('-').next().unwrap_or(&self.0)
    }

    /// The languages to try for a reader of this locale, in order and without repetition: the tag itself, each shorter form of it
    /// (RFC 4647 §3.4 lookup), the same for `default`, and English at the end.
    pub fn chain(&self, default: &Self) -> Vec<Self> {
        let mut chain: Vec<Self> = Vec::with_capacity(4);
        for start in [self, default, &Self::english()] {
            let mut tag: &str = &start.0;
            loop {
                if !chain.iter().any(|seen| seen.as_str() == tag) {
                    chain.push(Self(tag.into()));
                }
                match tag.rfind('-') {
                    Some(cut) => tag = &tag[..cut],
                    None => break,
                }
            }
        }
        chain
    }
}

impl FromStr for Locale {
    type Err = LocaleError;

    fn from_str(text: &str) -> Result<Self, LocaleError> {
        let wrong = || LocaleError(text.chars().take(40).collect());
        // POSIX habits are accepted: `de_AT.UTF-8` is `de-AT`.
        let tag = text.trim().split(['.', '@']).next().unwrap_or_default();
        let mut canonical = String::with_capacity(tag.len());
        for (position, part) in tag.split(['-', '_']).enumerate() {
            let letters = part.bytes().all(|b| b.is_ascii_alphabetic());
            let digits = part.bytes().all(|b| b.is_ascii_digit());
            match (position, part.len()) {
                (0, 2 | 3) if letters => canonical.push_str(&part.to_ascii_lowercase()),
                (1.., 4) if letters => {
                    canonical.push('-');
                    canonical.push_str(&part[..1].to_ascii_uppercase());
                    canonical.push_str(&part[1..].to_ascii_lowercase());
                }
                (1.., 2) if letters => {
                    canonical.push('-');
                    canonical.push_str(&part.to_ascii_uppercase());
                }
                (1.., 3) if digits => {
                    canonical.push('-');
                    canonical.push_str(part);
                }
                (1.., 5..=8) if part.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    canonical.push('-');
                    canonical.push_str(&part.to_ascii_lowercase());
                }
                _ => return Err(wrong()),
            }
        }
        Ok(Self(canonical.into()))
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Locale {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_shortens_the_tag_then_tries_the_default_then_english() {
        let reader: Locale = "de_at".parse().unwrap();
        let default: Locale = "fr".parse().unwrap();
        let chain: Vec<String> = reader.chain(&default).iter().map(ToString::to_string).collect();
        assert_eq!(chain, ["de-AT", "de", "fr", "en"]);
    }

    #[test]
    fn what_is_no_language_tag_is_refused() {
        for wrong in ["", "d", "deutsch", "de-", "de/AT", "../en", "12"] {
            assert!(wrong.parse::<Locale>().is_err(), "{wrong}");
        }
    }
}
