//! What kind of server the sink plays: its extensions, limits, TLS and users.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;

/// The ESMTP extensions a session announces and honours. A parameter or command of one that is off is refused, as by a server without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// Answer EHLO at all; off, EHLO is an unknown command and the client must fall back to HELO (RFC 5321 §3.2).
    pub ehlo: bool,
    /// PIPELINING (RFC 2920). Off, a client that sends ahead of a reply is told so and cut off.
    pub pipelining: bool,
    /// SIZE (RFC 1870). Off, the limit holds all the same but is not announced.
    pub size: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034). Off, replies carry none.
    pub enhanced_status_codes: bool,
    /// DSN (RFC 3461): its parameters are taken and kept, no report is ever written.
    pub dsn: bool,
    /// CHUNKING (RFC 3030), the command BDAT.
    pub chunking: bool,
    /// STARTTLS (RFC 3207); needs [`SinkOptions::tls`] too.
    pub starttls: bool,
    /// AUTH (RFC 4954); needs [`SinkOptions::users`] too.
    pub auth: bool,
}

impl Extensions {
    /// Everything on.
    pub const ALL: Self = Self {
        ehlo: true,
        pipelining: true,
        size: true,
        eight_bit_mime: true,
        smtputf8: true,
        enhanced_status_codes: true,
        dsn: true,
        chunking: true,
        starttls: true,
        auth: true,
    };
    /// EHLO is understood, and nothing is announced.
    pub const NONE: Self = Self {
        ehlo: true,
        pipelining: false,
        size: false,
        eight_bit_mime: false,
        smtputf8: false,
        enhanced_status_codes: false,
        dsn: false,
        chunking: false,
        starttls: false,
        auth: false,
    };
}

/// A way to sign in (RFC 4954).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// PLAIN (RFC 4616).
    Plain,
    /// LOGIN, never standardised, widely used.
    Login,
}

impl Mechanism {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// How a sink behaves when it behaves. Start from [`SinkOptions::default`]: every extension, no TLS, no users.
#[derive(Clone)]
pub struct SinkOptions {
    /// The name the server greets with.
    pub host: String,
    /// Which extensions are announced and honoured.
    pub extensions: Extensions,
    /// Lines added to the EHLO reply as they are, for clients that must cope with what they do not know.
    pub extra_ehlo_lines: Vec<String>,
    /// The certificate shown; without it there is neither STARTTLS nor implicit TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Speak TLS from the first byte (RFC 8314 §3.3); needs `tls`.
    pub implicit_tls: bool,
    /// Refuse MAIL and AUTH until the session is encrypted (530 5.7.0).
    pub require_tls: bool,
    /// Passwords by user name.
    pub users: HashMap<String, String>,
    /// Sign-in mechanisms offered, in this order.
    pub mechanisms: Vec<Mechanism>,
    /// Neither announce nor take AUTH without TLS (538 5.7.11).
    pub auth_needs_tls: bool,
    /// Refuse MAIL before a sign-in (530 5.7.0).
    pub require_auth: bool,
    /// Largest letter in octets, 0 for no limit (552 5.3.4).
    pub max_message_bytes: u64,
    /// Most recipients of one letter (452 4.5.3).
    pub max_recipients: usize,
    /// Most sessions at one time (421 4.7.0); `None` for no limit.
    pub max_sessions: Option<usize>,
    /// Longest command line in octets, its CRLF included; AUTH has the 12288 of RFC 4954 §4.
    pub max_line_bytes: usize,
    /// Refuse letters with a CR or LF that stands alone (RFC 5321 §2.3.8), as servers do that guard against smuggling.
    pub refuse_bare_newlines: bool,
    /// A session silent for so long is ended with 421 4.4.2 (RFC 5321 §4.5.3.2.7).
    pub idle: Duration,
    /// Keep only so many letters, the latest; `None` keeps all. Counting goes on regardless.
    pub keep: Option<usize>,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            host: "sink.example.org".to_owned(),
            extensions: Extensions::ALL,
            extra_ehlo_lines: Vec::new(),
            tls: None,
            implicit_tls: false,
            require_tls: false,
            users: HashMap::new(),
            mechanisms: vec![Mechanism::Plain, Mechanism::Login],
            auth_needs_tls: false,
            require_auth: false,
            max_message_bytes: 50 * 1024 * 1024,
            max_recipients: 1000,
            max_sessions: None,
            max_line_bytes: 4096,
            refuse_bare_newlines: true,
            idle: Duration::from_mins(5),
            keep: None,
        }
    }
}

impl fmt::Debug for SinkOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkOptions")
            .field("host", &self.host)
            .field("extensions", &self.extensions)
            .field("tls", &self.tls.is_some())
            .field("implicit_tls", &self.implicit_tls)
            .field("users", &format_args!("*** ({})", self.users.len()))
            .field("require_auth", &self.require_auth)
            .field("max_message_bytes", &self.max_message_bytes)
            .finish_non_exhaustive()
    }
}
