//! Mails that come back without saying anything about a letter's fate: vacation replies, challenges, receipts. They are recognised so that nobody takes them for a
//! bounce, and ignored with the reason said.

use crate::mime::Mail;
use std::fmt;

/// Why a mail is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Somebody is away, or another automatic reply (RFC 3834).
    Vacation,
    /// Somebody's mail system wants the sender to prove that he is one. Nobody here answers.
    Challenge,
    /// A receipt: the letter was shown or deleted (RFC 8098). That is no concern of ours.
    Receipt,
    /// A provider's statistics, or feedback that is no complaint.
    Statistics,
    /// An ordinary mail.
    NotAReport,
}

impl Ignored {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vacation => "vacation",
            Self::Challenge => "challenge",
            Self::Receipt => "receipt",
            Self::Statistics => "statistics",
            Self::NotAReport => "not_a_report",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vacation => "an automatic reply, which says nothing about the letter's delivery",
            Self::Challenge => "a challenge to the sender, which nobody answers",
            Self::Receipt => "a receipt, which says nothing about the letter's delivery",
            Self::Statistics => "statistics or feedback that is no complaint",
            Self::NotAReport => "no report about a letter",
        })
    }
}

/// Fields that systems set which ask the sender to prove himself.
const CHALLENGE_FIELDS: &[&str] =
    &["x-tmda-", "x-boxtrapper", "x-spamarrest", "x-askversion", "x-choicemail", "x-uolpassword", "x-challenge", "x-spamlion"];

/// How subjects of challenges read.
const CHALLENGES: &[&str] = &[
    "please confirm your message",
    "confirm your message",
    "please verify your message",
    "verify your email to",
    "your message requires verification",
    "your message awaits confirmation",
    "sender verification",
    "challenge-response",
    "[spamarrest]",
    "authorize your email",
    "you are not on my list of approved senders",
];

/// How subjects of replies begin that nobody wrote, in languages that mail programs speak.
const AWAY: &[&str] = &[
    "out of office",
    "out-of-office",
    "out of the office",
    "automatic reply",
    "autoreply",
    "auto reply",
    "auto-reply",
    "auto:",
    "automatische antwort",
    "abwesenheit",
    "abwesend",
    "réponse automatique",
    "absence du bureau",
    "respuesta automática",
    "risposta automatica",
    "fuori sede",
    "resposta automática",
    "automatisch antwoord",
    "afwezig",
    "autosvar",
    "automaattinen vastaus",
    "automatická odpověď",
    "automatyczna odpowiedź",
    "vacation",
    "on vacation",
    "i am away",
];

/// Why a mail without a part for programs is ignored, if it is an automatic one.
pub(crate) fn automatic(mail: &Mail<'_>) -> Option<Ignored> {
    let fields = &mail.fields;
    let subject = mail.subject.trim().to_lowercase();
    if CHALLENGE_FIELDS.iter().any(|prefix| fields.has_prefix(prefix)) || CHALLENGES.iter().any(|words| subject.contains(words)) {
        return Some(Ignored::Challenge);
    }
    let word = |name: &str| fields.get(name).map(|value| value.trim().to_ascii_lowercase()).unwrap_or_default();
    let submitted = word("auto-submitted");
    let replied = ["auto-replied", "auto-generated", "auto-notified"].iter().any(|kind| submitted.starts_with(kind));
    let precedence = matches!(word("precedence").as_str(), "auto_reply" | "auto-reply" | "junk" | "bulk");
    let marked = ["x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply-from", "x-mail-autoreply", "x-vacation"]
        .iter()
        .any(|name| fields.has(name) && word(name) != "no");
    // Exchange marks what its rules for absence write so; a person's reply through Exchange has the field as well, but not with the whole list.
    let rules = word("x-ms-exchange-generated-message-source").contains("mailbox rules agent") || word("x-auto-response-suppress") == "all";
    let stripped = ["re:", "aw:", "sv:", "antw:"].iter().find_map(|reply| subject.strip_prefix(reply)).map_or(subject.as_str(), str::trim);
    let away = AWAY.iter().any(|words| stripped.starts_with(words));
    (replied || precedence || marked || rules || away).then_some(Ignored::Vacation)
}
