//! Servers stop, are killed, are set back, and networks break: no change is lost, and none is told twice.

use crate::house::{Following, House, PATIENCE, plan, plan_for, sorted_words, words};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tidings_sources::ldap::Way;
use tidings_testkit::{
    proxy::{Mischief, Proxy},
    slapd::{Slapd, group, person},
    wait,
};

fn people(range: std::ops::Range<usize>) -> String {
    range.map(|n| person(&format!("p{n:03}"))).collect()
}

fn add(ldif: &str) -> String {
    ldif.replace("objectClass: inetOrgPerson", "changetype: add\nobjectClass: inetOrgPerson")
}

fn proxy_to(slapd: &Slapd) -> Proxy {
    Proxy::to(SocketAddr::from((Ipv4Addr::LOCALHOST, slapd.port())))
}

/// Cuts every connection, at one place after the other, and then lets them be.
fn cut_at(proxy: &Proxy, places: &[usize], begin: impl FnOnce() -> Following) -> Following {
    proxy.hang_up();
    proxy.always(Some(Mischief::CutToClient(places[0])));
    let following = begin();
    for &place in places {
        let struck = proxy.struck();
        proxy.always(Some(Mischief::CutToClient(place)));
        // The one under way may still be cut at the place before.
        wait::until("the cut to strike", PATIENCE, || (proxy.struck() > struck + 1).then_some(()));
    }
    proxy.always(None);
    following
}

fn title(name: &str, title: &str) -> String {
    format!("dn: cn={name},ou=people,dc=example,dc=org\nchangetype: modify\nreplace: title\ntitle: {title}")
}

