//! Moving everything between the databases: nothing is forgotten, a copy that is broken off goes on, and what is not whole is not used.

use crate::house::{House, a_server, clock, hours, options, outcome};
use jiff::SignedDuration;
use rusqlite::{Connection, types::ValueRef};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tidings_core::{
    Id,
    bounce::{Class, Match},
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    outbox::{Pattern, State},
    subject::ObjectType,
};
use tidings_store::{
    Acceptance, Action, BatchState, Copied, CopyError, CopyOptions, CopyStage, CopyWatcher, Database, FanOutOrder, Filter, Finding,
    HealthTerms, NewMarker, NewNode, NewReport, Record, RelayReport, SealKey, StoreError, TokenRecord,
    copy::{filled_columns, not_copied},
};
use tidings_testkit::postgres::Postgres;

const DIRECTORY: &str = "corp";

/// An outbox and a mirror with a row at least in every table, and letters in every state.
async fn furnish(house: &House) {
    let pattern = Arc::new(Pattern::new(letter("Ada").into_bytes()));
    for n in 0..40 {
        let to = format!("Reader{n}@example.org");
        let draft = house.an_event(&format!("e{n}")).to(&[&to, "copy@example.org"]).guard(0, 1_000);
        house.accept(draft.text(letter(&format!("Reader {n}"))).after(&pattern)).await;
    }
    let mut packed = house.an_event("traced").build();
    packed.trace = letter("a trace").into_bytes();
    packed.trace_pattern = Some(Arc::clone(&pattern));
    house.store.accept(vec![packed]).await.unwrap();
    house.accept(house.an_event("secret").secret("Winter-Storm-2026").due_in(hours(1))).await;
    house.accept(house.an_event("erased").by("other").secret("Summer-Rain-2026")).await;
    house.accept(house.an_event("held").held("not in the allowed domains")).await;
    house.accept(house.an_event("mine").claimed_by("cli:ada")).await;
    house.accept(house.an_event("short").lives_for(SignedDuration::from_millis(-1))).await;
    house.store.expire(10).await.unwrap();
    let states = [State::Sent, State::Failed, State::Bounced, State::Waiting, State::Held, State::Sent];
    for (lease, state) in house.claim(6).await.iter().zip(states) {
        house.settle(outcome(lease, state, house.now())).await;
    }
    for lease in house.store.claim(tidings_store::Claim::new("node-b", "other", 5, crate::house::LEASE)).await.unwrap() {
        house.settle(outcome(&lease, State::Sent, house.now())).await;
    }
    house.claim_as("node-b", 3).await;
    let page = house.store.items(Filter { state: Some(State::Waiting), ..Filter::default() }, None, 100).await.unwrap();
    let one = Filter { id: Some(page.items[5].id), ..Filter::default() };
    house.store.act(Action::Hold, one.clone(), "cli:ada").await.unwrap();
    house.store.act(Action::Cancel, one, "cli:ada").await.unwrap();
    crowds(house).await;
    mirror(house).await;
    house.store.pause_relay("other", true, "cli:ada").await.unwrap();
    let report = RelayReport { condition: "held", reason: Some("421 too busy".to_owned()), next_probe_at: Some(house.now()) };
    house.store.report_relay("main", report).await.unwrap();
    house.store.write_slate("relay:kept", 0, "{\"at\":7}").await.unwrap();
    let token = TokenRecord {
        digest: [3; 32],
        name: "idm".to_owned(),
        scopes: vec!["events:write".to_owned()],
        created_at: house.now(),
        expires_at: None,
    };
    house.store.add_token(token).await.unwrap();
    house.store.ready().await.unwrap();
    house.store.write_slate("relay:main", 0, "{\"seats\":3}").await.unwrap();
    let node = NewNode {
        shown: "mail1".to_owned(),
        version: "0.1.0".to_owned(),
        offers: vec!["crowds".to_owned()],
        predecessor: None,
        lease: crate::house::LEASE,
    };
    let membership = house.store.join(node).await.unwrap();
    house.store.beat(&membership, &["crowds".to_owned()]).await.unwrap();
    bounces(house).await;
}

