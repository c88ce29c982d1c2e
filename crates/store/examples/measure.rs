//! Measures the store on this machine: `cargo run --release -p tidings-store --example measure [ITEMS [SPAN [in-order|random [URL]]]]`; the URL is that of an empty PostgreSQL
//! database.
//!
//! Accepts events of 600 bytes with one letter of 5 KB each (alone and in batches of 100), fills the outbox to 10,000 and then to ITEMS (1,000,000) waiting
//! items, and claims and settles in hundreds at both depths. Prints a line for each, with the memory of the process. SPAN is how many items share a span of the
//! index of recipients (4294967295: all, which is what an index on the recipient alone costs; 0: as usual). The ids that events bring are in no order, as UUIDs
//! are, unless the third word says otherwise; the index that keeps them apart is the one that must span everything.

#![allow(clippy::disallowed_methods, reason = "a measurement runs by the machine's clock")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tidings_core::{
    Address, Clock, IdMint, Lane, Timestamp,
    outbox::{Item, Letter, Role, Settlement, State},
    time::later,
};
use tidings_store::{Acceptance, Claim, OpenOptions, PostgresStore, PostgresTuning, SealKey, SqliteStore, Store, Tuning};

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Events made at a time; few, because they are memory too.
const ROUND: usize = 6400;

struct Bench {
    store: Arc<dyn Store>,
    /// Transactions committed so far; on PostgreSQL nobody counts.
    commits: Box<dyn Fn() -> u64>,
    mint: Arc<IdMint>,
    number: Arc<AtomicU64>,
    in_order: bool,
}

/// Text that does not repeat, as letters do not.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + u8::try_from(state % 26).expect("below 26")
    };
    std::iter::repeat_with(letter).take(length).collect()
}

impl Bench {
    fn event(&self, letter_bytes: usize) -> Acceptance {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now();
        let (id, letter) = (self.mint.mint(now), self.mint.mint(now));
        // 100,000 readers in no order.
        let to = Address::parse(&format!("reader{}@example.org", number.wrapping_mul(7919) % 100_000)).expect("an address");
        Acceptance {
            id,
            source: "measure".to_owned(),
            event_id: format!("{:016x}-{number}", if self.in_order { number } else { number.wrapping_mul(0x9E37_79B9_7F4A_7C15) }),
            kind: "membership.joined",
            time: now,
            data: text(number, 600),
            secrets: None,
            trace: text(number, 200),
            trace_pattern: None,
            letters: vec![Letter {
                id: letter,
                kind: "membership.joined",
                rule: "joined".to_owned(),
                message_id: format!("{letter}@measure.example.org"),
                sender: Some(Address::parse("no-reply@example.org").expect("an address")),
                bytes: text(number, letter_bytes),
                sensitive: false,
                pattern: None,
            }],
            items: vec![Item {
                id: letter,
                letter,
                to,
                role: Role::To,
                relay: "main".to_owned(),
                lane: Lane::Notices,
                held: None,
                due_at: now,
                expires_at: later(now, Duration::from_secs(7 * 24 * 3600)),
            }],
            fan_outs: Vec::new(),
            guard: None,
            claimed_by: None,
        }
    }

    /// Accepts rounds of [`ROUND`] events by `callers` at once, `batch` a call. The events are made beforehand, so that only the store is measured.
    async fn accept(&self, what: &str, rounds: usize, batch: usize, callers: usize, letter_bytes: usize) {
        let commits = (self.commits)();
        let (mut spent, mut cpu) = (Duration::ZERO, 0.0);
        for _ in 0..rounds {
            let calls: Vec<Vec<Vec<Acceptance>>> = (0..callers)
                .map(|_| (0..ROUND / batch / callers).map(|_| (0..batch).map(|_| self.event(letter_bytes)).collect()).collect())
                .collect();
            let (start, cpu_before) = (Instant::now(), cpu_seconds());
            let mut tasks = Vec::new();
            for calls in calls {
                let store = self.store.clone();
                tasks.push(tokio::spawn(async move {
                    for call in calls {
                        store.accept(call).await.expect("accepted");
                    }
                }));
            }
            for task in tasks {
                task.await.expect("no caller panics");
            }
            spent += start.elapsed();
            cpu += cpu_seconds() - cpu_before;
        }
        report(what, rounds * ROUND, spent, cpu, (self.commits)() - commits);
    }

