//! A report as it was read: what it says, and all by which it may be matched.

use crate::automatic::Ignored;
use tidings_core::bounce::Class;

/// The form a report has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A delivery status notification (RFC 3464, RFC 6533).
    Dsn,
    /// A feedback report (RFC 5965).
    Feedback,
    /// The qmail-send bounce message format (QSBMF).
    Qmail,
    /// Exim's text without a part for programs.
    Exim,
    /// Exchange's text without a part for programs.
    Exchange,
    /// Some other text of a mail server.
    Text,
}

impl Form {
    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dsn => "dsn",
            Self::Feedback => "feedback",
            Self::Qmail => "qmail",
            Self::Exim => "exim",
            Self::Exchange => "exchange",
            Self::Text => "text",
        }
    }
}

/// What a report says of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// What became of the letter.
    pub class: Class,
    /// The addresses that it names for this recipient, the most telling one first: as it was given to the reporting host, then as it was there.
    pub names: Vec<String>,
    /// The enhanced status code, the most telling one.
    pub status: Option<String>,
    /// What the other side said, one line, of bounded length.
    pub diagnostic: String,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its form.
    pub form: Form,
    /// The host that reports.
    pub reporter: Option<String>,
    /// Names of envelopes (ENVID).
    pub envelopes: Vec<String>,
    /// Message-IDs without angle brackets: of the letter that came back, and of what the report answers.
    pub message_ids: Vec<String>,
    /// Events that headers of the letter that came back name.
    pub events: Vec<String>,
    /// Addresses that it came back to.
    pub returned_to: Vec<String>,
    /// What it says, recipient by recipient.
    pub recipients: Vec<Reported>,
}

/// What a mail turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// A report.
    Report(Report),
    /// Something that says nothing about a letter's fate.
    Ignored(Ignored),
}

/// The longest diagnostic that is kept, in characters.
const LONGEST_DIAGNOSTIC: usize = 400;

/// What a server said, as one line of bounded length without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LONGEST_DIAGNOSTIC * 4 {
            break;
        }
    }
    match line.char_indices().nth(LONGEST_DIAGNOSTIC) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}
