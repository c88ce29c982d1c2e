//! Deciding: one event, all rules, who gets which letter, and why everybody else does not.

use super::{
    audience::Audience,
    condition::Scope,
    facts::{Crowd, Facts, Want},
    health::Unwell,
    rule::{Rule, RuleSet},
};
use crate::{
    event::Event,
    kind::Kind,
    lane::Lane,
    notice::{Notice, Reader, Reason},
    subject::Party,
    trace::{PersonTrace, PersonVerdict, RuleTrace, RuleVerdict, Trace},
};
use std::{cell::OnceCell, collections::HashSet};

/// What an event leads to.
#[derive(Debug)]
pub struct Decision {
    /// The letters to write, in the order found.
    pub notices: Vec<Notice>,
    /// The crowds that are too large for one decision, in the order found; none twice.
    pub fan_outs: Vec<FanOut>,
    /// What the facts lacked. Unless this is empty, the decision is to be made again with more facts.
    pub wants: Vec<Want>,
    /// How it came to that. Its `letters` are filled in once the letters have names.
    pub trace: Trace,
    /// The addresses of it that letters come back from, as far as that is known.
    pub unwell: Unwell,
}

/// A crowd that a rule tells in chunks.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// The rule.
    pub rule: String,
    /// What the letters are about.
    pub kind: &'static Kind,
    /// The audience as written in the rule.
    pub audience: String,
    /// `to`, `cc` or `fallback`.
    pub role: &'static str,
    /// Who.
    pub crowd: Crowd,
    /// How many, as far as that is known.
    pub size: Option<u64>,
    /// Why they are told.
    pub reason: Reason,
    /// The relay, if the rule names one.
    pub relay: Option<String>,
    /// The lane the letters travel in.
    pub lane: Lane,
    /// Whether people whose account is disabled are told as well.
    pub disabled_too: bool,
}

/// Decides on one event.
///
/// One person gets one letter of a kind per event, however many paths lead there: the first path decides rule, relay and lane, the others add their reasons.
/// A copy (Cc) goes with the first letter of its rule; a person who gets a letter gets no copy beside it.
pub fn decide(event: &Event, rules: &RuleSet, facts: &Facts) -> Decision {
    let (notices, fan_outs, wants, unresolved) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut desk = Desk { event, facts, scope: OnceCell::new(), notices, fan_outs, wants, unresolved };
    // A rule of another directory is none of this event's: the trace does not speak of it.
    let of = event.directory();
    let rules = rules.for_kind(event.kind).filter(|rule| rule.directories.cover(of)).map(|rule| desk.apply(rule, rules)).collect();
    let trace = Trace { rules, letters: Vec::new(), unresolved: desk.unresolved };
    Decision { notices: desk.notices, fan_outs: desk.fan_outs, wants: desk.wants, trace, unwell: facts.unwell.clone() }
}

/// Decides on some people of a crowd: who gets which letter, and why each of the others does not. People with the same address get one.
pub fn decide_chunk(fan_out: &FanOut, people: Vec<Party>) -> (Vec<Notice>, Vec<(Party, PersonVerdict)>) {
    let (mut notices, mut others): (Vec<Notice>, Vec<(Party, PersonVerdict)>) = (Vec::new(), Vec::new());
    let mut told: HashSet<String> = HashSet::new();
    for person in people {
        if let Some(verdict) = barred(&person, fan_out.kind, fan_out.disabled_too, false) {
            others.push((person, verdict));
            continue;
        }
        let address = person.mail.clone().expect("whoever has no address is barred");
        if !told.insert(address.folded()) {
            others.push((person, PersonVerdict::AlreadyTold));
            continue;
        }
        notices.push(Notice {
            kind: fan_out.kind,
            rule: fan_out.rule.clone(),
            reader: Reader { address, party: person, reasons: vec![fan_out.reason.clone()] },
            cc: Vec::new(),
            relay: fan_out.relay.clone(),
            lane: fan_out.lane,
        });
    }
    (notices, others)
}

/// Why a person whom an audience found is not told; `None` if nothing stands against it. `fixed` says that the rule names the very address.
fn barred(person: &Party, kind: &Kind, disabled_too: bool, fixed: bool) -> Option<PersonVerdict> {
    match person {
        Party { mail: None, reference: Some(_), .. } => Some(PersonVerdict::Unresolved),
        Party { enabled: false, .. } if !disabled_too => Some(PersonVerdict::Disabled),
        Party { mail: None, .. } => Some(PersonVerdict::NoAddress),
        Party { muted: true, .. } if !kind.mandatory && !fixed => Some(PersonVerdict::OptedOut),
        _ => None,
    }
}

