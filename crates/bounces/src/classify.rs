//! How bad a bounce is: by the enhanced code first, then by the basic code, then by words.
//!
//! Hard is what says that the address is dead. Everything else that did not arrive is soft: a full mailbox, a policy, a suspicion of spam (RFC 3463 §3.8: 5.7.x) or a
//! relay that gave up speak of the letter or of the hour, and not of the address.

use tidings_core::bounce::Class;

/// An enhanced code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enhanced(pub u16, pub u16, pub u16);

impl Enhanced {
    /// Reads `5.1.1`; surrounding blanks and what follows it are left alone.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.trim().split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
        let mut numbers = word.split('.').map(|number| if number.len() <= 3 { number.parse().ok() } else { None });
        let code = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
    }

    /// The first one in a text.
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|word| word.len() >= 5).find_map(|word| {
            // A host's address has four numbers.
            Self::parse(word.trim_end_matches('.'))
        })
    }

    /// Whether it says nothing but the class: `5.0.0`.
    pub fn is_general(self) -> bool {
        self.1 == 0
    }
}

impl std::fmt::Display for Enhanced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The code that tells most: the one of the status field, unless that is general and the words know more.
pub(crate) fn telling(status: Option<&str>, diagnostic: &str) -> Option<Enhanced> {
    let stated = status.and_then(Enhanced::parse);
    match stated {
        Some(code) if !code.is_general() => Some(code),
        stated => Enhanced::find(diagnostic).filter(|code| stated.is_none_or(|stated| stated.0 == code.0)).or(stated),
    }
}

/// The basic code (RFC 5321 §4.2) that a text holds: three digits of the 4yz and 5yz that stand by themselves.
fn basic(text: &str) -> Option<u16> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .filter(|word| word.len() == 3)
        .find_map(|word| word.parse().ok().filter(|code| (400..600).contains(code)))
}

/// What speaks against the letter or of the hour, whatever else is said.
const SOFT_WORDS: &[&str] = &[
    "spam",
    "blocked",
    "blacklist",
    "block list",
    "blocklist",
    "policy",
    "quota",
    "mailbox full",
    "mailbox is full",
    "too large",
    "greylist",
    "graylist",
    "dmarc",
    "dkim",
    "spf ",
    "reputation",
    "temporar",
    "try again",
    "rate limit",
    "relay access denied",
    "relaying denied",
    "virus",
    "timed out",
    "timeout",
];

/// What says that there is nobody.
const HARD_WORDS: &[&str] = &[
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "no such address",
    "no such mailbox",
    "no mailbox here",
    "mailbox not found",
    "mailbox unavailable",
    "mailbox does not exist",
    "user does not exist",
    "does not exist",
    "doesn't exist",
    "recipient not found",
    "recipnotfound",
    "recipient unknown",
    "unknown recipient",
    "unknown address",
    "invalid recipient",
    "invalid mailbox",
    "address not found",
    "address is invalid",
    "user not found",
    "account is disabled",
    "account has been disabled",
    "mailbox disabled",
    "mailbox is disabled",
    "no longer available",
    "no longer employed",
    "not a valid mailbox",
    "unrouteable address",
    "unroutable address",
    "host or domain name not found",
    "domain does not exist",
    "domain not found",
    "non-existent hosts",
    "nullmx",
    "null mx",
    "does not accept mail",
];

fn by_words(words: &str) -> Option<Class> {
    let lower = words.to_lowercase();
    let holds = |list: &[&str]| list.iter().any(|word| lower.contains(word));
    if holds(SOFT_WORDS) {
        Some(Class::Soft)
    } else if holds(HARD_WORDS) {
        Some(Class::Hard)
    } else {
        None
    }
}

