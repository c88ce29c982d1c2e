//! Reading everything: now and then, when told to, and when what is read is another thing than before.

use crate::house::{House, plan, sorted_words};
use std::time::Duration;
use tidings_intake::Telling;
use tidings_sources::ldap::{Once, Way};
use tidings_testkit::slapd::{Slapd, group, person};

fn company() -> String {
    format!("{}{}{}", person("ada"), person("linus"), group("payroll", &["ada"]))
}

const TITLE: &str = "dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\nreplace: title\ntitle: Countess";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_once_tells_what_is_new_since_the_last_time() {
    let slapd = Slapd::builder().content(&company()).start();
    for way in [Way::Sync, Way::Poll] {
        let house = House::new().await;
        let report = house.once(plan(&slapd, way)).await;
        assert_eq!((report.entries, report.taken.changed, report.taken.events), (3, 3, 0), "{way:?}");
        assert_eq!(house.once(plan(&slapd, way)).await.taken.changed, 0, "{way:?}");
        slapd.modify(TITLE);
        assert_eq!(house.once(plan(&slapd, way)).await.taken.events, 1, "{way:?}");
        slapd.modify("dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\ndelete: title");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_reading_may_be_silent_or_found_late() {
    let slapd = Slapd::builder().content(&company()).start();
    for way in [Way::Sync, Way::Poll] {
        let house = House::new().await;
        house.once(plan(&slapd, way)).await;
        slapd.modify(TITLE);
        let silent = Once { whole: true, telling: Some(Telling::Silent) };
        let report = house.source(plan(&slapd, way)).once(silent).await.unwrap();
        assert_eq!((report.taken.changed, report.taken.events), (1, 0), "{way:?}");
        slapd.modify("dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\ndelete: title");
        house.source(plan(&slapd, way)).once(Once { whole: true, telling: None }).await.unwrap();
        let told = house.told_exactly(1).await;
        assert!(told[0].late, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_mapping_is_read_in_without_a_word() {
    let slapd = Slapd::builder().content(&company()).start();
    for way in [Way::Sync, Way::Poll] {
        let house = House::new().await;
        house.once(plan(&slapd, way)).await;
        let mut other = plan(&slapd, way);
        other.mapping.set("nickname", vec!["uid".to_owned()]);
        let report = house.once(other.clone()).await;
        assert_eq!((report.taken.changed, report.taken.events), (2, 0), "{way:?}");
        assert_eq!(house.once(other).await.taken.changed, 0, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_suddenly_shows_nothing_is_not_believed() {
    let slapd = Slapd::builder().content(&company()).start();
    let house = House::new().await;
    house.once(plan(&slapd, Way::Poll)).await;
    let mut empty = plan(&slapd, Way::Poll);
    empty.filter = "(cn=nobody)".to_owned();
    let error = house.source(empty).once(Once::default()).await.unwrap_err();
    assert!(error.to_string().contains("none of the 3 objects"), "{error}");
    assert_eq!(house.names().await.len(), 3);
    let mut few = plan(&slapd, Way::Poll);
    few.filter = "(cn=ada)".to_owned();
    few.most_gone_percent = Some(50);
    let error = house.source(few.clone()).once(Once::default()).await.unwrap_err();
    assert!(error.to_string().contains("2 of 3 objects would be gone"), "{error}");
    few.most_gone_percent = None;
    house.once(few).await;
    assert_eq!(house.names().await, ["ada"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_compared_now_and_then() {
    let slapd = Slapd::builder().content(&company()).start();
    let house = House::new().await;
    let mut plan = plan(&slapd, Way::Sync);
    plan.compare_every = Some(Duration::from_millis(300));
    let _following = house.load_and_follow(plan).await;
    let before = house.standing().await.generation;
    house.until("three comparisons", async |standing| standing.generation >= before + 3).await;
    slapd.modify(TITLE);
    house.told_exactly(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_limits_of_a_server_are_kept() {
    let people: String = (0..250).map(|n| person(&format!("p{n:03}"))).collect();
    let slapd = Slapd::builder().setting("limits * size.soft=100 size.hard=100 size.prtotal=unlimited").content(&people).start();
    let house = House::new().await;
    let mut plan = plan(&slapd, Way::Poll);
    plan.bind = tidings_sources::ldap::Bind::Anonymous;
    plan.page_size = 0;
    let error = house.source(plan.clone()).once(Once::default()).await.unwrap_err();
    assert!(error.to_string().contains("sizeLimitExceeded"), "{error}");
    plan.page_size = 60;
    assert_eq!(house.once(plan).await.entries, 250);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_synchronisation_is_looked_at() {
    let slapd = Slapd::builder().without_sync().content(&company()).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Auto)).await;
    slapd.modify(TITLE);
    slapd.modify("dn: cn=linus,ou=people,dc=example,dc=org\nchangetype: delete");
    assert_eq!(sorted_words(&house.told_exactly(2).await), ["object.changed ada", "object.deleted linus"]);
    let error = house.source(plan(&slapd, Way::Sync)).once(Once { whole: true, telling: None }).await.unwrap_err();
    assert!(error.to_string().contains("unavailableCriticalExtension"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visit_shows_what_would_be_read_and_records_nothing() {
    let slapd = Slapd::builder().content(&company()).start();
    let house = House::new().await;
    let visit = house.source(plan(&slapd, Way::Auto)).visit(2).await.unwrap();
    assert_eq!((visit.way, visit.samples.len()), (Way::Sync, 2));
    assert_eq!(visit.contexts, ["dc=example,dc=org"]);
    assert_eq!(house.standing().await.objects, 0);
    let mut wrong = plan(&slapd, Way::Auto);
    wrong.base = "dc=example,dc=com".to_owned();
    let error = house.source(wrong).visit(2).await.unwrap_err();
    assert!(error.to_string().contains("noSuchObject"), "{error}");
}
