//! Names change: of somebody while nobody listens, and of a whole branch of the tree without a word about those below it. Neither is a joining or a leaving.

use crate::house::{House, plan, words};
use tidings_sources::ldap::Way;
use tidings_testkit::slapd::{Slapd, group, person};

fn in_groups(names: impl Iterator<Item = usize>, members: &[&str]) -> String {
    names.map(|n| group(&format!("g{n:03}"), members)).collect()
}

const BARRIER: &str = "dn: cn=barrier,dc=example,dc=org\nchangetype: modify\nreplace: title\ntitle: ";
const BARRIER_ENTRY: &str =
    "dn: cn=barrier,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: barrier\nsn: barrier\nmail: barrier@example.org\n\n";

/// Waits until everything before it was heard of.
async fn pass(house: &House, slapd: &Slapd, expected: &mut Vec<String>, way: Way) {
    expected.push("object.changed barrier".to_owned());
    slapd.modify(&format!("{BARRIER}{}", expected.len()));
    let barriers = |words: &[String]| words.iter().filter(|word| *word == "object.changed barrier").count();
    house.until("the barrier", async |_| barriers(&words(&house.told().await)) == barriers(expected)).await;
    // What was looked for with it is recorded behind it.
    house.until("what comes with it", async |_| house.told().await.len() >= expected.len()).await;
    let mut told = words(&house.told().await);
    let mut wanted = expected.clone();
    told.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(told, wanted, "{way:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_renamed_while_nobody_listens_has_joined_and_left_nothing() {
    // More groups than are gathered at once, and those whom they name behind them: groups come to be compared before it is known who bears the new names.
    for way in [Way::Sync, Way::Poll] {
        let content = in_groups(0..600, &["grace"]) + &group("above", &["grace"]) + &person("grace") + &person("linus") + BARRIER_ENTRY;
        let slapd = Slapd::builder().without_flush().refint().content(&content).start();
        let house = House::new().await;
        drop(house.load_and_follow(plan(&slapd, way)).await);
        slapd.modify("dn: cn=grace,ou=people,dc=example,dc=org\nchangetype: modrdn\nnewrdn: cn=grace k\ndeleteoldrdn: 0");
        // A group within a group that comes behind it is renamed, too; and somebody is new.
        slapd.modify(
            "dn: cn=g599,ou=groups,dc=example,dc=org\nchangetype: modrdn\nnewrdn: cn=g599 k\ndeleteoldrdn: 0\n\n\
             dn: cn=above,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\nmember: cn=linus,ou=people,dc=example,dc=org\n-\nadd: member\nmember: cn=eve,ou=people,dc=example,dc=org",
        );
        slapd.modify(&person("eve").replace("objectClass: inetOrgPerson", "changetype: add\nobjectClass: inetOrgPerson"));
        let _following = house.follow(plan(&slapd, way));
        let mut expected: Vec<String> =
            ["membership.joined above linus", "membership.joined above eve", "object.created eve"].map(str::to_owned).into();
        house.until("what is news", async |_| house.told().await.len() >= 3).await;
        pass(&house, &slapd, &mut expected, way).await;
        for group in ["g000", "g300", "g599"] {
            assert_eq!(house.members(group).await, ["grace"], "{way:?} {group}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stands_below_a_branch_that_is_renamed_is_who_they_were() {
    for way in [Way::Sync, Way::Poll] {
        let content = person("ada") + &person("linus") + &person("max") + &group("payroll", &["ada", "max"]) + BARRIER_ENTRY;
        let slapd = Slapd::builder().refint().content(&content).start();
        let house = House::new().await;
        let _following = house.load_and_follow(plan(&slapd, way)).await;
        let mut expected = Vec::new();
        // The server brings the links up to date; those below the branch stay as they are, and it says nothing of them.
        slapd.modify("dn: ou=people,dc=example,dc=org\nchangetype: modrdn\nnewrdn: ou=staff\ndeleteoldrdn: 0");
        pass(&house, &slapd, &mut expected, way).await;
        slapd.modify(
            "dn: cn=payroll,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\nmember: cn=linus,ou=staff,dc=example,dc=org",
        );
        expected.push("membership.joined payroll linus".to_owned());
        pass(&house, &slapd, &mut expected, way).await;
        // All of them written anew, without max.
        slapd.modify(
            "dn: cn=payroll,ou=groups,dc=example,dc=org\nchangetype: modify\nreplace: member\nmember: cn=ada,ou=staff,dc=example,dc=org\nmember: cn=linus,ou=staff,dc=example,dc=org",
        );
        expected.push("membership.left payroll max".to_owned());
        pass(&house, &slapd, &mut expected, way).await;
        slapd.modify(
            "dn: cn=linus,ou=staff,dc=example,dc=org\nchangetype: modify\nadd: manager\nmanager: cn=max,ou=staff,dc=example,dc=org",
        );
        expected.push("management.added linus max".to_owned());
        pass(&house, &slapd, &mut expected, way).await;
        assert_eq!(house.members("payroll").await, ["ada", "linus"], "{way:?}");
    }
}