/// The class of a delivery that failed.
pub fn failed(code: Option<Enhanced>, words: &str) -> Class {
    let lower = || words.to_lowercase();
    match code {
        // It was given up after having been put off: nothing is said about the address.
        Some(Enhanced(4, ..)) => Class::Soft,
        // No such mailbox, no such domain, no such form; moved away; a domain that takes no mail (RFC 7505); a mailbox that is disabled; a domain without a way to it.
        Some(Enhanced(5, 1, 1 | 2 | 3 | 6 | 10) | Enhanced(5, 2, 1) | Enhanced(5, 4, 4 | 310)) => Class::Hard,
        // Exchange Online, of recipients whom its directory does not know.
        Some(Enhanced(5, 4, 1)) if lower().contains("recipient address rejected: access denied") => Class::Hard,
        Some(Enhanced(5, subject, detail)) if subject > 0 && !matches!((subject, detail), (1 | 2, 0)) => Class::Soft,
        // 5.0.0, 5.1.0, 5.2.0 or none: the words, as long as the basic code does not speak against them.
        _ => match (basic(words), by_words(words)) {
            (Some(400..=499 | 552), _) => Class::Soft,
            (_, Some(class)) => class,
            _ => Class::Soft,
        },
    }
}

/// The class of what a report says was done (RFC 3464 §2.3.3).
pub(crate) fn action(action: &str, code: Option<Enhanced>, words: &str) -> Class {
    match action.trim().to_ascii_lowercase().as_str() {
        "delayed" => Class::Delayed,
        "delivered" => Class::Delivered,
        "relayed" | "expanded" => Class::Relayed,
        "failed" => failed(code, words),
        // No action, or none that is known: the code says what happened.
        _ => match code {
            Some(Enhanced(2, ..)) => Class::Delivered,
            Some(Enhanced(4, ..)) => Class::Delayed,
            _ => failed(code, words),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_words_and_not_from_addresses_of_hosts() {
        assert_eq!(Enhanced::find("host mx[192.0.2.1] said: 550-5.1.1 The account"), Some(Enhanced(5, 1, 1)));
        assert_eq!(Enhanced::find("550 5.4.310 DNS domain x does not exist"), Some(Enhanced(5, 4, 310)));
        assert_eq!(Enhanced::find("192.0.2.1 says 1.2.3 and 12.345"), None);
        assert_eq!(Enhanced::parse(" 5.1.1 (bad)"), Some(Enhanced(5, 1, 1)));
        assert_eq!(Enhanced::parse("5.1"), None);
        assert_eq!(telling(Some("5.0.0"), "smtp; 550 5.2.2 mailbox full"), Some(Enhanced(5, 2, 2)));
        assert_eq!(telling(Some("5.1.1"), "smtp; 550 5.7.1 x"), Some(Enhanced(5, 1, 1)));
        assert_eq!(telling(Some("5.0.0"), "smtp; 450 4.2.2 x"), Some(Enhanced(5, 0, 0)));
    }

    #[test]
    fn a_dead_address_is_told_from_a_full_or_a_wary_one() {
        for (words, class) in [
            ("550 5.1.1 <ada@example.org>: Recipient address rejected: User unknown", Class::Hard),
            ("550-5.1.1 The email account that you tried to reach does not exist", Class::Hard),
            ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", Class::Hard),
            ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", Class::Hard),
            ("550 5.4.1 No answer from host", Class::Soft),
            ("550 5.2.1 The email account that you tried to reach is disabled", Class::Hard),
            ("552 5.2.2 The email account that you tried to reach is over quota", Class::Soft),
            ("550 5.7.1 Our system has detected that this message is likely unsolicited; user unknown", Class::Soft),
            ("554 5.7.5 permanent error evaluating DMARC policy", Class::Soft),
            ("450 4.2.1 mailbox busy", Class::Soft),
            ("550 No such user here", Class::Hard),
            ("550 blocked by spam policy: no such user", Class::Soft),
            ("552 No such user here", Class::Soft),
            ("554 delivery error: dd This user doesn't have an account", Class::Soft),
            ("550 5.0.0 unknown user account", Class::Hard),
            ("all relevant MX records point to non-existent hosts", Class::Hard),
            ("", Class::Soft),
        ] {
            assert_eq!(failed(telling(None, words), words), class, "{words}");
        }
    }

    #[test]
    fn what_is_late_delivered_or_handed_on_is_no_bounce() {
        assert_eq!(action("delayed", Some(Enhanced(4, 4, 1)), ""), Class::Delayed);
        assert_eq!(action(" Delivered ", Some(Enhanced(2, 0, 0)), ""), Class::Delivered);
        assert_eq!(action("expanded", None, ""), Class::Relayed);
        assert_eq!(action("", Some(Enhanced(4, 0, 0)), ""), Class::Delayed);
        assert_eq!(action("failed", Some(Enhanced(4, 4, 7)), "user unknown"), Class::Soft);
    }
}
