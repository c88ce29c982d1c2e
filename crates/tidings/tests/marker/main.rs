//! Symantec's recipe without its six steps: a value in an attribute asks for a letter and is cleared once that is sent, exactly once, whatever happens in between.
//!
//! The real program follows a real slapd, which keeps account of every change that is made in it.

#[path = "../house/mod.rs"]
mod house;

mod gate;

use gate::{Gate, Keep};
use house::{House, PATIENCE};
use serde_json::Value;
use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::{
    slapd::{ADMIN, PASSWORD, SUFFIX, Slapd, SlapdBuilder, person},
    wait,
};

/// OpenLDAP's `destinationIndicator` takes printable strings, to which an underscore does not belong.
const VALUE: &str = "PR-EMAIL";
/// An attribute whose values are compared.
const ROOM: &str = "roomNumber";
/// One that has no rule for that, as `teletexTerminalIdentifier`.
const FAX: &str = "facsimileTelephoneNumber";

fn dn(name: &str) -> String {
    format!("cn={name},ou=people,{SUFFIX}")
}

/// The account that Tidings signs in with.
fn ours() -> String {
    dn("tidings")
}

/// A server with some people.
fn server() -> SlapdBuilder {
    let people = ["ada", "eve", "tidings"].map(person).concat();
    Slapd::builder().session_log(1000).audited().content(&people)
}

/// The section of the directory; `marker` is added to its marker.
fn section(url: &str, marker: &str) -> String {
    format!(
        "[[directory]]\nname = \"corp\"\nsource = \"ldap\"\nurl = \"{url}\"\nbase = \"{SUFFIX}\"\nbind_dn = \"{}\"\nbind_password = \"{PASSWORD}\"\n\
         timeout = \"20s\"\n[directory.marker]\nattribute = \"destinationIndicator\"\n{marker}\n\
         kinds = {{ \"PR-EMAIL\" = \"password.reset\", NEW = \"account.created\" }}\ndetails = {{ account = \"uid\" }}\n",
        ours()
    )
}

fn with_indicator(attribute: &str) -> String {
    format!("indicator = \"{attribute}\"")
}

/// A house that follows the server and has loaded it.
fn house(url: &str, marker: &str) -> House {
    let house = House::start(|config| config.more(&section(url, marker)));
    loaded(&house);
    house
}

fn loaded(house: &House) {
    house.until("the first load", || (house.json(&["directory", "show", "corp"])["condition"] == "loaded").then_some(()));
}

fn set(slapd: &Slapd, name: &str, value: &str) {
    slapd.modify(&format!("dn: {}\nchangetype: modify\nadd: destinationIndicator\ndestinationIndicator: {value}", dn(name)));
}

/// The values of an attribute of a person.
fn values(slapd: &Slapd, name: &str, attribute: &str) -> Vec<String> {
    let head = format!("{attribute}: ");
    slapd.search(&format!("(cn={name})")).lines().filter_map(|line| line.strip_prefix(&head)).map(str::to_owned).collect()
}

/// Markers that are open.
fn markers(house: &House) -> Vec<Value> {
    house.json(&["directory", "show", "corp"])["markers"].as_array().expect("a list").clone()
}

/// Waits until nothing is left of a person's marker, in the directory and in the house.
fn cleared(house: &House, slapd: &Slapd, name: &str) {
    house.until("the marker to be cleared", || {
        let bare = [values(slapd, name, "destinationIndicator"), values(slapd, name, ROOM), values(slapd, name, FAX)].concat();
        (bare.is_empty() && markers(house).is_empty()).then_some(())
    });
}

/// Letters that the sink has for a person.
fn letters(house: &House, name: &str) -> usize {
    house.sink.letters_to(&format!("{name}@example.org")).len()
}

/// Waits until so many letters have come to a person, and nothing waits. More than that are a failure.
fn told(house: &House, name: &str, times: usize) {
    house.until(&format!("letter {times} to {name}"), || (letters(house, name) >= times).then_some(()));
    assert_eq!(letters(house, name), times);
}

