//! Full files.

use crate::house::House;
use tidings_sources::csv::BadRows;

const STAFF: &str = "\u{FEFF}key,type,name,mail,manager,groups,Dept\r\n\
    u1,,Ada King,ada@example.org,,Board,Management\r\n\
    u2,,\"Grace, B.\",grace@example.org,u1,Board;Payroll,Finance\r\n\
    u3,,Linus,linus@example.org,u2,Payroll until 2026-12-31,\r\n\
    g1,group,Payroll,,,,\r\n";

#[tokio::test]
async fn a_first_file_is_taken_silently_and_people_are_in_the_groups_they_name() {
    let house = House::new().await;
    let report = house.full(STAFF).await;
    assert_eq!((report.rows, report.faulty, report.refused.as_deref(), report.silent), (4, 0, None, true), "{report}");
    assert_eq!(report.taken.changed, 5);
    assert_eq!(house.keys().await, ["g1", "group:Board", "u1", "u2", "u3"]);
    assert_eq!(house.members("g1").await, ["u2", "u3"]);
    assert_eq!(house.members("group:Board").await, ["u1", "u2"]);
    assert!(house.told().await.is_empty());
    let standing = tidings_store::Mirror::directory(&*house.store, "hr").await.unwrap();
    assert!(standing.loaded_at.is_some());
}

#[tokio::test]
async fn the_same_file_again_changes_nothing_and_another_one_is_told() {
    let house = House::new().await;
    house.full(STAFF).await;
    let again = house.full(STAFF).await;
    assert_eq!((again.taken.changed, again.taken.events, again.silent), (0, 0, false), "{again}");
    let report = house
        .full(
            STAFF
                .replace("Ada King", "Ada Lovelace")
                .replace("Board;Payroll", "Board")
                .replace("u3,,Linus", "u4,,Eve,eve@example.org,u5,Payroll,\r\nu5,,Boss,,,,\r\nu3,,Linus"),
        )
        .await;
    assert_eq!(report.refused, None, "{report}");
    assert_eq!(
        house.told().await,
        // Whoever another one names is told before.
        [
            "object.changed u1",
            "object.created u5",
            "object.created u4",
            "management.added u4 u5",
            "membership.joined g1 u4",
            "membership.left g1 u2",
        ]
    );
}

#[tokio::test]
async fn who_does_not_stand_in_it_is_gone_and_an_emptied_group_stays() {
    let house = House::new().await;
    house.full(STAFF).await;
    let report = house.full("key,type,name,mail,manager,groups,Dept\nu1,,Ada King,ada@example.org,,,Management\nu2,,\"Grace, B.\",grace@example.org,u1,Payroll,Finance\ng1,group,Payroll,,,,\n").await;
    assert_eq!(report.refused, None, "{report}");
    assert_eq!(house.keys().await, ["g1", "group:Board", "u1", "u2"]);
    let told = house.told().await;
    for line in ["membership.left group:Board u1", "membership.left group:Board u2", "object.deleted u3"] {
        assert!(told.iter().any(|one| one == line), "{line}: {told:?}");
    }
    assert!(!told.iter().any(|one| one.contains("u2") && one.starts_with("membership.left g1")), "{told:?}");
}

#[tokio::test]
async fn a_file_in_which_too_many_would_vanish_is_refused_and_changes_nothing() {
    let house = House::new().await;
    house.full(STAFF).await;
    let report = house.full("key,type,name,mail,manager,groups,Dept\nu1,,Somebody else,ada@example.org,,,\n").await;
    assert_eq!(report.refused.as_deref(), Some("3 of 5 objects would vanish, more than the 50% that most_vanishing allows"));
    assert!(house.told().await.is_empty());
    assert_eq!(house.keys().await.len(), 5);
    let empty = house.full("key,type,name,mail,manager,groups,Dept\n").await;
    assert!(empty.refused.is_some(), "{empty}");
}

#[tokio::test]
async fn a_bad_row_is_named_left_out_and_no_sign_that_somebody_is_gone_or_has_left() {
    let house = House::new().await;
    house.full(STAFF).await;
    let report = house.full(STAFF.replace("linus@example.org", "no address").replace("Ada King", "Ada Lovelace")).await;
    assert_eq!((report.faulty, report.refused.as_deref()), (1, None));
    assert_eq!(report.faults[0].line, 4, "{report}");
    assert!(report.faults[0].why.starts_with("mail: `no address` is not a mail address"), "{report}");
    assert_eq!(house.told().await, ["object.changed u1"]);
    assert_eq!(house.members("g1").await, ["u2", "u3"]);
}

#[tokio::test]
async fn while_it_cannot_be_read_whose_a_row_is_nobody_is_taken_for_gone() {
    let house = House::new().await;
    house.full(STAFF).await;
    let report = house.full(STAFF.replace("u3,,Linus", "u3,Linus").replace("Ada King", "Ada Lovelace")).await;
    assert_eq!((report.faulty, report.refused.as_deref()), (1, None), "{report}");
    assert!(report.remarks[0].contains("nobody who is missing was taken for gone"), "{report}");
    assert_eq!(house.told().await, ["object.changed u1"]);
    assert_eq!(house.members("g1").await, ["u2", "u3"]);
}

#[tokio::test]
async fn with_bad_rows_refused_the_whole_file_is() {
    let mut house = House::new().await;
    house.plan.bad_rows = BadRows::Refuse;
    house.full(STAFF).await;
    let report = house.full(STAFF.replace("linus@example.org", "no address").replace("Ada King", "Ada Lovelace")).await;
    assert!(report.refused.unwrap().contains("bad_rows"));
    assert!(house.told().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_told_apart_or_understood_is_refused_with_the_place() {
    let house = House::new().await;
    let refused = async |text: &[u8]| house.full(text).await.refused.unwrap_or_default();
    assert!(refused(b"key,name\nu1,J\xF6rg\n").await.starts_with("line 2: column 5: the byte F6 is not UTF-8"));
    assert!(refused(b"key,name\nu1,\"Ada\nu2,Bob\n").await.starts_with("line 2: the quotation mark"));
    assert_eq!(refused(b"key,name\n").await, "there is no column `Dept`, which is to hold `department`; there are key, name");
    assert!(refused(b"").await.contains("no column `key`"));
    assert!(
        refused(b"key,type,name,Dept,groups\ng1,group,A,,\ng2,group,A,,\nu1,,,,A\n")
            .await
            .starts_with("line 4: groups: more than one group is called `A`")
    );
    assert!(house.keys().await.is_empty());
}

#[tokio::test]
async fn a_first_file_may_be_told() {
    let mut house = House::new().await;
    house.plan.first_load_told = true;
    let report = house.full("key,type,name,manager,members,Dept\nu3,,Linus,u2,,\nu2,,Grace,,,\ng1,group,Payroll,,u2;u3,\n").await;
    assert!(!report.silent, "{report}");
    assert_eq!(
        house.told().await,
        [
            "object.created u2",
            "object.created u3",
            "management.added u3 u2",
            "object.created g1",
            "membership.joined g1 u2",
            "membership.joined g1 u3"
        ]
    );
}

#[tokio::test]
async fn twice_the_same_key_is_a_fault_of_the_second_row() {
    let house = House::new().await;
    let report = house.full("key,name,Dept\nu1,Ada,\nu1,Eve,\n").await;
    assert_eq!(
        report.faults.iter().map(|fault| format!("{}: {}", fault.line, fault.why)).collect::<Vec<_>>(),
        ["3: the key stands on line 2 already"]
    );
    assert_eq!(house.keys().await, ["u1"]);
}
