//! What a refusal means: of the message for now, of the message for good, or trouble of the whole relay.
//!
//! The rules are data, first match wins, in the shape of a table by stage, basic code, enhanced code and words, so that presets of providers and overrides
//! of operators can be put in front of the standard ones.

use super::reply::{Enhanced, Reply};
use crate::courier::{RelayTrouble, TroubleKind};
use std::borrow::Cow;
use tidings_core::outbox::{Outcome, Refusal, Stage};

/// What follows from a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// This message not now.
    Transient,
    /// This message never.
    Permanent,
    /// No message of this sender address: it may not write here. For the message it is like `Permanent`.
    Sender,
    /// Nothing can be said of the message: the relay is in trouble.
    Relay(TroubleKind),
}

impl Class {
    /// The word for it in a configuration, or the kind of trouble if there is none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "retry",
            Self::Permanent => "fail",
            Self::Sender => "sender",
            Self::Relay(TroubleKind::Configuration) => "hold",
            Self::Relay(TroubleKind::Auth) => "sign-in",
            Self::Relay(kind) => kind.as_str(),
        }
    }
}

/// Which basic codes a rule is about, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes(pub u16, pub u16);

/// Which enhanced codes a rule is about: the same class and subject, details within both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnhancedCodes {
    /// Class and subject.
    pub of: (u8, u16),
    /// The first and the last detail.
    pub details: (u16, u16),
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// At which steps; empty: at any.
    pub stages: Cow<'static, [Stage]>,
    /// Basic codes.
    pub codes: Codes,
    /// Enhanced codes, if they matter.
    pub enhanced: Option<EnhancedCodes>,
    /// Words that the text must hold, if they matter; letter case aside.
    pub words: Option<Cow<'static, str>>,
    /// What it means.
    pub class: Class,
    /// What an administrator can do.
    pub hint: Option<Cow<'static, str>>,
    /// Of a sign-in: a fresh access token would be refused like this one.
    pub no_refresh: bool,
}

pub(super) const fn row(
    stages: &'static [Stage],
    codes: Codes,
    enhanced: Option<EnhancedCodes>,
    class: Class,
    hint: Option<&'static str>,
) -> Rule {
    worded(stages, codes, enhanced, None, class, hint)
}

