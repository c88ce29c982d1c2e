//! Measures the mirror on this machine: `cargo run --release -p tidings-store --example mirror [USERS [GROUPS [MEMBERSHIPS [URL]]]]`; the URL is that of an empty
//! PostgreSQL database.
//!
//! Loads a directory (1,000,000 users, 100,000 groups, 5,000,000 memberships unless told otherwise; one group has a tenth of all users), users and groups mixed
//! as a directory server gives them, and then does what a day brings: look-ups, comparisons of entries that are as they were, a refresh, changes of one member.
//! Prints a line for each, with the memory of the process.

#![allow(clippy::disallowed_methods, reason = "a measurement runs by the machine's clock")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_core::{
    Address, Clock, Timestamp,
    directory::{Became, Change, Entry, Head, Link, LinkRole},
    subject::ObjectType,
};
use tidings_store::{Database, Difference, OpenOptions, PostgresStore, PostgresTuning, Record, SealKey, Walk};

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

const DIRECTORY: &str = "corp";
/// Entries a call of a load, and of a comparison.
const LOADED: usize = 5_000;
const COMPARED: usize = 256;

struct Bench {
    store: Arc<dyn Database>,
    users: u64,
    groups: u64,
    memberships: u64,
}

/// Numbers in no order that can be had again.
fn scatter(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// What `entryUUID` looks like.
fn key(kind: u64, number: u64) -> String {
    let (one, two) = (scatter(number * 4 + kind), scatter(number * 4 + kind + 2));
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", one >> 32, one >> 16 & 0xffff, one & 0xffff, two >> 48, two & 0xffff_ffff_ffff)
}

fn user_name(number: u64) -> String {
    format!("uid=user{number},ou=people,dc=example,dc=org")
}

fn group_name(number: u64) -> String {
    format!("cn=group{number},ou=groups,dc=example,dc=org")
}

fn user(number: u64) -> Entry {
    let mut head = Head::new(ObjectType::User, key(0, number));
    head.reference = Some(user_name(number));
    head.name = Some(format!("Given{} Family{number}", number % 1000));
    head.mail = Some(Address::parse(&format!("user{number}@example.org")).expect("an address"));
    for (name, value) in
        [("account", format!("user{number}")), ("title", format!("Engineer {}", number % 50)), ("department", format!("D{}", number % 300))]
    {
        head.attributes.insert(name.to_owned(), serde_json::Value::String(value));
    }
    let manager = Link::new(LinkRole::Manager, user_name(number / 8));
    Entry { head, links: vec![manager], document: None }
}

impl Bench {
    /// The first group is the large one; every hundredth has a group among its members.
    fn group(&self, number: u64) -> Entry {
        let mut head = Head::new(ObjectType::Group, key(1, number));
        head.reference = Some(group_name(number));
        head.name = Some(format!("Group {number}"));
        let member = |number: u64| Link::new(LinkRole::Member, user_name(number));
        let (large, others) = (self.users / 10, self.groups.max(2) - 1);
        let mut links: Vec<Link> = if number == 0 {
            (0..large).map(|n| member(n * 10)).collect()
        } else {
            (0..self.memberships.saturating_sub(large) / others).map(|n| member(scatter(number << 20 | n) % self.users)).collect()
        };
        if number % 100 == 1 {
            links.push(Link::new(LinkRole::Member, group_name(number / 2)));
        }
        links.push(Link::new(LinkRole::Owner, user_name(scatter(number) % self.users)));
        Entry { head, links, document: None }
    }

    /// The entry at a place of the directory: groups stand evenly among the users.
    fn entry(&self, place: u64) -> Entry {
        let every = (self.users + self.groups) / self.groups.max(1);
        let group = place / every;
        if place.is_multiple_of(every) && group < self.groups {
            self.group(group)
        } else {
            user((place - (group + 1).min(self.groups)) % self.users)
        }
    }

    fn places(&self) -> u64 {
        self.users + self.groups
    }

    async fn load(&self, what: &str, folder: &Path) {
        let generation = self.store.begin_refresh(DIRECTORY).await.expect("begun");
        let (mut spent, cpu) = (Duration::ZERO, cpu_seconds());
        let mut making = 0.0;
        let mut place = 0;
        while place < self.places() {
            let before = cpu_seconds();
            let until = (place + LOADED as u64).min(self.places());
            let entries = (place..until).map(|place| self.entry(place)).collect();
            making += cpu_seconds() - before;
            let start = Instant::now();
            self.store.load(DIRECTORY, entries, generation, None).await.expect("loaded");
            spent += start.elapsed();
            place = until;
        }
        self.store.end_refresh(DIRECTORY, None).await.expect("ended");
        let objects = self.store.directory(DIRECTORY).await.expect("known").objects;
        report(what, self.places(), spent, cpu_seconds() - cpu - making);
        println!("    {objects} objects, {} MiB on disk", disk_mib(folder));
    }

    async fn record(&self, differences: Vec<Difference>, seen: Vec<String>, generation: Option<i64>) {
        let record = Record { directory: DIRECTORY.to_owned(), differences, seen, generation, bookmark: None, acceptances: Vec::new() };
        self.store.record(record).await.expect("recorded");
    }

    /// Entries that are as they were, compared and recorded as a refresh does.
    async fn compare(&self, calls: u64) {
        let generation = self.store.begin_refresh(DIRECTORY).await.expect("begun");
        let (mut spent, mut cpu) = (Duration::ZERO, 0.0);
        for call in 0..calls {
            let changes: Vec<Change> = (0..COMPARED as u64)
                .map(|n| Change::of(Became::Is(self.entry(1 + scatter(call * COMPARED as u64 + n) % (self.places() - 1)))))
                .collect();
            let mut keys = std::collections::HashSet::new();
            let changes = changes.into_iter().filter(|change| keys.insert(change.key().to_owned())).collect();
            let (start, before) = (Instant::now(), cpu_seconds());
            let differences = self.store.compare(DIRECTORY, changes).await.expect("compared");
            assert!(differences.iter().all(Difference::is_empty), "nothing has changed");
            self.record(differences, Vec::new(), Some(generation)).await;
            spent += start.elapsed();
            cpu += cpu_seconds() - before;
        }
        report("compare and record, unchanged, 256 a call", calls * COMPARED as u64, spent, cpu);
    }

    /// All keys seen again, as the present phase of a synchronisation tells them.
    async fn refresh(&self) {
        let generation = self.store.begin_refresh(DIRECTORY).await.expect("begun");
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut place = 0;
        while place < self.places() {
            let until = (place + LOADED as u64).min(self.places());
            let seen = (place..until).map(|place| self.entry(place).head.key).collect();
            self.record(Vec::new(), seen, Some(generation)).await;
            place = until;
        }
        report("keys seen in a refresh, 5,000 a call", self.places(), start.elapsed(), cpu_seconds() - cpu);
        let start = Instant::now();
        let (unseen, objects) = self.store.unseen(DIRECTORY, generation).await.expect("counted");
        println!("{unseen} of {objects} unseen, counted in {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    }

    async fn look_up(&self, count: u64) {
        let (start, cpu) = (Instant::now(), cpu_seconds());
        for n in 0..count {
            let name = user_name(scatter(n) % self.users);
            self.store.object(DIRECTORY, &name).await.expect("read").expect("it is there");
        }
        report("look-ups by reference, one at a time", count, start.elapsed(), cpu_seconds() - cpu);
    }

    async fn large_group(&self) {
        let large = self.store.object(DIRECTORY, &group_name(0)).await.expect("read").expect("it is there");
        let start = Instant::now();
        let differences = self.store.compare(DIRECTORY, vec![Change::of(Became::Is(self.group(0)))]).await.expect("compared");
        assert!(differences[0].is_empty());
        println!("a group of {} compared whole in {:.0} ms, resident {} MiB", self.users / 10, millis(start), memory_mib("VmRSS:"));
        let (start, rounds) = (Instant::now(), 200u32);
        for round in 0..rounds {
            let link = Link::new(LinkRole::Member, user_name(u64::from(round) * 10 + 1));
            let added =
                Became::Adjusted { key: large.head.key.clone(), head: None, added: vec![link], removed: Vec::new(), document: None };
            let differences = self.store.compare(DIRECTORY, vec![Change::of(added)]).await.expect("compared");
            assert_eq!(differences[0].added.len(), 1);
            self.record(differences, Vec::new(), None).await;
        }
        println!("one member more, compared and recorded, in {:.2} ms", millis(start) / f64::from(rounds));
        for depth in [Walk::Direct, Walk::Nested] {
            let (start, mut after, mut members, mut pages) = (Instant::now(), None, 0, 0);
            loop {
                let page = self.store.members(large.id, depth, after, 1000).await.expect("walked");
                members += page.objects.len();
                pages += 1;
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            println!("its {members} members, {depth:?}, in {pages} pages of 1,000: {:.0} ms", millis(start));
        }
        let start = Instant::now();
        let gone = self.store.compare(DIRECTORY, vec![Change::of(Became::Gone { key: large.head.key })]).await.expect("compared");
        self.record(gone, Vec::new(), None).await;
        println!("its end in {:.0} ms", millis(start));
    }
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "numbers to look at")]
fn report(what: &str, count: u64, spent: Duration, cpu: f64) {
    let seconds = spent.as_secs_f64();
    println!(
        "{what}: {:.0} a second ({count} in {seconds:.2} s, {:.0} us CPU each), resident {} MiB, at most {} MiB",
        count as f64 / seconds,
        cpu * 1e6 / count as f64,
        memory_mib("VmRSS:"),
        memory_mib("VmHWM:")
    );
}

/// The processor time of this process (proc(5): fields 14 and 15 of `/proc/self/stat`, in hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn memory_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn disk_mib(folder: &Path) -> u64 {
    let size = |entry: std::io::Result<std::fs::DirEntry>| entry.and_then(|entry| entry.metadata()).map_or(0, |data| data.len());
    std::fs::read_dir(folder).map_or(0, |entries| entries.map(size).sum::<u64>()) >> 20
}

#[tokio::main]
async fn main() {
    let number = |place: usize, usual: u64| std::env::args().nth(place).map_or(usual, |text| text.parse().expect("a number"));
    let users = number(1, 1_000_000);
    let groups = number(2, users / 10);
    let memberships = number(3, users * 5);
    let folder = tempfile::tempdir().expect("a folder");
    let url = std::env::args().nth(4);
    let options = OpenOptions {
        url: url.clone().unwrap_or_else(|| "sqlite:tidings.db".to_owned()),
        data_dir: folder.path().to_owned(),
        key: SealKey::from_bytes([7; 32]),
        clock: Arc::new(WallClock),
        min_free_bytes: 1 << 30,
    };
    let store: Arc<dyn Database> = if url.is_some() {
        PostgresStore::open(options, PostgresTuning::default()).await.expect("opened")
    } else {
        tidings_store::open(options).await.expect("opened")
    };
    let bench = Bench { store, users, groups, memberships };
    println!("{users} users, {groups} groups, {memberships} memberships");
    bench.load("first load, 5,000 entries a call", folder.path()).await;
    bench.load("the same again", folder.path()).await;
    bench.compare((bench.places() / COMPARED as u64).clamp(1, 100)).await;
    bench.refresh().await;
    bench.look_up(20_000.min(users)).await;
    bench.large_group().await;
}
