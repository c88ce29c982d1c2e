//! A relay goes and the next one takes over; administrators hear of it by letter and by webhook; urgent letters pass all others.

mod house;

use std::time::Duration;

use house::{House, Mail, PATIENCE, events};
use serde_json::Value;
use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::folder::Folder;
use tidings_testkit::ports::free_port;
use tidings_testkit::process::{Program, Running, installed};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A second relay in the configuration.
fn backup(port: u16) -> String {
    format!(
        "[[relay]]\nname = \"backup\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"backup@tidings.example\"\n"
    )
}

/// An independent receiver of webhooks.
struct Receiver {
    running: Running,
    _folder: Folder,
    url: String,
}

impl Receiver {
    fn start() -> Self {
        let (folder, port) = (Folder::new("webhook"), free_port());
        let script = folder.write("receiver.py", include_str!("webhook/receiver.py"));
        let program = Program::new(installed("python3", "python3")).args(["-I".into(), script]).args([port.to_string(), SECRET.to_owned()]);
        let mut running = program.start(folder.path());
        let url = format!("http://127.0.0.1:{port}/hook?token=not-for-logs");
        running.wait_ready(&url, PATIENCE);
        Self { running, _folder: folder, url }
    }

    /// What has been posted so far.
    fn posted(&self) -> Vec<Value> {
        self.running.stdout().lines().map(|line| serde_json::from_str(line).expect("the receiver writes JSON")).collect()
    }

    /// What it has taken of this kind.
    fn taken(&self, kind: &str) -> Vec<Value> {
        self.posted().into_iter().filter(|post| post["status"] == 204 && post["body"]["type"] == kind).collect()
    }
}

#[test]
fn the_next_relay_takes_over_and_administrators_are_told_by_letter_and_by_webhook() {
    let (second, receiver) = (Mail::open(), Receiver::start());
    let house = House::start(|config| {
        config.relay_key("next", "\"backup\"");
        config.more(&backup(second.addr().port()));
        config.set("alerts", "to", "[\"ops@example.org\"]");
        config.set("alerts", "after", "\"2s\"");
        config.set("alerts", "webhook", &format!("{{ url = \"{}\", secret = \"{SECRET}\" }}", receiver.url));
    });
    house.accept(&[events::test_letter("before", "first@example.org")]);
    assert_eq!(house.sink.letter_to("first@example.org").from, "no-reply@tidings.example");

    house.sink.close();
    let joined: Vec<Value> =
        (0..40).map(|n| events::joined(&n.to_string(), events::person(&format!("reader.{n}@example.org"), "en"))).collect();
    house.accept(&joined);
    house.accept(&[events::password_reset("secret", "ada@example.org", "geheim-4711")]);
    for n in 0..40 {
        second.letter_to(&format!("reader.{n}@example.org"));
    }
    let sent = house.until_state("reader.7@example.org", "sent");
    assert_eq!((sent["relay"].as_str(), sent["attempts"].as_u64()), (Some("backup"), Some(1)), "{sent}");
    let history = house.show(sent["id"].as_str().expect("an id is a text"))["history"].clone();
    let lines: Vec<&str> = history.as_array().expect("a history is a list").iter().filter_map(|line| line["what"].as_str()).collect();
    assert!(lines.contains(&"taken") && lines.last() == Some(&"sent"), "{history}");
    assert!(history.to_string().contains("backup takes over: sink is held"), "{history}");

    // Who is to be told, is told: by the relay that works, once, and by the webhook, which refuses the first attempt.
    let letter = second.letter_to("ops@example.org");
    let verdict = house::mail::judged(&letter);
    assert_eq!(verdict.subject.as_deref(), Some("Relay sink is held"));
    assert!(
        verdict.text.as_deref().is_some_and(|text| text.contains("cannot be reached") && text.contains("backup")),
        "{:?}",
        verdict.text
    );
    let held = house.until("the webhook to be taken", || receiver.taken("relay.held").first().cloned());
    assert_eq!(
        (held["right"].as_bool(), held["fresh"].as_bool(), held["body"]["data"]["relay"].as_str()),
        (Some(true), Some(true), Some("sink"))
    );
    assert_eq!(held["body"]["data"]["sent_by"], "backup", "{held}");
    let first = receiver.posted()[0].clone();
    assert_eq!(
        (first["status"].as_u64(), first["right"].as_bool(), &first["id"]),
        (Some(503), Some(true), &held["id"]),
        "the same message again"
    );

    // The secret has waited for its own relay.
    let secret = house.get("/v1/outbox?to=ada@example.org")["items"][0].clone();
    assert_eq!((secret["state"].as_str(), secret["relay"].as_str()), (Some("waiting"), Some("sink")), "{secret}");
    let why = house.relay("sink")["reason"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("backup sends its letters meanwhile, except secrets"), "{why}");

    house.sink.reopen();
    house.sink.letter_to("ada@example.org");
    house.until("the end to be posted", || receiver.taken("relay.recovered").first().cloned());
    house.sink.letter_to("ops@example.org");
    house.accept(&[events::joined("after", events::person("last@example.org", "en"))]);
    house.sink.letter_to("last@example.org");
    house.until_quiet();
    assert_eq!((second.letters_to("ops@example.org").len(), house.sink.letters_to("ops@example.org").len()), (1, 1));
    assert!(second.letters_to("ada@example.org").is_empty(), "secrets never travel by the next relay");
    assert_eq!((receiver.taken("relay.held").len(), receiver.taken("relay.recovered").len()), (1, 1));
    assert!(house.sink.duplicates().is_empty() && second.duplicates().is_empty());
    assert!(!house.log_has("not-for-logs") && !house.log_has("MfKQ9r8G"), "{}", house.log());
}

#[test]
fn an_urgent_letter_passes_thousands_on_a_slow_relay() {
    let house = House::start(|config| config.relay_key("limits", "{ sessions = 2 }"));
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(250))));
    for batch in 0..10 {
        let events: Vec<Value> = (0..100)
            .map(|n| events::joined(&format!("{batch}-{n}"), events::person(&format!("reader.{batch}.{n}@example.org"), "en")))
            .collect();
        house.accept(&events);
    }
    house.sink.wait_for(10);
    for n in 0..3 {
        let to = format!("urgent{n}@example.org");
        house.accept(&[events::reset_link(&format!("urgent{n}"), &to, "https://portal.example.org/reset/abc")]);
        let before = house.sink.letters().len();
        house.sink.letter_to(&to);
        // Two sessions: in each the letter at hand and what rides behind it; one of a lower lane's share.
        let place = house.sink.letters().iter().position(|letter| letter.to[0] == to).expect("it has come");
        let went_before = place.saturating_sub(before);
        assert!(went_before <= 12, "{went_before} letters went before an urgent one");
    }
}
