//! What a directory's configuration comes to, as plain values: which servers, how to sign in, what to read, and how to hear of changes.

use super::{
    filter::{self, FilterError},
    mapping::Mapping,
    marker::MarkerPlan,
};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// A directory that is reached by LDAP.
#[derive(Debug, Clone)]
pub struct LdapPlan {
    /// Servers in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Certificates (PEM) of the authorities that a server's certificate may be signed by; the platform's authorities if there are none.
    pub ca_pem: Option<Vec<u8>>,
    /// Our own certificate chain and its key (PEM), for servers that ask for one and for [`Bind::External`].
    pub client_identity: Option<(Vec<u8>, Password)>,
    /// How to sign in.
    pub bind: Bind,
    /// A password may be sent without encryption to servers other than this machine.
    pub allow_cleartext: bool,
    /// Below which entry to look.
    pub base: String,
    /// Which entries there are of interest (RFC 4515).
    pub filter: String,
    /// Entries a page where a search is paged (RFC 2696); 0: pages are not asked for.
    pub page_size: u32,
    /// What the attributes mean.
    pub mapping: Mapping,
    /// Requests for a letter that stand in an attribute.
    pub marker: Option<MarkerPlan>,
    /// How to hear of changes.
    pub way: Way,
    /// Time from one look to the next, where a server does not tell by itself.
    pub poll_every: Duration,
    /// Time from one comparison of keys to the next, where a server does not tell of what is gone.
    pub deletions_every: Duration,
    /// Time from one comparison of everything to the next: it finds what no server tells, such as a database that was set back.
    pub compare_every: Option<Duration>,
    /// If more than this part of all objects were gone after a refresh, something else is wrong: nothing is taken for gone then, and the source counts as failing.
    pub most_gone_percent: Option<u8>,
    /// A source that fails for less is not worth an event.
    pub failure_grace: Duration,
    /// Pauses between attempts: the first, and the longest.
    pub pauses: (Duration, Duration),
    /// Time for a connection with its encryption and sign-in.
    pub connect_timeout: Duration,
    /// Time within which a server must say something while it is asked something.
    pub answer_timeout: Duration,
    /// A server that tells by itself and has been quiet for so long is asked whether it is still there.
    pub heartbeat: Duration,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all.
    None,
    /// From the start (`ldaps`).
    Implicit,
    /// After the server was asked to (RFC 4511 §4.14); if it refuses, there is no connection.
    StartTls,
}

/// How to sign in.
#[derive(Debug, Clone)]
pub enum Bind {
    /// Not.
    Anonymous,
    /// By name and password.
    Simple {
        /// The account's distinguished name; Active Directory takes `user@domain`, too.
        dn: String,
        /// Its password.
        password: Password,
    },
    /// As the client certificate says (SASL EXTERNAL).
    External,
}

/// How to hear of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By the best of the others that the server has.
    Auto,
    /// The server tells as it happens (content synchronisation, RFC 4533).
    Sync,
    /// Active Directory's own control; changes are asked for now and then.
    DirSync,
    /// By looking for entries that were modified, on any server.
    Poll,
}