struct Desk<'a> {
    event: &'a Event,
    facts: &'a Facts,
    scope: OnceCell<Scope>,
    notices: Vec<Notice>,
    fan_outs: Vec<FanOut>,
    wants: Vec<Want>,
    unresolved: Vec<String>,
}

impl Desk<'_> {
    fn scope(&self) -> &Scope {
        self.scope.get_or_init(|| Scope::of(self.event))
    }

    fn apply(&mut self, rule: &Rule, rules: &RuleSet) -> RuleTrace {
        let mut trace = RuleTrace { rule: rule.name.clone(), verdict: RuleVerdict::Matched, why: None, people: Vec::new() };
        if !rule.enabled {
            trace.verdict = RuleVerdict::Disabled;
            return trace;
        }
        let kind = rule.kind_for(self.event.kind);
        if rules.is_off(kind) {
            (trace.verdict, trace.why) = (RuleVerdict::Disabled, Some(format!("letters of the kind `{}` are switched off", kind.name)));
            return trace;
        }
        if let Some(condition) = &rule.when {
            match condition.shortcut(self.event).map_or_else(|| condition.holds(self.scope()), Ok) {
                Ok(true) => {}
                Ok(false) => (trace.verdict, trace.why) = (RuleVerdict::ConditionFalse, Some(condition.source().to_owned())),
                Err(why) => (trace.verdict, trace.why) = (RuleVerdict::ConditionError, Some(format!("{}: {why}", condition.source()))),
            }
            if trace.verdict != RuleVerdict::Matched {
                return trace;
            }
        }
        let mut first: Option<usize> = None;
        let mut reached = false;
        for (role, audiences) in [("to", &rule.to), ("fallback", &rule.fallback)] {
            if reached {
                break;
            }
            for audience in audiences {
                let path = Path { rule, kind, audience, role };
                let wants = self.wants.len();
                for (person, found) in self.find(&path, &mut trace) {
                    let (place, fresh) = self.tell(person, found, &path, &mut trace);
                    reached = true;
                    if fresh && first.is_none() {
                        first = Some(place);
                    }
                }
                // Whether somebody in a crowd can be told shows later; so it does with whoever is still to be asked for.
                let crowd = trace.people.last().is_some_and(|last| last.verdict == PersonVerdict::FannedOut);
                reached |= crowd || self.wants.len() > wants;
            }
        }
        for audience in &rule.cc {
            let path = Path { rule, kind, audience, role: "cc" };
            for (person, reason) in self.find(&path, &mut trace) {
                self.copy(person, reason, &path, &mut first, &mut trace);
            }
        }
        trace
    }

    /// The people of an audience who can be told; those who cannot are noted in the trace.
    fn find(&mut self, path: &Path, trace: &mut RuleTrace) -> Vec<(Party, Reason)> {
        let nobody = |verdict, why| PersonTrace {
            audience: path.audience.to_string(),
            role: path.role,
            who: None,
            address: None,
            reason: None,
            verdict,
            why,
        };
        let found = match path.audience.resolve(self.event, self.facts, &|| self.scope()) {
            Ok(found) => found,
            Err(why) => {
                trace.people.push(nobody(PersonVerdict::AudienceError, Some(why)));
                return Vec::new();
            }
        };
        if found.people.is_empty() && found.crowds.is_empty() {
            trace.people.push(nobody(PersonVerdict::Nobody, None));
        }
        let (found, crowds, wants) = (found.people, found.crowds, found.wants);
        for want in wants {
            if !self.wants.contains(&want) {
                self.wants.push(want);
            }
        }
        let mut reachable = Vec::with_capacity(found.len());
        for (person, reason) in found {
            let fixed = matches!(path.audience, Audience::Address(_));
            let Some(verdict) = barred(&person, path.kind, path.rule.disabled_too, fixed) else {
                match self.unwell(&person, path) {
                    None => reachable.push((person, reason)),
                    Some(why) => {
                        let mut line = path.person(&person, &reason, PersonVerdict::Unhealthy);
                        line.why = Some(why);
                        trace.people.push(line);
                    }
                }
                continue;
            };
            let mut line = path.person(&person, &reason, verdict);
            if let Some(reference) = person.reference.filter(|_| verdict == PersonVerdict::Unresolved) {
                line.why = Some(format!("no directory knows `{reference}`"));
                self.unresolved.push(reference);
            }
            trace.people.push(line);
        }
        for (crowd, reason, size) in crowds {
            self.fan_out(path, crowd, reason, size, trace);
        }
        reachable
    }

    /// Why somebody whose address is unhealthy is not told by this path, if so.
    fn unwell(&self, person: &Party, path: &Path) -> Option<String> {
        let unwell = &self.facts.unwell;
        if unwell.is_empty() {
            return None;
        }
        let lane = path.rule.lane.unwrap_or(path.kind.lane);
        let has_fallback = path.role == "to" && !path.rule.fallback.is_empty();
        unwell.bars(&person.mail.as_ref()?.folded(), path.kind, lane, has_fallback).map(str::to_owned)
    }

    /// Notes a crowd that is told in chunks.
    fn fan_out(&mut self, path: &Path, crowd: Crowd, mut reason: Reason, size: Option<u64>, trace: &mut RuleTrace) {
        if path.role == "fallback" {
            reason = Reason { code: "fallback", detail: reason.detail };
        }
        let mut line = PersonTrace {
            audience: path.audience.to_string(),
            role: path.role,
            who: Some(crowd.to_string()),
            address: None,
            reason: Some(reason.clone()),
            verdict: PersonVerdict::FannedOut,
            why: size.map(|size| format!("{size} people")),
        };
        if path.kind.sensitive() {
            // A secret is for one person; whoever has a crowd told of one has made a mistake.
            line.verdict = PersonVerdict::SecretNotCopied;
        } else if !self.fan_outs.iter().any(|other| other.crowd == crowd && other.kind == path.kind) {
            self.fan_outs.push(FanOut {
                rule: path.rule.name.clone(),
                kind: path.kind,
                audience: line.audience.clone(),
                role: path.role,
                crowd,
                size,
                reason,
                relay: path.rule.relay.clone(),
                lane: path.rule.lane.unwrap_or(path.kind.lane),
                disabled_too: path.rule.disabled_too,
            });
        }
        trace.people.push(line);
    }

    /// Writes to a person, or adds the reason to the letter the person gets already. Gives the notice's place and whether it is new.
    fn tell(&mut self, person: Party, mut reason: Reason, path: &Path, trace: &mut RuleTrace) -> (usize, bool) {
        if path.role == "fallback" {
            reason = Reason { code: "fallback", detail: reason.detail };
        }
        let address = person.mail.clone().expect("find gives only people with an address");
        let folded = address.folded();
        let mut line = path.person(&person, &reason, PersonVerdict::Letter);
        let same = |notice: &Notice| notice.kind == path.kind && notice.reader.address.folded() == folded;
        if let Some(place) = self.notices.iter().position(same) {
            let notice = &mut self.notices[place];
            if !notice.reader.reasons.contains(&reason) {
                notice.reader.reasons.push(reason);
            }
            line.verdict = PersonVerdict::AlreadyTold;
            line.why = Some(format!("by the rule `{}`", notice.rule));
            trace.people.push(line);
            return (place, false);
        }
        // Whoever gets a letter needs no copy of the same news.
        for notice in self.notices.iter_mut().filter(|n| n.kind == path.kind) {
            notice.cc.retain(|reader| reader.address.folded() != folded);
        }
        trace.people.push(line);
        self.notices.push(Notice {
            kind: path.kind,
            rule: path.rule.name.clone(),
            reader: Reader { address, party: person, reasons: vec![reason] },
            cc: Vec::new(),
            relay: path.rule.relay.clone(),
            lane: path.rule.lane.unwrap_or(path.kind.lane),
        });
        (self.notices.len() - 1, true)
    }

    /// Adds a copy to the rule's first letter, unless the person hears the news anyway.
    fn copy(&mut self, person: Party, reason: Reason, path: &Path, first: &mut Option<usize>, trace: &mut RuleTrace) {
        let address = person.mail.clone().expect("find gives only people with an address");
        let mut line = path.person(&person, &reason, PersonVerdict::Copy);
        if path.kind.sensitive() {
            line.verdict = PersonVerdict::SecretNotCopied;
        } else if let Some((reasons, by)) = self.told_already(path.kind, &address.folded()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
            line.verdict = PersonVerdict::AlreadyTold;
            line.why = Some(format!("by the rule `{by}`"));
        } else if let Some(place) = *first {
            self.notices[place].cc.push(Reader { address, party: person, reasons: vec![reason] });
        } else {
            // Nobody stands in the To line: the copy becomes the letter.
            *first = Some(self.tell(person, reason, path, trace).0);
            return;
        }
        trace.people.push(line);
    }

    /// The reasons of the letter or copy of this kind that the person gets already, and the rule that sends it.
    fn told_already(&mut self, kind: &'static Kind, folded: &str) -> Option<(&mut Vec<Reason>, String)> {
        self.notices.iter_mut().filter(|n| n.kind == kind).find_map(|notice| {
            let rule = notice.rule.clone();
            let readers = std::iter::once(&mut notice.reader).chain(&mut notice.cc);
            readers.into_iter().find(|reader| reader.address.folded() == folded).map(|reader| (&mut reader.reasons, rule))
        })
    }
}

