//! How a relay is reached and treated: plain values, filled from the configuration by the binary.

use crate::{graph::GraphPlan, oauth::TokenPlan, secret::Secret, smtp::classify::Rule};
use std::{path::PathBuf, time::Duration};
use tidings_core::{retry::RetryPolicy, verp::VerpKey};

/// One configured way out.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayPlan {
    /// Its name in the outbox.
    pub name: String,
    /// How letters leave.
    pub way: Way,
    /// How much at a time.
    pub limits: Limits,
    /// How much within a time.
    pub rates: Rates,
    /// When a refused letter is tried again.
    pub retry: RetryPolicy,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// When a relay in trouble is tried again.
    pub breaker: BreakerPlan,
    /// The relay that takes over while this one is held; letters of sensitive kinds never travel that way.
    pub next: Option<String>,
    /// The key by which each letter gets an envelope sender of its own (VERP); `None` leaves the sender as it is.
    pub return_paths: Option<VerpKey>,
}

impl RelayPlan {
    /// A relay with default limits, delays and timeouts.
    pub fn new(name: impl Into<String>, way: Way) -> Self {
        Self {
            name: name.into(),
            way,
            limits: Limits::default(),
            rates: Rates::default(),
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            breaker: BreakerPlan::default(),
            next: None,
            return_paths: None,
        }
    }
}

/// How letters leave.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// To a mail relay by SMTP (RFC 5321, RFC 6409).
    Smtp(SmtpPlan),
    /// By Microsoft Graph from a mailbox of Exchange Online.
    Graph(GraphPlan),
    /// Into the pickup directory of a mail server on this machine (Exchange, IIS).
    Pickup(PickupPlan),
    /// Appended to one file, for development.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A pickup directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PickupPlan {
    /// The directory.
    pub folder: PathBuf,
    /// Whether the envelope stands in `X-Sender` and `X-Receiver` headers (IIS, Exchange Replay). Off, the mail server takes it from From and To.
    pub x_headers: bool,
    /// Whether those headers also say how to report failures (RFC 3461 in the words of Exchange Replay); needs `x_headers`.
    pub replay: bool,
    /// A file that lies there for longer is not collected.
    pub drain_within: Duration,
    /// With so many files there, no more are written; 0 is any number.
    pub max_waiting: u64,
    /// With less room on the disk than so many bytes, no more files are written.
    pub min_free: u64,
}

impl PickupPlan {
    /// A directory whose files carry their envelope: 10 minutes, 20,000 files, 64 MiB.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            x_headers: true,
            replay: false,
            drain_within: Duration::from_mins(10),
            max_waiting: 20_000,
            min_free: 64 << 20,
        }
    }
}

/// A mail relay.
#[derive(Debug, Clone, PartialEq)]
pub struct SmtpPlan {
    /// Host name or IP address; the name that its certificate must carry.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub tls: TlsMode,
    /// Certificate authorities to trust in place of the platform's (PEM).
    pub ca_pem: Option<Vec<u8>>,
    /// A certificate chain and its key to show to the relay (PEM both).
    pub client_identity: Option<(Vec<u8>, Secret)>,
    /// The lowest TLS version.
    pub tls_min: TlsMin,
    /// How to sign in.
    pub auth: Option<AuthPlan>,
    /// The name given with EHLO (RFC 5321 §4.1.1.1): this machine's.
    pub helo: String,
    /// Whether commands may be sent ahead of replies when the relay announces PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// What its refusals mean, before the standard rows of the table: the operator's rows, then those of a preset.
    pub replies: Vec<Rule>,
    /// Whether letters may travel by BDAT, several on the way at once, when the relay announces CHUNKING (RFC 3030) beside PIPELINING.
    pub chunking: bool,
    /// Which reports are asked for when the relay announces DSN (RFC 3461).
    pub reports: Reports,
}

impl SmtpPlan {
    /// A relay without sign-in, TLS mode `auto`.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: TlsMode::Auto,
            ca_pem: None,
            client_identity: None,
            tls_min: TlsMin::V1_2,
            auth: None,
            helo: "localhost".to_owned(),
            pipelining: true,
            replies: Vec::new(),
            chunking: true,
            reports: Reports::default(),
        }
    }
}

/// Which delivery status notifications are asked for (RFC 3461 §4.1). Asked or not, they never bring back more than the letter's headers (RET=HDRS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// Nothing is said: the relay does as it thinks fit, and reports carry no mark of ours.
    Unasked,
    /// None at all, not even of failures.
    Never,
    /// Of these.
    Of {
        /// The letter was delivered.
        success: bool,
        /// The letter cannot be delivered.
        failure: bool,
        /// The letter is late.
        delay: bool,
    },
}

impl Default for Reports {
    /// Of failures and delays.
    fn default() -> Self {
        Self::Of { success: false, failure: true, delay: true }
    }
}

/// Encryption towards a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// From the first byte on port 465, else STARTTLS when offered.
    Auto,
    /// STARTTLS when offered, else none; a handshake that fails is never followed by clear text.
    StartTlsWhenAvailable,
    /// STARTTLS (RFC 3207), required.
    StartTls,
    /// From the first byte (RFC 8314 §3.3).
    Implicit,
}

