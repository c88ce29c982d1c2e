//! A relay that is away for a day, on a virtual clock: the real postman and the real database inside this process, and a minute of it in a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidings_core::{
    Address, Clock, Id, Lane, Timestamp,
    guard::{EnvironmentGuard, Mode},
    outbox::{Item, Letter, Role, State},
    time::{from_millis, later},
};
use tidings_delivery::{
    Postman, PostmanOptions, Route,
    news::Newswire,
    plan::{RelayPlan, SmtpPlan, TlsMode, Way},
};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};
use tidings_store::{Acceptance, Filter, ItemRow, OpenOptions, SealKey, Store};
use tidings_testkit::folder::Folder;

use crate::{Recovery, Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const DAY: Scenario = Scenario {
    name: "outage_of_a_day",
    proves: "24 hours without a relay, on a virtual clock: one probe at a time, about one a minute, no attempt spent, short-lived letters expire on time, the others go within one probe interval of the relay's return",
    play,
};

/// The longest delay between two probes (`BreakerPlan::default`), with its fifth.
const INTERVAL: Duration = Duration::from_secs(72);
/// What lives shorter than the outage.
const SHORT_LIFE: Duration = Duration::from_mins(15);
const LONG_LIFE: Duration = Duration::from_hours(96);

/// The house's clock, moved together with the runtime's. Read by the database's own thread too, which has no runtime to ask.
struct VirtualClock(AtomicI64);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        from_millis(self.0.load(Ordering::Acquire))
    }
}

/// The most real time that anything may take to follow a step of the clock.
const REAL_PATIENCE: Duration = Duration::from_secs(60);

struct Day {
    clock: Arc<VirtualClock>,
    store: Arc<dyn Store>,
    sink: Sink,
}

impl Day {
    /// Moves both clocks on, then lets everybody who has something to do then do it.
    async fn step(&self, by: Duration) {
        self.clock.0.fetch_add(i64::try_from(by.as_millis()).expect("a step is short"), Ordering::AcqRel);
        tokio::time::advance(by).await;
        self.settle_down().await;
    }

    /// Waits until the desk has said when it will probe, and moves on to then. Meanwhile the clock all but stands still.
    async fn to_the_next_probe(&self) {
        let start = std::time::Instant::now();
        loop {
            let relays = self.store.relays().await.expect("the database answers");
            let next = relays.iter().find(|relay| relay.name == "main").and_then(|relay| relay.next_probe_at);
            match next.map(|next| next.duration_since(self.clock.now())) {
                // Both clocks count whole milliseconds, the probe does not.
                Some(left) if left.is_positive() => return self.step(left.unsigned_abs() + Duration::from_millis(2)).await,
                _ => assert!(start.elapsed() < REAL_PATIENCE, "no probe follows the one before: {relays:?}"),
            }
            self.step(Duration::from_millis(10)).await;
        }
    }

    /// The database's thread and the sockets of this machine live in real time: a verb through the one and a breath for the others, and all have had their turn.
    async fn settle_down(&self) {
        for _ in 0..3 {
            self.store.relays().await.expect("the database answers");
            breathe().await;
        }
    }

    async fn rows(&self) -> Vec<ItemRow> {
        let (mut rows, mut before) = (Vec::new(), None);
        loop {
            let page = self.store.items(Filter::default(), before, 500).await.expect("the database answers");
            rows.extend(page.items);
            match page.next {
                Some(next) => before = Some(next),
                None => return rows,
            }
        }
    }

    async fn accept(&self, first: i64, count: usize, life: Duration) {
        let now = self.clock.now();
        let batch = (first..).take(count).map(|number| acceptance(number, now, later(now, life))).collect();
        self.store.accept(batch).await.expect("the database answers");
    }

    /// Waits in real time, with the virtual clock standing still.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let start = std::time::Instant::now();
        while !holds(self).await {
            assert!(start.elapsed() < REAL_PATIENCE, "not within {REAL_PATIENCE:?}: {what}");
            breathe().await;
        }
    }
}

/// A moment of real time in which sockets and other threads are served. The runtime's own clock is paused and says nothing of it.
async fn breathe() {
    tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(200))).await.expect("nothing in it panics");
}

fn acceptance(number: i64, now: Timestamp, expires_at: Timestamp) -> Acceptance {
    let id = Id::from_number(number);
    let to = format!("reader.{number}@example.org");
    let message_id = format!("{number}@house.example.org");
    let bytes =
        format!("From: house@example.org\r\nMessage-ID: <{message_id}>\r\nTo: {to}\r\nSubject: {number}\r\n\r\nhello\r\n").into_bytes();
    let sender = Some(Address::parse("house@example.org").expect("an address"));
    let letter = Letter { id, kind: "object.changed", rule: "r".into(), message_id, sender, bytes, sensitive: false, pattern: None };
    let item = Item {
        id,
        letter: id,
        to: Address::parse(&to).expect("an address"),
        role: Role::To,
        relay: "main".into(),
        lane: Lane::Notices,
        held: None,
        due_at: now,
        expires_at,
    };
    Acceptance {
        id,
        source: "day".into(),
        event_id: number.to_string(),
        kind: "object.changed",
        time: now,
        data: b"{}".to_vec(),
        secrets: None,
        trace: b"{}".to_vec(),
        trace_pattern: None,
        letters: vec![letter],
        items: vec![item],
        fan_outs: Vec::new(),
        guard: None,
        claimed_by: None,
    }
}