    /// Claims and settles `items` in hundreds, by `couriers` at once.
    async fn deliver(&self, what: &str, items: usize, couriers: usize) {
        let (commits, start, cpu) = ((self.commits)(), Instant::now(), cpu_seconds());
        let mut tasks = Vec::new();
        for courier in 0..couriers {
            let store = self.store.clone();
            let rounds = items / 100 / couriers;
            tasks.push(tokio::spawn(async move {
                for _ in 0..rounds {
                    let lease = Duration::from_secs(60);
                    let claim = Claim { max_bytes: 64 << 20, ..Claim::new(format!("node-{courier}"), "main", 100, lease) };
                    let leases = store.claim(claim).await.expect("claimed");
                    assert_eq!(leases.len(), 100, "enough waits");
                    let now = Timestamp::now();
                    let sent = |lease: &tidings_store::Lease| Settlement {
                        id: lease.id,
                        token: lease.token,
                        state: State::Sent,
                        due_at: now,
                        attempts: 1,
                        maybe_duplicate: false,
                        at: now,
                        what: "sent",
                        reply: "250 2.0.0 Ok: queued as 4XyZ1234".to_owned(),
                        relay: None,
                    };
                    store.settle(leases.iter().map(sent).collect()).await.expect("settled");
                }
            }));
        }
        for task in tasks {
            task.await.expect("no courier panics");
        }
        report(what, items, start.elapsed(), cpu_seconds() - cpu, (self.commits)() - commits);
    }

    async fn depths(&self) {
        let start = Instant::now();
        let depths = self.store.depths().await.expect("counted");
        let items: u64 = depths.iter().map(|depth| depth.items).sum();
        println!("depths: {items} items counted in {:.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers to look at")]
fn report(what: &str, items: usize, spent: Duration, cpu: f64, commits: u64) {
    let (seconds, each) = (spent.as_secs_f64(), cpu * 1e6 / items as f64);
    let rate = items as f64 / seconds;
    println!(
        "{what}: {rate:.0} a second ({items} in {seconds:.2} s, {each:.0} us CPU each, {commits} commits), resident {} MiB",
        resident_mib()
    );
}

/// The processor time of this process, from `/proc/self/stat` (proc(5): fields 14 and 15, in hundredths of a second). Unlike the rate it says something on a
/// machine that does other things too.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[tokio::main]
async fn main() {
    let items: usize = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number of items"));
    let span = std::env::args().nth(2).map_or(0, |text| text.parse().expect("items of a span"));
    let in_order = std::env::args().nth(3).is_some_and(|word| word == "in-order");
    let url = std::env::args().nth(4);
    let folder = tempfile::tempdir().expect("a folder");
    let options = OpenOptions {
        url: url.clone().unwrap_or_else(|| "sqlite:tidings.db".to_owned()),
        data_dir: folder.path().to_owned(),
        key: SealKey::from_bytes([7; 32]),
        clock: Arc::new(WallClock),
        min_free_bytes: 1 << 30,
    };
    let (store, commits): (Arc<dyn Store>, Box<dyn Fn() -> u64>) = if url.is_some() {
        (PostgresStore::open(options, PostgresTuning::default()).await.expect("opened"), Box::new(|| 0))
    } else {
        let store =
            SqliteStore::open(options, Tuning { span_items: (span > 0).then_some(span), ..Tuning::default() }).await.expect("opened");
        (store.clone(), Box::new(move || store.commits()))
    };
    let bench = Bench { store, commits, mint: Arc::new(IdMint::starting_after(None, 1)), number: Arc::default(), in_order };
    bench.accept("accept, 64 callers, one event a call, 5 KB", 3, 1, 64, 5000).await;
    bench.accept("accept, 4 callers, 100 events a call, 5 KB", 3, 100, 4, 5000).await;
    bench.deliver("claim 100 + settle 100, 2 couriers, below 40,000 waiting", 28_000, 2).await;
    println!("about 10,000 waiting: resident {} MiB", resident_mib());
    bench.depths().await;
    bench.accept("filling up, 0.5 KB", items.saturating_sub(10_000).div_ceil(ROUND), 100, 4, 500).await;
    bench.depths().await;
    println!("{items} waiting: resident {} MiB", resident_mib());
    bench.accept("accept, 64 callers, one event a call, 5 KB", 3, 1, 64, 5000).await;
    bench.accept("accept, 4 callers, 100 events a call, 5 KB", 3, 100, 4, 5000).await;
    bench.deliver("claim 100 + settle 100, 2 couriers", 30_000, 2).await;
    bench.deliver("claim 100 + settle 100, 1 courier", 30_000, 1).await;
    println!("at the end: resident {} MiB", resident_mib());
}