/// Reports about letters that were sent, and one about nothing that is known.
async fn bounces(house: &House) {
    let sent = Filter { state: Some(State::Sent), ..Filter::default() };
    let sent = house.store.items(sent, None, 10).await.unwrap().items;
    let finding = |item: Option<Id>| Finding {
        class: Class::Hard,
        status: Some("5.1.1".to_owned()),
        recipient: Some("ada@example.org".to_owned()),
        diagnostic: "no such user".to_owned(),
        item: item.map(|item| (item, Match::Verp)),
        candidates: if item.is_none() { vec![sent[0].id] } else { Vec::new() },
        counts: true,
    };
    let report = NewReport {
        digest: [9; 32],
        way: "command",
        form: "dsn",
        reporter: Some("mx.example.org".to_owned()),
        findings: vec![finding(Some(sent[0].id)), finding(None)],
        terms: HealthTerms {
            after: 1,
            within: hours(24).unsigned_abs(),
            rest: Some(hours(48).unsigned_abs()),
            keep: hours(240).unsigned_abs(),
        },
    };
    house.store.take_report(report).await.unwrap();
}

fn letter(name: &str) -> String {
    (0..40).fold(String::new(), |text, line| text + &format!("{line}: dear {name}, you have joined the group.\r\n"))
}

async fn crowds(house: &House) {
    let order = |plan: &str| FanOutOrder {
        id: house.id(),
        rule: "members".to_owned(),
        plan: plan.as_bytes().to_vec(),
        data: Some(b"{}".to_vec()),
        parts: vec![b"[1]".to_vec(), b"[2]".to_vec()],
    };
    house.accept(house.an_event("crowd").to(&[]).crowd(order("{\"plan\":1}"))).await;
    house.accept(house.an_event("flood").rule("flooding").to(&["a@example.org", "b@example.org", "c@example.org"]).guard(2, 0)).await;
    let held = house.store.batches(Some(BatchState::Held), false, 10).await.unwrap();
    house.store.batch_alerted(held[0].id).await.unwrap();
}

async fn mirror(house: &House) {
    let mut ada = Head::new(ObjectType::User, "u1");
    (ada.reference, ada.name) = (Some("cn=Ada".to_owned()), Some("Ada".to_owned()));
    ada.attributes.insert("grades".to_owned(), json!([1, 2.5, "x", true, 61.123_456_789_012_345]));
    let mut admins = Head::new(ObjectType::Group, "g1");
    (admins.reference, admins.name) = (Some("cn=admins".to_owned()), Some("Admins".to_owned()));
    let mut person = Head::new(ObjectType::User, "u2");
    person.attributes.insert("account".to_owned(), json!("grace"));
    let machine = Head::new(ObjectType::Other("machine".to_owned()), "m1");
    let member = |to: &str| Link { ends_at: Some(house.now()), ..Link::new(LinkRole::Member, to) };
    let entry = |head: Head, links: Vec<Link>| Entry { head, links, document: Some(b"dn: cn=x\n".to_vec()) };
    let entries = vec![
        entry(ada, Vec::new()),
        entry(admins, vec![member("cn=ada"), member("cn=nobody yet")]),
        entry(person, Vec::new()),
        entry(machine, Vec::new()),
    ];
    house.store.load(DIRECTORY, entries, 0, Some(b"cookie".to_vec())).await.unwrap();
    house.store.report_source("lab", Some("no route to host".to_owned()), None).await.unwrap();
    let changes = vec![Change::of(Became::Gone { key: "m1".to_owned() })];
    let differences = house.store.compare(DIRECTORY, changes).await.unwrap();
    let record = Record {
        directory: DIRECTORY.to_owned(),
        differences,
        seen: Vec::new(),
        generation: None,
        bookmark: Some(b"cookie 2".to_vec()),
        acceptances: Vec::new(),
    };
    house.store.record(record).await.unwrap();
    let robot = Entry { head: Head::new(ObjectType::Other("robot".to_owned()), "r1"), links: Vec::new(), document: None };
    let changes = vec![Change::of(Became::Is(robot))];
    let differences = house.store.compare(DIRECTORY, changes).await.unwrap();
    let record = Record {
        directory: DIRECTORY.to_owned(),
        differences,
        seen: Vec::new(),
        generation: None,
        bookmark: None,
        acceptances: Vec::new(),
    };
    house.store.record(record).await.unwrap();
    let marker = NewMarker {
        directory: DIRECTORY.to_owned(),
        key: "u1".to_owned(),
        reference: "cn=Ada".to_owned(),
        value: "pr".to_owned(),
        written: "PR".to_owned(),
        seen: Some("7".to_owned()),
    };
    let event: Acceptance = house.an_event("marker").build();
    assert!(house.store.note_marker(marker, event).await.unwrap());
}

