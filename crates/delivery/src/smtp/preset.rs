//! What the refusals of well-known providers mean. Their limits, hosts and ports stand where configuration is read.
//!
//! Sources: Microsoft, "SMTP submission improvements" and the non-delivery codes of Exchange Online; Google Workspace, "SMTP relay service error messages";
//! Amazon SES Developer Guide, "Response codes from the SMTP endpoint". A quota is refused in a permanent form there, and is over tomorrow all the same: the
//! relay is held and the letters are kept.

use super::classify::{BUSY, Class, Codes, ENVELOPE, EnhancedCodes, QUOTA, Rule, SETTINGS, SIGN_IN, row, worded};
use crate::courier::TroubleKind;
use std::borrow::Cow;
use tidings_core::outbox::Stage;

/// A provider whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preset {
    /// Exchange Online, client submission at `smtp.office365.com`, or a connector of a tenant.
    ExchangeOnline,
    /// High Volume Email for Microsoft 365.
    ExchangeOnlineHve,
    /// The SMTP relay service of Google Workspace.
    GoogleWorkspaceRelay,
    /// Amazon Simple Email Service.
    AmazonSes,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ExchangeOnline, Self::ExchangeOnlineHve, Self::GoogleWorkspaceRelay, Self::AmazonSes];

    /// The written name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExchangeOnline => "exchange-online",
            Self::ExchangeOnlineHve => "exchange-online-hve",
            Self::GoogleWorkspaceRelay => "google-workspace-relay",
            Self::AmazonSes => "amazon-ses",
        }
    }

    /// The preset of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// Whose host this is, if it is one of theirs: its refusals mean the same whether or not the configuration names the preset.
    pub fn of_host(host: &str) -> Option<Self> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match host.as_str() {
            "smtp-hve.office365.com" => Some(Self::ExchangeOnlineHve),
            "smtp.office365.com" => Some(Self::ExchangeOnline),
            "smtp-relay.gmail.com" | "smtp.gmail.com" => Some(Self::GoogleWorkspaceRelay),
            _ if host.ends_with(".mail.protection.outlook.com") => Some(Self::ExchangeOnline),
            _ if host.starts_with("email-smtp.") && host.ends_with(".amazonaws.com") => Some(Self::AmazonSes),
            _ => None,
        }
    }

    /// Its rows of the table of replies, to be put before the standard ones.
    pub fn rules(self) -> Vec<Rule> {
        match self {
            Self::ExchangeOnline => EXCHANGE.to_vec(),
            Self::ExchangeOnlineHve => HVE.iter().chain(EXCHANGE).cloned().collect(),
            Self::GoogleWorkspaceRelay => GOOGLE.to_vec(),
            Self::AmazonSes => SES.to_vec(),
        }
    }
}

const ANY: &[Stage] = &[];
const REFUSED: Codes = Codes(500, 599);

const fn code(of: (u8, u16), detail: u16) -> EnhancedCodes {
    EnhancedCodes { of, details: (detail, detail) }
}

/// A refused sign-in that a fresh access token does not help.
const fn lasting(codes: Codes, enhanced: Option<EnhancedCodes>, hint: &'static str) -> Rule {
    Rule { stages: Cow::Borrowed(ANY), codes, enhanced, words: None, class: SIGN_IN, hint: Some(Cow::Borrowed(hint)), no_refresh: true }
}

