//! What goes wrong with a directory's server, in words for the one who looks after it.

use super::ber::Malformed;
use std::{io, time::Duration};
use tidings_intake::IntakeError;

/// Why a server's content cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LdapError {
    /// No connection comes about.
    #[error("cannot connect to {server}")]
    Connect {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No encryption comes about.
    #[error("TLS with {server} does not come about: {why}")]
    Tls {
        /// The server.
        server: String,
        /// Why, with advice where there is any.
        why: String,
    },
    /// The server said nothing for too long.
    #[error("{server} did not answer within {} s while {doing}", .after.as_secs_f64())]
    Silent {
        /// The server.
        server: String,
        /// At what.
        doing: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection is gone.
    #[error("the connection to {server} was lost")]
    Lost {
        /// The server.
        server: String,
        /// How.
        #[source]
        source: io::Error,
    },
    /// What came cannot be understood.
    #[error("{server} sent something that is not LDAP")]
    Malformed {
        /// The server.
        server: String,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// The server said no.
    #[error("{server} refused {doing}: {} ({code}){}", code_name(*.code), shown(.text))]
    Refused {
        /// The server.
        server: String,
        /// What was asked.
        doing: &'static str,
        /// The result code (RFC 4511 §4.1.9).
        code: i64,
        /// What the server says about it.
        text: String,
    },
    /// The server gives content that cannot be the directory's.
    #[error("{server}: {what}")]
    Doubtful {
        /// The server.
        server: String,
        /// What is doubtful.
        what: String,
    },
    /// What came could not be recorded. Not the server's fault.
    #[error("what the directory says could not be recorded")]
    Record(#[from] IntakeError),
}

/// The cookie is not accepted (RFC 4533 §2.6).
pub(crate) const SYNC_REFRESH_REQUIRED: i64 = 4096;
pub(crate) const SUCCESS: i64 = 0;
pub(crate) const PROTOCOL_ERROR: i64 = 2;
pub(crate) const UNAVAILABLE_CRITICAL_EXTENSION: i64 = 12;
pub(crate) const REFERRAL: i64 = 10;
pub(crate) const NO_SUCH_ATTRIBUTE: i64 = 16;
/// The attribute has no rule by which values are compared: one of them cannot be named.
pub(crate) const INAPPROPRIATE_MATCHING: i64 = 18;
pub(crate) const NO_SUCH_OBJECT: i64 = 32;
/// invalidDNSyntax.
pub(crate) const INVALID_NAME: i64 = 34;
/// The condition of a change does not hold (RFC 4528 §3).
pub(crate) const ASSERTION_FAILED: i64 = 122;
pub(crate) const INSUFFICIENT_ACCESS: i64 = 50;
pub(crate) const UNWILLING: i64 = 53;

impl LdapError {
    /// The result code, if the server gave one.
    pub(crate) fn code(&self) -> Option<i64> {
        if let Self::Refused { code, .. } = self { Some(*code) } else { None }
    }

    /// Whether the server is in order and the house itself is not.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Record(_))
    }

    /// With all causes, in one line.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(one) = cause {
            line.push_str(": ");
            line.push_str(&one.to_string());
            cause = one.source();
        }
        line
    }
}

fn shown(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

/// What a result code means, and what to do about those that an administrator meets.
fn code_name(code: i64) -> &'static str {
    match code {
        1 => "operationsError; Active Directory says so to those who have not signed in",
        PROTOCOL_ERROR => "protocolError",
        3 => "timeLimitExceeded; give this account a higher limit",
        4 => "sizeLimitExceeded; give this account a higher limit or set page_size",
        8 => "strongerAuthRequired; use ldaps:// or starttls",
        REFERRAL => "referral; this server does not hold the base, name one that does",
        11 => "adminLimitExceeded; give this account a higher limit",
        UNAVAILABLE_CRITICAL_EXTENSION => "unavailableCriticalExtension; the server does not have this here",
        NO_SUCH_ATTRIBUTE => "noSuchAttribute",
        17 => "undefinedAttributeType; the server does not know the attribute",
        INAPPROPRIATE_MATCHING => "inappropriateMatching",
        19 => "constraintViolation; the attribute may hold one value only, or a shorter one",
        20 => "attributeOrValueExists",
        21 => "invalidAttributeSyntax; the attribute does not take such a value",
        65 => "objectClassViolation; entries of this class may not have the attribute",
        ASSERTION_FAILED => "assertionFailed",
        13 => "confidentialityRequired; use ldaps:// or starttls",
        NO_SUCH_OBJECT => "noSuchObject; check the base, and that this account may read it",
        34 => "invalidDNSyntax; check the base and bind_dn",
        48 => "inappropriateAuthentication; the server wants to be signed in to",
        49 => "invalidCredentials; check bind_dn and password, or the client certificate",
        INSUFFICIENT_ACCESS => "insufficientAccessRights; this account may not do that",
        51 => "busy",
        52 => "unavailable",
        UNWILLING => "unwillingToPerform",
        80 => "other",
        SYNC_REFRESH_REQUIRED => "e-syncRefreshRequired",
        _ => "an error",
    }
}
