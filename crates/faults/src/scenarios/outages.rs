//! A relay that goes away: in order, cut off in the middle, dead from the beginning, with too few seats, and beside one that is well.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidings_sink::{Fault, SinkOptions, Stage, What, When};

use crate::house::{House, Mail, events};
use crate::ledger::{End, Recovery, of_sink, probe_interval, reckon, recovery};
use crate::look;
use crate::street::{BRISK, RECOVERY, Street, house_with};
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const STOPS: Scenario = Scenario {
    name: "relay_stops_under_load",
    proves: "a relay that stops in order in the middle of a load and comes back delays, loses nothing, doubles nothing and spends no attempt",
    play: stops,
};

/// See `proves`.
pub(crate) const CUT_OFF: Scenario = Scenario {
    name: "relay_cut_off_under_load",
    proves: "a relay that is cut off three times in the middle of a load loses nothing; only letters whose last byte had left come twice, the same and marked",
    play: cut_off,
};

/// See `proves`.
pub(crate) const RETURN: Scenario = Scenario {
    name: "dead_relay_returns",
    proves: "a long queue waits for a dead relay without spending attempts; at its return one session goes first, and draining begins within one probe interval",
    play: returns,
};

/// See `proves`.
pub(crate) const CROWDED: Scenario = Scenario {
    name: "too_many_sessions",
    proves: "a relay that answers every session beyond its second with 421 gets fewer sessions, and every letter without an attempt spent",
    play: crowded,
};

/// See `proves`.
pub(crate) const TWO: Scenario = Scenario {
    name: "two_relays_one_dead",
    proves: "letters for a healthy relay go at once while another one is a black hole with a long queue",
    play: two,
};

/// See `proves`.
pub(crate) const NEXT: Scenario = Scenario {
    name: "next_relay_takes_over",
    proves: "while a relay is away the next one sends its letters, unspent, and none that holds a secret; those go once it is back",
    play: next,
};

const BATCH: usize = 100;
/// Time for draining, which a busy machine makes long.
const DRAINING: Duration = Duration::from_mins(3);

/// Posts a letter to each of so many readers; each batch must be accepted, relay or not.
fn post_all(house: &House, letters: usize) {
    let numbers: Vec<usize> = (0..letters).collect();
    for batch in numbers.chunks(BATCH) {
        let reader = |n: &usize| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en"));
        assert_eq!(house.accept(&batch.iter().map(reader).collect::<Vec<Value>>()).len(), batch.len());
    }
}

/// Waits until the relay is held because nobody listens; what waits for it then has spent nothing.
fn demand_held(house: &House) {
    // A cut is told first; the next probe finds that nobody listens.
    let refused = |relay: &Value| {
        let unreachable = relay["reason"].as_str().is_some_and(|why| why.starts_with("connect: "));
        unreachable && relay["condition"] == "held" && relay["waiting"].as_u64() > Some(0)
    };
    let relay = house.until("the relay to be held because it cannot be reached", || Some(look::relay(house, "sink")).filter(refused));
    assert!(relay["reason"].as_str().is_some_and(|why| why.contains("127.0.0.1")) && relay["next_probe_at"].is_string(), "{relay}");
    let waiting = look::items(house, "state=waiting");
    // Not even of a letter that was behind its final dot: nobody refused it.
    assert!(!waiting.is_empty() && waiting.iter().all(|item| item["attempts"] == 0), "a dead relay spends nobody's attempts");
}