#[test]
fn a_marker_makes_one_letter_and_is_cleared_by_one_change() {
    for indicator in [ROOM, FAX] {
        let slapd = server().start();
        let house = house(&slapd.url(), &with_indicator(indicator));
        for (times, value) in [(1, VALUE), (2, "pr-email")] {
            set(&slapd, "ada", value);
            told(&house, "ada", times);
            cleared(&house, &slapd, "ada");
            // A token beside the marker, and both of them gone: nothing else was changed.
            let changes = slapd.changes_of(&ours());
            assert_eq!(changes.len(), 2 * times, "{changes:#?}");
            assert!(changes.iter().all(|change| !change.contains("replace: destinationIndicator")), "{changes:#?}");
        }
        let letter = &house.sink.letters_to("ada@example.org")[0];
        assert_eq!(letter.header("Subject").as_deref(), Some("Your password was reset"));
        assert!(String::from_utf8_lossy(&letter.bytes).contains("Account: ada"), "{}", String::from_utf8_lossy(&letter.bytes));
        assert_eq!(house.outbox(&[]).len(), 2);
        let event = house.outbox(&[])[0]["event"].as_str().expect("an id").to_owned();
        let shown = house.get(&format!("/v1/events/{event}/trace"));
        assert_eq!(shown["source"], "directory/corp", "{shown}");
    }
}

#[test]
fn without_an_indicator_one_change_is_made() {
    let slapd = server().start();
    let house = house(&slapd.url(), "");
    // Another value of the attribute is nobody's business, and stays.
    set(&slapd, "ada", "STAYS");
    set(&slapd, "ada", VALUE);
    told(&house, "ada", 1);
    house.until("the marker to be cleared", || (values(&slapd, "ada", "destinationIndicator") == ["STAYS"]).then_some(()));
    house.until("its row to go", || markers(&house).is_empty().then_some(()));
    assert_eq!(slapd.changes_of(&ours()).len(), 1, "{:#?}", slapd.changes_of(&ours()));
    house.until("the other value to be pointed out", || house.log_has("a value that `kinds` does not name").then_some(()));
    set(&slapd, "ada", VALUE);
    told(&house, "ada", 2);
}

#[test]
fn while_the_relay_is_down_the_marker_stays() {
    let slapd = server().start();
    let house = house(&slapd.url(), &with_indicator(ROOM));
    house.sink.close();
    set(&slapd, "ada", VALUE);
    house.until("the token beside the marker", || {
        values(&slapd, "ada", ROOM).first().filter(|token| token.starts_with("tidings-")).map(|_| ())
    });
    let [open] = markers(&house).try_into().expect("one marker is open");
    let text = |key: &str| open[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text("value"), text("state"), text("waits_for")),
        (VALUE.to_owned(), "claimed".to_owned(), "its letter".to_owned()),
        "{open}"
    );
    assert_eq!(values(&slapd, "ada", "destinationIndicator"), [VALUE]);
    // Written once more it is the same request.
    slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: destinationIndicator\ndestinationIndicator: {VALUE}", dn("ada")));
    house.sink.reopen();
    told(&house, "ada", 1);
    cleared(&house, &slapd, "ada");
    assert_eq!(house.outbox(&[]).len(), 1);
}

#[test]
fn what_stood_there_before_the_first_load_and_what_was_set_while_nobody_looked_is_told() {
    for way in ["sync", "poll"] {
        let slapd = server().start();
        set(&slapd, "ada", VALUE);
        let marker = with_indicator(ROOM);
        let text = section(&slapd.url(), &marker).replace("timeout", &format!("way = \"{way}\"\npoll_every = \"200ms\"\ntimeout"));
        let mut house = House::start(|config| config.more(&text));
        told(&house, "ada", 1);
        cleared(&house, &slapd, "ada");
        assert!(house.terminate().success());
        set(&slapd, "eve", VALUE);
        house.serve();
        told(&house, "eve", 1);
        cleared(&house, &slapd, "eve");
        set(&slapd, "ada", VALUE);
        told(&house, "ada", 2);
        assert_eq!((letters(&house, "ada"), letters(&house, "eve")), (2, 1), "{way}");
    }
}

/// Kills Tidings at a moment of answering a marker and starts it anew: one letter, and the marker gone; and whoever sets it anew gets another letter.
fn killed(marker: &str, change: usize, what: Keep, set_anew_meanwhile: bool) {
    let slapd = server().start();
    let gate = Gate::before(slapd.port());
    let mut house = house(&gate.url(), marker);
    let is_claim = !marker.is_empty() && change == 1;
    if is_claim {
        gate.keep(what);
        set(&slapd, "ada", VALUE);
    } else {
        house.sink.close();
        set(&slapd, "ada", VALUE);
        house.until("the marker to be noted", || {
            markers(&house).first().filter(|one| marker.is_empty() || one["state"] == "claimed").map(|_| ())
        });
        gate.keep(what);
        house.sink.reopen();
    }
    house.until("the moment", || gate.has_kept().then_some(()));
    told(&house, "ada", 1);
    // Its settlement is on disk: what is tried here is what comes after it.
    house.until("the letter to be settled", || (!house.outbox(&["--state", "sent"]).is_empty()).then_some(()));
    house.kill9();
    if set_anew_meanwhile {
        house.until("the marker to be gone", || values(&slapd, "ada", "destinationIndicator").is_empty().then_some(()));
        set(&slapd, "ada", VALUE);
    }
    house.serve();
    let mut expected = 1 + usize::from(set_anew_meanwhile);
    told(&house, "ada", expected);
    cleared(&house, &slapd, "ada");
    set(&slapd, "ada", VALUE);
    expected += 1;
    told(&house, "ada", expected);
    cleared(&house, &slapd, "ada");
    told(&house, "ada", expected);
    assert_eq!(house.outbox(&[]).len(), expected);
}

