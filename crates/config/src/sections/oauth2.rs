//! `oauth2` of an `auth`: access tokens in place of a password.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    node::Value,
    read::Table,
    secret::{self, Secret},
};
use std::net::IpAddr;

pub(crate) static OAUTH2: Section = Section {
    meaning: "Access tokens without a person (RFC 6749 §4.4, RFC 7523) in place of a password.",
    keys: &[
        preset(
            "provider",
            Shape::Choice(&["generic", "microsoft", "google"], &[]),
            "generic",
            "Whose defaults hold for `token_url`, `scope` and `grant`: Microsoft's, Google's, or nobody's. Every one of them can be written. `microsoft` if absent for relays of the kind `graph`.",
        ),
        key("tenant", Shape::Text, "microsoft: the directory's id or domain name; required unless `token_url` is written."),
        key("token_url", Shape::Url, "The token endpoint, https; required for `generic`."),
        key("client_id", Shape::Text, "The client's id; required, unless Google's key file gives it."),
        key("client_secret", Shape::Secret, "The client's secret; either this or `client_key_file`."),
        preset(
            "client_auth",
            Shape::Choice(&["body", "basic"], &[]),
            "body",
            "How the secret is sent: in the request's body, or by HTTP Basic authentication (RFC 6749 §2.3.1).",
        ),
        key(
            "client_key_file",
            Shape::Path,
            "PEM file with the private key (RSA or P-256) that signs the requests in place of a secret (RFC 7523); google: the service account's JSON file will do.",
        ),
        key(
            "client_cert_file",
            Shape::Path,
            "PEM file with the key's certificate, for endpoints that find the key by its thumbprint (Microsoft).",
        ),
        key("client_key_id", Shape::Text, "The key's name at the token endpoint (`kid`), if it wants one."),
        key(
            "client_key_algorithm",
            Shape::Choice(&["rs256", "ps256", "es256"], &[]),
            "How the key signs (RFC 7518); if absent `ps256` for microsoft, `rs256` for other RSA keys, `es256` for P-256 keys.",
        ),
        key(
            "grant",
            Shape::Choice(&["client-credentials", "jwt-bearer"], &[]),
            "The grant asked for; `client-credentials` if absent, `jwt-bearer` (acting for `username`) for google.",
        ),
        key(
            "scope",
            Shape::Text,
            "The scope asked for; several are parted by spaces. The provider's scope for mail if absent, none for `generic`.",
        ),
        key(
            "ca_file",
            Shape::Path,
            "PEM file with the authorities that the token endpoint's certificate may come from; the system's if absent.",
        ),
    ],
};

/// Access tokens in place of a password.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    /// The token endpoint: https, or http on this machine.
    pub token_url: String,
    /// The client's id.
    pub client_id: String,
    /// What proves that we are the client.
    pub proof: ClientProof,
    /// The grant asked for.
    pub grant: Grant,
    /// The scope asked for. Default: the provider's.
    pub scope: Option<String>,
    /// The authorities that the token endpoint's certificate may come from, PEM. Default: the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// What proves a client.
#[derive(Debug, Clone)]
pub enum ClientProof {
    /// A secret in the request's body.
    SecretInBody(Secret),
    /// A secret by HTTP Basic.
    SecretByBasic(Secret),
    /// A key that signs.
    Key(Box<ClientKey>),
}

/// A key that signs token requests.
#[derive(Debug, Clone)]
pub struct ClientKey {
    /// The private key, PEM.
    pub pem: Secret,
    /// Its certificate, PEM. Default: none.
    pub certificate_pem: Option<Vec<u8>>,
    /// Its name at the token endpoint. Default: none.
    pub id: Option<String>,
    /// How it signs. Default: by the kind of the key.
    pub algorithm: Option<KeyAlgorithm>,
}

/// How a key signs (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

/// A grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Client credentials (RFC 6749 §4.4).
    ClientCredentials,
    /// A signed assertion for the account (RFC 7523 §2.1).
    JwtBearer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    Generic,
    Microsoft,
    Google,
}