/// A row that also looks at the words.
pub(super) const fn worded(
    stages: &'static [Stage],
    codes: Codes,
    enhanced: Option<EnhancedCodes>,
    words: Option<&'static str>,
    class: Class,
    hint: Option<&'static str>,
) -> Rule {
    const fn text(text: Option<&'static str>) -> Option<Cow<'static, str>> {
        match text {
            Some(text) => Some(Cow::Borrowed(text)),
            None => None,
        }
    }
    Rule { stages: Cow::Borrowed(stages), codes, enhanced, words: text(words), class, hint: text(hint), no_refresh: false }
}

pub(super) const SIGN_IN: Class = Class::Relay(TroubleKind::Auth);
pub(super) const BUSY: Class = Class::Relay(TroubleKind::Busy);
pub(super) const SETTINGS: Class = Class::Relay(TroubleKind::Configuration);
pub(super) const QUOTA: Class = Class::Relay(TroubleKind::Quota);
pub(super) const ENVELOPE: &[Stage] = &[Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Content];
const PASSWORD_HINT: &str = "check user name and password of this relay, and that the account may send by SMTP";

/// The rules that hold for every relay.
static STANDARD: &[Rule] = &[
    Rule {
        stages: Cow::Borrowed(&[Stage::Ehlo, Stage::Tls, Stage::Auth, Stage::Mail]),
        codes: Codes(400, 599),
        enhanced: None,
        words: Some(Cow::Borrowed("client certificate")),
        class: Class::Relay(TroubleKind::Tls),
        hint: Some(Cow::Borrowed("the relay wants to see a certificate: set client_cert_file and client_key_file")),
        no_refresh: false,
    },
    // RFC 5321 §3.8: the service is closing, at any time.
    row(&[], Codes(421, 421), None, BUSY, None),
    row(&[Stage::Connect, Stage::Greeting], Codes(400, 499), None, BUSY, None),
    row(
        &[Stage::Connect, Stage::Greeting],
        Codes(500, 599),
        None,
        SETTINGS,
        Some("the relay does not serve this machine: check host and port, and whether the relay allows this address"),
    ),
    row(&[Stage::Ehlo], Codes(400, 499), None, BUSY, None),
    row(&[Stage::Ehlo], Codes(500, 599), None, SETTINGS, Some("the relay refuses the name this machine gives; check helo")),
    row(
        &[Stage::Tls],
        Codes(400, 599),
        None,
        Class::Relay(TroubleKind::Tls),
        Some("the relay offers STARTTLS and then refuses it: its certificate may be missing"),
    ),
    // RFC 4954 §6: 432 a password transition is needed, 454 not now, 534 mechanism too weak, 535 wrong, 538 encryption required.
    row(
        &[Stage::Auth],
        Codes(432, 432),
        Some(EnhancedCodes { of: (4, 7), details: (12, 12) }),
        SIGN_IN,
        Some("the account's password must be changed first"),
    ),
    row(&[Stage::Auth], Codes(400, 499), None, BUSY, None),
    row(&[Stage::Auth], Codes(500, 599), None, SIGN_IN, Some(PASSWORD_HINT)),
    row(ENVELOPE, Codes(530, 530), None, SIGN_IN, Some("the relay wants a sign-in or encryption first: set auth and tls")),
    row(ENVELOPE, Codes(535, 535), None, SIGN_IN, Some(PASSWORD_HINT)),
    row(
        ENVELOPE,
        Codes(432, 432),
        Some(EnhancedCodes { of: (4, 3), details: (2, 2) }),
        BUSY,
        Some("too many sessions: lower limits.sessions"),
    ),
    row(ENVELOPE, Codes(451, 451), Some(EnhancedCodes { of: (4, 7), details: (500, 699) }), BUSY, None),
    // "Bad sequence of commands", of commands that were in order: the relay and we are not talking of the same command any more.
    row(ENVELOPE, Codes(503, 503), None, Class::Relay(TroubleKind::Protocol), None),
    // RFC 5321 §4.5.3.1.10: 552 to RCPT means "too many recipients", as 452 does.
    row(&[Stage::Rcpt], Codes(552, 552), None, Class::Transient, None),
    row(&[], Codes(400, 499), None, Class::Transient, None),
    row(&[], Codes(500, 599), None, Class::Permanent, None),
];

impl Rule {
    fn fits(&self, stage: Stage, reply: &Reply) -> bool {
        (self.stages.is_empty() || self.stages.contains(&stage))
            && (self.codes.0..=self.codes.1).contains(&reply.code)
            && self.enhanced.is_none_or(|wanted| {
                let within = |Enhanced(class, subject, detail): Enhanced| {
                    (class, subject) == wanted.of && (wanted.details.0..=wanted.details.1).contains(&detail)
                };
                reply.enhanced.is_some_and(within)
            })
            && self.words.as_ref().is_none_or(|words| reply.line().to_lowercase().contains(&words.to_lowercase()))
    }
}

/// The rules of one relay: its own ones first, then the standard ones.
#[derive(Debug, Clone, Default)]
pub struct ReplyTable {
    /// Rules of the operator, then those of a preset.
    pub own: Vec<Rule>,
}

/// What a refusal comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    Message(Outcome),
    Relay(RelayTrouble),
}

/// The rules that hold for every relay, after its own.
pub fn standard() -> &'static [Rule] {
    STANDARD
}

impl ReplyTable {
    /// The first rule that fits, if the reply is a refusal.
    pub fn rule(&self, stage: Stage, reply: &Reply) -> Option<&Rule> {
        self.own.iter().chain(STANDARD).find(|rule| rule.fits(stage, reply))
    }

