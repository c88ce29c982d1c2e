//! The mirror's tables fit together whatever happens, and nothing is left over in them.

use crate::house::House;
use rusqlite::Connection;
use tidings_core::{
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::Record;

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

/// Numbers in no order, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn link(&mut self) -> Link {
        let role = LinkRole::ALL[usize::try_from(self.below(4)).unwrap()];
        let name = format!("cn=n{}", self.below(12));
        Link { muted: self.below(3) == 0, ..Link::new(role, if self.below(4) == 0 { name.to_uppercase() } else { name }) }
    }

    fn change(&mut self, key: u64) -> Became {
        let key = format!("k{key}");
        match self.below(7) {
            0 | 1 => Became::Gone { key },
            2 => {
                let added = (0..self.below(4)).map(|_| self.link()).collect();
                let removed = (0..self.below(4)).map(|_| self.link()).map(|link| (link.role, link.to)).collect();
                Became::Adjusted { key, head: None, added, removed, document: Some(b"new".to_vec()) }
            }
            _ => Became::Is(self.entry(key)),
        }
    }

    fn entry(&mut self, key: String) -> Entry {
        let mut head = Head::new(if self.below(2) == 0 { ObjectType::Group } else { ObjectType::User }, key);
        head.reference = Some(format!("CN=N{}", self.below(12)));
        Entry { head, links: (0..self.below(7)).map(|_| self.link()).collect(), document: Some(b"form".to_vec()) }
    }
}

#[tokio::test]
async fn whatever_leans_on_whatever_the_tables_fit_together() {
    let house = House::on_sqlite().await;
    let db = Connection::open(house.folder.path().join("tidings.db")).unwrap();
    let (mut dice, mut most) = (Dice(11), 0);
    for round in 0..300 {
        // Each batch speaks of neighbouring keys, and its changes lean on each other as they like.
        let first = dice.below(12);
        let changes: Vec<Became> = (0..=dice.below(4)).map(|n| dice.change((first + n) % 12)).collect();
        if round % 10 == 9 {
            let entries = changes.into_iter().filter_map(|what| if let Became::Is(entry) = what { Some(entry) } else { None }).collect();
            house.store.load("corp", entries, 1, None).await.unwrap();
        } else {
            let differences = house.store.compare("corp", changes.into_iter().map(Change::of).collect()).await.unwrap();
            let (directory, seen) = ("corp".to_owned(), Vec::new());
            let record = Record { directory, differences, seen, generation: None, bookmark: None, acceptances: Vec::new() };
            house.store.record(record).await.unwrap();
        }
        for (what, sql) in BREACHES {
            assert_eq!(db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0, "{what}, round {round}");
        }
        most = most.max(db.query_row("SELECT count(*) FROM placeholder", [], |row| row.get::<_, i64>(0)).unwrap());
    }
    let left: Vec<Change> = (0..12).map(|key| Change::of(Became::Gone { key: format!("k{key}") })).collect();
    let differences = house.store.compare("corp", left).await.unwrap();
    let (directory, seen) = ("corp".to_owned(), Vec::new());
    house.store.record(Record { directory, differences, seen, generation: None, bookmark: None, acceptances: Vec::new() }).await.unwrap();
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
