//! The mirror's tables fit together whatever happens, and nothing is left over in them.

use crate::house::{
    House,
    dice::{self, Dice},
};
use rusqlite::Connection;
use tidings_core::{
    directory::{Entry, Head, Link, LinkRole},
    subject::ObjectType,
};

/// What must hold, as queries that count breaches.
const BREACHES: [(&str, &str); 8] = [
    ("a link from nowhere", "SELECT count(*) FROM link WHERE object NOT IN (SELECT id FROM object)"),
    ("a link to nowhere", "SELECT count(*) FROM link WHERE target NOT IN (SELECT id FROM object UNION ALL SELECT id FROM placeholder)"),
    ("a placeholder that nothing links to", "SELECT count(*) FROM placeholder WHERE id NOT IN (SELECT target FROM link)"),
    ("a placeholder that is an object", "SELECT count(*) FROM placeholder WHERE id IN (SELECT id FROM object)"),
    (
        "a placeholder for a name that is borne",
        "SELECT count(*) FROM placeholder p JOIN object o ON o.directory = p.directory AND lower(o.reference) = lower(p.name)",
    ),
    (
        "an object that is not sighted, or the other way round",
        "SELECT (SELECT count(*) FROM object WHERE id NOT IN (SELECT object FROM sighting)) + (SELECT count(*) FROM sighting WHERE object NOT IN (SELECT id FROM object))",
    ),
    (
        "a membership that is marked wrongly",
        "SELECT count(*) FROM link l LEFT JOIN object o ON o.id = l.target WHERE (l.flags & 2 <> 0) <> (l.role = 0 AND o.type IS 1)",
    ),
    (
        "a count or a form that is wrong",
        "SELECT (SELECT sum(d.objects <> (SELECT count(*) FROM object o WHERE o.directory = d.number)) FROM directory d)
             + (SELECT count(*) FROM object_document WHERE object NOT IN (SELECT id FROM object))",
    ),
];

#[tokio::test]
async fn whatever_leans_on_whatever_the_tables_fit_together() {
    let house = House::on_sqlite().await;
    let db = Connection::open(house.folder.path().join("tidings.db")).unwrap();
    let (mut dice, mut most) = (Dice(11), 0);
    for round in 0..300 {
        dice::play(&house, &mut dice, round).await.unwrap();
        for (what, sql) in BREACHES {
            assert_eq!(db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "{what}, round {round}");
        }
        most = most.max(db.query_row("SELECT count(*) FROM placeholder", [], |row| row.get::<_, i64>(0)).unwrap());
    }
    dice::leave(&house).await;
    for table in ["object", "object_document", "sighting", "placeholder", "link"] {
        let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table} is empty in the end");
    }
    assert!(most >= 4, "names waited for their objects: {most}");
}

#[tokio::test]
async fn that_a_group_is_large_shows_without_its_members() {
    let house = House::on_sqlite().await;
    let people = (0..10).map(|number| Entry { head: Head::new(ObjectType::User, format!("u{number}")), links: Vec::new(), document: None });
    let mut group = Entry { head: Head::new(ObjectType::Group, "g"), links: Vec::new(), document: None };
    group.links = (0..10).map(|number| Link::new(LinkRole::Member, format!("u{number}"))).collect();
    group.links.push(Link::new(LinkRole::Member, "below"));
    group.links.push(Link::new(LinkRole::Owner, "u0"));
    let below = Entry { head: Head::new(ObjectType::Group, "below"), links: Vec::new(), document: None };
    house.store.load("corp", people.chain([below, group]).collect(), 1, None).await.unwrap();
    let group = house.store.object("corp", "g").await.unwrap().unwrap().id;
    let more = |than| house.store.has_more_members(group, than);
    assert_eq!((more(9).await.unwrap(), more(10).await.unwrap(), more(0).await.unwrap()), (true, false, true));
}