fn delete(name: &str) -> String {
    format!("dn: cn={name},ou=people,dc=example,dc=org\nchangetype: delete")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_while_nobody_listens_is_caught_up_with() {
    // With a log of changes the server tells what was deleted; without one, what is still there.
    for log in [None, Some(1000)] {
        for way in [Way::Sync, Way::Poll] {
            let mut builder = Slapd::builder().content(&people(0..20)).content(&group("staff", &["p000", "p001"]));
            if let Some(changes) = log {
                builder = builder.session_log(changes);
            }
            let slapd = builder.start();
            let house = House::new().await;
            drop(house.load_and_follow(plan(&slapd, way)).await);
            slapd.modify(&title("p003", "Engineer"));
            slapd.modify(&delete("p004"));
            slapd.modify(&add(&person("eve")));
            slapd.modify(
                "dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\nmember: cn=eve,ou=people,dc=example,dc=org",
            );
            let _following = house.follow(plan(&slapd, way));
            let told = house.told_exactly(4).await;
            assert_eq!(
                sorted_words(&told),
                ["membership.joined staff eve", "object.changed p003", "object.created eve", "object.deleted p004"],
                "{way:?} {log:?}"
            );
            assert!(told.iter().all(|one| !one.late), "{told:?}");
            slapd.modify(&title("p005", "Engineer"));
            house.told_exactly(5).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_and_started_is_followed_again() {
    let mut slapd = Slapd::builder().content(&people(0..10)).start();
    let house = House::new().await;
    let mut plan = plan(&slapd, Way::Sync);
    plan.failure_grace = Duration::from_millis(500);
    let _following = house.load_and_follow(plan).await;
    slapd.stop();
    house.until("the failure to be noted", async |standing| standing.failed_at.is_some()).await;
    slapd.start();
    house.until("the recovery to be noted", async |standing| standing.failed_at.is_none()).await;
    slapd.modify(&title("p001", "Engineer"));
    let told = house.told_exactly(3).await;
    assert_eq!(words(&told), ["connector.failed corp", "connector.recovered corp", "object.changed p001"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blip_is_not_worth_an_event() {
    let mut slapd = Slapd::builder().content(&people(0..10)).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Sync)).await;
    for n in 0..3 {
        slapd.kill9();
        slapd.start();
        slapd.modify(&title("p001", &format!("t{n}")));
        let told = house.told_exactly(n + 1).await;
        assert_eq!(told[n].kind, "object.changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_set_back_to_a_copy_is_compared_and_what_is_different_is_found_late() {
    let mut slapd = Slapd::builder().content(&people(0..20)).start();
    let house = House::new().await;
    let _following = house.load_and_follow(plan(&slapd, Way::Sync)).await;
    slapd.modify(&title("p001", "before the copy"));
    house.told_exactly(1).await;
    let copy = slapd.backup();
    slapd.modify(&title("p002", "after the copy"));
    slapd.modify(&delete("p003"));
    slapd.modify(&add(&person("eve")));
    house.told_exactly(4).await;
    slapd.restore(&copy);
    // The server is where it was: one title, one person more and one less are taken back.
    let told = house.told_exactly(7).await;
    assert_eq!(sorted_words(&told[4..]), ["object.changed p002", "object.created p003", "object.deleted eve"]);
    assert!(told[4..].iter().all(|one| one.late), "{told:?}");
    assert!(told[..4].iter().all(|one| !one.late), "{told:?}");
    slapd.modify(&title("p001", "afterwards"));
    house.told_exactly(8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_in_the_middle_of_a_refresh_loses_and_doubles_nothing() {
    // More than one batch of 500, so that some of the refresh is recorded when it breaks.
    let slapd = Slapd::builder().without_flush().content(&people(0..600)).content(&group("staff", &["p000"])).start();
    let proxy = proxy_to(&slapd);
    let plan = || plan_for(&[proxy.port()], Way::Sync);
    let house = House::new().await;
    // The first load is cut on its way and is silent all the same.
    let following = cut_at(&proxy, &[2_000, 60_000, 150_000], || house.follow(plan()));
    house.until("the first load", async |standing| standing.loaded_at.is_some()).await;
    drop(following);
    assert_eq!((house.standing().await.objects, house.told().await.len()), (601, 0));

    // Every entry changes while nobody listens, and catching up is cut at ever later places.
    let titles: String = (0..600).map(|n| title(&format!("p{n:03}"), "Engineer") + "\n\n").collect();
    slapd.modify(&titles);
    slapd.modify(&delete("p599"));
    let following = cut_at(&proxy, &[1_000, 40_000, 90_000, 140_000, 190_000], || house.follow(plan()));
    let told = house.told_exactly(600).await;
    let deleted: Vec<_> = told.iter().filter(|one| one.kind == "object.deleted").map(|one| one.object.as_str()).collect();
    assert_eq!(deleted, ["p599"]);
    let mut changed: Vec<_> = told.iter().filter(|one| one.kind == "object.changed").map(|one| one.object.clone()).collect();
    changed.sort_unstable();
    changed.dedup();
    assert_eq!(changed.len(), 599);
    drop(following);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_given_up() {
    let slapd = Slapd::builder().content(&people(0..5)).start();
    let proxy = proxy_to(&slapd);
    let house = House::new().await;
    let mut plan = plan_for(&[proxy.port(), slapd.port()], Way::Sync);
    plan.heartbeat = Duration::from_millis(300);
    plan.connect_timeout = Duration::from_millis(500);
    // The first server takes the connection and says nothing: the second one is followed.
    proxy.always(Some(Mischief::Silence));
    let _following = house.load_and_follow(plan).await;
    slapd.modify(&title("p001", "by the second server"));
    house.told_exactly(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_server_is_taken_when_the_first_one_is_away() {
    let mut first = Slapd::builder().content(&people(0..5)).start();
    let proxy = proxy_to(&first);
    let house = House::new().await;
    // Two doors to one content stand for two servers that share it.
    let _following = house.load_and_follow(plan_for(&[proxy.port(), first.port()], Way::Sync)).await;
    drop(proxy);
    first.modify(&title("p001", "by the other door"));
    house.told_exactly(1).await;
    first.kill9();
    first.start();
    first.modify(&title("p002", "after a restart"));
    house.told_exactly(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_that_lags_behind_is_left_alone() {
    let first = Slapd::builder().content(&people(0..5)).start();
    let house = House::new().await;
    let proxy = proxy_to(&first);
    let mut both = plan_for(&[proxy.port()], Way::Sync);
    let following = house.load_and_follow(both.clone()).await;
    let mut lagging = first;
    let copy = lagging.backup();
    lagging.modify(&title("p001", "not known to the other one yet"));
    house.told_exactly(1).await;
    drop(following);
    // The same content, older: a replica that has not caught up.
    lagging.restore(&copy);
    both.servers = plan_for(&[lagging.port(), proxy.port()], Way::Sync).servers;
    both.servers.truncate(1);
    both.servers.push(plan_for(&[1], Way::Sync).servers.remove(0));
    both.failure_grace = Duration::from_millis(800);
    let _following = house.follow(both);
    // It is believed only when nothing better was found for as long as a failure may last.
    house.until("the failure to be noted", async |standing| standing.failed_at.is_some()).await;
    let told = house.told_exactly(4).await;
    assert_eq!(sorted_words(&told[1..]), ["connector.failed corp", "connector.recovered corp", "object.changed p001"]);
}