/// The lowest TLS version accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMin {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// How to sign in (RFC 4954). Bound to the relay it was made for: an engine that is about to use it elsewhere refuses.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthPlan {
    /// The user name.
    pub(crate) user: String,
    /// What proves that we are that user.
    pub(crate) proof: Proof,
    /// Which mechanism.
    pub(crate) mechanism: AuthMechanism,
    /// Whether a password or token may be sent readable without TLS.
    pub(crate) allow_cleartext: bool,
    bound_to: (String, u16, TlsMode),
}

/// What proves that we are the user.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Proof {
    /// A password.
    Password(Secret),
    /// Access tokens (RFC 6749), asked for as they are needed.
    Tokens(Box<TokenPlan>),
}

impl AuthPlan {
    /// A password for exactly this relay: `host`, `port` and `tls` as in the [`SmtpPlan`] that will carry it.
    pub fn new(user: impl Into<String>, password: Secret, host: &str, port: u16, tls: TlsMode) -> Self {
        Self::with(user.into(), Proof::Password(password), host, port, tls)
    }

    /// Access tokens for exactly this relay, which are asked for at the plan's token URL and shown to nobody else.
    pub fn with_tokens(user: impl Into<String>, tokens: TokenPlan, host: &str, port: u16, tls: TlsMode) -> Self {
        Self::with(user.into(), Proof::Tokens(Box::new(tokens)), host, port, tls)
    }

    fn with(user: String, proof: Proof, host: &str, port: u16, tls: TlsMode) -> Self {
        Self { user, proof, mechanism: AuthMechanism::Auto, allow_cleartext: false, bound_to: (host.to_lowercase(), port, tls) }
    }

    /// With this mechanism in place of the strongest offered.
    #[must_use]
    pub fn mechanism(mut self, mechanism: AuthMechanism) -> Self {
        self.mechanism = mechanism;
        self
    }

    /// With leave to send the password or token readable when the session is not encrypted.
    #[must_use]
    pub fn allow_cleartext(mut self, allow: bool) -> Self {
        self.allow_cleartext = allow;
        self
    }

    /// Whether these credentials were given for this server.
    pub(crate) fn is_for(&self, host: &str, port: u16, tls: TlsMode) -> bool {
        self.bound_to == (host.to_lowercase(), port, tls)
    }

    /// Whether these credentials were given for this relay.
    pub(crate) fn belongs_to(&self, plan: &SmtpPlan) -> bool {
        self.bound_to == (plan.host.to_lowercase(), plan.port, plan.tls)
    }
}

/// A sign-in mechanism, or the choice of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMechanism {
    /// The strongest that the relay offers once the session is encrypted, and the next one if the relay turns out not to know what it offers.
    Auto,
    /// SCRAM-SHA-256-PLUS: SCRAM-SHA-256 bound to the TLS session (RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-1-PLUS: SCRAM-SHA-1 bound to the TLS session (RFC 5802, RFC 9266).
    ScramSha1Plus,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// CRAM-MD5 (RFC 2195).
    CramMd5,
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN: never standardised, widely used.
    Login,
    /// OAUTHBEARER (RFC 7628).
    OAuthBearer,
    /// XOAUTH2: Google's and Microsoft's, never standardised.
    XOAuth2,
}

/// How much at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions at one time.
    pub sessions: u16,
    /// Most letters in one session.
    pub messages_per_session: u32,
}

impl Default for Limits {
    /// 5 sessions, 100 letters in each.
    fn default() -> Self {
        Self { sessions: 5, messages_per_session: 100 }
    }
}

/// How much within a time, in any stretch of that length; `None` is without limit. Only what was really handed over counts.
///
/// From a limit of ten on, a tenth is kept for the lanes `codes`, `security` and `requests`, so that no digest uses up what a one-time code needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Letters within 60 seconds.
    pub per_minute: Option<u32>,
    /// Letters within an hour.
    pub per_hour: Option<u32>,
    /// Letters within 24 hours.
    pub per_day: Option<u32>,
    /// Sessions begun within 60 seconds.
    pub sessions_per_minute: Option<u32>,
}

/// How long each step may take before the session is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Finding the host and connecting to one of its addresses, TLS handshake included.
    pub connect: Duration,
    /// The answer to one command.
    pub command: Duration,
    /// The answer to the final dot; a short one makes duplicates (RFC 5321 §4.5.3.2.6 wants 10 minutes).
    pub final_dot: Duration,
}

impl Default for Timeouts {
    /// 10 s, 60 s, 10 min.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), command: Duration::from_secs(60), final_dot: Duration::from_mins(10) }
    }
}

/// How long a relay in trouble is left alone; the last delay repeats, each is varied by up to a fifth either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerPlan {
    /// After trouble that passes by itself: unreachable, busy, a broken session.
    pub delays: Vec<Duration>,
    /// After trouble that needs an administrator (sign-in, configuration): slow, because of account lock-out.
    pub slow_delays: Vec<Duration>,
}

impl Default for BreakerPlan {
    /// 1, 2, 5, 10, 30, 60 s; slow: 1, 2, 5, 10 min.
    fn default() -> Self {
        Self {
            delays: [1, 2, 5, 10, 30, 60].map(Duration::from_secs).to_vec(),
            slow_delays: [60, 120, 300, 600].map(Duration::from_secs).to_vec(),
        }
    }
}
