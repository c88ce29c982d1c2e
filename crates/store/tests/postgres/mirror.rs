//! The mirror's tables fit together whatever happens: changes that lean on each other, two nodes that feed one directory, backends that are killed.

use crate::{
    broken::Killer,
    house::{
        House, a_server,
        dice::{self, Dice},
    },
};
use std::sync::Arc;
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::{Accepted, NewNode, Record, StoreError, directory_duty};
use tidings_testkit::postgres::Postgres;
use tokio_postgres::{Client, NoTls};

/// What must hold, as expressions that count breaches.
const BREACHES: [(&str, &str); 9] = [
    ("a link from nowhere", "SELECT count(*) FROM link WHERE object NOT IN (SELECT id FROM object)"),
    ("a link to nowhere", "SELECT count(*) FROM link WHERE target NOT IN (SELECT id FROM object UNION ALL SELECT id FROM placeholder)"),
    ("a placeholder that nothing links to", "SELECT count(*) FROM placeholder WHERE id NOT IN (SELECT target FROM link)"),
    ("a placeholder that is an object", "SELECT count(*) FROM placeholder WHERE id IN (SELECT id FROM object)"),
    (
        "a placeholder for a name that is borne",
        "SELECT count(*) FROM placeholder p JOIN object o ON o.directory = p.directory AND lower(o.reference) = lower(p.name)",
    ),
    ("two placeholders of one name", "SELECT count(*) - count(DISTINCT (directory, name)) FROM placeholder"),
    (
        "an object that is not sighted, or the other way round",
        "SELECT (SELECT count(*) FROM object WHERE id NOT IN (SELECT object FROM sighting)) + (SELECT count(*) FROM sighting WHERE object NOT IN (SELECT id FROM object))",
    ),
    (
        "a membership that is marked wrongly",
        "SELECT count(*) FROM link l LEFT JOIN object o ON o.id = l.target WHERE (l.flags & 2 <> 0) <> (l.role = 0 AND coalesce(o.type, '') = '1')",
    ),
    (
        "a count or a form that is wrong",
        "SELECT (SELECT count(*) FROM directory d WHERE d.objects <> (SELECT count(*) FROM object o WHERE o.directory = d.number))
             + (SELECT count(*) FROM object_document WHERE object NOT IN (SELECT id FROM object))",
    ),
];

