//! Presets: hosts, ports, encryption and limits of well-known providers. What their refusals mean stands where mail is delivered.
//!
//! Sources, read in November 2026: Microsoft, "SMTP submission improvements" and "High Volume Email for Microsoft 365"; Google Workspace Help, "SMTP relay";
//! Amazon SES Developer Guide, "Connecting to the SMTP endpoint".

/// What a preset sets where the configuration says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Provider {
    pub(crate) name: &'static str,
    /// Its host; absent if there is one for each region or customer.
    pub(crate) host: Option<&'static str>,
    /// Such a host, for a message.
    pub(crate) host_example: &'static str,
    pub(crate) port: u16,
    pub(crate) tls: &'static str,
    pub(crate) sessions: Option<u16>,
    pub(crate) per_minute: Option<u32>,
    pub(crate) per_day: Option<u32>,
}

/// The names, in the order of [`PROVIDERS`].
pub(crate) const NAMES: &[&str] = &["exchange-online", "exchange-online-hve", "google-workspace-relay", "amazon-ses"];

static PROVIDERS: &[Provider] = &[
    Provider {
        name: "exchange-online",
        host: Some("smtp.office365.com"),
        host_example: "smtp.office365.com",
        port: 587,
        tls: "starttls",
        sessions: Some(3),
        per_minute: Some(30),
        // Counted in recipients, and each of our letters has one.
        per_day: Some(10_000),
    },
    Provider {
        name: "exchange-online-hve",
        host: Some("smtp-hve.office365.com"),
        host_example: "smtp-hve.office365.com",
        port: 587,
        tls: "starttls",
        sessions: None,
        per_minute: None,
        per_day: None,
    },
    Provider {
        name: "google-workspace-relay",
        host: Some("smtp-relay.gmail.com"),
        host_example: "smtp-relay.gmail.com",
        port: 587,
        tls: "starttls",
        sessions: None,
        per_minute: None,
        per_day: Some(10_000),
    },
    Provider {
        name: "amazon-ses",
        host: None,
        host_example: "email-smtp.eu-central-1.amazonaws.com",
        port: 587,
        tls: "starttls",
        sessions: None,
        // The account's own rate and quota are in its console; 200 a day and one a second in the sandbox.
        per_minute: None,
        per_day: None,
    },
];

/// Microsoft Graph, which is a kind of relay and no preset: the calls at a time that Graph allows, and the limits of a mailbox of Exchange Online.
pub(crate) static GRAPH: Provider = Provider {
    name: "graph",
    host: None,
    host_example: "graph.microsoft.com",
    port: 443,
    tls: "implicit",
    sessions: Some(4),
    per_minute: Some(30),
    per_day: Some(10_000),
};

/// The preset of this name.
pub(crate) fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_preset() {
        assert_eq!(PROVIDERS.iter().map(|provider| provider.name).collect::<Vec<_>>(), NAMES);
    }
}