/// Tells nobody.
fn quietly() -> CopyWatcher {
    Arc::new(|_| {})
}

fn from_to(from: &str, to: &str, folder: &Path) -> CopyOptions {
    let (from, to, data_dir) = (from.to_owned(), to.to_owned(), folder.to_owned());
    CopyOptions { from, to, data_dir, key: SealKey::from_bytes([7; 32]), page_rows: Some(3) }
}

async fn copied(from: &str, to: &str, folder: &Path) -> Result<Copied, CopyError> {
    tidings_store::copy(from_to(from, to, folder), quietly()).await
}

/// A furnished house in a file, shut.
async fn a_file() -> House {
    let house = House::on_sqlite().await;
    furnish(&house).await;
    house
}

/// Shuts the database and waits until it is: closing it happens on other threads.
async fn shut(house: House) -> (tempfile::TempDir, PathBuf) {
    let House { store, folder, .. } = house;
    drop(store);
    let database = folder.path().join("tidings.db");
    let wal = folder.path().join("tidings.db-wal");
    let gone = move || tidings_testkit::wait::until("the file to be shut", crate::house::LEASE, || (!wal.exists()).then_some(()));
    tokio::task::spawn_blocking(gone).await.unwrap();
    (folder, database)
}

/// Everything that a file holds, by table, a row a line, with the names of its columns.
fn dump(file: &Path) -> BTreeMap<String, Vec<String>> {
    let db = Connection::open(file).unwrap();
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let all = |table: &String| {
        let mut found = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let names: Vec<String> = found.column_names().map(str::to_owned).collect();
        let mut rows = found.query([]).unwrap();
        let mut lines = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let mut line = String::new();
            for (place, name) in names.iter().enumerate() {
                match row.get_ref(place).unwrap() {
                    ValueRef::Blob(bytes) => write!(line, "{name}={bytes:02x?} "),
                    ValueRef::Text(text) => write!(line, "{name}={} ", String::from_utf8_lossy(text)),
                    other => write!(line, "{name}={other:?} "),
                }
                .unwrap();
            }
            lines.push(line);
        }
        lines.sort();
        lines
    };
    tables.iter().map(|table| (table.clone(), all(table))).collect()
}

async fn on_server(server: &Arc<Postgres>, work: impl FnOnce(&Postgres) -> String + Send + 'static) -> String {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || work(&server)).await.unwrap()
}

async fn create(server: &Arc<Postgres>, name: &'static str) {
    on_server(server, |server| {
        server.create(name, None);
        String::new()
    })
    .await;
}