fn stops(scale: Scale) -> Tally {
    let letters = scale.of(1_500, 20_000);
    let house = House::start(|_| {});
    thread::scope(|scope| {
        let posting = scope.spawn(|| post_all(&house, letters));
        house.sink.wait_for(letters as u64 / 4);
        // A relay that is stopped finishes what it has begun, sends everybody away and is gone.
        house.sink.add_fault(Fault::new(Stage::Connect, When::Always, What::reply("421 4.3.2 shutting down")));
        house.sink.add_fault(Fault::new(Stage::Mail, When::Always, What::reply("421 4.3.2 shutting down")));
        house.until("its sessions to end", || (house.sink.statistics().open == 0).then_some(()));
        house.sink.close();
        house.sink.clear_faults();
        posting.join().expect("events are accepted while the relay is down");
    });
    let before = house.sink.count();
    assert!(before < letters as u64, "the scenario wants an outage in the middle");
    demand_held(&house);
    assert_eq!(house.sink.count(), before);
    let recovery = recovery(&house, "sink", || house.sink.reopen(), || house.sink.count() > before);
    house.until_quiet_within(DRAINING);
    house.until("the relay to be well again", || (look::relay(&house, "sink")["condition"] != "held").then_some(()));
    let tally = reckon(&house.outbox(&[]), letters, &of_sink(&house.sink.letters()), |_| End::Sent).recovered(recovery);
    assert_eq!(tally.doubled, 0, "a relay that stops in order leaves no letter in doubt");
    tally
}

fn cut_off(scale: Scale) -> Tally {
    const CUTS: u64 = 3;
    const SESSIONS: u64 = 4;
    let letters = scale.of(1_500, 20_000);
    let house = House::start(|config| {
        config.relay_key("limits", &format!("{{ sessions = {SESSIONS} }}"));
        config.relay_key("retry", "{ delays = [\"1s\"] }");
    });
    let recoveries = thread::scope(|scope| {
        let posting = scope.spawn(|| post_all(&house, letters));
        let mut recoveries = Vec::new();
        for cut in 1..=CUTS {
            house.sink.wait_for(letters as u64 / 5 * cut);
            house.sink.close();
            demand_held(&house);
            let before = house.sink.count();
            recoveries.push(recovery(&house, "sink", || house.sink.reopen(), || house.sink.count() > before));
        }
        posting.join().expect("events are accepted all the time");
        recoveries
    });
    house.until_quiet_within(DRAINING);
    let tally = reckon(&house.outbox(&[]), letters, &of_sink(&house.sink.letters()), |_| End::Sent);
    recoveries.into_iter().fold(tally, Tally::recovered)
}

fn returns(scale: Scale) -> Tally {
    let letters = scale.of(1_000, 20_000);
    let house = House::start(|config| config.relay_key("limits", "{ sessions = 8 }"));
    house.sink.close();
    post_all(&house, letters);
    demand_held(&house);
    assert_eq!(house.sink.statistics().sessions, 0);
    // It takes its time for each of the first letters, so that a herd would be seen.
    house.sink.add_fault(Fault::new(Stage::Content, When::First(4), What::Stall(Duration::from_millis(300))));
    let herd = Cell::new(0);
    let flows = || {
        let most = house.sink.statistics().most_open;
        let none_yet = house.sink.count() == 0;
        if none_yet {
            herd.set(most);
        }
        !none_yet
    };
    let recovery = recovery(&house, "sink", || house.sink.reopen(), flows);
    assert!(herd.get() <= 1, "{} sessions came before the first letter was answered", herd.get());
    house.until_quiet_within(DRAINING);
    let tally = reckon(&house.outbox(&[]), letters, &of_sink(&house.sink.letters()), |_| End::Sent).recovered(recovery);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally
}

fn crowded(scale: Scale) -> Tally {
    const SEATS: usize = 2;
    let letters = scale.of(600, 6_000);
    let house = house_with(SinkOptions { max_sessions: Some(SEATS), ..SinkOptions::default() }, |config| {
        config.relay_key("limits", "{ sessions = 8, messages_per_session = 20 }");
    });
    // Letters take a moment, or two sessions are all that is ever wanted.
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(5))));
    post_all(&house, letters);
    house.until_quiet_within(DRAINING);
    assert!(house.sink.statistics().most_open > SEATS, "the scenario wants more sessions than there are seats");
    let tally = reckon(&house.outbox(&[]), letters, &of_sink(&house.sink.letters()), |_| End::Sent);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally
}

