//! Active Directory looked at again and again by its count of changes (`uSNChanged`), against a stand-in for its server.

use crate::{
    dirsync::{company, plan, user},
    domain_controller::{BASE, COUNTER, Counter},
    house::{House, sorted_words, words},
};
use tidings_sources::ldap::Way;

const OTHER: &str = "CN=NTDS Settings,CN=DC2,CN=Servers,CN=Configuration,DC=corp,DC=example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_is_told_once_and_only_what_changed_is_read() {
    let dc = company();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&dc, Way::Poll)).await;
    assert_eq!(house.members("Payroll").await, ["Ada", "Eve", "Grace", "Linus"]);
    let steps: [(&dyn Fn(), &[&str]); 4] = [
        (&|| dc.put(1, &format!("CN=Ada,{BASE}"), &[("title", &["Countess"])]), &["object.changed Ada"]),
        (&|| dc.member(9, &format!("CN=Alan,{BASE}"), true), &["membership.joined Payroll Alan"]),
        (&|| user(&dc, 6, "Barbara"), &["object.created Barbara"]),
        (&|| dc.delete(2), &["object.deleted Linus", "membership.left Payroll Linus"]),
    ];
    let mut expected: Vec<&str> = Vec::new();
    for (step, events) in steps {
        step();
        expected.extend(events);
        assert_eq!(words(&house.told_exactly(expected.len()).await), expected);
    }
    // Whatever a comparison of everything finds is late.
    assert!(house.told().await.iter().all(|one| !one.late));
    assert_eq!(house.members("Payroll").await, ["Ada", "Alan", "Eve", "Grace"]);
    // Looks without a change ask for nothing but the count and the keys.
    let looks = || dc.requests().iter().filter(|request| request.is_empty()).count();
    let reads = || dc.requests().iter().filter(|request| request.contains("+since")).count();
    let more_looks = async || {
        let looked = looks();
        house.until("more looks", async |_| looks() > looked + 3).await;
    };
    // The deletion may have been found by a look whose count was older.
    more_looks().await;
    let read = reads();
    more_looks().await;
    assert_eq!((reads(), house.told().await.len()), (read, expected.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_nobody_looked_is_read_by_pages() {
    let dc = company();
    let house = House::new().await;
    drop(house.load_and_follow(plan(&dc, Way::Poll)).await);
    for name in [(1, "Ada"), (3, "Grace"), (4, "Eve"), (5, "Alan")] {
        dc.put(name.0, &format!("CN={},{BASE}", name.1), &[("title", &["Engineer"])]);
    }
    dc.delete(2);
    user(&dc, 6, "Barbara");
    let _following = house.follow(plan(&dc, Way::Poll));
    let told = house.told_exactly(7).await;
    let changed = ["Ada", "Alan", "Eve", "Grace"].map(|name| format!("object.changed {name}"));
    let mut expected = vec!["membership.left Payroll Linus".to_owned()];
    expected.extend(changed);
    expected.extend(["object.created Barbara", "object.deleted Linus"].map(str::to_owned));
    assert_eq!(sorted_words(&told), expected);
    assert!(told.iter().all(|one| !one.late), "{told:?}");
}

/// After a first load and a change that was told, somebody else counts; what has happened meanwhile is found by a comparison, and what happens then is told once.
async fn compared_when(counter: Counter, count: impl Fn(u64) -> u64) {
    let dc = company();
    for _ in 0..20 {
        dc.put(3, &format!("CN=Grace,{BASE}"), &[("title", &["Admiral"])]);
    }
    let house = House::new().await;
    let following = house.load_and_follow(plan(&dc, Way::Poll)).await;
    dc.put(1, &format!("CN=Ada,{BASE}"), &[("title", &["Countess"])]);
    house.told_exactly(1).await;
    drop(following);
    // Of what nobody saw, the count that is known says nothing.
    user(&dc, 6, "Barbara");
    dc.put(5, &format!("CN=Alan,{BASE}"), &[("title", &["Engineer"])]);
    dc.delete(4);
    dc.counted_by(counter, count(dc.count()));
    let _following = house.follow(plan(&dc, Way::Poll));
    let told = house.told_exactly(5).await;
    let late: Vec<_> = told.iter().filter(|one| one.late).cloned().collect();
    assert_eq!(
        sorted_words(&late),
        ["membership.left Payroll Eve", "object.changed Alan", "object.created Barbara", "object.deleted Eve"],
        "{told:?}"
    );
    // It goes on by the new count.
    dc.put(1, &format!("CN=Ada,{BASE}"), &[("title", &["Lady"])]);
    let told = house.told_exactly(6).await;
    assert_eq!((words(&told)[5].as_str(), told[5].late), ("object.changed Ada", false));
    assert_eq!(house.names().await, ["Ada", "Alan", "Barbara", "Grace", "Linus", "Payroll"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_went_back_leads_to_a_comparison() {
    compared_when(COUNTER, |_| 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_compared_whatever_it_has_counted() {
    compared_when(Counter { service: OTHER, ..COUNTER }, |count| count).await;
    compared_when(Counter { service: OTHER, ..COUNTER }, |count| count + 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_restored_and_has_counted_further_is_compared() {
    compared_when(Counter { invocation: Some(0xa2), ..COUNTER }, |count| count + 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_database_nobody_may_name_is_followed_by_its_count() {
    let dc = company();
    dc.counted_by(Counter { invocation: None, ..COUNTER }, 100);
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&dc, Way::Poll)).await;
    dc.put(1, &format!("CN=Ada,{BASE}"), &[("title", &["Countess"])]);
    let told = house.told_exactly(1).await;
    assert_eq!((words(&told)[0].as_str(), told[0].late), ("object.changed Ada", false));
}
