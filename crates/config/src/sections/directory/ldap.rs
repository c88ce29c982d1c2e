//! The part of `[[directory]]` that watches an LDAP server.

use super::{
    mapping,
    marker::{self, LdapMarker},
};
use crate::{
    load::{Loading, shown},
    read::Table,
    secret::{self, Secret},
    sections::smtp::ClientIdentity,
    units,
};
use std::time::Duration;

/// What an entry is made of, and what the mapping may say of it; any other name is an attribute of the object.
const TARGETS: [&str; 26] = [
    "key",
    "name",
    "mail",
    "locale",
    "timezone",
    "enabled",
    "public",
    "notify",
    "member",
    "owner",
    "additional_owner",
    "muted_owner",
    "manager",
    "changed_by",
    "changed_at",
    "group_classes",
    "contact_classes",
    "user_classes",
    "account",
    "title",
    "department",
    "company",
    "given_name",
    "family_name",
    "phone",
    "description",
];

/// An LDAP server to watch.
#[derive(Debug, Clone)]
pub struct LdapSource {
    /// The servers, at least one, in the order in which they are tried.
    pub servers: Vec<LdapServer>,
    /// How the connection is encrypted beyond what the addresses say.
    pub tls: LdapTls,
    /// How to sign in.
    pub bind: LdapBind,
    /// Whether the password may be sent readable without TLS. Default: false.
    pub allow_cleartext: bool,
    /// The entry below which is watched.
    pub base: String,
    /// What is watched. Default: the preset's.
    pub filter: Option<String>,
    /// What classes and attributes are called. Default: openldap.
    pub preset: LdapPreset,
    /// How changes are found. Default: auto.
    pub way: LdapWay,
    /// How often is looked for changes. Default: 1 min.
    pub poll_every: Duration,
    /// Which attribute holds what, in place of the preset's: target and attribute.
    pub attributes: Vec<(String, String)>,
    /// The part of all objects, in percent, that may be missing in a comparison. Default: any.
    pub most_vanishing_percent: Option<u8>,
    /// How long a server may take to answer. Default: 2 min.
    pub timeout: Duration,
    /// How long the source must fail before that is told. Default: 1 min.
    pub failing_after: Duration,
    /// Requests for a letter that stand in an attribute. Default: none.
    pub marker: Option<LdapMarker>,
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapServer {
    /// As it was written.
    pub url: String,
    /// Whether it speaks TLS from the first byte (`ldaps`).
    pub ldaps: bool,
    /// Its name or IP address.
    pub host: String,
    /// Its port. Default: 636 for `ldaps`, otherwise 389.
    pub port: u16,
}

/// How connections are encrypted.
#[derive(Debug, Clone)]
pub struct LdapTls {
    /// Whether `ldap://` goes on by STARTTLS. Default: false.
    pub starttls: bool,
    /// The authorities that the server's certificate may come from, PEM. Default: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// The certificate shown to the server. Default: none.
    pub client_identity: Option<ClientIdentity>,
}

/// How to sign in.
#[derive(Debug, Clone)]
pub enum LdapBind {
    /// Not at all.
    Anonymous,
    /// With name and password (RFC 4513 §5.1.3).
    Simple {
        /// The name.
        dn: String,
        /// The password.
        password: Secret,
    },
    /// By the client certificate (SASL EXTERNAL, RFC 4422 appendix A).
    External,
}

/// What classes and attributes are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapPreset {
    /// Active Directory.
    ActiveDirectory,
    /// `inetOrgPerson`, `groupOfNames` and their kin.
    OpenLdap,
    /// `FreeIPA`.
    FreeIpa,
}

impl LdapPreset {
    pub(crate) const NAMES: [&str; 3] = ["active-directory", "openldap", "freeipa"];

    fn of(word: &str) -> Option<Self> {
        [Self::ActiveDirectory, Self::OpenLdap, Self::FreeIpa]
            .into_iter()
            .zip(Self::NAMES)
            .find(|(_, name)| *name == word)
            .map(|(one, _)| one)
    }
}

/// How changes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LdapWay {
    /// As the server offers.
    Auto,
    /// Content synchronisation (RFC 4533).
    Sync,
    /// Active Directory's `DirSync`.
    DirSync,
    /// By asking.
    Poll,
}

impl LdapWay {
    pub(crate) const NAMES: [&str; 4] = ["auto", "sync", "dirsync", "poll"];

