//! `[alerts]`: who is told when a relay is in trouble, by mail and by a webhook, because mail about broken mail may not arrive by mail.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    problem::did_you_mean,
    read::Table,
    secret::{self, Secret},
};
use std::time::Duration;
use tidings_core::{
    Address,
    policy::{Audience, Origin, Rule, TypePattern},
};

/// The name of the rule that `to` stands for; a rule of that name replaces it.
const RULE: &str = "built-in:alerts";

pub(crate) static ALERTS: Section = Section {
    meaning: "Who is told when a relay is held, works again or needs attention, and when the flood guard holds letters. Nobody if the section is absent; the log and `tidings relay list` say it all the same.",
    keys: &[
        key(
            "to",
            Shape::Texts,
            "The mail addresses that get a letter, by another relay than the one in trouble. Stands for the rule `built-in:alerts` on `relay.*`; a rule of that name replaces it.",
        ),
        key("relay", Shape::Text, "The relay that these letters go by; the first one that is not in trouble if absent."),
        preset("after", Shape::Duration, "1m", "How long a relay must be held before anybody is told: a hiccup is no news."),
        key("webhook", Shape::Table(&WEBHOOK), "Where the news is posted, too."),
    ],
};

static WEBHOOK: Section = Section {
    meaning: "A program that is told by HTTP, with the signature of Standard Webhooks.",
    keys: &[
        key("url", Shape::Url, "Where the news is posted: `https`, or `http` on this machine; required."),
        key("secret", Shape::Secret, "The secret that signs it, `whsec_` and 24 to 64 bytes in base64; required."),
        key(
            "ca_file",
            Shape::Path,
            "PEM file with the authorities that the server's certificate may come from; the usual public ones if absent.",
        ),
    ],
};

/// Who is told of relays in trouble.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// Who gets a letter.
    pub to: Vec<Address>,
    /// The relay that the letters go by; it exists. Default: the first one that is not in trouble.
    pub relay: Option<String>,
    /// How long a relay must be held before anybody is told. Default: 1 minute.
    pub after: Duration,
    /// Where the news is posted. Default: nowhere.
    pub webhook: Option<Webhook>,
}

/// Where news is posted.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// `https`, or `http` on this machine.
    pub url: String,
    /// The secret as written, `whsec_…`.
    pub secret: Secret,
    /// Certificate authorities to trust in place of the public ones (PEM). Default: none.
    pub ca_pem: Option<Vec<u8>>,
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>, relays: &[String]) -> Alerts {
    let mut to = Vec::new();
    for (index, (at, text)) in table.texts("to").into_iter().enumerate() {
        match Address::parse(text) {
            Ok(address) => to.push(address),
            Err(error) => loading.problem(at, format!("{}[{index}]", table.key("to")), error.to_string()),
        }
    }
    let relay = table.owned("relay");
    if let Some(relay) = relay.as_ref().filter(|name| !relays.contains(name)) {
        let hint = did_you_mean(relay, relays.iter().map(String::as_str));
        loading.problem(table.place("relay"), table.key("relay"), format!("there is no relay `{}`{hint}", shown(relay)));
    }
    let webhook = table.has("webhook").then(|| webhook(loading, &table.table("webhook"))).flatten();
    if table.is_written() && !table.has("to") && !table.has("webhook") {
        loading.warning(table.at(), "alerts", "tells nobody: neither `to` nor `webhook` is written");
    }
    if !to.is_empty() && relays.len() == 1 && !table.has("webhook") {
        loading.warning(
            table.place("to"),
            table.key("to"),
            "there is only one relay: while it is held no letter can tell of it; add another relay or a webhook",
        );
    }
    Alerts { to, relay, after: table.duration("after").unwrap_or(Duration::from_mins(1)), webhook }
}

fn webhook(loading: &Loading<'_>, table: &Table<'_>) -> Option<Webhook> {
    let secret_written = ["secret", "secret_file", "secret_env", "secret_command"].iter().any(|name| table.has(name));
    for (name, written) in [("url", table.has("url")), ("secret", secret_written)] {
        if !written {
            loading.problem(table.at(), table.key(name), "is missing; a webhook needs it");
        }
    }
    let url = table.owned("url");
    if let Some(url) = url.as_ref().filter(|url| url.to_ascii_lowercase().starts_with("http://") && !is_loopback(url)) {
        loading.problem(
            table.place("url"),
            table.key("url"),
            format!("`{}` is not encrypted; write https, or an address of this machine", shown(url)),
        );
    }
    let secret = secret::read(loading, table, "secret");
    if let Some(why) = secret.as_ref().and_then(|secret| secret_fault(secret.reveal())) {
        loading.problem(table.place("secret"), table.key("secret"), why);
    }
    let ca_pem = table.has("ca_file").then(|| loading.pem(table, "ca_file", "CERTIFICATE")).flatten();
    Some(Webhook { url: url?, secret: secret?, ca_pem })
}

/// Whether a web address names this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is wrong with a signing secret; never shows it.
fn secret_fault(secret: &str) -> Option<String> {
    let wanted = "must be `whsec_` and 24 to 64 bytes in base64";
    let Some(text) = secret.strip_prefix("whsec_") else { return Some(format!("does not begin with `whsec_`; it {wanted}")) };
    let digits = text.trim_end_matches('=');
    let right = digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/') && text.len().is_multiple_of(4);
    let bytes = digits.len() * 3 / 4;
    (!right || !(24..=64).contains(&bytes)).then(|| format!("is not a signing secret; it {wanted}"))
}

/// The rule that the addresses of `to` stand for.
pub(crate) fn rule(alerts: &Alerts) -> Option<Rule> {
    let to: Vec<Audience> = alerts.to.iter().filter_map(|address| Audience::parse(address.as_str()).ok()).collect();
    let on = ["relay.*", "guard.held"].map(|text| TypePattern::parse(text).expect("there are such kinds")).to_vec();
    (!to.is_empty()).then(|| Rule { origin: Origin::BuiltIn, ..Rule::simple(RULE, on, to) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_may_be_told_without_encryption() {
        for near in ["http://127.0.0.1:9/x", "http://[::1]/", "http://localhost", "HTTP://LocalHost:80?x"] {
            assert!(is_loopback(near), "{near}");
        }
        for far in ["http://10.0.0.1/", "http://localhost.example.org/", "http://127.0.0.1.example.org", "http://[2001:db8::1]/"] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn a_signing_secret_has_its_form_and_length() {
        assert_eq!(secret_fault("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None);
        for wrong in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaL*Sw"] {
            let said = secret_fault(wrong).unwrap();
            assert!(!said.contains("Mf"), "{said}");
        }
    }
}