/// A password or key. `Debug` prints `***`.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a secret; whoever calls has it wiped as well.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a plan cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The address of a server is none.
    #[error("`{url}` is not the address of an LDAP server: {why}; write `ldap://host`, `ldaps://host` or `ldaps://host:port`")]
    Url {
        /// As it is written.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// There is no server.
    #[error("no server is named")]
    NoServer,
    /// The filter is none.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Certificates or key cannot be used.
    #[error("{what} cannot be used: {why}")]
    Tls {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// SASL EXTERNAL has nothing to show.
    #[error("signing in as the client certificate says needs a client certificate and TLS")]
    External,
    /// A password would travel in clear text.
    #[error("the password would be sent to {0} in clear text; use `ldaps://` or starttls, or allow it by name")]
    ClearText(String),
    /// Content synchronisation tells what is gone by `entryUUID` alone.
    #[error("content synchronisation (RFC 4533) knows entries by their `entryUUID`, not by `{0}`; leave the key as it is, or poll")]
    Key(String),
}

impl LdapPlan {
    /// A plan with the usual times for one directory.
    pub fn new(servers: Vec<Server>, bind: Bind, base: impl Into<String>, mapping: Mapping) -> Self {
        Self {
            servers,
            ca_pem: None,
            client_identity: None,
            bind,
            allow_cleartext: false,
            base: base.into(),
            filter: mapping.default_filter(),
            page_size: 500,
            mapping,
            marker: None,
            way: Way::Auto,
            poll_every: Duration::from_secs(60),
            deletions_every: Duration::from_secs(15 * 60),
            compare_every: Some(Duration::from_secs(24 * 60 * 60)),
            most_gone_percent: None,
            failure_grace: Duration::from_secs(60),
            pauses: (Duration::from_secs(1), Duration::from_secs(60)),
            connect_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(120),
            heartbeat: Duration::from_secs(30),
        }
    }

    /// Everything that can be told wrong without a server.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.servers.is_empty() {
            return Err(PlanError::NoServer);
        }
        filter::compile(&self.filter)?;
        if matches!(self.bind, Bind::External)
            && (self.client_identity.is_none() || self.servers.iter().any(|server| server.tls == Tls::None))
        {
            return Err(PlanError::External);
        }
        if matches!(self.bind, Bind::Simple { .. })
            && !self.allow_cleartext
            && let Some(server) = self.servers.iter().find(|server| server.tls == Tls::None && !server.is_this_machine())
        {
            return Err(PlanError::ClearText(server.to_string()));
        }
        if self.way == Way::Sync && !self.mapping.key_is_entry_uuid() {
            return Err(PlanError::Key(self.mapping.key().to_owned()));
        }
        Ok(())
    }
}

impl Server {
    /// Reads `ldap://host[:port]` or `ldaps://host[:port]`. With `start_tls`, `ldap://` is encrypted once connected.
    ///
    /// # Errors
    /// [`PlanError::Url`].
    pub fn parse(url: &str, start_tls: bool) -> Result<Self, PlanError> {
        let wrong = |why| PlanError::Url { url: url.to_owned(), why };
        let (scheme, rest) = url.trim().split_once("://").ok_or_else(|| wrong("`ldap://` or `ldaps://` is missing"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ldaps" => Tls::Implicit,
            "ldap" if start_tls => Tls::StartTls,
            "ldap" => Tls::None,
            _ => return Err(wrong("it begins neither with `ldap://` nor with `ldaps://`")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '@', ' ']) {
            return Err(wrong("nothing but host and port can stand there"));
        }
        let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(None) => return Err(wrong("`]` is missing")),
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, port))) => (host, Some(port.strip_prefix(':').ok_or_else(|| wrong("`:` is missing before the port"))?)),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?,
            None if tls == Tls::Implicit => 636,
            None => 389,
        };
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl Server {
    fn is_this_machine(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls == Tls::Implicit { "ldaps" } else { "ldap" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_read() {
        let read = |url| Server::parse(url, false).map(|server| server.to_string());
        assert_eq!(read("ldap://dc1.example.org").unwrap(), "ldap://dc1.example.org:389");
        assert_eq!(read("LDAPS://dc1.example.org/").unwrap(), "ldaps://dc1.example.org:636");
        assert_eq!(read("ldaps://[::1]:1636").unwrap(), "ldaps://[::1]:1636");
        assert_eq!(Server::parse("ldap://a", true).unwrap().tls, Tls::StartTls);
        for wrong in ["dc1", "http://dc1", "ldap://", "ldap://a:0", "ldap://a:99999", "ldap://a/dc=org", "ldap://[::1", "ldap://[::1]x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "***");
    }
}
