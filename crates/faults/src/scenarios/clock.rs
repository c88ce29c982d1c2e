//! The wall clock stepped, forwards and back, under a running server. Only its own: a small library, built with `cc` and preloaded, shifts what it is told.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::folder::Folder;
use tidings_testkit::process::{Program, installed};

use crate::house::{House, PATIENCE, events};
use crate::ledger::{End, of_sink, reckon};
use crate::{Scale, Scenario, Tally, look};

/// See `proves`.
pub(crate) const STEPS: Scenario = Scenario {
    name: "clock_steps",
    proves: "the wall clock stepped an hour ahead and a day back, with letters on the wire, waiting and arriving: nothing is lost or sent twice by a lease that only seems to have lapsed, and letters flow at once, those accepted while the clock was ahead like those after",
    play,
};

/// The wall clock of one server.
struct WallClock {
    library: PathBuf,
    step: PathBuf,
    file: File,
    _folder: Folder,
}

impl WallClock {
    fn build() -> Self {
        let folder = Folder::new("clock");
        let source = folder.write("clock_step.c", include_str!("clock_step.c"));
        let library = folder.join("clock_step.so");
        let arguments = [PathBuf::from("-shared"), "-fPIC".into(), "-O1".into(), "-o".into(), library.clone(), source];
        let built = Program::new(installed("cc", "gcc")).args(arguments).run(folder.path(), PATIENCE);
        assert!(built.status.success(), "{}", built.stderr);
        // As long as what is mapped, so that no read is beyond its end.
        let step = folder.write("step", [b' '; 32]);
        let file = File::options().write(true).open(&step).expect("our own file");
        let clock = Self { library, step, file, _folder: folder };
        clock.step(0);
        clock
    }

    /// From now on it is so many seconds later, or earlier, than it really is.
    fn step(&self, seconds: i64) {
        self.file.write_all_at(format!("{seconds:<32}").as_bytes(), 0).expect("our own file");
    }
}

fn letters(from: usize, count: usize) -> Vec<Value> {
    (from..from + count).map(|n| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org"))).collect()
}

fn play(scale: Scale) -> Tally {
    const HOUR: i64 = 3_600;
    const SESSIONS: usize = 4;
    let count = scale.of(40, 1_000);
    let clock = WallClock::build();
    let mut house = House::furnish(|config| {
        config.relay_key("limits", &format!("{{ sessions = {SESSIONS} }}"));
        config.relay_key("retry", "{ delays = [\"2s\"] }");
    });
    house.token = house.create_token("events:write,outbox:read,outbox:write");
    house.set_environment("LD_PRELOAD", clock.library.to_str().expect("a readable path"));
    house.set_environment("TIDINGS_CLOCK_STEP", clock.step.to_str().expect("a readable path"));
    house.serve();
    let mut posted = 0;
    let mut post = |house: &House| {
        house.accept(&letters(posted, count));
        posted += count;
        posted
    };
    // For some seconds each session has a letter behind its final dot, and others of the same lease wait for it.
    let stall = || Fault::new(Stage::Content, When::First(SESSIONS as u64), What::Stall(Duration::from_secs(4)));
    let on_the_wire = |house: &House| {
        let busy = || house.get("/v1/outbox?state=claimed&limit=1000")["items"].as_array().is_some_and(|items| items.len() > SESSIONS);
        house.until("letters to be on the wire", || busy().then_some(()));
    };

    // Ahead: every lease seems to have lapsed.
    house.sink.add_fault(stall());
    let all = post(&house);
    on_the_wire(&house);
    clock.step(HOUR);
    let said = |house: &House| house.get("/v1/outbox?limit=1")["items"][0]["accepted_at"].clone();
    post(&house);
    assert!(ahead(&said(&house)) > 3_000, "the server's clock is not ahead: {}", said(&house));
    house.sink.wait_for((2 * all) as u64);
    house.until_quiet();
    house.sink.clear_faults();

    // A day back, with letters on the wire and others that nobody has claimed. All go at once, new or not; leases seem fresh for ever.
    house.sink.add_fault(Fault::new(
        Stage::Rcpt,
        When::ToAddressContains(format!("reader.{}@", 2 * count)),
        What::reply("451 4.3.0 later"),
    ));
    house.sink.add_fault(stall());
    post(&house);
    on_the_wire(&house);
    assert_eq!(house.request("POST", "/v1/relays/sink/pause").status, 200);
    let unclaimed = post(&house) - 1;
    clock.step(HOUR - 24 * HOUR);
    assert_eq!(house.request("POST", "/v1/relays/sink/resume").status, 200);
    post(&house);
    assert!(ahead(&said(&house)) < -80_000, "the server's clock is not behind: {}", said(&house));
    let refused = format!("reader.{}@example.org", 2 * count);
    house.until("every letter but the refused one to arrive, by a clock that is a day behind", || {
        let letters = house.sink.letters();
        let arrived: HashSet<&str> = letters.iter().map(|letter| letter.to[0].as_str()).filter(|to| number(to) > 2 * count).collect();
        (arrived.len() == 3 * count - 1).then_some(())
    });
    let moved = look::items(&house, &format!("to=reader.{unclaimed}@example.org")).remove(0);
    let history = house.show(moved["id"].as_str().expect("an item has an id"))["history"].clone();
    let told = |line: &Value| line["what"] == "clock" && line["detail"] == "accepted while the clock was 24 h ahead";
    assert!(history.as_array().is_some_and(|lines| lines.iter().any(told)), "{history}");
    // The refused one, too, does not wait for the clock.
    house.sink.clear_faults();
    house.until_quiet();
    assert_eq!(look::items(&house, "state=expired"), [] as [Value; 0]);
    // The clock is put right.
    clock.step(HOUR);
    post(&house);
    house.until_quiet();
    assert!(house.terminate().success());
    house.serve();
    assert_eq!(house.get("/v1/outbox?state=waiting")["items"], json!([]));
    let ends = |item: &Value| if item["to"] == refused.as_str() { End::SentSomehow } else { End::Sent };
    let tally = reckon(&house.outbox(&[]), posted, &of_sink(&house.sink.letters()), ends);
    assert_eq!(tally.doubled, 0, "a wrong clock makes letters late, never double");
    fs::metadata(&clock.step).expect("the clock outlives the server");
    tally
}

fn number(reader: &str) -> usize {
    reader.split(['.', '@']).nth(1).and_then(|number| number.parse().ok()).expect("a reader has a number")
}

/// Seconds by which a moment the server has written is ahead of the real one.
fn ahead(written: &Value) -> i64 {
    let written: jiff::Timestamp = written.as_str().expect("a moment").parse().expect("a moment in RFC 3339");
    written.duration_since(jiff::Timestamp::now()).as_secs()
}