/// What a reader of the contract sees: every item with its history, its letter and event, relays, batches, crowds, the mirror.
async fn seen(store: &dyn Database) -> Vec<String> {
    let mut seen = Vec::new();
    for item in store.items(Filter::default(), None, 1000).await.unwrap().items {
        seen.push(serde_json::to_string(&store.item(item.id).await.unwrap()).unwrap());
        seen.push(format!("{:?}", store.letter(item.id).await.unwrap()));
        seen.push(format!("{:?}", store.event(item.event).await.unwrap()));
        seen.push(format!("{:?}", store.fan_outs(Some(item.event), 10).await.unwrap()));
    }
    seen.push(serde_json::to_string(&store.relays().await.unwrap()).unwrap());
    let kept = store.slate("relay:kept").await.unwrap();
    seen.push(format!("{} {}", kept.version, kept.text));
    seen.push(format!("{:?}", store.fan_outs(None, 10).await.unwrap()));
    for batch in store.batches(None, false, 10).await.unwrap() {
        seen.push(format!("{batch:?} {:?}", store.batch_items(batch.id, None, 100).await.unwrap()));
    }
    seen.push(format!("{:?}", store.find_token([3; 32]).await.unwrap().map(|token| (token.name, token.scopes))));
    seen.push(format!("{:?}", store.directories().await.unwrap()));
    for object in store.objects(None, None, 100).await.unwrap().objects {
        seen.push(format!("{object:?} {:?}", store.document(object.id).await.unwrap()));
        seen.push(format!("{:?}", store.links(object.id, LinkRole::Member, None, 100).await.unwrap()));
    }
    seen.push(format!("{:?}", store.find(DIRECTORY, "account", "GRACE").await.unwrap()));
    seen.push(format!("{:?}", store.markers(DIRECTORY, None, None, 10).await.unwrap()));
    seen.push(format!("{:?}", store.names().await.unwrap()));
    seen.push(serde_json::to_string(&store.addresses(None, 10).await.unwrap()).unwrap());
    seen.push(serde_json::to_string(&store.reports(tidings_store::ReportFilter::default(), None, 10).await.unwrap().items).unwrap());
    let slate = store.slate("relay:main").await.unwrap();
    seen.push(format!("{} {}", slate.version, slate.text));
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_house_moves_to_a_server_and_back_and_nothing_is_forgotten() {
    let server = a_server().await;
    let house = a_file().await;
    let before = seen(&*house.store).await;
    let (folder, file) = shut(house).await;
    let there = dump(&file);
    let empty: Vec<&String> = there.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table).collect();
    assert!(empty.is_empty(), "this test has to fill {empty:?}, too");

    create(&server, "moved").await;
    let done = copied("sqlite:tidings.db", &server.url("moved"), folder.path()).await.unwrap();
    assert_eq!((done.resumed, done.unreadable), (false, 0));
    assert!(done.sealed >= 2, "{done:?}");
    assert_eq!(dump(&file), there, "the source is as it was");
    let moved = House::in_database(&server, "moved").await;
    pretty_eq(&seen(&*moved.store).await, &before);
    // It goes on: numbers are above the highest, secrets open, leases end.
    moved.accept(moved.an_event("after").by("new relay").rule("new rule").after(&Arc::new(Pattern::new(letter("x").into_bytes())))).await;
    moved.store.record(Record { differences: Vec::new(), ..empty_record() }).await.unwrap();
    moved.clock.advance(hours(2));
    let leases = moved.claim(200).await;
    let secret = leases.iter().find(|lease| String::from_utf8_lossy(&lease.bytes).contains("Winter-Storm-2026"));
    assert!(secret.is_some(), "the secret letter is due and opens");
    let history = |id: Id| {
        let store = Arc::clone(&moved.store);
        async move { store.item(id).await.unwrap().unwrap().history }
    };
    let again = leases.iter().find(|lease| lease.attempts > 0).expect("one had been refused");
    moved.settle(outcome(again, State::Sent, moved.now())).await;
    assert_eq!(history(again.id).await.last().unwrap().what, "sent", "new lines come behind the copied ones");
    drop(moved);

    create(&server, "again").await;
    copied("sqlite:tidings.db", &server.url("again"), folder.path()).await.unwrap();
    copied(&server.url("again"), "sqlite:back.db", folder.path()).await.unwrap();
    let mut expected = there.clone();
    // The mark of the readiness check belongs to a file, not to the installation.
    expected.get_mut("meta").unwrap().retain(|row| !row.contains("ready_at"));
    expected.get_mut("duty").unwrap().clear();
    for (table, rows) in &dump(&folder.path().join("back.db")) {
        pretty_eq(rows, &expected[table]);
    }
    // Files to files, servers to servers.
    copied("sqlite:back.db", "sqlite:third.db", folder.path()).await.unwrap();
    assert_eq!(dump(&folder.path().join("third.db")), dump(&folder.path().join("back.db")));
    create(&server, "fourth").await;
    copied(&server.url("again"), &server.url("fourth"), folder.path()).await.unwrap();
    let fourth = House::in_database(&server, "fourth").await;
    pretty_eq(&seen(&*fourth.store).await, &before);
}

