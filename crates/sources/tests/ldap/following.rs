//! Changes are told as they happen: by content synchronisation and by looking, and the same ones.

use crate::house::{House, plan, sorted_words, words};
use tidings_sources::ldap::Way;
use tidings_testkit::slapd::{Slapd, group, person};

fn company() -> String {
    format!("{}{}{}{}", person("ada"), person("linus"), person("grace"), group("payroll", &["ada"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_load_is_silent_and_whole() {
    let slapd = Slapd::builder().content(&company()).start();
    for way in [Way::Sync, Way::Poll, Way::Auto] {
        let house = House::new().await;
        let _following = house.load_and_follow(plan(&slapd, way)).await;
        assert_eq!(house.names().await, ["ada", "grace", "linus", "payroll"], "{way:?}");
        assert_eq!(house.members("payroll").await, ["ada"], "{way:?}");
        slapd.modify("dn: cn=linus,ou=people,dc=example,dc=org\nchangetype: modify\nadd: title\ntitle: Engineer");
        let told = house.told_exactly(1).await;
        assert_eq!(words(&told), ["object.changed linus"], "{way:?}");
        slapd.modify("dn: cn=linus,ou=people,dc=example,dc=org\nchangetype: modify\ndelete: title");
    }
}

/// A day in a company, one change after the other; after each what it must have told, in any order.
const DAY: [(&str, &[&str]); 7] = [
    (
        "dn: cn=eve,ou=people,dc=example,dc=org\nchangetype: add\nobjectClass: inetOrgPerson\ncn: eve\nsn: eve\nmail: eve@example.org",
        &["object.created eve"],
    ),
    (
        "dn: cn=payroll,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\nmember: CN=Eve, OU=people,dc=example,dc=org\n-\nadd: owner\nowner: cn=grace,ou=people,dc=example,dc=org",
        &["management.added payroll grace", "membership.joined payroll eve"],
    ),
    (
        "dn: cn=linus,ou=people,dc=example,dc=org\nchangetype: modify\nadd: manager\nmanager: cn=ada,ou=people,dc=example,dc=org",
        &["management.added linus ada"],
    ),
    (
        "dn: cn=eve,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: mail\nmail: eve.k@example.org\n-\nadd: title\ntitle: Clerk",
        &["object.changed eve"],
    ),
    // Only its place in the tree is another one: no news, and its links are still its own.
    ("dn: cn=eve,ou=people,dc=example,dc=org\nchangetype: modrdn\nnewrdn: cn=eve k\ndeleteoldrdn: 0", &[]),
    (
        "dn: cn=payroll,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: member\nmember: cn=ada,ou=people,dc=example,dc=org",
        &["membership.left payroll ada"],
    ),
    ("dn: cn=linus,ou=people,dc=example,dc=org\nchangetype: delete", &["object.deleted linus"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_tells_the_same_as_being_told() {
    for way in [Way::Sync, Way::Poll] {
        let slapd = Slapd::builder().refint().content(&company()).start();
        let house = House::new().await;
        let _following = house.load_and_follow(plan(&slapd, way)).await;
        let mut expected = Vec::new();
        for (ldif, events) in DAY {
            slapd.modify(ldif);
            expected.extend(events.iter().map(|words| (*words).to_owned()));
            house.told_exactly(expected.len()).await;
        }
        expected.sort_unstable();
        assert_eq!(sorted_words(&house.told().await), expected, "{way:?}");
        assert_eq!(house.members("payroll").await, ["eve"], "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_it_and_when_stand_in_the_event() {
    let slapd = Slapd::builder().content(&company()).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Sync)).await;
    slapd.modify_as(
        "cn=grace,ou=people,dc=example,dc=org",
        "secret",
        "dn: cn=payroll,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\nmember: cn=linus,ou=people,dc=example,dc=org",
    );
    slapd.modify("dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\nadd: title\ntitle: Countess");
    let told = house.told_exactly(2).await;
    assert_eq!(words(&told), ["membership.joined payroll linus", "object.changed ada"]);
    // Somebody who is mirrored stands there whole; somebody who is not, by reference.
    assert_eq!(told[0].actor.as_deref(), Some("grace"));
    assert_eq!(told[1].actor.as_deref(), Some("corp/cn=admin,dc=example,dc=org"));
    assert!(told.iter().all(|one| !one.late));
    let (_, data) = &house.events().await[1];
    assert_eq!((&data["before"]["title"], &data["after"]["title"]), (&serde_json::Value::Null, &"Countess".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_who_comes_again_under_the_same_name_is_somebody_else() {
    let slapd = Slapd::builder().refint().content(&company()).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Sync)).await;
    slapd.modify("dn: cn=grace,ou=people,dc=example,dc=org\nchangetype: delete");
    house.told_exactly(1).await;
    slapd.modify(&person("grace").replace("objectClass", "changetype: add\nobjectClass"));
    assert_eq!(words(&house.told_exactly(2).await), ["object.deleted grace", "object.created grace"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_at_once_are_each_told_once_and_in_order() {
    let slapd = Slapd::builder().content(&company()).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Sync)).await;
    let titles = (0..60).map(|n| format!("dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: title\ntitle: t{n}\n\n"));
    slapd.modify(&titles.collect::<String>());
    house.until("the last change", async |_| house.events().await.last().is_some_and(|(_, data)| data["after"]["title"] == "t59")).await;
    let events = house.events().await;
    // Changes of one entry that come together may be told as one; each goes on where the one before ended.
    for two in events.windows(2) {
        assert_eq!(two[0].1["after"]["title"], two[1].1["before"]["title"]);
    }
}
