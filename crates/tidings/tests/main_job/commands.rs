//! Commands that stand for themselves: the demo, previews, the test letter, completions and man pages.

use std::fs;

use serde_json::Value;
use tidings_sink::{Mechanism, SinkOptions};
use tidings_testkit::folder::Folder;
use tidings_testkit::judge::judge;
use tidings_testkit::wait;

use crate::house::{House, Mail, PATIENCE, events, python, run, sql, tidings};

/// The kinds of this version; `tidings preview` names them when it is given another word.
const KINDS: [&str; 18] = [
    "test",
    "object.created",
    "object.changed",
    "object.deleted",
    "account.created",
    "membership.joined",
    "membership.left",
    "membership.ending",
    "management.added",
    "management.removed",
    "password.reset",
    "password.reset_link",
    "password.expiring",
    "connector.failed",
    "connector.recovered",
    "relay.held",
    "relay.recovered",
    "relay.warning",
];

/// What `tidings demo --once` in this folder comes to, after it was seen to do its whole job: events accepted and known already, letters written.
#[track_caller]
fn whole_demo(folder: &Folder) -> [u64; 3] {
    let demo = run(&["demo", "--once", "--dir", folder.path().to_str().expect("a readable path")]);
    assert!(demo.status.success(), "{}\n{}", demo.stdout, demo.stderr);
    let value = |name: &str| -> u64 {
        let line = demo.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no `{name}` in\n{}", demo.stdout));
        line[name.len()..].trim().parse().unwrap_or_else(|error| panic!("{line}: {error}"))
    };
    let (events, known, letters) = (value("events accepted"), value("events known already"), value("letters written"));
    assert!(events > 100 && letters > events, "{}", demo.stdout);
    assert_eq!((value("letters arrived"), value("letters waiting"), value("duplicates"), value("lost")), (letters, 0, 0, 0));
    assert!(known > 0 && value("attempts repeated") > 0, "{}", demo.stdout);
    [events, known, letters]
}

#[test]
fn the_demo_does_the_whole_job_and_counts_it() {
    let folder = Folder::new("demo");
    whole_demo(&folder);
    assert!(folder.join("tidings.toml").is_file(), "--dir keeps the configuration");

    // It is the whole house: a crowd that is still to be told is told, in the next demo in this folder.
    let database = folder.join("tidings-data").join("tidings.db");
    let plan = r#"{"kind":"object.changed","audience":"object","role":"to","crowd":{"members":{"directory":"corp","key":"nobody"}},"code":"object","lane":"notices","disabled_too":false}"#;
    let open = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
        db.execute('INSERT INTO fan_out (id, event, rule, plan, steps, told, passed, begun_at) SELECT 1, e.id, w.number, ?, 0, 0, 0, 0 FROM event e, word w LIMIT 1', (sys.argv[2].encode(),))\n\
        db.commit()";
    python(open, &[database.to_str().expect("a readable path"), plan]);
    whole_demo(&folder);
    assert_eq!(sql(&database, "SELECT ended_at IS NOT NULL FROM fan_out").trim(), "1");
}

#[test]
fn a_demo_in_a_folder_that_has_seen_one_does_the_whole_job_again_and_counts_its_own() {
    let folder = Folder::new("demo-again");
    let first = whole_demo(&folder);
    assert_eq!(whole_demo(&folder), first);

    // One that was killed while the relay was down has left letters behind; they go out with those of the next.
    let killed = Folder::new("killed");
    let mut demo =
        tidings().args(["demo", "--listen", "127.0.0.1:0", "--dir", folder.path().to_str().expect("a readable path")]).start(killed.path());
    let database = folder.join("tidings-data").join("tidings.db");
    let waiting = || sql(&database, "SELECT count(*) FROM item WHERE state IN (1, 2)").trim().parse::<u64>().ok();
    wait::until("letters to wait for the relay", PATIENCE, || waiting().filter(|waiting| *waiting > 100));
    demo.kill9();
    let left = waiting().expect("the outbox can be counted");
    let [events, known, letters] = whole_demo(&folder);
    assert_eq!([events, known, letters - left], first);
}

