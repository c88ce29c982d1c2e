//! `[server]`: where the program listens and keeps its data.

use crate::{
    keys::{Section, Shape, key, preset},
    load::Loading,
    read::Table,
};
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

/// A node beats five times within its lease, and a database that fails over takes some seconds.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_mins(10);

pub(crate) static SERVER: Section = Section {
    meaning: "Where the program listens, and where it keeps its data.",
    keys: &[
        preset("listen", Shape::Listen, "127.0.0.1:8025", "Address and port of the API and the console."),
        key(
            "public_url",
            Shape::Url,
            "The address under which readers and browsers reach this server; `http(s)://` and `listen` if absent.",
        ),
        preset("data_dir", Shape::Path, "./tidings-data", "The folder of the database and of the key made on first start."),
        key("tls_cert_file", Shape::Path, "PEM file with the server's certificate and its chain; with `tls_key_file`."),
        key("tls_key_file", Shape::Path, "PEM file with the certificate's private key."),
        key(
            "client_ca_file",
            Shape::Path,
            "PEM file with the authorities of clients (mutual TLS): with it only holders of a certificate from them may use `/v1/…`, and need no token to post events. Needs `tls_cert_file`. SCIM stays with tokens: identity providers have no certificates.",
        ),
        key("client_names", Shape::Texts, "Which of those certificates count: host names, or common names; all of them if absent."),
        preset("max_body", Shape::Size, "8MiB", "The largest request body that is read."),
        key("node", Shape::Text, "What this node is called where several serve one database; the machine's name if absent."),
        preset(
            "node_lease",
            Shape::Duration,
            "20s",
            "On PostgreSQL: how long a node may be silent before others take over its work; so long a node that dies delays its letters.",
        ),
    ],
};

/// Where the program listens, and where it keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Address and port of the API and the console. Default: 127.0.0.1:8025.
    pub listen: SocketAddr,
    /// The address under which readers and browsers reach this server, without a slash at the end. Default: made from `listen`.
    pub public_url: String,
    /// The folder of the database and of the key made on first start. Default: `tidings-data` beside the configuration file.
    pub data_dir: PathBuf,
    /// Certificate and key, if the server speaks TLS itself. Default: none.
    pub tls: Option<ServerTls>,
    /// Whose clients may use the API, if certificates are asked of them. Default: none, tokens alone.
    pub clients: Option<ClientAuthority>,
    /// The largest request body that is read, in bytes. Default: 8 MiB.
    pub max_body_bytes: u64,
    /// What this node is called where several serve one database. Default: the machine's name.
    pub node: Option<String>,
    /// How long a node may be silent before others take over its work. Default: 20 s.
    pub node_lease: Duration,
}

/// The server's own certificate. Both files are there and hold PEM blocks of the right kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// The authorities of clients. The file is there and holds a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthority {
    /// PEM file with the authorities' certificates.
    pub ca_file: PathBuf,
    /// The names, host names or common names, of which a certificate must bear one. Default: any.
    pub names: Vec<String>,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Server> {
    let tls = tls(loading, table);
    let clients = clients(loading, table);
    let listen: Option<SocketAddr> = table.parsed("listen");
    if let Some(listen) = listen
        && !listen.ip().is_loopback()
        && !table.has("tls_cert_file")
    {
        let message = format!(
            "{listen} is reached from other machines, and tokens would travel in clear; set tls_cert_file and tls_key_file, or stand behind a proxy that speaks TLS"
        );
        loading.warning(table.place("listen"), table.key("listen"), message);
    }
    let max_body_bytes = table.size("max_body");
    if let Some(..1024) = max_body_bytes {
        loading.problem(table.place("max_body"), table.key("max_body"), "must be at least 1KiB");
    }
    let node_lease = table.duration("node_lease");
    if node_lease.is_some_and(|lease| !LEASES.contains(&lease)) {
        loading.problem(table.place("node_lease"), table.key("node_lease"), "must be between 3s and 10m");
    }
    let listen = listen?;
    let scheme = if table.has("tls_cert_file") { "https" } else { "http" };
    let public_url = table.text("public_url").map_or_else(|| format!("{scheme}://{listen}"), |url| url.trim_end_matches('/').to_owned());
    Some(Server {
        listen,
        public_url,
        data_dir: table.file("data_dir", loading)?,
        tls,
        clients,
        max_body_bytes: max_body_bytes?,
        node: table.owned("node"),
        node_lease: node_lease?,
    })
}

fn tls(loading: &Loading<'_>, table: &Table<'_>) -> Option<ServerTls> {
    for (one, other) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")] {
        if table.has(one) && !table.has(other) {
            loading.problem(table.place(one), table.key(one), format!("needs `{other}` beside it"));
        }
    }
    let certificate = loading.pem(table, "tls_cert_file", "CERTIFICATE");
    let key = loading.pem(table, "tls_key_file", "PRIVATE KEY").map(zeroize::Zeroizing::new);
    certificate.zip(key)?;
    Some(ServerTls { cert_file: table.file("tls_cert_file", loading)?, key_file: table.file("tls_key_file", loading)? })
}

fn clients(loading: &Loading<'_>, table: &Table<'_>) -> Option<ClientAuthority> {
    if table.has("client_ca_file") && !table.has("tls_cert_file") {
        let message = "needs `tls_cert_file` beside it: clients show their certificates within TLS";
        loading.problem(table.place("client_ca_file"), table.key("client_ca_file"), message);
    }
    if table.has("client_names") && !table.has("client_ca_file") {
        let message = "needs `client_ca_file` beside it: a name counts only if an authority vouches for it";
        loading.problem(table.place("client_names"), table.key("client_names"), message);
    }
    let names: Vec<String> = table.texts("client_names").into_iter().map(|(_, name)| name.to_owned()).collect();
    if table.has("client_names") && names.is_empty() {
        loading.problem(
            table.place("client_names"),
            table.key("client_names"),
            "names nobody; leave it out to let in everybody vouched for",
        );
    }
    loading.pem(table, "client_ca_file", "CERTIFICATE")?;
    Some(ClientAuthority { ca_file: table.file("client_ca_file", loading)?, names })
}
