//! What comes back: the contract of reports about letters, and of the health of addresses.
//!
//! A report is kept once, whatever way it came. What it says of an item moves that item from Sent to Bounced and stands in its history; hard bounces of several
//! letters make an address unhealthy, until an operator clears it, a letter is reported to have arrived, or its time is over.

use crate::{error::StoreError, store::Page};
use async_trait::async_trait;
use std::time::Duration;
use tidings_core::{
    Id, Timestamp,
    bounce::{Class, Match},
    outbox::State,
    verp::VerpKey,
};

/// When an address counts as unhealthy.
#[derive(Debug, Clone, Copy)]
pub struct HealthTerms {
    /// Letters that must have come back for good; at least 1.
    pub after: u32,
    /// Within this time.
    pub within: Duration,
    /// An address is tried again after so long; never by itself if `None`.
    pub rest: Option<Duration>,
    /// Reports are kept for so long.
    pub keep: Duration,
}

/// What a report says of one recipient.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What became of the letter.
    pub class: Class,
    /// The enhanced status code, if there is one: `5.1.1`.
    pub status: Option<String>,
    /// The address that the report names, if it names one.
    pub recipient: Option<String>,
    /// What the other side said, one line.
    pub diagnostic: String,
    /// The item it is about, and how that was found.
    pub item: Option<(Id, Match)>,
    /// Items that it may be about: a hint that changes nothing.
    pub candidates: Vec<Id>,
    /// Whether it counts against the item's address.
    pub counts: bool,
}

/// A report to be kept.
#[derive(Debug, Clone)]
pub struct NewReport {
    /// What makes it the same report when it comes again.
    pub digest: [u8; 32],
    /// The way it came: `command`, `http`, `mailbox`.
    pub way: &'static str,
    /// The form it has: `dsn`, `feedback`, `qmail` and so on.
    pub form: &'static str,
    /// The host that reports, if it says so.
    pub reporter: Option<String>,
    /// What it says.
    pub findings: Vec<Finding>,
    /// When an address counts as unhealthy.
    pub terms: HealthTerms,
}

/// What one finding has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The item went from Sent to Bounced; whether its address became unhealthy by it.
    Bounced {
        /// It did.
        unhealthy: bool,
    },
    /// It stands in the item's history; whether the item's address became unhealthy by it (a complaint).
    Noted {
        /// It did.
        unhealthy: bool,
    },
    /// The item was not Sent: it stands in its history, and nothing else changes.
    Stands(State),
    /// It is about no item that is known.
    Unmatched,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportTaken {
    /// It was taken before; nothing changed.
    Known,
    /// It is kept; the effect of each finding, in their order.
    New(Vec<Effect>),
}

/// A line of the listing of reports: what one of them says of one recipient.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ReportRow {
    /// Its name, by which the listing goes on.
    pub id: Id,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// The way it came.
    pub way: String,
    /// The form it has.
    pub form: String,
    /// The host that reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporter: Option<String>,
    /// `hard`, `soft`, `delayed`, `delivered`, `relayed`, `complaint`.
    pub class: String,
    /// The enhanced status code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The address that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// What the other side said.
    pub diagnostic: String,
    /// The item it is about; absent if none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<Id>,
    /// How that was found: `verp`, `envid`, `message_id`, `header`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched_by: Option<String>,
    /// Items that it may be about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Id>,
}

/// Which reports are listed. Every field that is set must fit.
#[derive(Debug, Clone, Default)]
pub struct ReportFilter {
    /// Those that are (not) about a known item.
    pub matched: Option<bool>,
    /// About this item.
    pub item: Option<Id>,
}

/// An address that letters came back from.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AddressRow {
    /// The address, as the last letter had it.
    pub address: String,
    /// Since when it is unhealthy.
    pub unhealthy_since: Timestamp,
    /// When it is tried again by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Letters that came back and count.
    pub bounces: u64,
    /// What the last one said.
    pub reason: String,
    /// The last item that came back.
    pub item: Id,
    /// Whether somebody has been told.
    pub told: bool,
}

/// What is kept of reports and addresses.
#[async_trait]
pub trait Bounces: Send + Sync + 'static {
    /// Keeps a report and does what follows from it, in one transaction. A report with a known digest changes nothing and says so.
    ///
    /// Only an item that is Sent becomes Bounced; of two reports about one item the second finds it Bounced and counts no more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be written; nothing is kept then.
    async fn take_report(&self, report: NewReport) -> Result<ReportTaken, StoreError>;

    /// Reports, newest first, from `before` (exclusive) on.
    async fn reports(&self, filter: ReportFilter, before: Option<Id>, limit: u16) -> Result<Page<ReportRow>, StoreError>;

    /// Those of these addresses (compared without regard to case) that are unhealthy now.
    async fn unhealthy(&self, addresses: &[String]) -> Result<Vec<AddressRow>, StoreError>;

    /// Addresses that are unhealthy now, by name, from behind `after` on.
    async fn addresses(&self, after: Option<String>, limit: u16) -> Result<Vec<AddressRow>, StoreError>;

    /// Unhealthy addresses of which nobody has been told, the longest first.
    async fn untold(&self, limit: u16) -> Result<Vec<AddressRow>, StoreError>;

    /// Notes that somebody has been told that an address is unhealthy since then.
    async fn address_told(&self, address: &str, since: Timestamp) -> Result<(), StoreError>;

    /// Makes an address healthy again; what came back before does not count any more. Says whether it was unhealthy.
    async fn clear_address(&self, address: &str, by: &str) -> Result<bool, StoreError>;

    /// The key of return paths, the same for all nodes of an installation.
    fn return_paths(&self) -> VerpKey;
}

/// Reports that are forgotten when one is taken: a few more than come, so that the old ones go.
pub(crate) const FORGOTTEN: u32 = 20;

/// The line of an item's history that a finding leaves.
pub(crate) fn line(report: &NewReport, finding: &Finding) -> String {
    let by = report.reporter.as_ref().map_or_else(String::new, |host| format!("reported by {host}, "));
    let matched = finding.item.map_or("nothing", |(_, by)| by.as_str());
    format!("{} ({}, {by}matched by {matched})", reason(finding), finding.class)
}

/// What the other side said, with its code unless it says it itself.
pub(crate) fn reason(finding: &Finding) -> String {
    match &finding.status {
        Some(status) if finding.diagnostic.is_empty() => status.clone(),
        Some(status) if !finding.diagnostic.contains(status.as_str()) => format!("{status} {}", finding.diagnostic),
        _ if finding.diagnostic.is_empty() => "no reason is given".to_owned(),
        _ => finding.diagnostic.clone(),
    }
}