    /// What a refusal (4yz, 5yz) means. Any other reply here is the relay's breach of the protocol.
    pub(crate) fn judge(&self, stage: Stage, reply: &Reply) -> Meaning {
        let words = reply.line();
        let Some(rule) = self.rule(stage, reply) else {
            return Meaning::Relay(RelayTrouble::new(TroubleKind::Protocol, stage, format!("unexpected answer: {words}")));
        };
        match rule.class {
            Class::Transient => Meaning::Message(Outcome::Refused(Refusal::Transient { stage, reply: advised(words, rule) })),
            Class::Permanent | Class::Sender => {
                Meaning::Message(Outcome::Refused(Refusal::Permanent { stage, reply: advised(words, rule) }))
            }
            Class::Relay(kind) => {
                let hint = rule.hint.as_ref().map(|hint| hint.clone().into_owned());
                Meaning::Relay(RelayTrouble { stage, what: words, hint, kind, pause: None })
            }
        }
    }

    /// A refusal at a step where only the relay can be meant.
    pub(crate) fn trouble(&self, stage: Stage, reply: &Reply) -> RelayTrouble {
        match self.judge(stage, reply) {
            Meaning::Relay(trouble) => trouble,
            // An operator's row may speak of letters where there is none yet; then it says at least whether to try again soon.
            Meaning::Message(_) => {
                let kind = if reply.class() == 4 { TroubleKind::Busy } else { TroubleKind::Configuration };
                RelayTrouble::new(kind, stage, reply.line())
            }
        }
    }
}

/// The relay's words and what to do about them.
fn advised(words: String, rule: &Rule) -> String {
    match &rule.hint {
        Some(hint) => format!("{words} ({hint})"),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(stage: Stage, reply: &str) -> Class {
        let reply = Reply::parse(format!("{reply}\r\n").as_bytes()).unwrap().unwrap().0;
        ReplyTable::default().rule(stage, &reply).unwrap().class
    }

    #[test]
    fn every_row_means_what_the_table_of_failures_says() {
        for (stage, reply, wanted) in [
            (Stage::Rcpt, "450 4.2.1 busy", Class::Transient),
            (Stage::Rcpt, "550 5.1.1 nobody", Class::Permanent),
            (Stage::Rcpt, "552 5.5.3 too many", Class::Transient),
            (Stage::Content, "552 5.3.4 too big", Class::Permanent),
            (Stage::Content, "554 5.7.1 spam", Class::Permanent),
            (Stage::Rcpt, "421 4.3.2 closing", BUSY),
            (Stage::Ehlo, "421 4.7.1 relay Error: No client certificate presented", Class::Relay(TroubleKind::Tls)),
            (Stage::Content, "421 4.3.2 closing", BUSY),
            (Stage::Greeting, "554 no service", SETTINGS),
            (Stage::Greeting, "450 later", BUSY),
            (Stage::Ehlo, "550 who are you", SETTINGS),
            (Stage::Tls, "454 no TLS", Class::Relay(TroubleKind::Tls)),
            (Stage::Auth, "535 5.7.3 wrong", SIGN_IN),
            (Stage::Auth, "454 4.7.0 later", BUSY),
            (Stage::Auth, "432 4.7.12 password transition", SIGN_IN),
            (Stage::Mail, "530 5.7.57 not authenticated", SIGN_IN),
            (Stage::Content, "432 4.3.2 Concurrent connections limit exceeded", BUSY),
            (Stage::Mail, "451 4.7.500 server busy", BUSY),
            (Stage::Mail, "451 4.7.1 greylisted", Class::Transient),
            (Stage::Data, "503 5.5.1 MAIL first", Class::Relay(TroubleKind::Protocol)),
        ] {
            assert_eq!(class(stage, reply), wanted, "{stage} {reply}");
        }
    }

    #[test]
    fn an_own_rule_wins_over_the_standard_ones() {
        let quota = Rule { words: Some("SubmissionQuotaExceeded".into()), ..row(&[], Codes(554, 554), None, BUSY, None) };
        let table = ReplyTable { own: vec![quota] };
        let reply = Reply::parse(b"554 5.2.0 STOREDRV; SubmissionQuotaExceededException\r\n").unwrap().unwrap().0;
        assert_eq!(table.rule(Stage::Content, &reply).unwrap().class, BUSY);
        let other = Reply::parse(b"554 5.2.0 no\r\n").unwrap().unwrap().0;
        assert_eq!(table.rule(Stage::Content, &other).unwrap().class, Class::Permanent);
    }
}
