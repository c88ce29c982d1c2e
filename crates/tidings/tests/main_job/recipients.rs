//! The recipients of Netwrix Identity Manager's workflow mails (`Recipient`, each with `IsCC`), each as the audience that `docs/from-identity-manager.md` names for it.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::house::{House, events};

/// The permission that Identity Manager's recipient of the type `Profile` means.
const PERMISSION: &str = "permission:/Custom/WorkflowsNotifications/hire/approve/pending";

/// Recipient type, audience, whom it finds.
const TABLE: [(&str, &str, &[&str]); 8] = [
    ("Actor: who may act on the next step", "approvers", &["approver"]),
    ("Actor of a review", "reviewers", &["reviewer"]),
    ("Performer: who did a named past step", "performer:request", &["performer"]),
    ("Binding: an address at a property path", "attr:details.contract.mailbox", &["bound"]),
    ("Hardcoded", "hard@example.org", &["hard"]),
    ("Hardcoded, another one", "coded@example.org", &["coded"]),
    ("Expression: one or many addresses", "cel:data.details.sites.map(s, s + \"@example.org\")", &["berlin", "paris"]),
    ("Profile: holders of a permission", PERMISSION, &["exact", "parent"]),
];

/// Holders of the permission itself, of a parent of it, of another one, and one whose profile gives the right without the mail (`Notify=false`).
const PEOPLE: &str = "\
key,type,name,mail,members,permissions,notify
exact,user,Exact,exact@example.org,,,
parent,user,Parent,parent@example.org,,,
other,user,Other,other@example.org,,,
quiet,user,Quiet,quiet@example.org,,,
g1,group,Approvers of hires,,exact,/Custom/WorkflowsNotifications/hire/approve/pending,
g2,group,Everything on hires,,parent,/Custom/WorkflowsNotifications/hire,
g3,group,Leavers,,other,/Custom/WorkflowsNotifications/leave,
g4,group,Auditors,,quiet,/Custom/WorkflowsNotifications/hire,false
";

fn quoted(audiences: &[&str]) -> String {
    audiences.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(", ")
}

fn house() -> House {
    let house = House::start(|config| {
        config.more("[[directory]]\nname = \"hr\"\nsource = \"csv\"\ncolumns = { permissions = \"permissions\" }\n");
        let all = quoted(&TABLE.map(|(_, audience, _)| audience));
        config.more(&format!("[[rule]]\nname = \"to\"\non = [\"object.changed\"]\nto = [{all}]\n"));
        config.more(&format!("[[rule]]\nname = \"cc\"\non = [\"object.created\"]\nto = [\"object\"]\ncc = [{all}]\n"));
        let strict = format!("[\"{PERMISSION}\"]\nstrict_permissions = true");
        config.more(&format!("[[rule]]\nname = \"strict\"\non = [\"object.deleted\"]\nto = {strict}\n"));
    });
    let file = house.path().join("people.csv");
    fs::write(&file, PEOPLE).expect("our own folder can be written");
    let loaded = house.command(&["directory", "load", "hr", file.to_str().expect("a readable path")]);
    assert!(loaded.status.success(), "{}", loaded.stderr);
    house
}

fn hire(id: &str, kind: &str) -> Value {
    let data = json!({
        "object": events::person("newcomer@example.org", "en"),
        "actor": events::person("somebody.else@example.org", "en"),
        "approvers": ["approver@example.org"],
        "reviewers": [events::person("reviewer@example.org", "en")],
        "performers": {"request": events::person("performer@example.org", "de"), "sign": events::person("signer@example.org", "de")},
        "details": {"contract": {"mailbox": "bound@example.org"}, "sites": ["berlin", "paris"]},
    });
    events::event(id, kind, data)
}

fn readers(house: &House, kind: &str) -> BTreeSet<(String, String)> {
    let word = |value: &Value| value.as_str().expect("a text").trim_end_matches("@example.org").to_owned();
    house.outbox(&["--kind", kind]).iter().map(|item| (word(&item["role"]), word(&item["to"]))).collect()
}

#[test]
fn every_type_of_recipient_is_an_audience_with_and_without_cc() {
    let house = house();
    let checked = house.command(&["check"]);
    let warned = "with strict_permissions whoever holds only a parent of this path is not told (warning)";
    assert!(checked.status.success() && checked.stderr.contains(warned), "{}", checked.stderr);
    assert_eq!(checked.stderr.matches(warned).count(), 1, "the other rules tell holders of a parent, too: {}", checked.stderr);

    let ids = house.accept(&[hire("1", "object.changed"), hire("2", "object.created"), hire("3", "object.deleted")]);
    let found = TABLE.iter().flat_map(|(.., found)| *found);
    let all = |role: &str| found.clone().map(|who| (role.to_owned(), (*who).to_owned())).collect::<BTreeSet<_>>();
    house.until_quiet_after(10 + 11 + 1 - 1);
    assert_eq!(readers(&house, "object.changed"), all("to"));
    let mut copied = all("cc");
    copied.insert(("to".to_owned(), "newcomer".to_owned()));
    assert_eq!(readers(&house, "object.created"), copied);
    assert_eq!(readers(&house, "object.deleted"), BTreeSet::from([("to".to_owned(), "exact".to_owned())]));

    // Each by its own audience, as the trace has it.
    for (id, rule, role) in [(&ids[0], "to", "to"), (&ids[1], "cc", "cc")] {
        let trace = house.get(&format!("/v1/events/{id}/trace"));
        let rules = trace["trace"]["rules"].as_array().expect("rules are a list");
        let people = rules.iter().find(|one| one["rule"] == rule).expect("the rule applies")["people"].as_array().expect("people").clone();
        for (recipient, audience, found) in TABLE {
            let mine = |person: &&Value| person["audience"] == audience && person["role"] == role;
            let told: Vec<&str> = people.iter().filter(mine).filter_map(|person| person["address"].as_str()).collect();
            let expected: Vec<String> = found.iter().map(|who| format!("{who}@example.org")).collect();
            assert_eq!(told, expected, "{recipient}, {role}");
        }
    }
}

#[test]
fn a_kind_is_switched_off_and_the_trace_says_so() {
    let house = House::start(|config| {
        config.set("letters", "off", "[\"object.*\"]");
        config.more("[[rule]]\nname = \"changes\"\non = [\"object.changed\"]\nto = [\"object\"]\n");
    });
    let ids = house.accept(&[hire("1", "object.changed"), events::joined("2", events::person("ada@example.org", "en"))]);
    house.until_quiet_after(1);
    assert_eq!(house.sink.count(), 1);
    let rule = house.get(&format!("/v1/events/{}/trace", ids[0]))["trace"]["rules"][0].clone();
    assert_eq!((&rule["verdict"], &rule["why"]), (&json!("disabled"), &json!("letters of the kind `object.changed` are switched off")));
    let explained = house.command_with_input(&["explain", "-"], &hire("3", "object.changed").to_string());
    let words = "  rule changes is switched off: letters of the kind `object.changed` are switched off";
    assert!(explained.stdout.contains(words), "{}", explained.stdout);
}