/// A listener that never accepts, with its queue full: whoever connects gets no answer, not even a refusal.
struct BlackHole {
    addr: SocketAddr,
    _listener: tokio::net::TcpListener,
    _queue: Vec<TcpStream>,
    _runtime: tokio::runtime::Runtime,
}

impl BlackHole {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket can be made");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a loopback port is free");
        let listener = socket.listen(1).expect("a bound socket can listen");
        let addr = listener.local_addr().expect("it is bound");
        drop(entered);
        // The kernel takes a few more than it was told; the first that gets no answer shows that no other will.
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
            queue.push(stream);
            assert!(queue.len() < 100, "the queue of a listener that never accepts does not fill");
        }
        Self { addr, _listener: listener, _queue: queue, _runtime: runtime }
    }
}

fn two(scale: Scale) -> Tally {
    let letters = scale.of(200, 1_000);
    let hole = BlackHole::open();
    let sink = Mail::open();
    let street = Street::open(&[hole.addr.port(), sink.addr().port()], BRISK);
    street.post([0], letters);
    let held = street.until_held(&[0]).remove(0);
    assert!(held["reason"].as_str().is_some_and(|why| why.contains("does not answer")), "{held}");
    let start = Instant::now();
    street.post([1], letters);
    sink.wait_for(letters as u64);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(60), "letters for the healthy relay took {took:?}");
    let relays = street.relays();
    assert_eq!((&relays[0]["condition"], &relays[1]["reason"]), (&Value::from("held"), &Value::Null), "{relays:?}");
    let items = street.items();
    assert!(items.iter().filter(|item| item["relay"] == "r0").all(|item| item["attempts"] == 0), "a black hole spends attempts");

    // The hole is closed and a relay stands in its place.
    let (addr, start) = (hole.addr, Instant::now());
    drop(hole);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime can be made");
    let entered = runtime.enter();
    let second = tidings_sink::Sink::listen(addr, SinkOptions::default()).expect("its port is free again");
    drop(entered);
    street.house.until("the second relay to get letters", || (second.count() > 0).then_some(()));
    let interval = probe_interval(&street.house, "r0").expect("it was held");
    // A probe that was under way in the hole waits for its deadline first.
    let recovery = Recovery { took: start.elapsed(), interval: interval + Duration::from_secs(1) };
    street.until_quiet(RECOVERY);
    let arrivals = [of_sink(&sink.letters()), of_sink(&second.letters())].concat();
    let tally = reckon(&street.items(), street.accepted(), &arrivals, |_| End::Sent).recovered(recovery);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally
}

fn next(scale: Scale) -> Tally {
    let letters = scale.of(200, 5_000);
    let backup = Mail::open();
    let house = House::start(|config| {
        config.relay_key("next", "\"backup\"");
        let port = backup.addr().port();
        config.more(&format!(
            "[[relay]]\nname = \"backup\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"no-reply@tidings.example\"\n"
        ));
    });
    house.sink.close();
    house.accept(&[events::password_reset("secret", "secret@example.org", "Blue-Harbour-7")]);
    post_all(&house, letters);
    backup.wait_for(letters as u64);
    house.until("only the letter with a secret to wait", || {
        let open = look::items(&house, "state=waiting");
        (open.len() == 1 && open[0]["to"] == "secret@example.org" && open[0]["attempts"] == 0).then_some(())
    });
    assert!(backup.letters_to("secret@example.org").is_empty(), "a secret went by a relay it was not meant for");
    let recovery = recovery(&house, "sink", || house.sink.reopen(), || house.sink.count() > 0);
    house.until_quiet();
    let arrivals = [of_sink(&house.sink.letters()), of_sink(&backup.letters())].concat();
    let tally = reckon(&house.outbox(&[]), letters + 1, &arrivals, |_| End::Sent).recovered(recovery);
    assert_eq!(tally.doubled, 0, "no letter was ever in doubt");
    tally
}