    fn of(word: &str) -> Option<Self> {
        [Self::Auto, Self::Sync, Self::DirSync, Self::Poll].into_iter().zip(Self::NAMES).find(|(_, name)| *name == word).map(|(one, _)| one)
    }
}

pub(super) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<LdapSource> {
    for required in ["url", "base"] {
        if !table.has(required) {
            loading.problem(table.at(), table.key(required), "is missing; a directory of the source \"ldap\" needs it");
        }
    }
    let written = table.one_or_more("url");
    if table.has("url") && written.is_empty() {
        loading.problem(table.place("url"), table.key("url"), "is empty");
    }
    let servers: Vec<LdapServer> = written.iter().filter_map(|(_, text)| server(text).ok()).collect();
    let tls = tls(loading, table, &servers);
    let clear = servers.iter().find(|server| !server.ldaps && !tls.starttls && !is_loopback(&server.host));
    let bind = bind(loading, table, &tls, clear);
    if let (Some(server), LdapBind::Anonymous) = (clear, &bind) {
        let message = format!(
            "`{}` is not encrypted: anybody in between can read and change what it says; write ldaps, or starttls = true",
            shown(&server.url)
        );
        loading.warning(table.place("url"), table.key("url"), message);
    }
    if let Some(fault) = table.text("filter").and_then(filter_fault) {
        loading.problem(table.place("filter"), table.key("filter"), fault);
    }
    if let Some(base) = table.text("base").filter(|base| !base.contains('=')) {
        let message = format!("`{}` is not the name of an entry such as \"dc=example,dc=org\" (RFC 4514)", shown(base));
        loading.problem(table.place("base"), table.key("base"), message);
    }
    if table.text("first_load") == Some("told") {
        let message = "a server's content is taken silently the first time; \"told\" goes with csv and scim";
        loading.problem(table.place("first_load"), table.key("first_load"), message);
    }
    let (preset, way) = (LdapPreset::of(table.text("preset")?)?, LdapWay::of(table.text("way")?)?);
    let not_spoken = match (preset, way) {
        (LdapPreset::ActiveDirectory, LdapWay::Sync) => {
            Some("Active Directory does not offer content synchronisation; \"dirsync\" is its way")
        }
        (LdapPreset::OpenLdap | LdapPreset::FreeIpa, LdapWay::DirSync) => {
            Some("\"dirsync\" is a way of Active Directory; \"sync\" is that of others")
        }
        _ => None,
    };
    if let Some(message) = not_spoken {
        loading.problem(table.place("way"), table.key("way"), message);
    }
    let marker = table.has("marker").then(|| marker::build(loading, &table.table("marker"))).flatten();
    if marker.is_some() && matches!(bind, LdapBind::Anonymous) {
        let message = "nobody signs in, and a server lets hardly anybody clear a marker; name an account with `bind_dn`";
        loading.warning(table.place("marker"), table.key("marker"), message);
    }
    Some(LdapSource {
        servers,
        tls,
        bind,
        allow_cleartext: table.flag("allow_cleartext"),
        base: table.owned("base").unwrap_or_default(),
        filter: table.owned("filter"),
        preset,
        way,
        poll_every: table.duration("poll_every")?,
        attributes: mapping(loading, table, "attributes", &TARGETS),
        most_vanishing_percent: table.text("most_vanishing").and_then(|text| units::percent(text).ok()),
        timeout: table.duration("timeout")?,
        failing_after: table.duration("failing_after")?,
        marker,
    })
}

fn tls(loading: &Loading<'_>, table: &Table<'_>, servers: &[LdapServer]) -> LdapTls {
    let starttls = table.flag("starttls");
    if starttls && let Some(server) = servers.iter().find(|server| server.ldaps) {
        let message = format!("`{}` speaks TLS from the first byte; starttls goes with ldap://", shown(&server.url));
        loading.problem(table.place("starttls"), table.key("starttls"), message);
    }
    let encrypted = starttls || servers.iter().any(|server| server.ldaps);
    if !encrypted && !servers.is_empty() {
        for name in ["ca_file", "client_cert_file", "client_key_file"].into_iter().filter(|name| table.has(name)) {
            loading.problem(table.place(name), table.key(name), "has no meaning without TLS; write ldaps, or starttls = true");
        }
    }
    for (one, other) in [("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")] {
        if table.has(one) && !table.has(other) {
            loading.problem(table.place(one), table.key(one), format!("needs `{other}` beside it"));
        }
    }
    let ca_pem = loading.pem(table, "ca_file", "CERTIFICATE");
    let certificate = loading.pem(table, "client_cert_file", "CERTIFICATE");
    let key = loading
        .pem(table, "client_key_file", "PRIVATE KEY")
        .map(|bytes| Secret::of(String::from_utf8_lossy(&zeroize::Zeroizing::new(bytes))));
    let client_identity = certificate.zip(key).map(|(certificate_pem, key_pem)| ClientIdentity { certificate_pem, key_pem });
    LdapTls { starttls, ca_pem, client_identity }
}

