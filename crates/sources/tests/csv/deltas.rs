//! Delta files.

use crate::house::House;
use tidings_core::Address;
use tidings_sources::csv::BadRows;
use tidings_store::Mirror;

const STAFF: &str = "key,type,name,mail,manager,groups,Dept\n\
    u1,,Ada,ada@example.org,,Board,Management\n\
    u2,,Grace,grace@example.org,u1,Board;Payroll,Finance\n\
    g1,group,Payroll,,,,\n";

async fn with_staff() -> House {
    let house = House::new().await;
    house.full(STAFF).await;
    house
}

#[tokio::test]
async fn a_row_adds_modifies_or_deletes_and_says_who_did_it() {
    let house = with_staff().await;
    let report =
        house.delta("key,change,actor,name,groups\nu3,add,u2,Linus,Payroll\nu2,modify,u2,Grace Hopper,Payroll\nu1,delete,,,\n").await;
    assert_eq!((report.rows, report.faulty, report.refused.as_deref()), (3, 0, None), "{report}");
    assert_eq!(
        house.told().await,
        [
            "object.created u3 by u2",
            "object.changed u2 by u2",
            "object.deleted u1",
            "membership.left group:Board u1",
            "management.removed u2 u1",
            "membership.joined g1 u3 by u2",
            "membership.left group:Board u2 by u2",
        ]
    );
}

#[tokio::test]
async fn what_the_file_has_no_column_for_stays_as_it_is_and_an_empty_field_clears() {
    let house = with_staff().await;
    house.delta("key,change,mail\nu2,modify,\n").await;
    let grace = house.store.object("hr", "u2").await.unwrap().unwrap().head;
    assert_eq!((grace.mail, grace.name.as_deref()), (None, Some("Grace")));
    assert_eq!(grace.attributes["department"], serde_json::json!("Finance"));
    house.delta("key,change,mail\nu2,modify,hopper@example.org\n").await;
    let grace = house.store.object("hr", "u2").await.unwrap().unwrap();
    assert_eq!(grace.head.mail.as_ref().map(Address::as_str), Some("hopper@example.org"));
    assert_eq!(house.members("g1").await, ["u2"]);
    assert_eq!(house.store.managers(grace.id, 1).await.unwrap()[0].head.key, "u1");
}

#[tokio::test]
async fn the_same_file_twice_is_told_once() {
    let house = with_staff().await;
    let file = "key,change,name,groups\nu3,add,Linus,Board\n";
    house.delta(file).await;
    let before = house.told().await;
    assert_eq!(before, ["object.created u3", "membership.joined group:Board u3"]);
    let report = house.delta(file).await;
    assert_eq!((report.taken.changed, house.told_since(&before).await.len()), (0, 0), "{report}");
}

#[tokio::test]
async fn rows_about_nobody_are_named_and_the_rest_is_taken_or_the_file_refused() {
    let mut house = with_staff().await;
    let file = "key,change,name\nu9,modify,Nobody\nu3,add,Linus\nu3,modify,Linus T.\nu8,delete,\nu2,rename,X\nu2,,X\n";
    house.plan.bad_rows = BadRows::Refuse;
    let refused = house.delta(file).await;
    assert!(refused.refused.is_some() && house.told().await.is_empty());
    house.plan.bad_rows = BadRows::Skip;
    let report = house.delta(file).await;
    let faults: Vec<String> = report.faults.iter().map(|fault| format!("{}: {}", fault.line, fault.why)).collect();
    assert_eq!(
        faults,
        [
            "2: there is no object with the key `u9` to modify",
            "5: there is no object with the key `u8` to delete",
            "6: change: `rename` is not allowed; allowed are add, modify, delete",
            "7: change is empty; allowed are add, modify, delete",
        ]
    );
    assert_eq!(house.told().await, ["object.created u3", "object.changed u3"]);
}

#[tokio::test]
async fn a_groups_members_and_owners_are_those_that_its_row_names_for_a_time_or_for_good() {
    let house = with_staff().await;
    house.delta("key,change,type,members,owner,additional_owners\ng1,modify,group,u1 until 2026-12-31;u2,u1,u2 until 2026-12-31\n").await;
    assert_eq!(house.told().await, ["membership.joined g1 u1", "management.added g1 u1", "management.added g1 u2"]);
    let before = house.told().await;
    house.delta("key,change,type,members,owner,additional_owners\ng1,modify,group,u2,u1,\n").await;
    assert_eq!(house.told_since(&before).await, ["membership.left g1 u1", "management.removed g1 u2"]);
    assert_eq!(house.members("g1").await, ["u2"]);
}

#[tokio::test]
async fn many_who_join_one_group_at_once_are_told_after_they_are_known() {
    let house = with_staff().await;
    let rows = (0..400).map(|number| format!("n{number},add,Number {number},n{number}@example.org,Newcomers\n"));
    let file: String = std::iter::once("key,change,name,mail,groups\n".to_owned()).chain(rows).collect();
    let report = house.delta(file).await;
    assert_eq!((report.faulty, report.taken.events), (0, 801), "{report}");
    assert_eq!(
        house
            .store
            .links(
                house.store.object("hr", "group:Newcomers").await.unwrap().unwrap().id,
                tidings_core::directory::LinkRole::Member,
                None,
                1000
            )
            .await
            .unwrap()
            .into_iter()
            .filter(|link| matches!(link.other, tidings_store::Target::Known(_)))
            .count(),
        400
    );
}

#[tokio::test]
async fn before_a_full_file_was_read_nothing_is_told() {
    let house = House::new().await;
    let report = house.delta("key,change,name\nu1,add,Ada\n").await;
    assert!(report.silent && report.remarks[0].contains("nothing was told"), "{report}");
    assert_eq!(house.keys().await, ["u1"]);
    assert!(house.told().await.is_empty());
}