fn empty_record() -> Record {
    Record {
        directory: DIRECTORY.to_owned(),
        differences: Vec::new(),
        seen: Vec::new(),
        generation: None,
        bookmark: None,
        acceptances: Vec::new(),
    }
}

/// The first difference, not all of both.
#[track_caller]
fn pretty_eq(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

/// A table or a column that is added later has to be copied, or put on the list with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_both_schemas_is_copied_or_on_the_list() {
    let server = a_server().await;
    let house = House::on_sqlite().await;
    let (_folder, file) = shut(house).await;
    let db = Connection::open(&file).unwrap();
    let sql = "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
    let mut columns = db.prepare(sql).unwrap();
    let of_file: BTreeSet<String> = columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let sql = "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public'
        AND table_name NOT IN (SELECT inhrelid::regclass::text FROM pg_inherits)";
    let house = House::on_postgres(&server, "columns").await;
    let of_server: BTreeSet<String> = on_server(&server, |server| server.sql("columns", sql)).await.lines().map(str::to_owned).collect();
    drop(house);
    assert!(of_file.contains("item.recipient") && of_server.contains("open_item.due_at"), "both schemas are read");
    let list = not_copied();
    let listed = |column: &String| list.iter().any(|(name, _)| name == column || column.split('.').next() == Some(*name));
    for (schema, on_server) in [(&of_file, false), (&of_server, true)] {
        let filled: BTreeSet<String> = filled_columns(on_server).into_iter().filter(|column| column != "object_number.next").collect();
        let missing: Vec<&String> = schema.iter().filter(|column| !filled.contains(*column) && !listed(column)).collect();
        assert!(missing.is_empty() || missing == ["object_number.next"], "neither copied nor on the list: {missing:?}");
        let invented: Vec<&String> = filled.iter().filter(|column| !schema.contains(*column)).collect();
        assert!(invented.is_empty(), "no such column: {invented:?}");
    }
    for (name, _) in list {
        let known = |column: &String| column == name || column.split('.').next() == Some(name);
        assert!(of_file.iter().chain(&of_server).any(known), "{name} is on the list, and in no schema");
    }
}

