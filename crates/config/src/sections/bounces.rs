//! `[bounces]`: what becomes of addresses that letters come back from, and the mailbox that reports are fetched from. How else they come in is said elsewhere: `tidings bounce`,
//! `POST /v1/bounces`.

use super::{
    alerts::Alerts,
    mailbox::{self, Mailbox},
};
use crate::{
    keys::{Section, Shape, key, preset},
    load::Loading,
    read::Table,
};
use std::time::Duration;
use tidings_core::policy::{ADDRESS_UNHEALTHY, Audience, Origin, Rule, RuleSet, WhenUnhealthy};

pub(crate) static BOUNCES: Section = Section {
    meaning: "What becomes of addresses that letters come back from. Reports come by `tidings bounce`, `POST /v1/bounces` and the mailbox.",
    keys: &[
        preset("after", Shape::Number(1, 100), "2", "Letters that must have come back for good before an address counts as unhealthy."),
        preset("within", Shape::Duration, "30d", "The time within which they must have come back."),
        preset(
            "unhealthy",
            Shape::Choice(&["hold", "fallback", "send"], &[]),
            "hold",
            "`hold`: letters to an unhealthy address are held. `fallback`: the rule's fallback gets them, and they are held if it has none. `send`: they are sent. Codes and links are sent in any case, and to nobody else.",
        ),
        preset("rest", Shape::Duration, "90d", "After this time an unhealthy address is tried again by itself; `0s`: never."),
        preset(
            "complaints",
            Shape::Choice(&["note", "count"], &[]),
            "note",
            "`note`: a reader's complaint stands in the history of the letter. `count`: it counts like a letter that came back for good as well.",
        ),
        preset(
            "tell",
            Shape::Texts,
            "object_manager, owners",
            "Who is told, once, that an address became unhealthy: audiences as in a rule, of which `object` is whose address it is. Stands for the rule `built-in:address.unhealthy`; a rule of that name replaces it.",
        ),
        key("fallback", Shape::Texts, "Who is told if none of `tell` can be; the addresses of `[alerts]` if absent."),
        preset("keep", Shape::Duration, "180d", "How long reports are kept."),
        key("mailbox", Shape::Table(&mailbox::MAILBOX), "A mailbox that reports are fetched from; none if absent."),
    ],
};

/// What becomes of addresses that letters come back from.
#[derive(Debug, Clone)]
pub struct Bounces {
    /// Letters that must have come back for good. Default: 2.
    pub after: u32,
    /// Within this time. Default: 30 days.
    pub within: Duration,
    /// What is done with letters to an unhealthy address. Default: they are held.
    pub unhealthy: WhenUnhealthy,
    /// It is tried again after this time; never by itself if `None`. Default: 90 days.
    pub rest: Option<Duration>,
    /// Whether a reader's complaint counts like a letter that came back. Default: no.
    pub complaints_count: bool,
    /// Who is told of an address that became unhealthy. Default: the manager of whose address it is, the owners of the group whose it is.
    pub tell: Vec<Audience>,
    /// Who is told if none of them can be. Default: the addresses of `[alerts]`.
    pub fallback: Vec<Audience>,
    /// How long reports are kept. Default: 180 days.
    pub keep: Duration,
    /// The mailbox that reports are fetched from. Default: none.
    pub mailbox: Option<Mailbox>,
}

impl Bounces {
    /// The rule that `tell` and `fallback` stand for.
    pub(crate) fn rule(&self) -> Option<Rule> {
        let built_in = RuleSet::built_in().into_iter().find(|rule| rule.on.iter().any(|on| on.matches(ADDRESS_UNHEALTHY)))?;
        Some(Rule { origin: Origin::BuiltIn, to: self.tell.clone(), fallback: self.fallback.clone(), ..built_in })
    }
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>, alerts: &Alerts) -> Bounces {
    let days = |days: u64| Duration::from_hours(days * 24);
    let tell = audiences(loading, table, "tell");
    let fallback = if table.has("fallback") {
        audiences(loading, table, "fallback")
    } else {
        alerts.to.iter().cloned().map(Audience::Address).collect()
    };
    if table.has("rest") && table.duration("rest").is_some_and(|rest| !rest.is_zero() && rest < Duration::from_hours(1)) {
        loading.warning(table.place("rest"), table.key("rest"), "is so short that an address is hardly ever unhealthy");
    }
    Bounces {
        after: table.number::<u32>("after").unwrap_or(2),
        within: table.duration("within").unwrap_or(days(30)),
        unhealthy: match table.text("unhealthy") {
            Some("fallback") => WhenUnhealthy::Fallback,
            Some("send") => WhenUnhealthy::Send,
            _ => WhenUnhealthy::Hold,
        },
        rest: Some(table.duration("rest").unwrap_or(days(90))).filter(|rest| !rest.is_zero()),
        complaints_count: table.text("complaints") == Some("count"),
        tell,
        fallback,
        keep: table.duration("keep").unwrap_or(days(180)),
        mailbox: mailbox::build(loading, &table.table("mailbox")),
    }
}

/// Audiences that need no directory: what is told is about somebody who may stand in none.
fn audiences(loading: &Loading<'_>, table: &Table<'_>, name: &str) -> Vec<Audience> {
    let mut audiences = Vec::new();
    for (index, (at, text)) in table.texts(name).into_iter().enumerate() {
        match Audience::parse(text) {
            Ok(audience) => audiences.push(audience),
            Err(error) => loading.problem(at, format!("{}[{index}]", table.key(name)), error.to_string()),
        }
    }
    if audiences.is_empty() && !table.has(name) && name == "tell" {
        audiences = ["object_manager", "owners"].iter().filter_map(|word| Audience::parse(word).ok()).collect();
    }
    audiences
}
