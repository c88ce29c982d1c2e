//! Another configuration while the server runs.

mod house;

use house::{House, Mail, events};
use std::time::Duration;
use tidings_sink::{Fault, Stage, What, When};

fn relay(name: &str, port: u16) -> String {
    format!(
        "[[relay]]\nname = \"{name}\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"{name}@tidings.example\"\n"
    )
}

const HELPDESK: &str = "[[rule]]\nname = \"helpdesk\"\non = [\"account.created\"]\nto = [\"helpdesk@example.org\"]\nrelay = \"second\"\n";

#[test]
fn new_rules_relays_and_rails_are_in_force_without_a_restart() {
    let second = Mail::open();
    let mut house = House::start(|_| {});
    house.accept(&[events::test_letter("before", "before@example.org")]);
    house.sink.letter_to("before@example.org");
    let port = second.addr().port();
    house.reconfigure(|config| {
        config.more(&relay("second", port));
        config.more(HELPDESK);
        config.set("safety", "allowed_domains", "[\"example.org\"]");
        config.set("server", "max_body", "\"1MiB\"");
    });
    let ended = house.command(&["reload"]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("relay second: new") && ended.stdout.contains("the configuration is in force"), "{ended:?}");
    assert!(ended.stdout.contains("server.max_body: is different, and comes into force with the next start"), "{ended:?}");

    house.accept(&[events::event("7", "account.created", serde_json::json!({"object": events::person("linus@example.org", "en")}))]);
    assert_eq!(second.letter_to("helpdesk@example.org").from, "second@tidings.example");
    house.sink.letter_to("linus@example.org");
    house.accept(&[events::test_letter("outside", "eve@elsewhere.example")]);
    house.until_state("eve@elsewhere.example", "failed");
    let names: Vec<_> = house.get("/v1/relays")["items"].as_array().expect("a list").iter().map(|relay| relay["name"].clone()).collect();
    assert_eq!(names, ["sink", "second"]);
}

#[test]
fn a_broken_configuration_is_refused_with_all_its_problems_and_the_old_one_stays() {
    let mut house = House::start(|_| {});
    house.reconfigure(|config| config.more("[[rule]]\nname = \"broken\"\non = [\"membership.join\"]\nto = [\"nobody\"]\n"));
    let ended = house.command(&["reload"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    for problem in ["did you mean `membership.joined`?", "`nobody` is not an audience"] {
        assert!(ended.stderr.contains(problem), "{ended:?}");
    }
    // The server is told by a signal, too, and says what is wrong in its log.
    house.serving().hang_up();
    house.until("the refusal in the log", || house.log_has("the new configuration is refused").then_some(()));
    assert!(house.log_has("did you mean `membership.joined`?") && house.log_has("`nobody` is not an audience"), "{}", house.log());
    house.accept(&[events::test_letter("after", "ada@example.org")]);
    house.sink.letter_to("ada@example.org");
}

#[test]
fn a_reload_in_the_middle_of_a_load_loses_and_doubles_nothing() {
    let second = Mail::open();
    let mut house = House::start(|_| {});
    house.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(5))));
    let port = second.addr().port();
    let load: Vec<_> = (0..600).map(|n| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org"))).collect();
    for half in load.chunks(300) {
        house.accept(half);
        house.sink.wait_for(20);
        // The first relay changes while its letters are on the wire; then the rest is taken over by nobody, and goes the new way.
        house.reconfigure(|config| config.relay_key("port", &port.to_string()));
        let ended = house.command(&["reload"]);
        assert!(ended.status.success() && ended.stdout.contains("the configuration is in force"), "{ended:?}");
    }
    house.until_quiet();
    let sent = house.outbox(&["--state", "sent"]);
    assert_eq!(sent.len(), 600);
    assert!(sent.iter().all(|item| item["maybe_duplicate"] == false && item["attempts"] == 1), "nothing was cut off");
    assert_eq!(house.sink.count() + second.count(), 600, "each letter went once");
    assert!(second.count() >= 300, "{} went the new way", second.count());
}

#[test]
fn without_a_server_there_is_nothing_to_reload() {
    let house = House::furnish(|_| {});
    let ended = house.command(&["reload"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no tidings serve is working on"), "{ended:?}");
}
