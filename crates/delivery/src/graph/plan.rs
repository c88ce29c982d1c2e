//! Where Microsoft Graph is and whose mailbox sends: plain values, filled from the configuration by the binary.

use crate::{
    courier::{RelayTrouble, TroubleKind},
    oauth::TokenPlan,
};
use std::{fmt::Write as _, net::IpAddr};
use tidings_core::{Address, outbox::Stage};
use ureq::http::Uri;

/// A mailbox of Exchange Online that sends by Microsoft Graph. Its access tokens are shown at this address and nowhere else: none of it can be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphPlan {
    pub(super) url: String,
    pub(super) mailbox: String,
    pub(super) tokens: TokenPlan,
    pub(super) ca_pem: Option<Vec<u8>>,
}

impl GraphPlan {
    /// The API at `url` (version included, such as `https://graph.microsoft.com/v1.0`), sending from the mailbox of this user (principal name or id).
    pub fn new(url: impl Into<String>, mailbox: impl Into<String>, tokens: TokenPlan) -> Self {
        Self { url: url.into(), mailbox: mailbox.into(), tokens, ca_pem: None }
    }

    /// With certificate authorities (PEM) to trust in place of the platform's.
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// The mailbox as it may stand in a log.
    pub(super) fn masked(&self) -> String {
        Address::parse(&self.mailbox).map_or_else(|_| self.mailbox.clone(), |address| address.masked())
    }

    /// Where letters are posted, taken apart.
    pub(super) fn target(&self) -> Result<Target, RelayTrouble> {
        let wrong = |what: &str| {
            RelayTrouble::new(TroubleKind::Configuration, Stage::Connect, format!("the address of Microsoft Graph {what}"))
                .hint("check url: https://graph.microsoft.com/v1.0, or the one of the national cloud")
        };
        let uri: Uri = self.url.parse().map_err(|_| wrong("cannot be read"))?;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else { return Err(wrong("names no host")) };
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_this_machine(host) => false,
            _ => return Err(wrong("is not https, and access tokens would travel readable")),
        };
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("holds more than a host and a path"));
        }
        Ok(Target {
            encrypted,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: format!("{}/users/{}/sendMail", uri.path().trim_end_matches('/'), segment(&self.mailbox)),
        })
    }
}

/// An address taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) encrypted: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) path: String,
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A text as one segment of a path (RFC 3986 §3.3).
fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{oauth::ClientProof, secret::Secret};

    fn target(url: &str, mailbox: &str) -> Result<Target, RelayTrouble> {
        let tokens = TokenPlan::new("https://login.example.org/token", "id", ClientProof::SecretInBody(Secret::new("s")));
        GraphPlan::new(url, mailbox, tokens).target()
    }

    #[test]
    fn letters_are_posted_to_the_mailbox_of_the_user() {
        let found = target("https://graph.microsoft.com/v1.0/", "no-reply@contoso.com").unwrap();
        assert_eq!((found.path.as_str(), found.port, found.encrypted), ("/v1.0/users/no-reply@contoso.com/sendMail", 443, true));
        assert_eq!(target("https://graph.microsoft.us/v1.0", "a/../b?c#ö").unwrap().path, "/v1.0/users/a%2F..%2Fb%3Fc%23%C3%B6/sendMail");
        let local = target("http://[::1]:8080", "a").unwrap();
        assert_eq!((local.host.as_str(), local.port, local.authority.as_str()), ("::1", 8080, "[::1]:8080"));
    }

    #[test]
    fn tokens_are_not_shown_to_whom_they_are_not_meant_for() {
        for url in ["http://graph.microsoft.com/v1.0", "https://me@graph.microsoft.com/", "ftp://localhost/", "graph", "https://g/?a=b", ""]
        {
            assert_eq!(target(url, "a").unwrap_err().kind, TroubleKind::Configuration, "{url}");
        }
    }
}