static EXCHANGE: &[Rule] = &[
    row(
        ANY,
        Codes(421, 421),
        Some(code((4, 7), 66)),
        Class::Relay(TroubleKind::Tls),
        Some("TLS 1.0 and 1.1 are refused: leave tls_min at 1.2 or higher"),
    ),
    row(ANY, Codes(432, 432), Some(code((4, 3), 2)), BUSY, Some("a mailbox takes three sessions at a time: lower limits.sessions")),
    row(ANY, Codes(451, 451), Some(EnhancedCodes { of: (4, 7), details: (500, 699) }), BUSY, None),
    worded(
        ANY,
        Codes(554, 554),
        Some(code((5, 2), 0)),
        Some("SubmissionQuotaExceeded"),
        QUOTA,
        Some("the mailbox has sent to 10,000 recipients within a day; letters are kept until it may send again"),
    ),
    // At RCPT the same code speaks of the reader's mailbox.
    row(
        &[Stage::Mail, Stage::Data, Stage::Content],
        Codes(554, 554),
        Some(code((5, 2), 2)),
        SETTINGS,
        Some("the sending mailbox is full, and copies are kept in its Sent Items: make room, or have them deleted"),
    ),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 1), 8)),
        SETTINGS,
        Some("the sender is blocked as a spammer: unblock it under Restricted entities; that takes about an hour to act"),
    ),
    row(
        ANY,
        Codes(535, 535),
        Some(code((5, 7), 3)),
        SIGN_IN,
        Some("the password or the access token is refused: check the account, and that the application may send as it"),
    ),
    lasting(
        Codes(535, 535),
        Some(code((5, 7), 139)),
        "SMTP AUTH is switched off for the tenant or this mailbox: switch SmtpClientAuthentication on; OAuth needs it too",
    ),
    lasting(Codes(550, 550), Some(code((5, 7), 30)), "passwords are no longer accepted: switch to OAuth with auth.oauth2"),
    row(ANY, Codes(530, 530), Some(code((5, 7), 57)), SIGN_IN, Some("nobody has signed in: set auth")),
    row(ANY, REFUSED, Some(code((5, 7), 60)), Class::Sender, Some("the account may not send as this From: grant it Send As")),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 64)),
        SETTINGS,
        Some("no connector of the tenant knows this machine's certificate or address: check the inbound connector"),
    ),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 705)),
        SETTINGS,
        Some("the tenant has sent too much that looks like spam: see Restricted entities"),
    ),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 708)),
        SETTINGS,
        Some("this machine's address is refused: ask Microsoft to take it off the list"),
    ),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 750)),
        SETTINGS,
        Some("the sending domain is not registered with the tenant: verify it there"),
    ),
];

static HVE: &[Rule] = &[row(
    ENVELOPE,
    Codes(550, 550),
    Some(code((5, 5), 105)),
    Class::Permanent,
    Some("High Volume Email reaches only recipients inside the organisation"),
)];

static GOOGLE: &[Rule] = &[
    worded(ANY, Codes(450, 450), Some(code((4, 2), 1)), Some("limit exceeded"), BUSY, Some("the organisation's peak rate is reached")),
    row(
        ANY,
        Codes(550, 550),
        Some(code((5, 4), 5)),
        QUOTA,
        Some("the user's limit of a day is reached; letters are kept until it may send again"),
    ),
    worded(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 1)),
        Some("limit exceeded"),
        QUOTA,
        Some("the organisation's limit of a day is reached; letters are kept until it may send again"),
    ),
    worded(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 1)),
        Some("relay denied"),
        SETTINGS,
        Some("the relay service does not know this machine: enter its address or set auth, and check the sender's domain"),
    ),
    worded(
        ANY,
        Codes(550, 550),
        Some(code((5, 7), 1)),
        Some("credentials for relay"),
        SETTINGS,
        Some("the relay service does not know this machine: enter its address or set auth, and check the sender's domain"),
    ),
];