/// What tokens are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// To sign in to a mail server.
    Mail,
    /// To call Microsoft Graph.
    Graph {
        /// The host of Microsoft's token endpoint in this cloud.
        login: &'static str,
        /// The scope of the cloud's Graph.
        scope: &'static str,
    },
}

impl Purpose {
    /// Whose defaults hold if the configuration does not say.
    fn provider(self) -> &'static str {
        match self {
            Self::Mail => "generic",
            Self::Graph { .. } => "microsoft",
        }
    }

    fn scope(self, provider: Provider) -> Option<&'static str> {
        match (provider, self) {
            (Provider::Generic, _) => None,
            (Provider::Microsoft, Self::Graph { scope, .. }) => Some(scope),
            (Provider::Microsoft, Self::Mail) => Some("https://outlook.office365.com/.default"),
            (Provider::Google, _) => Some("https://mail.google.com/"),
        }
    }

    /// The host of Microsoft's token endpoint.
    fn login(self) -> &'static str {
        match self {
            Self::Mail => "login.microsoftonline.com",
            Self::Graph { login, .. } => login,
        }
    }
}

/// Reads the table; what stands against it is told.
pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>, purpose: Purpose) -> Option<OAuth2> {
    let word = if table.has("provider") { table.text("provider")? } else { purpose.provider() };
    let provider = match word {
        "microsoft" => Provider::Microsoft,
        "google" => Provider::Google,
        "generic" => Provider::Generic,
        _ => return None,
    };
    let token_url = token_url(loading, table, provider, purpose);
    let key = key_file(loading, table, provider);
    let (client_of_key, key) = key.map_or((None, None), |(client, key)| (client, Some(key)));
    let client_id = table.owned("client_id").or(client_of_key);
    if client_id.is_none() && !(provider == Provider::Google && table.has("client_key_file")) {
        loading.problem(table.at(), table.key("client_id"), "is missing; the token endpoint must know who asks");
    }
    let proof = proof(loading, table, key);
    let grant = match (table.text("grant"), provider) {
        (Some("jwt-bearer"), _) | (None, Provider::Google) => Grant::JwtBearer,
        _ => Grant::ClientCredentials,
    };
    if grant == Grant::JwtBearer && has_secret(table) {
        let at = if table.has("grant") { table.place("grant") } else { table.place("provider") };
        let message = "the grant jwt-bearer is signed: write client_key_file in place of client_secret";
        loading.problem(at, table.key("grant"), message);
    }
    let ca_pem = loading.pem(table, "ca_file", "CERTIFICATE");
    let scope = table.owned("scope").or_else(|| purpose.scope(provider).map(str::to_owned));
    Some(OAuth2 { token_url: token_url?, client_id: client_id?, proof: proof?, grant, scope, ca_pem })
}

fn has_secret(table: &Table<'_>) -> bool {
    ["client_secret", "client_secret_file", "client_secret_env", "client_secret_command"].iter().any(|way| table.has(way))
}

fn token_url(loading: &Loading<'_>, table: &Table<'_>, provider: Provider, purpose: Purpose) -> Option<String> {
    let tenant = table.text("tenant");
    if let Some(tenant) = tenant {
        if provider != Provider::Microsoft {
            loading.problem(table.place("tenant"), table.key("tenant"), "belongs to provider = \"microsoft\"");
        } else if table.has("token_url") {
            loading.problem(
                table.place("tenant"),
                table.key("tenant"),
                "stands beside `token_url`, which names it already; write one of the two",
            );
        } else if !tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
            let message = format!("`{}` is neither the id nor the domain name of a directory", shown(tenant));
            loading.problem(table.place("tenant"), table.key("tenant"), message);
            return None;
        }
    }
    let written = table.owned("token_url");
    if let Some(url) = &written
        && !travels_safely(url)
    {
        let message = format!("`{}` is not https, and the client's secret would travel in clear", shown(url));
        loading.problem(table.place("token_url"), table.key("token_url"), message);
    }
    written.or_else(|| match (provider, tenant) {
        (Provider::Google, _) => Some("https://oauth2.googleapis.com/token".to_owned()),
        (Provider::Microsoft, Some(tenant)) => Some(format!("https://{}/{tenant}/oauth2/v2.0/token", purpose.login())),
        (Provider::Microsoft, None) => {
            loading.problem(table.at(), table.key("tenant"), "is missing; write the directory's id or domain name, or a `token_url`");
            None
        }
        (Provider::Generic, _) => {
            loading.problem(table.at(), table.key("token_url"), "is missing; write it, or provider = \"microsoft\" or \"google\"");
            None
        }
    })
}