#[test]
fn killed_before_the_token_is_written() {
    killed(&with_indicator(ROOM), 1, Keep::Request, false);
}

#[test]
fn killed_after_the_token_is_written_and_before_that_is_known() {
    killed(&with_indicator(ROOM), 1, Keep::Answer, false);
}

#[test]
fn killed_before_the_marker_is_cleared() {
    killed(&with_indicator(ROOM), 2, Keep::Request, false);
    killed("", 1, Keep::Request, false);
}

#[test]
fn killed_after_the_marker_is_cleared_and_before_that_is_known() {
    killed(&with_indicator(ROOM), 2, Keep::Answer, false);
    killed("", 1, Keep::Answer, false);
}

#[test]
fn a_marker_set_anew_while_nobody_knows_that_it_was_cleared_is_a_new_request() {
    killed(&with_indicator(ROOM), 2, Keep::Answer, true);
    killed(&with_indicator(FAX), 2, Keep::Answer, true);
    killed("", 1, Keep::Answer, true);
}

#[test]
fn killed_while_the_letter_waits_the_marker_is_cleared_by_the_next_start() {
    let slapd = server().start();
    let mut house = house(&slapd.url(), &with_indicator(ROOM));
    house.sink.close();
    set(&slapd, "ada", VALUE);
    house.until("the marker to be noted", || (!markers(&house).is_empty()).then_some(()));
    house.kill9();
    house.serve();
    house.sink.reopen();
    told(&house, "ada", 1);
    cleared(&house, &slapd, "ada");
    assert_eq!(house.outbox(&[]).len(), 1);
}

#[test]
fn a_server_that_is_away_delays_the_clearing() {
    let mut slapd = server().start();
    let house = house(&slapd.url(), &with_indicator(ROOM));
    house.sink.close();
    set(&slapd, "ada", VALUE);
    house.until("the token beside the marker", || (!values(&slapd, "ada", ROOM).is_empty()).then_some(()));
    slapd.kill9();
    house.sink.reopen();
    told(&house, "ada", 1);
    house.until("the complaint", || house.log_has("markers cannot be answered now").then_some(()));
    slapd.start();
    cleared(&house, &slapd, "ada");
    assert_eq!(letters(&house, "ada"), 1);
}

#[test]
fn a_marker_that_may_not_be_cleared_stays_and_is_cleared_once_it_may() {
    let access = format!(
        "access to attrs=userPassword by anonymous auth by * none\n\
         access to * by group.exact=\"cn=writers,ou=groups,{SUFFIX}\" write by * read"
    );
    let writers = format!("dn: cn=writers,ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: writers\nmember: {}\n\n", dn("eve"));
    for marker in [with_indicator(ROOM), String::new()] {
        let slapd = server().content(&writers).replace_access(&access).start();
        let house = house(&slapd.url(), &marker);
        set(&slapd, "ada", VALUE);
        told(&house, "ada", 1);
        let open = house.until("the refusal to be known", || markers(&house).into_iter().find(|one| one["tries"].as_u64() >= Some(2)));
        assert!(open["failure"].as_str().is_some_and(|said| said.contains("insufficientAccessRights")), "{open}");
        house.until("the letter to be sent", || (markers(&house)[0]["waits_for"] == "the directory").then_some(()));
        assert_eq!(values(&slapd, "ada", "destinationIndicator"), [VALUE]);
        slapd.modify(&format!("dn: cn=writers,ou=groups,{SUFFIX}\nchangetype: modify\nadd: member\nmember: {}", ours()));
        cleared(&house, &slapd, "ada");
        assert_eq!(letters(&house, "ada"), 1);
        // However often it was refused, it was said once.
        assert_eq!(house.log().matches("a marker cannot be changed").count(), 1, "{}", house.log());
    }
}