/// A connection of the test's own, which looks on.
async fn onlooker(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url("house"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count(db: &Client, sql: &str) -> i64 {
    db.query_one(sql, &[]).await.unwrap().get(0)
}

async fn check(db: &Client, when: &str) {
    let all: Vec<String> = BREACHES.iter().map(|(_, sql)| format!("({sql})")).collect();
    let row = db.query_one(&format!("SELECT {}", all.join(", ")), &[]).await.unwrap();
    for (place, (what, _)) in BREACHES.iter().enumerate() {
        assert_eq!(row.get::<_, i64>(place), 0, "{what}, {when}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_leans_on_whatever_the_tables_fit_together() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    let db = onlooker(&server).await;
    let (mut dice, mut most) = (Dice(11), 0);
    for round in 0..200 {
        dice::play(&house, &mut dice, round).await.unwrap();
        check(&db, &format!("round {round}")).await;
        most = most.max(count(&db, "SELECT count(*) FROM placeholder").await);
    }
    dice::leave(&house).await;
    for table in ["object", "object_document", "sighting", "placeholder", "link", "looked_up"] {
        assert_eq!(count(&db, &format!("SELECT count(*) FROM {table}")).await, 0, "{table} is empty in the end");
    }
    assert!(most >= 4, "names waited for their objects: {most}");
}

/// The database takes no text with the code zero; a source that has one must not stand still for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_with_the_code_zero_is_mirrored_without_it_and_found_again() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    let mut head = Head::new(ObjectType::Other("ma\0chine".to_owned()), "a\0b");
    (head.reference, head.name, head.timezone) = (Some("cn=a\0b".to_owned()), Some("A\0B".to_owned()), Some("\0".to_owned()));
    head.attributes.insert("title".to_owned(), serde_json::json!("x\0y"));
    let links = vec![Link::new(LinkRole::Member, "cn=a\0b"), Link::new(LinkRole::Member, "cn=\0")];
    let entry = Entry { head, links, document: Some(b"\0".to_vec()) };
    let told = || Became::Is(entry.clone());
    dice::take(&house, vec![told()]).await.unwrap();
    let again = house.store.compare(dice::DIRECTORY, vec![Change::of(told())]).await.unwrap();
    assert!(again[0].is_empty(), "{again:?}");
    assert_eq!(house.store.load(dice::DIRECTORY, vec![entry.clone()], 1, None).await.unwrap(), 0);
    for name in ["a\0b", "CN=A\0B"] {
        let found = house.store.object(dice::DIRECTORY, name).await.unwrap().expect(name);
        assert_eq!((found.version, found.head.attributes["title"].as_str()), (1, Some("x\0y")));
    }
    let gone = Became::Gone { key: "a\0b".to_owned() };
    dice::take(&house, vec![gone]).await.unwrap();
    check(&onlooker(&server).await, "after all").await;
    assert_eq!(house.store.directory(dice::DIRECTORY).await.unwrap().objects, 0);
}

/// Each has its own pool and remembers its own; that only one writes at a time is the database's doing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_feed_one_directory_at_once_leave_the_tables_whole() {
    let server = a_server().await;
    let mut nodes = vec![Arc::new(House::on_postgres(&server, "house").await)];
    for _ in 0..2 {
        nodes.push(Arc::new(House::in_database(&server, "house").await));
    }
    let at_work = nodes.iter().cloned().zip([5, 6, 7]).map(|(node, seed)| {
        tokio::spawn(async move {
            let (mut dice, mut moved) = (Dice(seed), 0);
            for round in 0..60 {
                match dice::play(&node, &mut dice, round).await {
                    Ok(()) => {}
                    Err(StoreError::Moved(_)) => moved += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            moved
        })
    });
    let mut moved = 0;
    for node in futures_util::future::join_all(at_work).await {
        moved += node.unwrap();
    }
    assert!(moved > 0, "they met, and who came late was told so: {moved}");
    check(&onlooker(&server).await, "after all").await;
}

/// Every difference with its event, or neither; and what is loaded is whole in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_killed_leave_the_mirror_and_its_events_as_one() {
    let server = a_server().await;
    let house = Arc::new(House::on_postgres(&server, "house").await);
    let killer = Killer::hire(&server);
    let person = |key: &str| Entry { head: Head::new(ObjectType::User, key), links: Vec::new(), document: None };
    let (mut told, mut recorded) = (0, 0);
    // However fast this is, it goes on until enough has been broken off.
    let mut keys = 0;
    for n in (0..).take_while(|n| *n < 80 || killer.ended() <= 5) {
        keys = n + 1;
        let key = format!("u{n}");
        // As the intake does it: what is not answered is compared again.
        loop {
            assert!(told < 20_000, "{key} is recorded in the end");
            told += 1;
            let Ok(differences) = house.store.compare("corp", vec![Change::of(Became::Is(person(&key)))]).await else { continue };
            if differences[0].is_empty() {
                break;
            }
            let record = Record {
                directory: "corp".to_owned(),
                differences,
                seen: Vec::new(),
                generation: None,
                bookmark: Some(key.clone().into_bytes()),
                acceptances: vec![house.an_event(&key).build()],
            };
            match house.store.record(record).await {
                Ok(accepted) => {
                    assert!(matches!(accepted[..], [Accepted::New(_)]), "{accepted:?}");
                    recorded += 1;
                }
                Err(StoreError::Unavailable(_)) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    killer.dismiss().await;
    assert!(recorded > 10, "{recorded} records answered");
    let db = onlooker(&server).await;
    check(&db, "after all").await;
    assert_eq!(count(&db, "SELECT count(*) FROM object").await, keys);
    assert_eq!(count(&db, "SELECT count(*) FROM event").await, keys, "an object, an event");
    let standing = house.store.directory("corp").await.unwrap();
    let last = format!("u{}", keys - 1);
    assert_eq!((i64::try_from(standing.objects).unwrap(), standing.bookmark.as_deref()), (keys, Some(last.as_bytes())));
}

/// A node that fed a directory, was stopped, and goes on with what it had read when another has long fed it further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_comes_late_records_nothing() {
    let server = a_server().await;
    let late = House::on_postgres(&server, "house").await;
    let other = House::node(&server, "house", 2, Arc::clone(&late.clock)).await;
    let duty = vec![directory_duty("corp")];
    let node = |offers: &[String]| NewNode {
        shown: "node".to_owned(),
        version: "1".to_owned(),
        offers: offers.to_vec(),
        predecessor: None,
        lease: std::time::Duration::from_secs(20),
    };
    let person = |key: &str| Entry { head: Head::new(ObjectType::User, key), links: Vec::new(), document: None };
    let record = async |house: &House, key: &str, bookmark: &str| {
        let differences = house.store.compare("corp", vec![Change::of(Became::Is(person(key)))]).await.unwrap();
        let (bookmark, acceptances) = (Some(bookmark.as_bytes().to_vec()), vec![house.an_event(&format!("{key}-{bookmark}")).build()]);
        let record = Record { directory: "corp".to_owned(), differences, seen: Vec::new(), generation: None, bookmark, acceptances };
        house.store.record(record).await
    };
    let first = late.store.join(node(&duty)).await.unwrap();
    let second = other.store.join(node(&[])).await.unwrap();
    assert_eq!(late.store.beat(&first, &duty).await.unwrap().unwrap().duties, duty);
    late.store.fence("corp", &first.name);
    record(&late, "ada", "1").await.unwrap();
    // It is silent from here on.
    let mut has = false;
    for _ in 0..8 {
        late.clock.advance(crate::house::seconds(4));
        has |= !other.store.beat(&second, &duty).await.unwrap().unwrap().duties.is_empty();
    }
    assert!(has, "another has its duty");
    other.store.fence("corp", &second.name);
    record(&other, "grace", "2").await.unwrap();

    let refused =
        |result: Result<(), StoreError>| assert!(matches!(&result, Err(StoreError::Fenced(name)) if name == "corp"), "{result:?}");
    refused(record(&late, "linus", "1a").await.map(drop));
    refused(late.store.load("corp", vec![person("linus")], 1, Some(b"1a".to_vec())).await.map(drop));
    refused(late.store.begin_refresh("corp").await.map(drop));
    refused(late.store.end_refresh("corp", None).await);
    refused(late.store.report_source("corp", Some("away".to_owned()), None).await.map(drop));
    // Nor under a new name, before the duty has come back to it.
    let again = late.store.join(node(&duty)).await.unwrap();
    late.store.fence("corp", &again.name);
    refused(record(&late, "linus", "1a").await.map(drop));
    let standing = other.store.directory("corp").await.unwrap();
    assert_eq!((standing.objects, standing.bookmark.as_deref()), (2, Some(b"2".as_slice())));
    // A directory that every node serves is fenced nowhere.
    assert!(late.store.load("scim", vec![person("linus")], 1, None).await.is_ok());
    let db = onlooker(&server).await;
    assert_eq!(count(&db, "SELECT count(*) FROM event").await, 2);
    other.store.leave(&second).await.unwrap();
    assert_eq!(late.store.beat(&again, &duty).await.unwrap().unwrap().duties, duty);
    record(&late, "linus", "3").await.unwrap();
}