fn bind(loading: &Loading<'_>, table: &Table<'_>, tls: &LdapTls, clear: Option<&LdapServer>) -> LdapBind {
    let ways = ["bind_password", "bind_password_file", "bind_password_env", "bind_password_command"];
    let password_written = ways.into_iter().find(|way| table.has(way));
    let password = secret::read(loading, table, "bind_password");
    match (table.has("bind_dn"), password_written) {
        // A name without a password would be taken for nobody, without an error (RFC 4513 §5.1.2).
        (true, None) => loading.problem(table.place("bind_dn"), table.key("bind_dn"), "needs `bind_password` beside it"),
        (false, Some(way)) => loading.problem(table.place(way), table.key(way), "needs `bind_dn` beside it"),
        _ => {}
    }
    let simple = table.owned("bind_dn").zip(password);
    if let (Some(way), Some(server), false) = (password_written, clear, table.flag("allow_cleartext")) {
        let message = format!(
            "the password would travel in clear to `{}`; write ldaps or starttls = true, or set allow_cleartext = true",
            shown(&server.url)
        );
        loading.problem(table.place(way), table.key(way), message);
    }
    match simple {
        Some((dn, password)) => LdapBind::Simple { dn, password },
        None if tls.client_identity.is_some() => LdapBind::External,
        None => LdapBind::Anonymous,
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A server's address (RFC 4516, of which only scheme, host and port are of use here), or what is wrong with it.
pub(crate) fn server(text: &str) -> Result<LdapServer, String> {
    let found = shown(text);
    let lower = text.to_ascii_lowercase();
    let (ldaps, rest) = match (lower.strip_prefix("ldaps://"), lower.strip_prefix("ldap://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(format!("`{found}` is not an address such as \"ldaps://dc1.example.org\"")),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some((_, rest)) = authority.split_once(['/', '?']) {
        let what = if rest.contains('=') { "; an entry is written as `base`, a filter as `filter`" } else { "" };
        return Err(format!("`{found}` holds more than server and port{what}"));
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => (v6, port.strip_prefix(':')),
        Some(_) => return Err(format!("`{found}` holds no IPv6 address")),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => {
            if ldaps {
                636
            } else {
                389
            }
        }
        Some(port) => {
            port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("`{found}`: {} is not a port (1–65535)", shown(port)))?
        }
    };
    let host = crate::sections::smtp::host(host, &|_| {}).map_err(|_| format!("`{found}` names no server"))?;
    Ok(LdapServer { url: text.to_owned(), ldaps, host, port })
}

/// What is wrong with a filter at first sight; the rest the server says.
fn filter_fault(filter: &str) -> Option<String> {
    let mut depth = 0usize;
    let mut closed_at = None;
    for (place, c) in filter.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            closed_at = Some(place + c.len_utf8());
            break;
        }
    }
    let right = filter.starts_with('(') && closed_at == Some(filter.len());
    (!right).then(|| format!("`{}` is not a filter such as \"(objectClass=person)\" (RFC 4515)", shown(filter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_scheme_host_and_port() {
        let of = |text: &str| server(text).map(|server| (server.ldaps, server.host, server.port));
        assert_eq!(of("ldaps://DC1.example.org"), Ok((true, "dc1.example.org".into(), 636)));
        assert_eq!(of("ldap://10.0.0.1:3389/"), Ok((false, "10.0.0.1".into(), 3389)));
        assert_eq!(of("LDAP://[::1]"), Ok((false, "::1".into(), 389)));
        for wrong in
            ["dc1.example.org", "ldap://", "ldaps://x:0", "ldap://x:99999", "ldap://[zz]", "http://x", "ldap://x/dc=a?sub", "ldap://a b"]
        {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_stands_in_one_pair_of_brackets() {
        for right in ["(a=b)", "(&(a=b)(!(c=d)))", r"(cn=\28x\29)"] {
            assert_eq!(filter_fault(right), None, "{right}");
        }
        for wrong in ["a=b", "(a=b", "(a=b))", "(a=b)(c=d)", ""] {
            assert!(filter_fault(wrong).is_some(), "{wrong}");
        }
    }
}