#[test]
fn a_marker_whose_letter_is_not_sent_stays_until_it_is() {
    let mute = person("mute").replace("mail: mute@example.org\n", "");
    let slapd = server().content(&mute).start();
    let house = house(&slapd.url(), &with_indicator(ROOM));
    house.sink.add_fault(Fault::new(Stage::Rcpt, When::First(1), What::reply("550 5.1.1 no such user")));
    set(&slapd, "ada", VALUE);
    set(&slapd, "mute", VALUE);
    let failure = |value: &str, words: &'static str| {
        house.until(words, || {
            markers(&house)
                .into_iter()
                .find(|one| one["object"].as_str().is_some_and(|object| object.starts_with(&format!("cn={value}"))))
                .filter(|one| one["failure"].as_str().is_some_and(|said| said.contains(words)) && one["waits_for"] == "somebody to act")
        })
    };
    failure("mute", "it made no letter");
    failure("ada", "its letter was not sent");
    assert_eq!(values(&slapd, "ada", "destinationIndicator"), [VALUE]);
    // It is looked at anew, and is the same request.
    slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: title\ntitle: Countess", dn("ada")));
    house.until("the change to be mirrored", || {
        (house.json(&["directory", "show", "corp", &dn("ada")])["title"] == "Countess").then_some(())
    });
    assert_eq!(house.outbox(&[]).len(), 1);
    assert_eq!(house.log().matches("a marker: ").count(), 2, "{}", house.log());

    // It holds no secret, so that it is still there.
    let failed = house.outbox(&["--state", "failed"]);
    let id = failed[0]["id"].as_str().expect("an id is a text");
    assert_eq!(house.request("POST", &format!("/v1/outbox/{id}/retry")).status, 200);
    told(&house, "ada", 1);
    house.until("the marker to be cleared", || values(&slapd, "ada", "destinationIndicator").is_empty().then_some(()));
    assert_eq!(values(&slapd, "mute", "destinationIndicator"), [VALUE]);
}

#[test]
fn another_value_is_another_request() {
    let slapd = server().start();
    let house = house(&slapd.url(), &with_indicator(ROOM));
    house.sink.close();
    set(&slapd, "ada", VALUE);
    house.until("the token beside the marker", || (!values(&slapd, "ada", ROOM).is_empty()).then_some(()));
    slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: destinationIndicator\ndestinationIndicator: new", dn("ada")));
    house.until("the second letter", || (house.outbox(&[]).len() == 2).then_some(()));
    house.sink.reopen();
    told(&house, "ada", 2);
    cleared(&house, &slapd, "ada");
    // Two at once are two requests, too.
    slapd.modify(&format!(
        "dn: {}\nchangetype: modify\nadd: destinationIndicator\ndestinationIndicator: NEW\ndestinationIndicator: {VALUE}",
        dn("eve")
    ));
    told(&house, "eve", 2);
    cleared(&house, &slapd, "eve");
    assert_eq!(house.outbox(&[]).len(), 4);
}

#[test]
fn with_a_schedule_markers_are_noticed_at_its_times() {
    let slapd = server().start();
    let yearly = format!("{}\nschedule = \"0 0 29 2 *\"", with_indicator(ROOM));
    let mut house = house(&slapd.url(), &yearly);
    set(&slapd, "ada", VALUE);
    slapd.modify(&format!("dn: {}\nchangetype: modify\nreplace: title\ntitle: Countess", dn("ada")));
    house.until("the change to be mirrored", || {
        (house.json(&["directory", "show", "corp", &dn("ada")])["title"] == "Countess").then_some(())
    });
    assert_eq!((house.outbox(&[]).len(), markers(&house).len()), (0, 0));
    let often = section(&slapd.url(), &yearly.replace("0 0 29 2 *", "*/2 * * * * *"));
    house.reconfigure(|config| {
        config.nothing_more();
        config.more(&often);
    });
    house.serving().hang_up();
    told(&house, "ada", 1);
    cleared(&house, &slapd, "ada");
    set(&slapd, "ada", VALUE);
    told(&house, "ada", 2);
    cleared(&house, &slapd, "ada");
}

#[test]
fn a_server_that_gives_no_mark_of_changes_is_asked_by_values() {
    let hidden = "access to attrs=entryCSN,modifyTimestamp by * none\n";
    let access = format!(
        "{hidden}access to attrs=userPassword by anonymous auth by * none\naccess to * by dn.children=\"ou=people,{SUFFIX}\" write by * read"
    );
    for marker in [with_indicator(ROOM), String::new()] {
        let slapd = server().replace_access(&access).start();
        let house = house(&slapd.url(), &marker);
        for times in 1..=2 {
            set(&slapd, "ada", VALUE);
            told(&house, "ada", times);
            cleared(&house, &slapd, "ada");
        }
    }
}