static SES: &[Rule] = &[
    worded(
        ANY,
        Codes(454, 454),
        None,
        Some("daily message quota"),
        QUOTA,
        Some("the account's quota of a day is spent; letters are kept until it may send again"),
    ),
    worded(
        ANY,
        Codes(454, 454),
        None,
        Some("throttling"),
        BUSY,
        Some("the account's sending rate is reached: set limits.per_minute below it"),
    ),
    worded(
        ANY,
        Codes(554, 554),
        None,
        Some("not verified"),
        Class::Sender,
        Some("this From is not a verified identity in this region, or the account is still in the sandbox and the recipient is not"),
    ),
    worded(ANY, Codes(554, 554), None, Some("access denied"), SETTINGS, Some("the account may not send: allow ses:SendRawEmail")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::{classify::ReplyTable, reply::Reply};

    fn found(preset: Preset, stage: Stage, reply: &str) -> Rule {
        let reply = Reply::parse(format!("{reply}\r\n").as_bytes()).unwrap().unwrap().0;
        ReplyTable { own: preset.rules() }.rule(stage, &reply).unwrap().clone()
    }

    #[test]
    fn every_refusal_of_a_known_provider_has_its_meaning() {
        use Preset::{AmazonSes as Ses, ExchangeOnline as Exchange, ExchangeOnlineHve as Hve, GoogleWorkspaceRelay as Google};
        let tls = Class::Relay(TroubleKind::Tls);
        for (preset, stage, reply, wanted) in [
            (Exchange, Stage::Auth, "432 4.3.2 Concurrent connections limit exceeded", BUSY),
            (Exchange, Stage::Content, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", BUSY),
            (Exchange, Stage::Auth, "432 4.7.12 A password transition is needed", SIGN_IN),
            (Exchange, Stage::Ehlo, "421 4.7.66 TLS 1.0 and 1.1 are not supported", tls),
            (Exchange, Stage::Mail, "421 4.3.2 Service not available", BUSY),
            (Exchange, Stage::Rcpt, "451 4.7.652 Server busy", BUSY),
            (Exchange, Stage::Content, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; x", QUOTA),
            (Exchange, Stage::Content, "554 5.2.0 STOREDRV.Deliver; something else", Class::Permanent),
            (Exchange, Stage::Content, "554 5.2.2 mailbox full; STOREDRV.Submission", SETTINGS),
            (Exchange, Stage::Rcpt, "554 5.2.2 mailbox full", Class::Permanent),
            (Exchange, Stage::Content, "550 5.1.8 Access denied, bad outbound sender", SETTINGS),
            (Exchange, Stage::Auth, "535 5.7.3 Authentication unsuccessful", SIGN_IN),
            (Exchange, Stage::Auth, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", SIGN_IN),
            (Exchange, Stage::Auth, "550 5.7.30 Basic authentication is not supported", SIGN_IN),
            (Exchange, Stage::Mail, "530 5.7.57 Client not authenticated", SIGN_IN),
            (Exchange, Stage::Content, "554 5.7.60 SMTP; Client does not have permissions to send as this sender", Class::Sender),
            (Exchange, Stage::Rcpt, "550 5.7.64 TenantAttribution; Relay Access Denied", SETTINGS),
            (Exchange, Stage::Rcpt, "550 5.7.705 Access denied, tenant has exceeded threshold", SETTINGS),
            (Exchange, Stage::Rcpt, "550 5.7.708 Access denied, traffic not accepted from this IP", SETTINGS),
            (Exchange, Stage::Rcpt, "550 5.7.750 Client blocked from sending from unregistered domains", SETTINGS),
            (Hve, Stage::Rcpt, "550 5.5.105 external recipients", Class::Permanent),
            (Hve, Stage::Auth, "535 5.7.139 disabled", SIGN_IN),
            (Google, Stage::Rcpt, "450 4.2.1 Peak SMTP relay limit exceeded for customer", BUSY),
            (Google, Stage::Rcpt, "450 4.2.1 The user you are trying to contact is receiving mail too quickly", Class::Transient),
            (Google, Stage::Rcpt, "550 5.4.5 Daily SMTP relay sending limit exceeded for user", QUOTA),
            (Google, Stage::Rcpt, "550 5.7.1 Daily SMTP relay limit exceeded for customer", QUOTA),
            (Google, Stage::Rcpt, "550 5.7.1 Mail relay denied [192.0.2.1]", SETTINGS),
            (Google, Stage::Content, "550 5.7.1 Our system has detected that this message is unsolicited", Class::Permanent),
            (Ses, Stage::Content, "454 Throttling failure: Daily message quota exceeded", QUOTA),
            (Ses, Stage::Content, "454 Throttling failure: Maximum sending rate exceeded", BUSY),
            (Ses, Stage::Auth, "454 Temporary authentication failure", BUSY),
            (Ses, Stage::Content, "451 Temporary service failure", Class::Transient),
            (Ses, Stage::Content, "554 Message rejected: Email address is not verified.", Class::Sender),
            (Ses, Stage::Content, "554 Access denied: User is not authorized to perform ses:SendRawEmail", SETTINGS),
            (Ses, Stage::Content, "554 Transaction failed: Address contains illegal characters", Class::Permanent),
        ] {
            assert_eq!(found(preset, stage, reply).class, wanted, "{} {stage} {reply}", preset.as_str());
        }
    }

    #[test]
    fn only_where_a_fresh_token_cannot_help_is_it_said_so() {
        let refreshes = |reply| !found(Preset::ExchangeOnline, Stage::Auth, reply).no_refresh;
        assert!(refreshes("535 5.7.3 Authentication unsuccessful"));
        assert!(!refreshes("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"));
        assert!(!refreshes("550 5.7.30 Basic authentication is not supported"));
    }

    #[test]
    fn a_host_is_recognised_and_a_look_alike_is_not() {
        for (host, preset) in [
            ("SMTP.Office365.com.", Some(Preset::ExchangeOnline)),
            ("contoso-com.mail.protection.outlook.com", Some(Preset::ExchangeOnline)),
            ("smtp-hve.office365.com", Some(Preset::ExchangeOnlineHve)),
            ("smtp-relay.gmail.com", Some(Preset::GoogleWorkspaceRelay)),
            ("email-smtp.eu-central-1.amazonaws.com", Some(Preset::AmazonSes)),
            ("mail.example.org", None),
            ("smtp.office365.com.example.org", None),
        ] {
            assert_eq!(Preset::of_host(host), preset, "{host}");
        }
    }
}