#[test]
fn a_demo_takes_no_folder_that_is_somebodys() {
    let demo = |folder: &Folder| {
        let demo = run(&["demo", "--once", "--dir", folder.path().to_str().expect("a readable path")]);
        assert_eq!(demo.status.code(), Some(2), "{}", demo.stderr);
        demo.stderr
    };
    let folder = Folder::new("somebodys");
    let own = "[organisation]\nname = \"Example\"\n";
    folder.write("tidings.toml", own);
    let told = demo(&folder);
    assert!(told.contains("begins with \"[organisation]\"") && told.contains("name a folder that is empty"), "{told}");
    assert_eq!(fs::read_to_string(folder.join("tidings.toml")).expect("it is there"), own);

    let data = Folder::new("data");
    data.write("tidings.db", "");
    let told = demo(&data);
    assert!(told.contains("it holds \"tidings.db\" and no tidings.toml"), "{told}");
    assert_eq!(fs::read_dir(data.path()).expect("it is there").count(), 1);
}

#[test]
fn every_letter_of_every_kind_and_language_is_previewed_as_text_page_and_message() {
    let folder = Folder::new("previews");
    let mut files = Vec::new();
    for (number, kind) in KINDS.into_iter().enumerate() {
        for (place, locale) in ["en", "de", "fr"].into_iter().enumerate() {
            let preview = |format: &str| {
                let shown = run(&["preview", kind, "--locale", locale, "--format", format]);
                assert!(shown.status.success(), "{kind} {locale} {format}: {}", shown.stderr);
                assert!(!shown.stdout.contains("{{") && !shown.stdout.contains("[["), "{kind} {locale} {format}:\n{}", shown.stdout);
                shown.stdout
            };
            let text = preview("text");
            assert!(text.lines().next().is_some_and(|subject| !subject.trim().is_empty()), "{kind} {locale}");
            assert!(preview("html").contains(&format!("lang=\"{locale}\"")), "{kind} {locale}");
            // Whole messages of all are judged with the letters; here one a kind, in turn by language, must say what the text says.
            if number % 3 == place {
                files.push((folder.write(format!("{kind}.{locale}.eml"), preview("eml")), text));
            }
        }
    }
    assert_eq!(files.len(), KINDS.len());
    let paths: Vec<_> = files.iter().map(|(path, _)| path).collect();
    for (verdict, (_, text)) in judge(&paths).iter().zip(&files) {
        verdict.assert_clean();
        assert_eq!(verdict.subject.as_deref(), text.lines().next());
    }
}

#[test]
fn an_unknown_kind_is_told_with_what_there_is() {
    let shown = run(&["preview", "membership.join"]);
    assert_eq!(shown.status.code(), Some(2));
    assert!(shown.stderr.contains("`membership.join` is not a kind; did you mean `membership.joined`?"), "{}", shown.stderr);
    for kind in KINDS {
        assert!(shown.stderr.contains(kind), "{kind} is not named in {}", shown.stderr);
    }
    assert!(shown.stdout.is_empty());
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completion", shell]);
        assert!(script.status.success() && script.stdout.contains("send-test"), "{shell}: {}", script.stderr);
    }
    let folder = Folder::new("man");
    let made = run(&["man", folder.path().to_str().expect("a readable path")]);
    assert!(made.status.success(), "{}", made.stderr);
    for page in ["tidings.1", "tidings-serve.1", "tidings-send-test.1", "tidings-outbox-list.1", "tidings-token-create.1"] {
        let page = fs::read_to_string(folder.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(page.contains(".TH"), "{page}");
    }
}