#[test]
fn a_replica_that_lags_behind_is_not_believed_and_the_master_is_changed() {
    let master = server().start();
    // Its content comes from the master, entries and marks alike; changes are referred there.
    let replica = Slapd::builder()
        .session_log(1000)
        .empty()
        .setting(&format!(
            "syncrepl rid=001 provider={} bindmethod=simple binddn=\"{ADMIN}\" credentials={PASSWORD} searchbase=\"{SUFFIX}\" type=refreshOnly interval=00:00:00:02 retry=\"1 +\"",
            master.url()
        ))
        .setting(&format!("updateref {}", master.url()))
        .start();
    let urls =
        section("URL", &with_indicator(ROOM)).replace("url = \"URL\"", &format!("url = [\"{}\", \"{}\"]", replica.url(), master.url()));
    wait::until("the replica to be filled", PATIENCE, || replica.try_search("(cn=tidings)").filter(|found| found.contains("cn=tidings")));
    let house = House::start(|config| config.more(&urls));
    loaded(&house);
    for times in 1..=3 {
        set(&master, "ada", VALUE);
        told(&house, "ada", times);
        cleared(&house, &master, "ada");
        // Here it is seen a moment later, and is nothing new.
        house.until("the replica to follow", || values(&replica, "ada", "destinationIndicator").is_empty().then_some(()));
        told(&house, "ada", times);
    }
    assert_eq!(house.outbox(&[]).len(), 3);
    assert_eq!(master.changes_of(&ours()).len(), 6, "{:#?}", master.changes_of(&ours()));
}

#[test]
fn a_marker_is_an_event_like_any_other_to_rules_and_letters() {
    let managed = format!("{}manager: {}\n\n", person("kim").replace("\n\n", "\n"), dn("eve"));
    let slapd = server().content(&managed).start();
    let text = section(&slapd.url(), "")
        .replace("kinds = {", "kinds = { SOON = \"password.expiring\",")
        .replace("account = \"uid\"", "expires_at = \"roomNumber\"");
    let rule = "[[rule]]\nname = \"managers hear of accounts\"\non = [\"account.created\"]\nto = [\"manager\"]\ndirectory = \"corp\"\n";
    let house = House::start(|config| {
        config.more(&text);
        config.more(rule);
    });
    loaded(&house);
    set(&slapd, "kim", "NEW");
    told(&house, "eve", 1);
    told(&house, "kim", 1);
    cleared(&house, &slapd, "kim");

    // What its letter needs is not there yet.
    set(&slapd, "ada", "SOON");
    house.until("the complaint", || house.log_has("no event can be made of a marker").then_some(()));
    assert_eq!((letters(&house, "ada"), values(&slapd, "ada", "destinationIndicator").len()), (0, 1));
    slapd.modify(&format!("dn: {}\nchangetype: modify\nadd: roomNumber\nroomNumber: 20301224090000Z", dn("ada")));
    told(&house, "ada", 1);
    house.until("the marker to be cleared", || values(&slapd, "ada", "destinationIndicator").is_empty().then_some(()));
    let letter = &house.sink.letters_to("ada@example.org")[0];
    assert!(String::from_utf8_lossy(&letter.bytes).contains("24 December 2030"), "{}", String::from_utf8_lossy(&letter.bytes));
    assert_eq!(values(&slapd, "ada", ROOM), ["20301224090000Z"]);
}

#[test]
fn killed_between_the_relays_answer_and_its_note_the_marker_is_cleared_once() {
    let slapd = server().start();
    let mut house = house(&slapd.url(), &with_indicator(ROOM));
    // It has the letter, and its answer does not come: that is the moment, as long as it is held.
    house.sink.add_fault(Fault::new(Stage::Content, When::First(1), What::Stall(PATIENCE * 3)));
    set(&slapd, "ada", VALUE);
    house.until("the letter to be on the wire", || (!house.outbox(&["--state", "claimed"]).is_empty()).then_some(()));
    house.until("the token beside the marker", || (!values(&slapd, "ada", ROOM).is_empty()).then_some(()));
    house.kill9();
    house.serve();
    cleared(&house, &slapd, "ada");
    house.until("the letter", || (letters(&house, "ada") >= 1).then_some(()));
    // Whether it came once or twice, it is one letter: one event, one item, one name.
    let mut names: Vec<_> = house.sink.letters_to("ada@example.org").iter().map(|letter| letter.header("Message-ID")).collect();
    names.dedup();
    assert_eq!((names.len(), house.outbox(&[]).len()), (1, 1));
    assert_eq!(slapd.changes_of(&ours()).len(), 2, "{:#?}", slapd.changes_of(&ours()));
}
