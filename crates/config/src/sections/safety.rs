//! `[safety]`: what may leave this house.

use crate::{
    appsettings::Rails,
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    read::Table,
};
use std::path::PathBuf;
use tidings_core::{
    Address,
    flood::FloodLimits,
    guard::{EnvironmentGuard, Mode},
};

pub(crate) static SAFETY: Section = Section {
    meaning: "What may leave this house, decided on the final recipient, after every redirect.",
    keys: &[
        preset(
            "mode",
            Shape::Choice(&["live", "redirect", "file", "off"], &[]),
            "live",
            "`live`: letters go to their readers. `redirect`: all go to `redirect_to`. `file`: all are appended to `file`. `off`: all are held.",
        ),
        key("redirect_to", Shape::Address, "Who gets every letter in the mode `redirect`."),
        key("redirect_cc", Shape::Address, "Who gets every copy in the mode `redirect`; `redirect_to` if absent."),
        key("file", Shape::Path, "The file that gets every letter in the mode `file`."),
        key(
            "allowed_domains",
            Shape::Texts,
            "The only domains that mail may go to; `*.example.org` covers every domain below. All domains if absent.",
        ),
        key("guard", Shape::Table(&GUARD), "The flood guard."),
    ],
};

static GUARD: Section = Section {
    meaning: "The flood guard: what would tell more people than this is held as one batch with one letter to those of `[alerts]`, until `tidings guard` lets it go, thins it to one letter a person, or cancels it. Kinds that nobody may switch off are not held.",
    keys: &[
        preset("per_event", Shape::Number(0, i64::MAX), "0", "The most people that one event may mail; 0 = no limit."),
        preset("per_rule_hour", Shape::Number(0, i64::MAX), "0", "The most people that one rule may mail within an hour; 0 = no limit."),
    ],
};

/// What may leave this house.
#[derive(Debug, Clone)]
pub struct Safety {
    /// What happens to mail here. Default: live.
    pub mode: Mode,
    /// Who gets every letter in the mode `redirect`.
    pub redirect_to: Option<Address>,
    /// Who gets every copy in the mode `redirect`; `redirect_to` if absent.
    pub redirect_cc: Option<Address>,
    /// The file that gets every letter in the mode `file`.
    pub file: Option<PathBuf>,
    /// The only domains that mail may go to; all if empty.
    pub allowed_domains: Vec<String>,
    /// How many people may be mailed before somebody is asked. Default: no limit.
    pub flood: FloodLimits,
}

