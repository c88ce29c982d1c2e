//! Mail addresses, parsed once at the door and masked when printed to a log.

use crate::fault::has_control;
use std::{fmt, str::FromStr};

/// A mail address that is safe to put into an envelope and a header: no line breaks, no control characters, no spaces, a domain in ASCII (A-labels, RFC 5890).
///
/// The local part keeps its case and may hold non-ASCII letters (RFC 6531); the domain is lower case. `Debug` prints the masked form, so that an address in a
/// debug line does no harm; `Display` and [`Address::as_str`] give the whole.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: Box<str>,
    at: usize,
}

/// Why a text is not accepted as a mail address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the mail address is empty")]
    Empty,
    /// CR, LF, NUL or another control character: refused everywhere, because it could start a header or an SMTP command of its own.
    #[error("the mail address holds a control character ({0})")]
    Control(String),
    /// A character that may not stand in an address.
    #[error("the mail address holds `{0}`, which may not stand there")]
    Character(char),
    /// No `@`, or nothing on one side of it.
    #[error("`{0}` is not a mail address: it needs a name, an @ and a domain")]
    Shape(String),
    /// The domain is not a host name.
    #[error("`{0}` is not a mail domain")]
    Domain(String),
    /// Longer than RFC 5321 §4.5.3.1 allows (64 octets before the @, 255 after, 254 in all).
    #[error("the mail address is too long (64 octets before the @, 254 in all; RFC 5321 §4.5.3.1)")]
    TooLong,
}

impl Address {
    /// Parses an address such as `ada@example.org`; surrounding blanks are not accepted.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong and never repeats a control character raw.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(control) = has_control(text, b"").then(|| text.chars().find(|c| c.is_control())).flatten() {
            return Err(AddressError::Control(format!("U+{:04X}", u32::from(control))));
        }
        let shape = || AddressError::Shape(text.chars().take(80).collect());
        let (local, domain) = text.rsplit_once('@').ok_or_else(shape)?;
        if local.is_empty() || domain.is_empty() {
            return Err(shape());
        }
        Self::check_local(local)?;
        let ascii = Self::ascii_domain(domain)?;
        if local.len() > 64 || ascii.len() > 255 || local.len() + 1 + ascii.len() > 254 {
            return Err(AddressError::TooLong);
        }
        Ok(Self { text: format!("{local}@{ascii}").into(), at: local.len() })
    }

    /// RFC 5321 §4.1.2: a dot-string or a quoted string, widened by RFC 6531 §3.3 to letters beyond ASCII.
    fn check_local(local: &str) -> Result<(), AddressError> {
        if let Some(quoted) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            let mut escaped = false;
            for c in quoted.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => return Err(AddressError::Character('"')),
                    _ => {}
                }
            }
            return if escaped || quoted.is_empty() { Err(AddressError::Character('\\')) } else { Ok(()) };
        }
        let allowed = |c: char| !c.is_ascii() && !c.is_whitespace() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        if let Some(wrong) = local.chars().find(|&c| !allowed(c)) {
            return Err(AddressError::Character(wrong));
        }
        if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
            return Err(AddressError::Character('.'));
        }
        Ok(())
    }

    fn ascii_domain(domain: &str) -> Result<String, AddressError> {
        let wrong = || AddressError::Domain(domain.chars().take(80).collect());
        if domain.starts_with('[') {
            // RFC 5321 §4.1.3: an address literal; kept as it is when it is one.
            let inner = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')).ok_or_else(wrong)?;
            let ip = inner.strip_prefix("IPv6:").unwrap_or(inner);
            return ip.parse::<std::net::IpAddr>().map(|_| domain.to_owned()).map_err(|_| wrong());
        }
        if is_plain_domain(domain) {
            return Ok(domain.to_owned());
        }
        let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| wrong())?;
        let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if ascii.split('.').all(label) { Ok(ascii) } else { Err(wrong()) }
    }

    /// The whole address: local part, `@`, domain as A-labels.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// What stands behind the `@`: lower case, A-labels.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Whether sending to this address needs the SMTPUTF8 extension (RFC 6531): its local part is not ASCII.
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }

    /// The form under which two spellings count as one person: all lower case.
    pub fn folded(&self) -> String {
        self.text.to_lowercase()
    }

    /// For logs: `a***@example.org`.
    pub fn masked(&self) -> String {
        let first = self.local().chars().next().unwrap_or('*');
        format!("{first}***@{}", self.domain())
    }
}

/// Whether a domain is what IDNA (UTS 46) would make of it, seen without its tables: lower-case labels of letters, digits and inner hyphens, none of them an
/// A-label that would have to be checked.
fn is_plain_domain(domain: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
            && bytes.get(2..4) != Some(b"--")
    };
    domain.len() <= 253 && domain.split('.').all(label)
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

/// Whether `text` may stand in a header value: no CR, LF, NUL or other control character except tab (RFC 5322 §2.2).
pub fn is_header_safe(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_are_refused_and_not_repeated() {
        let error = Address::parse("ada@example.org\r\nBcc: eve@example.org").unwrap_err();
        assert_eq!(error, AddressError::Control("U+000D".into()));
        assert!(!error.to_string().contains('\r'));
        assert!(Address::parse("ada\0@example.org").is_err());
    }

    #[test]
    fn spaces_angle_brackets_and_two_ats_are_refused() {
        for wrong in [
            "a b@example.org",
            "<ada@example.org>",
            "ada@",
            "@example.org",
            "ada",
            "a@b@c",
            "a..b@example.org",
            "a@-",
            "a@exa mple.org",
            "a@b>c",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_domain_beyond_ascii_becomes_a_labels_and_a_local_part_needs_smtputf8() {
        let address = Address::parse("info@Bücher.example").unwrap();
        assert_eq!(address.domain(), "xn--bcher-kva.example");
        assert!(!address.needs_smtputf8());
        assert!(Address::parse("jörg@example.org").unwrap().needs_smtputf8());
    }

    #[test]
    fn debug_does_not_show_the_whole_address() {
        let address = Address::parse("ada.king@example.org").unwrap();
        assert_eq!(format!("{address:?}"), "a***@example.org");
    }

    proptest! {
        #[test]
        fn a_domain_taken_without_tables_is_what_idna_makes_of_it(domain in "[a-z0-9.-]{1,20}") {
            if is_plain_domain(&domain) {
                prop_assert_eq!(idna::domain_to_ascii_strict(&domain).unwrap(), domain);
            }
        }

        #[test]
        fn what_parses_prints_and_parses_to_the_same(text in "\\PC{0,40}@[a-zA-Z0-9.-]{1,30}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(address.as_str()).unwrap(), address.clone());
                prop_assert!(!address.as_str().contains(['\r', '\n', '\0', ' ']) || address.local().starts_with('"'));
            }
        }
    }
}
