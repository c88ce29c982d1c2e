//! Where and how access tokens are asked for: plain values, filled from the configuration by the binary.

use crate::secret::Secret;
use std::net::IpAddr;

/// How access tokens for one relay are got. What proves the client is bound to the token URL it was given for, and sent nowhere else.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPlan {
    pub(super) token_url: String,
    pub(super) client_id: String,
    pub(super) proof: ClientProof,
    pub(super) grant: Grant,
    pub(super) scope: Option<String>,
    pub(super) ca_pem: Option<Vec<u8>>,
    bound_to: String,
}

/// What proves that we are the client.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientProof {
    /// A secret in the body of the request, `client_secret` (RFC 6749 §2.3.1), as Microsoft documents it.
    SecretInBody(Secret),
    /// A secret by HTTP Basic authentication (RFC 6749 §2.3.1).
    SecretByBasic(Secret),
    /// A key that signs an assertion (RFC 7523 §2.2).
    Key(Box<ClientKey>),
}

/// A private key that signs assertions.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientKey {
    /// The key, PEM: `PRIVATE KEY` (PKCS #8; RSA or P-256) or `RSA PRIVATE KEY` (PKCS #1).
    pub pem: Secret,
    /// Its certificate, PEM, whose thumbprint goes into the assertion's header (`x5t`, `x5t#S256`; RFC 7515 §4.1.7); Microsoft finds the key by it.
    pub certificate_pem: Option<Vec<u8>>,
    /// The key's name at the token endpoint (`kid`, RFC 7515 §4.1.4).
    pub id: Option<String>,
    /// How it signs.
    pub algorithm: KeyAlgorithm,
}

/// How a key signs (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RS256 with an RSA key, ES256 with one on the curve P-256.
    ByKey,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// The grant asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Client credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// A signed assertion that the client may act for the mailbox's user (RFC 7523 §2.1): Google's service accounts.
    JwtBearer,
}

impl TokenPlan {
    /// Tokens by client credentials at this URL, without a scope.
    pub fn new(token_url: impl Into<String>, client_id: impl Into<String>, proof: ClientProof) -> Self {
        let token_url = token_url.into();
        Self {
            bound_to: token_url.clone(),
            token_url,
            client_id: client_id.into(),
            proof,
            grant: Grant::ClientCredentials,
            scope: None,
            ca_pem: None,
        }
    }

    /// With another grant.
    #[must_use]
    pub fn grant(mut self, grant: Grant) -> Self {
        self.grant = grant;
        self
    }

    /// With a scope (RFC 6749 §3.3): several are parted by spaces.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// With certificate authorities (PEM) to trust at the token URL in place of the platform's.
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.ca_pem = Some(pem);
        self
    }

    /// What stands against sending the client's proof to the token URL.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.bound_to != self.token_url {
            return Some(("the client's secret was given for another token URL and is not sent there", "set it anew"));
        }
        if !travels_safely(&self.token_url) {
            return Some((
                "the token URL is not https, and the client's secret would travel readable",
                "write https:// in auth.oauth2.token_url",
            ));
        }
        if self.grant == Grant::JwtBearer && !matches!(self.proof, ClientProof::Key(_)) {
            return Some(("the grant jwt-bearer needs a key to sign with", "set auth.oauth2.client_key_file"));
        }
        None
    }

    /// The token URL's host, with its port if one is written, for messages.
    pub(super) fn endpoint(&self) -> &str {
        authority(&self.token_url)
    }
}

/// Scheme and path aside.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a secret may be sent to this URL: by https, or to this machine itself.
fn travels_safely(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let authority = authority(&lower);
    if authority.is_empty() || authority.contains('@') {
        return false;
    }
    if lower.starts_with("https://") {
        return true;
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    lower.starts_with("http://") && (host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_travels_by_https_or_within_this_machine() {
        for url in ["https://login.example.org/token", "HTTPS://x", "http://localhost:1/t", "http://127.0.0.1:80/t", "http://[::1]:80/t"] {
            assert!(travels_safely(url), "{url}");
        }
        for url in [
            "http://login.example.org/token",
            "http://127.0.0.1.example.org/",
            "ftp://localhost/",
            "https://me@x/",
            "https://",
            "",
            "http://localhost@x/",
        ] {
            assert!(!travels_safely(url), "{url}");
        }
    }

    #[test]
    fn a_secret_is_bound_to_its_token_url() {
        let mut plan = TokenPlan::new("https://a.example/token", "id", ClientProof::SecretInBody(Secret::new("geheim")));
        assert!(plan.fault().is_none() && !format!("{plan:?}").contains("geheim"));
        plan.token_url = "https://b.example/token".to_owned();
        assert!(plan.fault().unwrap().0.contains("another token URL"));
        let secret = ClientProof::SecretInBody(Secret::new("geheim"));
        assert!(TokenPlan::new("https://a.example/token", "id", secret).grant(Grant::JwtBearer).fault().unwrap().0.contains("needs a key"));
    }
}