/// Https, or http within this machine.
pub(super) fn travels_safely(url: &str) -> bool {
    let lower = url.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("http://") else { return lower.starts_with("https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn proof(loading: &Loading<'_>, table: &Table<'_>, key: Option<ClientKey>) -> Option<ClientProof> {
    let with_key = table.has("client_key_file");
    if has_secret(table) && with_key {
        loading.problem(
            table.place("client_key_file"),
            table.key("client_key_file"),
            "stands beside a `client_secret`; write one of the two",
        );
    }
    if !has_secret(table) && !with_key {
        loading.problem(table.at(), table.key("client_secret"), "is missing; write it, or a `client_key_file`");
    }
    for name in ["client_cert_file", "client_key_id", "client_key_algorithm"].into_iter().filter(|name| !with_key && table.has(name)) {
        loading.problem(table.place(name), table.key(name), "needs `client_key_file` beside it");
    }
    if with_key && table.has("client_auth") {
        loading.problem(
            table.place("client_auth"),
            table.key("client_auth"),
            "is about a `client_secret`; with a key there is none to send",
        );
    }
    if with_key {
        return key.map(|key| ClientProof::Key(Box::new(key)));
    }
    let secret = secret::read(loading, table, "client_secret")?;
    Some(if table.text("client_auth")? == "basic" { ClientProof::SecretByBasic(secret) } else { ClientProof::SecretInBody(secret) })
}

/// The key, and the client's id if Google's file gave it.
fn key_file(loading: &Loading<'_>, table: &Table<'_>, provider: Provider) -> Option<(Option<String>, ClientKey)> {
    const FILE: &str = "client_key_file";
    let certificate_pem = loading.pem(table, "client_cert_file", "CERTIFICATE");
    let algorithm = match table.text("client_key_algorithm") {
        Some("rs256") => Some(KeyAlgorithm::Rs256),
        Some("ps256") => Some(KeyAlgorithm::Ps256),
        Some("es256") => Some(KeyAlgorithm::Es256),
        _ if provider == Provider::Microsoft => Some(KeyAlgorithm::Ps256),
        _ => None,
    };
    let id = table.owned("client_key_id");
    if !table.has(FILE) {
        return None;
    }
    if provider == Provider::Google {
        let bytes = zeroize::Zeroizing::new(loading.file(table, FILE)?);
        let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        if text.trim_start().starts_with('{') {
            return service_account(loading, table, &text)
                .map(|(client, kid, pem)| (Some(client), ClientKey { pem, certificate_pem, id: id.or(kid), algorithm }));
        }
    }
    let pem = loading.pem(table, FILE, "PRIVATE KEY")?;
    let pem = Secret::of(String::from_utf8_lossy(&zeroize::Zeroizing::new(pem)));
    Some((None, ClientKey { pem, certificate_pem, id, algorithm }))
}

/// Client, key name and key out of the JSON file that Google gives for a service account.
fn service_account(loading: &Loading<'_>, table: &Table<'_>, text: &str) -> Option<(String, Option<String>, Secret)> {
    let told = |message: String| loading.problem(table.place("client_key_file"), table.key("client_key_file"), message);
    let node = crate::json::parse(text).map_err(|error| told(format!("is not readable as JSON: {error}"))).ok()?;
    let part = |name: &str| match node.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let (client, key) = (part("client_email"), part("private_key"));
    if client.is_none() || key.is_none() {
        told("holds no service account's key: `client_email` and `private_key` are missing".to_owned());
    }
    Some((client?, part("private_key_id"), Secret::of(key?)))
}
