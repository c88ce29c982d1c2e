use super::*;
use crate::{
    StoredQuery,
    people::{self, People},
};
use std::{collections::HashMap, sync::Arc};
use tidings_core::{
    filter::Filter,
    flood::FloodLimits,
    policy::{Audience, Condition, Rule, RuleSet, TypePattern},
    testing::{EventBuilder, FixedClock, an_event},
    trace::PersonVerdict,
};

fn company() -> People {
    People::default()
        .user("ada")
        .user("grace")
        .user("linus")
        .user("eve")
        .link("linus", LinkRole::Manager, "grace", false)
        .link("grace", LinkRole::Manager, "ada", false)
        .group("inner", &["eve", "linus"])
        .with(|head| _ = head.attributes.insert("permissions".into(), json!(["/Custom/Hire/", "/Other"])))
        .group("payroll", &["inner", "grace"])
        .link("payroll", LinkRole::AdditionalOwner, "grace", true)
        .link("payroll", LinkRole::Owner, "ada", false)
        .link("inner", LinkRole::Member, "payroll", false)
}

struct Told {
    to: Vec<String>,
    verdicts: Vec<PersonVerdict>,
    fan_outs: usize,
    asked: usize,
    event: Event,
}

async fn told(people: People, event: EventBuilder, to: &[&str], when: Option<&str>) -> Told {
    let mut rule =
        Rule::simple("r", vec![TypePattern::parse("*").unwrap()], to.iter().map(|word| Audience::parse(word).unwrap()).collect());
    rule.when = when.map(|when| Condition::compile(when).unwrap());
    let people = Arc::new(people);
    let filter = Filter::parse(r#"id eq "eve" and directory eq "corp""#).unwrap();
    let queries = HashMap::from([("leavers".to_owned(), StoredQuery { filter, directory: Some("corp".to_owned()) })]);
    let clock = Arc::new(FixedClock::at("2026-11-21T09:00:00Z"));
    let desk = people::desk(RuleSet::new(vec![rule]), queries, FloodLimits::default(), clock);
    let gatherer = Gatherer::new(people.clone());
    let event = event.build();
    let (seen, decision) = decided(&event, desk.policy(), Some(&gatherer), Origin::Posted).await.unwrap();
    assert!(decision.wants.is_empty());
    Told {
        to: decision.notices.iter().map(|notice| notice.reader.address.local().to_owned()).collect(),
        verdicts: decision.trace.rules[0].people.iter().map(|person| person.verdict).collect(),
        fan_outs: decision.fan_outs.len(),
        asked: people.asked(),
        event: seen.into_owned(),
    }
}

async fn to(event: EventBuilder, to: &[&str]) -> Vec<String> {
    told(company(), event, to, None).await.to
}

fn on_payroll() -> EventBuilder {
    an_event()
        .with("object", json!("corp/payroll"))
        .with("member", json!("corp/linus"))
        .with("actor", json!({"directory": "corp", "id": "ada"}))
}

#[tokio::test]
async fn references_and_halves_are_made_whole() {
    let told = told(company(), on_payroll(), &["member", "actor"], None).await;
    assert_eq!(told.to, ["linus", "ada"]);
    assert_eq!(told.event.object.unwrap().name.as_deref(), Some("PAYROLL"));
    assert_eq!(told.event.actor.unwrap().name.as_deref(), Some("ADA"));
}

#[tokio::test]
async fn managers_owners_and_members_come_from_the_mirror() {
    assert_eq!(to(on_payroll(), &["managers:3"]).await, ["grace", "ada"]);
    assert_eq!(to(on_payroll(), &["manager:2"]).await, ["ada"]);
    assert_eq!(to(on_payroll(), &["attr:member.manager.manager.mail"]).await, ["ada"]);
    assert_eq!(to(on_payroll(), &["members"]).await, ["grace", "linus", "eve"]);
    assert_eq!(to(on_payroll(), &["object"]).await, ["grace", "linus", "eve"]);
    assert_eq!(to(on_payroll(), &["members:owners"]).await, ["ada"]);
    let owners = told(company(), on_payroll(), &["owners"], None).await;
    assert_eq!((owners.to, owners.verdicts), (vec!["ada".to_owned()], vec![PersonVerdict::OptedOut, PersonVerdict::Letter]));
}

#[tokio::test]
async fn what_the_event_says_wins() {
    let event = on_payroll().with(
        "member",
        json!({"directory": "corp", "id": "linus", "mail": "l@elsewhere.example", "manager": {"mail": "boss@elsewhere.example"}}),
    );
    assert_eq!(to(event, &["member", "manager"]).await, ["l", "boss"]);
}

#[tokio::test]
async fn holders_queries_permissions_and_performers_are_found() {
    for (audience, found) in [
        ("holders:INNER", vec!["grace", "linus", "eve"]),
        ("holders:corp/INNER", vec!["grace", "linus", "eve"]),
        ("query:leavers", vec!["eve"]),
        ("permission:/Custom/Hire/approve", vec!["grace", "linus", "eve"]),
        ("performer:review", vec!["ada"]),
        ("cel:data.boss", vec!["ada"]),
    ] {
        let event = on_payroll().with("performers", json!({"review": "corp/ada"})).with("boss", json!("corp/ada"));
        assert_eq!(to(event, &[audience]).await, found, "{audience}");
    }
    for audience in ["holders:Nobody", "query:none", "permission:/Custom"] {
        assert_eq!(told(company(), on_payroll(), &[audience], None).await.verdicts, [PersonVerdict::AudienceError], "{audience}");
    }
}

#[tokio::test]
async fn a_role_that_wishes_no_letters_gives_the_right_without_the_mail() {
    let people = || {
        company()
            .group("clerks", &["eve"])
            .with(|head| _ = head.attributes.insert("permissions".into(), json!("/Custom/Pay")))
            .group("readers", &["grace"])
            .with(|head| _ = head.attributes.insert("permissions".into(), json!("/Custom/Pay")))
            .with(|head| head.notify = false)
    };
    assert_eq!(told(people(), on_payroll(), &["permission:/Custom/Pay"], None).await.to, ["eve"]);
    assert_eq!(told(people(), on_payroll(), &["holders:READERS"], None).await.to, ["grace"], "asked for by name they are told");
}

#[tokio::test]
async fn a_group_without_an_address_stands_for_the_people_in_it() {
    let event = on_payroll().with("member", json!("corp/inner"));
    assert_eq!(to(event, &["member"]).await, ["grace", "linus", "eve"]);
}

#[tokio::test]
async fn conditions_see_what_the_mirror_knows() {
    let when = "object.owners.exists(o, o.mail == actor.mail) && object.members.exists(m, m.id == 'eve')";
    assert_eq!(told(company(), on_payroll(), &["member"], Some(when)).await.to, ["linus"]);
}

#[tokio::test]
async fn nobody_is_asked_for_what_no_rule_needs() {
    assert_eq!(told(company(), an_event(), &["member", "owners", "manager"], None).await.asked, 0);
    let false_condition = told(company(), an_event(), &["holders:INNER"], Some("false")).await;
    assert_eq!(false_condition.asked, 0);
}

#[tokio::test]
async fn what_nothing_resolves_is_named() {
    let told = told(company(), on_payroll().with("member", json!("corp/nobody")), &["member"], None).await;
    assert_eq!(told.verdicts, [PersonVerdict::Unresolved]);
}

#[tokio::test]
async fn more_than_a_thousand_are_told_in_chunks() {
    let names: Vec<String> = (0..1001).map(|n| format!("u{n}")).collect();
    let crowd = names.iter().fold(People::default(), |people, name| people.user(name));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let event = || an_event().with("object", json!("corp/all"));
    let all = told(crowd.group("all", &names), event(), &["object"], None).await;
    assert_eq!((all.to.len(), all.fan_outs), (0, 1));
    let crowd = names.iter().fold(People::default(), |people, name| people.user(name));
    let most = told(crowd.group("all", &names[1..]), event(), &["object"], None).await;
    assert_eq!((most.to.len(), most.fan_outs), (1000, 0));
}