#[test]
fn a_test_letter_shows_the_relays_answer_and_no_secret() {
    let users = [("mailer".to_owned(), "geheim-77".to_owned())].into();
    let sink = Mail::open_with(SinkOptions { users, require_auth: true, mechanisms: vec![Mechanism::Plain], ..SinkOptions::default() });
    let house = House::furnish_with(sink, |config| {
        std::fs::write(config.folder().join("relay.password"), "geheim-77\n").expect("our own folder can be written");
        config.relay_key("auth", "{ username = \"mailer\", password_file = \"relay.password\", allow_cleartext = true }");
    });
    let sent = house.command(&["send-test", "--to", "ada@example.org", "--locale", "de"]);
    assert!(sent.status.success(), "{}\n{}", sent.stdout, sent.stderr);
    assert!(sent.stdout.contains("sink took the letter: 250"), "{}", sent.stdout);
    for line in ["< 220 ", "> EHLO ", "> AUTH PLAIN ***", "< 235 ", "> MAIL FROM:<no-reply@tidings.example>", "> RCPT TO:<ada@example.org>"]
    {
        assert!(sent.stdout.lines().any(|said| said.starts_with(line)), "`{line}` is missing in\n{}", sent.stdout);
    }
    // Neither the password nor what AUTH PLAIN makes of it (base64 of NUL mailer NUL geheim-77).
    for secret in ["geheim-77", "AG1haWxlcgBnZWhlaW0tNzc="] {
        assert!(!sent.stdout.contains(secret) && !sent.stderr.contains(secret), "{}", sent.stdout);
    }
    let letter = house.sink.letter_to("ada@example.org");
    assert_eq!((letter.user.as_deref(), letter.header("Content-Language").as_deref()), (Some("mailer"), Some("de")));
    assert_eq!(letter.header("X-Tidings-Kind").as_deref(), Some("test"));
    // It went through the same outbox as everything.
    let items = house.outbox(&[]);
    assert_eq!((items.len(), items[0]["state"].as_str(), items[0]["kind"].as_str()), (1, Some("sent"), Some("test")));
    let told = house.json(&["send-test", "--to", "grace@example.org"]);
    assert_eq!((told["sent"].as_bool(), told["relay"].as_str()), (Some(true), Some("sink")));
}

#[test]
fn a_test_letter_that_a_dead_relay_does_not_take_names_stage_and_remedy() {
    let house = House::furnish(|_| {});
    house.sink.close();
    let failed = house.command(&["send-test", "--to", "ada@example.org"]);
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stdout);
    assert!(failed.stderr.contains("tidings: sink did not take the letter at connect: "), "{}", failed.stderr);
    assert!(failed.stderr.lines().any(|line| line.starts_with("hint: ")), "{}", failed.stderr);
    let items = house.outbox(&[]);
    assert_eq!((items.len(), items[0]["state"].as_str()), (1, Some("failed")), "it does not arrive hours later");
    let unknown = house.command(&["send-test", "--to", "ada@example.org", "--relay", "sinc"]);
    assert_eq!((unknown.status.code(), unknown.stderr.trim()), (Some(2), "no relay is called `sinc`; there are sink"));
    let nonsense = house.command(&["send-test", "--to", "ada"]);
    assert_eq!(nonsense.status.code(), Some(2));
}

#[test]
fn events_are_posted_from_a_file_a_list_and_standard_input() {
    let house = House::start(|_| {});
    let post = |file: &str, input: &str| {
        let posted =
            house.bare_command(&["event", "post", file, "--server", &house.url, "--token", &house.token, "--batch", "2", "--json"], input);
        assert!(posted.status.success(), "{}", posted.stderr);
        serde_json::from_str::<Value>(&posted.stdout).expect("JSON")
    };
    let event = |n: usize| events::test_letter(&n.to_string(), &format!("reader.{n}@example.org")).to_string();
    let file = house.path().join("list.json");
    fs::write(&file, format!("[{},{},{}]", event(1), event(2), event(3))).expect("our own folder can be written");
    assert_eq!(post(file.to_str().expect("a readable path"), "")["accepted"], 3);
    let lines = post("-", &format!("{}\n{}\n", event(3), event(4)));
    assert_eq!(
        (lines["accepted"].as_u64(), lines["duplicates"].as_u64(), lines["ids"].as_array().map(Vec::len)),
        (Some(1), Some(1), Some(2))
    );
    house.sink.wait_for(4);

    let arguments = ["event", "post", "-", "--server", &house.url, "--token", &house.token];
    let broken = house.bare_command(&arguments, &format!("{}\n{{\"id\":}}\n", event(5)));
    assert_eq!(broken.status.code(), Some(2));
    assert!(broken.stderr.starts_with("standard input:2:"), "{}", broken.stderr);
    let refused = house.bare_command(&arguments, &event(5).replace("tidings.test", "tidings.tset"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("/0/type: `tidings.tset` is not a known type; did you mean `tidings.test`?"), "{}", refused.stderr);
    let wrong = house.bare_command(&["event", "post", "-", "--server", &house.url, "--token", "tid_0"], &event(5));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("401") && !wrong.stderr.contains("tid_0"), "{}", wrong.stderr);
}