/// Runs a copy that dies once it has written so many pages.
async fn dying(options: CopyOptions, after: usize) -> Option<Copied> {
    let steps = AtomicUsize::new(0);
    let watcher: CopyWatcher = Arc::new(move |step| {
        if step.stage == CopyStage::Copying {
            assert!(steps.fetch_add(1, Ordering::Relaxed) < after, "the copy is broken off here");
        }
    });
    tokio::spawn(tidings_store::copy(options, watcher)).await.ok().map(Result::unwrap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_broken_off_anywhere_goes_on_and_nobody_uses_it_before() {
    let server = a_server().await;
    let (folder, file) = shut(a_file().await).await;
    create(&server, "half").await;
    let there = seen(&*tidings_store::open(options(folder.path().to_owned(), clock())).await.unwrap()).await;
    for (from, to) in [("sqlite:tidings.db".to_owned(), server.url("half")), (server.url("half"), "sqlite:back.db".to_owned())] {
        let mut deaths = 0;
        let whole = loop {
            if let Some(whole) = dying(from_to(&from, &to, folder.path()), 7).await {
                break whole;
            }
            deaths += 1;
            let half = tidings_store::OpenOptions { url: to.clone(), ..options(folder.path().to_owned(), clock()) };
            assert!(matches!(tidings_store::open(half).await.err(), Some(StoreError::Unfinished(_))), "after {deaths} deaths");
        };
        assert!(whole.resumed && deaths > 10, "{deaths} deaths");
    }
    let back = tidings_store::OpenOptions { url: "sqlite:back.db".to_owned(), ..options(folder.path().to_owned(), clock()) };
    pretty_eq(&seen(&*tidings_store::open(back).await.unwrap()).await, &there);
    drop(file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_refused_and_says_why() {
    let server = a_server().await;
    let (folder, _file) = shut(a_file().await).await;
    let refused = async |from: &str, to: &str| copied(from, to, folder.path()).await.unwrap_err().to_string();
    create(&server, "empty").await;
    create(&server, "target").await;
    let (empty, target) = (server.url("empty"), server.url("target"));
    assert!(refused("sqlite:none.db", &target).await.contains("there is no outbox"));
    assert!(refused(&empty, "sqlite:x.db").await.contains("there is no outbox"));
    assert!(refused("sqlite:tidings.db", "sqlite:./tidings.db").await.contains("itself"));
    assert!(refused("mysql://h/d", &target).await.contains("cannot open"));
    assert!(refused("sqlite:tidings.db", "postgres://nobody@127.0.0.1:1/none").await.contains("cannot open"));

    let mut other_key = from_to("sqlite:tidings.db", &target, folder.path());
    other_key.key = SealKey::from_bytes([8; 32]);
    let error = tidings_store::copy(other_key, quietly()).await.unwrap_err().to_string();
    assert!(error.contains("it is not the one that"), "{error}");

    let used = tidings_store::lock_exclusive(&folder.path().join("tidings.db")).unwrap();
    assert!(refused("sqlite:tidings.db", &target).await.contains("another tidings serve"));
    drop(used);

    // A half copy is finished from its own source only, and is no source itself.
    assert!(dying(from_to("sqlite:tidings.db", &target, folder.path()), 20).await.is_none());
    let (other, _) = shut(a_file().await).await;
    std::fs::rename(other.path().join("tidings.db"), folder.path().join("other.db")).unwrap();
    assert!(refused("sqlite:other.db", &target).await.contains("unfinished copy of another database"));
    assert!(refused(&target, "sqlite:x.db").await.contains("unfinished copy"));
    // Somebody has been at it: it is not the same, and stays unused.
    on_server(&server, |server| server.sql("target", "DELETE FROM word WHERE number = 1")).await;
    let error = refused("sqlite:tidings.db", &target).await;
    assert!(error.contains("word has") && error.contains("begin anew"), "{error}");
    let opened = tidings_store::OpenOptions { url: target.clone(), ..options(folder.path().to_owned(), clock()) };
    assert!(matches!(tidings_store::open(opened).await.err(), Some(StoreError::Unfinished(_))));

    create(&server, "filled").await;
    let full = House::in_database(&server, "filled").await;
    full.accept(full.an_event("e1")).await;
    drop(full);
    assert!(refused("sqlite:tidings.db", &server.url("filled")).await.contains("is not empty (its table word has rows)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_and_secrets_that_are_odd_are_copied_as_a_server_has_them() {
    let server = a_server().await;
    let house = House::on_sqlite().await;
    let mut odd = Head::new(ObjectType::Group, "g\0");
    odd.name = Some("Nul\0l".to_owned());
    let entry = Entry { head: odd, links: Vec::new(), document: None };
    house.store.load(DIRECTORY, vec![entry], 0, None).await.unwrap();
    house.accept(house.an_event("e1").secret("Winter-Storm-2026")).await;
    let (folder, file) = shut(house).await;
    Connection::open(&file).unwrap().execute_batch("UPDATE letter SET bytes = x'00112233'").unwrap();
    create(&server, "odd").await;
    let done = copied("sqlite:tidings.db", &server.url("odd"), folder.path()).await.unwrap();
    assert_eq!((done.sealed, done.unreadable), (1, 1), "the event's secret and the damaged letter");
    let moved = House::in_database(&server, "odd").await;
    assert!(moved.store.object(DIRECTORY, "g\u{fffd}").await.unwrap().is_some(), "found by its key");
    assert_eq!(moved.store.groups_named(None, "NUL\u{fffd}L").await.unwrap().len(), 1, "and by its name");
}