/// One audience of one rule on the way to its people.
struct Path<'a> {
    rule: &'a Rule,
    kind: &'static Kind,
    audience: &'a Audience,
    role: &'static str,
}

impl Path<'_> {
    fn person(&self, person: &Party, reason: &Reason, verdict: PersonVerdict) -> PersonTrace {
        PersonTrace {
            audience: self.audience.to_string(),
            role: self.role,
            who: Some(person.display_name().to_owned()),
            address: person.mail.as_ref().map(ToString::to_string),
            reason: Some(reason.clone()),
            verdict,
            why: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{ADDRESS_UNHEALTHY, Condition, TypePattern, WhenUnhealthy, facts::Found},
        testing::an_event,
    };
    use serde_json::json;

    fn rule(name: &str, to: &[&str]) -> Rule {
        Rule::simple(name, vec![TypePattern::parse("membership.*").unwrap()], to.iter().map(|w| Audience::parse(w).unwrap()).collect())
    }

    fn told(decision: &Decision) -> Vec<(String, Vec<&'static str>)> {
        decision.notices.iter().map(|n| (n.reader.address.to_string(), n.reader.reasons.iter().map(|r| r.code).collect())).collect()
    }

    #[test]
    fn one_letter_per_person_with_every_reason() {
        let event = an_event().build();
        let decision =
            decide(&event, &RuleSet::new(vec![rule("a", &["actor", "member"]), rule("b", &["manager", "owners"])]), &Facts::NONE);
        assert_eq!(
            told(&decision),
            [
                ("ada@example.org".into(), vec!["actor", "manager"]),
                ("linus@example.org".into(), vec!["member"]),
                ("grace@example.org".into(), vec!["owner"])
            ]
        );
        let again = &decision.trace.rules[1].people[0];
        assert_eq!((again.verdict, again.why.as_deref()), (PersonVerdict::AlreadyTold, Some("by the rule `a`")));
    }

    #[test]
    fn a_false_and_a_broken_condition_stand_in_the_trace() {
        let event = an_event().build();
        let mut no = rule("no", &["actor"]);
        no.when = Some(Condition::compile("object.name == 'Sales'").unwrap());
        let mut broken = rule("broken", &["actor"]);
        broken.when = Some(Condition::compile("object.size > 3").unwrap());
        let mut off = rule("off", &["actor"]);
        off.enabled = false;
        let decision = decide(&event, &RuleSet::new(vec![no, broken, off]), &Facts::NONE);
        assert!(decision.notices.is_empty());
        let verdicts: Vec<_> = decision.trace.rules.iter().map(|r| r.verdict).collect();
        assert_eq!(verdicts, [RuleVerdict::ConditionFalse, RuleVerdict::ConditionError, RuleVerdict::Disabled]);
    }

    #[test]
    fn people_who_cannot_be_told_are_named_and_the_fallback_takes_over() {
        let event = an_event()
            .with("object", json!({"type": "group", "name": "Payroll", "owners": [{"name": "Grace"}, {"name": "Hal", "mail": "hal@example.org", "enabled": false}, "corp/u9"]}))
            .build();
        let mut owners = rule("owners", &["owners", "approvers"]);
        owners.fallback = vec![Audience::parse("helpdesk@example.org").unwrap()];
        let decision = decide(&event, &RuleSet::new(vec![owners]), &Facts::NONE);
        assert_eq!(told(&decision), [("helpdesk@example.org".into(), vec!["fallback"])]);
        let verdicts: Vec<_> = decision.trace.rules[0].people.iter().map(|p| p.verdict).collect();
        assert_eq!(
            verdicts,
            [PersonVerdict::NoAddress, PersonVerdict::Disabled, PersonVerdict::Unresolved, PersonVerdict::Nobody, PersonVerdict::Letter]
        );
        assert_eq!(decision.trace.unresolved, ["corp/u9"]);
    }

    #[test]
    fn a_copy_goes_with_the_first_letter_and_not_to_somebody_who_has_one() {
        let event = an_event().build();
        let mut rule = rule("copied", &["member", "actor"]);
        rule.cc = ["owners", "actor"].map(|w| Audience::parse(w).unwrap()).to_vec();
        let decision = decide(&event, &RuleSet::new(vec![rule]), &Facts::NONE);
        assert_eq!(decision.notices.len(), 2);
        assert_eq!(decision.notices[0].cc.iter().map(|r| r.address.as_str()).collect::<Vec<_>>(), ["grace@example.org"]);
        assert!(decision.notices[1].cc.is_empty());
    }

    #[test]
    fn a_letter_to_an_unhealthy_address_is_left_to_the_fallback_if_there_is_one() {
        let event = an_event().build();
        let mut told = rule("told", &["member"]);
        told.fallback = vec![Audience::parse("owners").unwrap()];
        let mut facts = Facts::NONE;
        for (what, reader) in [(WhenUnhealthy::Fallback, "grace@example.org"), (WhenUnhealthy::Hold, "linus@example.org")] {
            facts.unwell = Unwell::new(what);
            facts.unwell.add("linus@example.org".into(), "letters come back".into());
            let decision = decide(&event, &RuleSet::new(vec![told.clone()]), &facts);
            let readers: Vec<_> = decision.notices.iter().map(|notice| notice.reader.address.as_str()).collect();
            assert_eq!(readers, [reader], "{what:?}");
            assert!(decision.unwell.holds("linus@example.org", event.kind, event.kind.lane).is_some());
            if what == WhenUnhealthy::Fallback {
                let line = &decision.trace.rules[0].people[0];
                assert_eq!((line.verdict, line.why.as_deref()), (PersonVerdict::Unhealthy, Some("letters come back")));
            }
        }
    }

    #[test]
    fn what_is_told_of_an_address_does_not_go_to_it() {
        let boss = json!({"id": "u9", "name": "Ada", "mail": "Ada@example.org"});
        let event = an_event()
            .kind(ADDRESS_UNHEALTHY)
            .with("object", json!({"id": "u9", "name": "Ada", "mail": "ada@example.org", "manager": boss}))
            .with("details", json!({"address": "ada@example.org", "reason": "550 5.1.1"}))
            .build();
        let mut facts = Facts::NONE;
        facts.unwell.add("ada@example.org".into(), "it is about this address".into());
        let decision = decide(&event, &RuleSet::with_built_in(Vec::new()), &facts);
        assert!(decision.notices.is_empty(), "she is her own manager");
    }

    #[test]
    fn a_secret_is_never_copied() {
        let event = an_event()
            .kind("password.reset")
            .with("object", json!({"mail": "ada@example.org"}))
            .with("details", json!({"password": "geheim-77"}))
            .build();
        let mut rule = Rule::simple("reset", vec![TypePattern::parse("password.*").unwrap()], vec![Audience::Object]);
        rule.cc = vec![Audience::parse("boss@example.org").unwrap()];
        let decision = decide(&event, &RuleSet::new(vec![rule]), &Facts::NONE);
        assert!(decision.notices[0].cc.is_empty());
        assert_eq!(decision.trace.rules[0].people[1].verdict, PersonVerdict::SecretNotCopied);
        assert!(!serde_json::to_string(&decision.trace).unwrap().contains("geheim"));
    }

    #[test]
    fn whoever_gets_a_copy_first_and_a_letter_later_gets_only_the_letter() {
        let event = an_event().build();
        let mut first = rule("first", &["member"]);
        first.cc = vec![Audience::Owners];
        let decision = decide(&event, &RuleSet::new(vec![first, rule("second", &["owners"])]), &Facts::NONE);
        assert_eq!(decision.notices.len(), 2);
        assert!(decision.notices[0].cc.is_empty());
    }

    #[test]
    fn a_copy_without_anybody_in_the_to_line_becomes_the_letter() {
        let event = an_event().build();
        let mut rule = rule("only-cc", &["approvers"]);
        rule.cc = ["owners", "actor"].map(|w| Audience::parse(w).unwrap()).to_vec();
        let decision = decide(&event, &RuleSet::new(vec![rule]), &Facts::NONE);
        assert_eq!(told(&decision), [("grace@example.org".into(), vec!["owner"])]);
        assert_eq!(decision.notices[0].cc.len(), 1);
    }

    #[test]
    fn who_wishes_no_letters_gets_none_but_mandatory_ones_and_those_that_a_rule_addresses_to_them() {
        let muted = json!({"name": "Grace", "mail": "grace@example.org", "notify": false});
        let event = an_event().with("object", json!({"type": "group", "name": "Payroll", "owners": [muted]})).build();
        let decision = decide(&event, &RuleSet::new(vec![rule("owners", &["owners"])]), &Facts::NONE);
        assert!(decision.notices.is_empty());
        assert_eq!(decision.trace.rules[0].people[0].verdict, PersonVerdict::OptedOut);

        let mut mandatory = rule("mandatory", &["owners"]);
        mandatory.kind = Kind::find("relay.warning");
        for rule in [mandatory, rule("listed", &["grace@example.org"])] {
            assert_eq!(decide(&event, &RuleSet::new(vec![rule]), &Facts::NONE).notices.len(), 1);
        }
    }

    #[test]
    fn of_a_kind_that_is_switched_off_no_rule_sends_a_letter() {
        let mut other = rule("other", &["owners"]);
        other.kind = Kind::find("object.changed");
        let off = vec![Kind::find("membership.joined").unwrap()];
        let decision = decide(&an_event().build(), &RuleSet::new(vec![rule("own", &["member"]), other]).without_letters(off), &Facts::NONE);
        assert_eq!(told(&decision), [("grace@example.org".into(), vec!["owner"])]);
        let own = &decision.trace.rules[0];
        assert_eq!(
            (own.verdict, own.why.as_deref()),
            (RuleVerdict::Disabled, Some("letters of the kind `membership.joined` are switched off"))
        );
    }

    #[test]
    fn a_rule_may_tell_disabled_accounts_too() {
        let event = an_event().with("member", json!({"name": "Hal", "mail": "hal@example.org", "enabled": false})).build();
        let mut rule = rule("r", &["member"]);
        assert!(decide(&event, &RuleSet::new(vec![rule.clone()]), &Facts::NONE).notices.is_empty());
        rule.disabled_too = true;
        assert_eq!(decide(&event, &RuleSet::new(vec![rule]), &Facts::NONE).notices.len(), 1);
    }

    #[test]
    fn a_crowd_is_told_in_chunks_and_counts_as_reached() {
        let event = an_event().with("object", json!({"type": "group", "directory": "corp", "id": "g", "name": "All"})).build();
        let mut facts = Facts::asking();
        let mut rule = rule("all", &["object"]);
        rule.fallback = vec![Audience::Actor];
        let rules = RuleSet::new(vec![rule]);
        let first = decide(&event, &rules, &facts);
        let [Want::Crowd(crowd)] = first.wants.as_slice() else { panic!("{:?}", first.wants) };
        facts.add_crowd(crowd.clone(), Found::Many(Some(100_000)));
        let decision = decide(&event, &rules, &facts);
        assert!(decision.notices.is_empty() && decision.wants.is_empty());
        assert_eq!((decision.fan_outs.len(), decision.fan_outs[0].size), (1, Some(100_000)));

        let person = |mail: &str| Party { mail: crate::Address::parse(mail).ok(), enabled: true, ..Party::default() };
        let disabled = Party { enabled: false, ..person("d@example.org") };
        let (notices, others) = decide_chunk(&decision.fan_outs[0], vec![person("a@example.org"), disabled, person("A@example.org")]);
        assert_eq!(notices.len(), 1);
        assert_eq!(others.iter().map(|(_, verdict)| *verdict).collect::<Vec<_>>(), [PersonVerdict::Disabled, PersonVerdict::AlreadyTold]);
    }
}