impl Safety {
    /// The guard that these settings make.
    pub fn guard(&self) -> EnvironmentGuard {
        EnvironmentGuard::new(self.mode, self.redirect_to.clone(), self.redirect_cc.clone(), self.allowed_domains.clone())
    }
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Safety> {
    let mode = match table.text("mode")? {
        "live" => Mode::Live,
        "redirect" => Mode::Redirect,
        "file" => Mode::File,
        "off" => Mode::Off,
        _ => return None,
    };
    let needs = |mode: &str, name: &str| {
        if !table.has(name) {
            loading.problem(table.place("mode"), table.key(name), format!("is missing; `safety.mode = \"{mode}\"` needs it"));
        }
    };
    match mode {
        Mode::Redirect => needs("redirect", "redirect_to"),
        Mode::File => needs("file", "file"),
        Mode::Live | Mode::Off => {}
    }
    for (name, its_mode) in [("redirect_to", Mode::Redirect), ("redirect_cc", Mode::Redirect), ("file", Mode::File)] {
        if table.has(name) && mode != its_mode {
            loading.warning(table.place(name), table.key(name), format!("has no effect while safety.mode is \"{}\"", mode.as_str()));
        }
    }
    let file = table.file("file", loading);
    if mode == Mode::File
        && let Some(fault) = file.as_ref().and_then(|file| super::relay::output_fault(loading, file))
    {
        loading.problem(table.place("file"), table.key("file"), fault);
    }
    let guard = table.table("guard");
    let most = |name: &str| guard.number::<i64>(name).map_or(0, |most| most.max(0).cast_unsigned());
    let flood = FloodLimits { per_event: most("per_event"), per_rule_hour: most("per_rule_hour") };
    Some(Safety {
        mode,
        redirect_to: table.address("redirect_to"),
        redirect_cc: table.address("redirect_cc"),
        file,
        allowed_domains: domains(loading, table),
        flood,
    })
}

fn domains(loading: &Loading<'_>, table: &Table<'_>) -> Vec<String> {
    let mut domains = Vec::new();
    let written = table.texts("allowed_domains");
    if table.has("allowed_domains") && written.is_empty() {
        loading.problem(
            table.place("allowed_domains"),
            table.key("allowed_domains"),
            "is empty, which would allow every domain; leave it out if that is meant",
        );
    }
    for (index, (at, text)) in written.into_iter().enumerate() {
        match domain(text) {
            Ok(domain) => domains.push(domain),
            Err(message) => loading.problem(at, format!("{}[{index}]", table.key("allowed_domains")), message),
        }
    }
    domains
}

/// A domain of an allow list, lower case, A-labels; `*.` or a dot before it covers what is below.
pub(crate) fn domain(text: &str) -> Result<String, String> {
    let text = text.trim();
    let bare = text.strip_prefix('*').unwrap_or(text);
    let (dot, bare) = bare.strip_prefix('.').map_or(("", bare), |bare| (".", bare));
    let wrong = || format!("`{}` is not a domain such as \"example.org\" or \"*.example.org\"", shown(text));
    if text.starts_with('*') && dot.is_empty() {
        return Err(wrong());
    }
    // The guard compares with an address's domain, so the very parser of addresses brings it to that form.
    Address::parse(&format!("x@{bare}")).map(|address| format!("{dot}{}", address.domain())).map_err(|_| wrong())
}

/// How much a mode keeps in the house.
fn strictness(mode: Mode) -> u8 {
    match mode {
        Mode::Live => 0,
        Mode::Redirect => 1,
        Mode::File => 2,
        Mode::Off => 3,
    }
}

/// Joins the rails of foreign settings files to those of `[safety]`: the stricter wins, and is told.
pub(crate) fn merge(loading: &Loading<'_>, table: &Table<'_>, mut safety: Safety, rails: Vec<Rails>) -> Safety {
    for rail in rails {
        let told = |message: String| loading.warning_elsewhere(rail.problem("", message));
        match (strictness(rail.mode), strictness(safety.mode)) {
            (theirs, ours) if theirs > ours => {
                told(format!(
                    "safety.mode is \"{}\" because of this file, which is stricter than \"{}\"",
                    rail.mode.as_str(),
                    safety.mode.as_str()
                ));
                safety.mode = rail.mode;
                safety.redirect_to.clone_from(&rail.redirect_to);
                safety.redirect_cc.clone_from(&rail.redirect_cc);
            }
            (theirs, ours) if theirs < ours && table.has("mode") && rail.written => {
                told(format!(
                    "safety.mode stays \"{}\" as [safety] says, which is stricter than this file's \"{}\"",
                    safety.mode.as_str(),
                    rail.mode.as_str()
                ));
            }
            _ => {
                if rail.mode == Mode::Redirect && (&rail.redirect_to, &rail.redirect_cc) != (&safety.redirect_to, &safety.redirect_cc) {
                    told("[safety] redirects elsewhere than this file; [safety] holds".to_owned());
                }
            }
        }
        if rail.allowed_domains.is_empty() || rail.allowed_domains == safety.allowed_domains {
            continue;
        }
        if safety.allowed_domains.is_empty() {
            told(format!("mail may go to {} only, because of this file", rail.allowed_domains.join(", ")));
            safety.allowed_domains.clone_from(&rail.allowed_domains);
            continue;
        }
        let both = common(&safety.allowed_domains, &rail.allowed_domains);
        if both.is_empty() {
            loading.problem_elsewhere(
                rail.problem("AllowedDomains", "shares no domain with safety.allowed_domains, so no letter could leave".to_owned()),
            );
        } else {
            told(format!("mail may go to {} only: the domains that both this file and safety.allowed_domains allow", both.join(", ")));
            safety.allowed_domains = both;
        }
    }
    safety
}

/// What both lists allow.
fn common(one: &[String], other: &[String]) -> Vec<String> {
    let covers = |wide: &String, narrow: &String| wide == narrow || wide.starts_with('.') && narrow.ends_with(wide.as_str());
    let within = |list: &[String], domain: &String| list.iter().any(|wide| covers(wide, domain));
    let mut both: Vec<String> = one.iter().filter(|d| within(other, d)).chain(other.iter().filter(|d| within(one, d))).cloned().collect();
    both.sort();
    both.dedup();
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lists_allow_what_both_allow() {
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(common(&list(&[".example.org", "a.test"]), &list(&["mail.example.org", "b.test"])), ["mail.example.org"]);
        assert_eq!(common(&list(&[".example.org"]), &list(&["example.org"])), Vec::<String>::new());
        assert_eq!(common(&list(&["a.test"]), &list(&["b.test"])), Vec::<String>::new());
    }

    #[test]
    fn a_domain_is_brought_to_the_form_of_addresses() {
        assert_eq!(domain(" Bücher.Example ").unwrap(), "xn--bcher-kva.example");
        assert_eq!(domain("*.Corp.example").unwrap(), ".corp.example");
        for wrong in ["", "*", "*corp.example", "a@b.example", "a b", "https://x"] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }
}
