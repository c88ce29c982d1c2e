//! `[server]`: where the program listens and keeps its data.

use crate::{
    keys::{Section, Shape, key, preset},
    load::Loading,
    read::Table,
};
use std::{net::SocketAddr, path::PathBuf};

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
        preset("max_body", Shape::Size, "8MiB", "The largest request body that is read."),
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
    /// The largest request body that is read, in bytes. Default: 8 MiB.
    pub max_body_bytes: u64,
}

/// The server's own certificate. Both files are there and hold PEM blocks of the right kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// PEM file with the certificate and its chain.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Server> {
    let tls = tls(loading, table);
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
    let listen = listen?;
    let scheme = if table.has("tls_cert_file") { "https" } else { "http" };
    let public_url = table.text("public_url").map_or_else(|| format!("{scheme}://{listen}"), |url| url.trim_end_matches('/').to_owned());
    Some(Server { listen, public_url, data_dir: table.file("data_dir", loading)?, tls, max_body_bytes: max_body_bytes? })
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
