//! The part of `[[relay]]` that sends by Microsoft Graph.

use super::{
    oauth2::{self, OAuth2, Purpose},
    smtp::{self, Timeouts},
};
use crate::{
    load::{Loading, shown},
    read::Table,
};
use std::time::Duration;

/// A call takes seconds, and what stands between gives up after one or two minutes.
const ANSWER: Duration = Duration::from_mins(2);

/// A deployment of Microsoft 365.
struct Cloud {
    name: &'static str,
    /// The host of its Graph.
    host: &'static str,
    url: &'static str,
    scope: &'static str,
    /// The host of its token endpoint.
    login: &'static str,
}

/// The names, in the order of [`CLOUDS`].
pub(crate) const CLOUD_NAMES: &[&str] = &["global", "us-government", "us-government-dod", "china"];

/// Microsoft Graph, "National cloud deployments", read in November 2026.
static CLOUDS: [Cloud; 4] = [
    Cloud {
        name: "global",
        host: "graph.microsoft.com",
        url: "https://graph.microsoft.com/v1.0",
        scope: "https://graph.microsoft.com/.default",
        login: "login.microsoftonline.com",
    },
    Cloud {
        name: "us-government",
        host: "graph.microsoft.us",
        url: "https://graph.microsoft.us/v1.0",
        scope: "https://graph.microsoft.us/.default",
        login: "login.microsoftonline.us",
    },
    Cloud {
        name: "us-government-dod",
        host: "dod-graph.microsoft.us",
        url: "https://dod-graph.microsoft.us/v1.0",
        scope: "https://dod-graph.microsoft.us/.default",
        login: "login.microsoftonline.us",
    },
    Cloud {
        name: "china",
        host: "microsoftgraph.chinacloudapi.cn",
        url: "https://microsoftgraph.chinacloudapi.cn/v1.0",
        scope: "https://microsoftgraph.chinacloudapi.cn/.default",
        login: "login.partner.microsoftonline.cn",
    },
];

/// A mailbox of Exchange Online and how to reach it.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The API, version included: https, or http on this machine. Default: the cloud's.
    pub url: String,
    /// Principal name or id of the user whose mailbox sends. Default: the address of `from`.
    pub mailbox: String,
    /// How access tokens are got.
    pub tokens: OAuth2,
    /// The authorities that Graph's certificate may come from, PEM. Default: the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// How long to wait: `final_dot` is for a call. Default: 2 min for that.
    pub timeouts: Timeouts,
}

/// The host of a web address, in lower case.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#', ':']).next().unwrap_or_default().to_ascii_lowercase()
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Graph> {
    let written = table.owned("url");
    if let Some(url) = &written
        && (!oauth2::travels_safely(url) || url.contains(['?', '#']) || host(url).contains('@'))
    {
        let message = format!("`{}` must be https, a host and a path: access tokens travel there", shown(url));
        loading.problem(table.place("url"), table.key("url"), message);
    }
    let of_url = written.as_deref().map(host).and_then(|host| CLOUDS.iter().find(|cloud| cloud.host == host));
    let cloud = match of_url.filter(|_| !table.has("cloud")) {
        Some(cloud) => cloud,
        None => table.text("cloud").and_then(|name| CLOUDS.iter().find(|cloud| cloud.name == name))?,
    };
    if let Some(other) = of_url.filter(|of_url| of_url.name != cloud.name) {
        let message = format!("\"{}\" is another cloud than that of `url`, which is \"{}\"", cloud.name, other.name);
        loading.problem(table.place("cloud"), table.key("cloud"), message);
    }
    if table.has("envelope_from") {
        loading.warning(
            table.place("envelope_from"),
            table.key("envelope_from"),
            "has no meaning for Graph, which sends in the mailbox's name: reports go to that mailbox",
        );
    }
    let limits = table.table("limits");
    if limits.number::<i64>("sessions").is_some_and(|sessions| limits.has("sessions") && sessions > 4) {
        let message = "is more than 4, which is what Graph takes at a time from an application for a mailbox";
        loading.problem(limits.place("sessions"), limits.key("sessions"), message);
    }
    let (mailbox, tokens) = auth(loading, table, cloud)?;
    let timeouts = smtp::timeouts(table)?;
    let final_dot = if table.table("timeouts").has("final_dot") { timeouts.final_dot } else { ANSWER };
    Some(Graph {
        url: written.unwrap_or_else(|| cloud.url.to_owned()),
        mailbox,
        tokens,
        ca_pem: loading.pem(table, "ca_file", "CERTIFICATE"),
        timeouts: Timeouts { final_dot, ..timeouts },
    })
}

/// Whose mailbox it is, and how tokens for it are got.
fn auth(loading: &Loading<'_>, table: &Table<'_>, cloud: &Cloud) -> Option<(String, OAuth2)> {
    let auth = table.table("auth");
    for name in ["password", "password_file", "password_env", "password_command", "mechanism", "allow_cleartext"] {
        if auth.has(name) {
            loading.problem(auth.place(name), auth.key(name), "has no meaning for Graph, which takes access tokens alone: write `oauth2`");
        }
    }
    if !auth.has("oauth2") {
        let at = if auth.is_written() { auth.at() } else { table.at() };
        loading.problem(at, auth.key("oauth2"), "is missing; Graph takes access tokens alone: tenant, client_id and a secret or key");
        return None;
    }
    let tokens = auth.table("oauth2");
    if tokens.text("grant") == Some("jwt-bearer") || tokens.text("provider") == Some("google") {
        loading.problem(
            tokens.at(),
            tokens.path(),
            "asks for tokens in a way that Microsoft does not know; Graph takes client credentials",
        );
    }
    let purpose = Purpose::Graph { login: cloud.login, scope: cloud.scope };
    let tokens = oauth2::build(loading, &tokens, purpose);
    let mailbox = auth.owned("username").or_else(|| table.address("from").map(|from| from.to_string()))?;
    Some((mailbox, tokens?))
}