fn play(scale: Scale) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(day(scale))
}

async fn day(scale: Scale) -> Tally {
    let (long, short) = scale.of((200, 40), (2_000, 400));
    let folder = Folder::new("day");
    let clock = Arc::new(VirtualClock(AtomicI64::new(1_795_000_000_000)));
    let options = OpenOptions {
        url: "sqlite:tidings.db".to_owned(),
        data_dir: folder.path().to_owned(),
        key: SealKey::from_bytes([7; 32]),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        min_free_bytes: 0,
    };
    let store = tidings_store::open(options).await.expect("a fresh database opens");
    // A relay that is up and serves nobody: each probe is seen and counted.
    let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), SinkOptions::default()).expect("a loopback port is free");
    sink.add_fault(Fault::new(Stage::Connect, When::Always, What::reply("421 4.3.2 back tomorrow")));
    let way = Way::Smtp(SmtpPlan { tls: TlsMode::None, ..SmtpPlan::new("127.0.0.1", sink.addr().port()) });
    let day = Day { clock, store, sink };
    day.accept(1, long, LONG_LIFE).await;
    day.accept(1_000_000, short, SHORT_LIFE).await;

    tokio::time::pause();
    // As long as something blocks, the runtime does not advance its paused clock by itself.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let holding = tokio::task::spawn_blocking(move || held.recv());
    let postman = Postman::start(PostmanOptions {
        store: Arc::clone(&day.store),
        route: Route {
            relays: vec![RelayPlan::new("main", way)],
            guard: EnvironmentGuard::new(Mode::Live, None, None, vec![]),
            file: None,
        },
        clock: Arc::clone(&day.clock) as Arc<dyn Clock>,
        tenure: tidings_store::Tenure::alone("node"),
        seed: 42,
        news: Newswire::default(),
    });
    let begun = day.clock.now();
    let outage = Duration::from_hours(24);
    let (mut later_accepted, mut gone_on_time) = (0, false);
    loop {
        let lived = day.clock.now().duration_since(begun).unsigned_abs();
        if lived >= outage {
            break;
        }
        // News goes on while the relay is away.
        if lived >= Duration::from_hours(1) * u32::try_from(later_accepted / 5 + 1).expect("few") {
            day.accept(2_000_000 + later_accepted, 5, LONG_LIFE).await;
            later_accepted += 5;
        }
        if !gone_on_time && lived > SHORT_LIFE + Duration::from_mins(2) {
            let expired = async |day: &Day| day.rows().await.iter().filter(|row| row.state == State::Expired).count() == short;
            day.until("short-lived letters to expire during the outage", expired).await;
            gone_on_time = true;
        }
        day.to_the_next_probe().await;
    }
    assert!(gone_on_time && later_accepted > 100);
    day.until("nothing to be on its way", async |day| day.rows().await.iter().all(|row| row.state != State::Claimed)).await;
    let probes = day.sink.statistics();
    assert_eq!(postman.status().relays[0].condition, "held");
    let minutes = outage.as_secs() / 60;
    assert!((minutes * 9 / 10..=minutes * 11 / 10 + 10).contains(&probes.sessions), "{} probes in {minutes} minutes", probes.sessions);
    assert_eq!(probes.most_open, 1, "one probe at a time");
    let rows = day.rows().await;
    let spent: u32 = rows.iter().map(|row| row.attempts).sum();
    assert!(rows.iter().all(|row| [State::Waiting, State::Expired].contains(&row.state)), "a letter ended in the outage");

    // The relay is back.
    day.sink.clear_faults();
    let back = day.clock.now();
    day.to_the_next_probe().await;
    let start = std::time::Instant::now();
    while day.sink.count() == 0 {
        assert!(start.elapsed() < REAL_PATIENCE, "no letter came by the first probe");
        day.step(Duration::from_millis(1)).await;
    }
    let took = day.clock.now().duration_since(back).unsigned_abs();
    let promised = long + usize::try_from(later_accepted).expect("few");
    let mut draining = Duration::ZERO;
    while day.rows().await.iter().filter(|row| row.state == State::Sent).count() < promised {
        // Short, so that a machine that has other work to do lets no session's patience end.
        let step = Duration::from_millis(100);
        day.step(step).await;
        draining += step;
        assert!(draining < Duration::from_mins(30), "{} of {promised} letters after {draining:?}", day.sink.count());
    }
    drop(release);
    let _ = holding.await;
    tokio::time::resume();
    assert!(postman.stop(Duration::from_secs(10)).await, "the postman ends in order");
    tally(&day.rows().await, &day.sink, spent, Recovery { took, interval: INTERVAL })
}

fn tally(rows: &[ItemRow], sink: &Sink, spent: u32, recovery: Recovery) -> Tally {
    let mut tally = Tally { letters: rows.len(), spent: u64::from(spent), recovery: Some(recovery), ..Tally::default() };
    for row in rows {
        let came = sink.letters_to(row.to.as_str()).len();
        match row.state {
            State::Expired if came == 0 => tally.refused += 1,
            State::Sent if came > 0 => {
                tally.doubled += came - 1;
                tally.marked += if row.maybe_duplicate { came - 1 } else { 0 };
            }
            _ => tally.lost += 1,
        }
    }
    tally
}
