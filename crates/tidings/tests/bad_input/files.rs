//! Configuration and letters with mistakes: `check` tells all of them at once with their places, `serve` refuses with the same words.

use std::fs;

use crate::house::House;
use tidings_testkit::disk::Tmpfs;

#[test]
fn all_problems_of_a_configuration_are_told_at_once_with_their_places() {
    let house = House::furnish(|_| {});
    fs::create_dir_all(house.path().join("wording/test")).expect("our own folder can be written");
    fs::write(house.path().join("wording/test/subject.txt"), "Hello\n{{ object.lable }}\n").expect("our own folder can be written");
    fs::write(
        house.config_file(),
        r#"[server]
listen = "127.0.0.1:99999"
lisen = "127.0.0.1:1"

[letters]
templates = "wording"

[[relay]]
name = "a"
kind = "smtp"
host = "127.0.0.1"
port = 99999
from = "no-reply@tidings.example"

[[relay]]
name = "a"
kind = "pickup"
folder = "nowhere"
from = "no-reply@tidings.example"

[[rule]]
name = "broken"
on = ["membership.*"]
when = 'object.name == && true'
to = ["owner"]
"#,
    )
    .expect("our own folder can be written");
    let checked = house.command(&["check"]);
    assert_eq!(checked.status.code(), Some(2), "{}", checked.stdout);
    let config = house.config_file().display().to_string();
    let lines: Vec<&str> = checked.stderr.lines().collect();
    let expected = [
        (format!("{config}:2:10: server.listen: "), "127.0.0.1:99999"),
        (format!("{config}:3:1: server.lisen: "), "did you mean `listen`?"),
        (format!("{config}:12:8: relay[0].port: "), "99999 is not a port (1–65535)"),
        (format!("{config}:16:8: relay[1].name: "), "`a` is the name of the relay at 9:8 already"),
        (format!("{config}:18:10: relay[1].folder: "), "is not there"),
        (format!("{config}:24:24: rule[0].when: "), "is not a CEL expression"),
        (format!("{config}:25:7: rule[0].to[0]: "), "did you mean `owners`?"),
        (format!("{}:2:", house.path().join("wording/test/subject.txt").display()), "`object.lable` is not a variable of `test`"),
    ];
    for (place, words) in &expected {
        assert!(
            lines.iter().any(|line| line.starts_with(place.as_str()) && line.contains(words)),
            "`{place}… {words}` is missing in\n{}",
            checked.stderr
        );
    }
    assert_eq!(lines.len(), expected.len(), "{}", checked.stderr);
    let as_json = house.command(&["check", "--json"]);
    let problems: serde_json::Value = serde_json::from_str(&as_json.stdout).expect("JSON");
    assert_eq!(problems["problems"].as_array().map(Vec::len), Some(expected.len()), "{problems}");

    let served = house.command(&["serve"]);
    assert_eq!((served.status.code(), served.stderr.as_str()), (Some(2), checked.stderr.as_str()), "serve refuses with the same words");
    assert!(!house.path().join("data").exists() && !house.path().join("tidings-data").exists(), "checking touches nothing");
}

#[test]
fn a_sound_configuration_is_said_to_be_sound() {
    let house = House::furnish(|config| config.more("[[rule]]\nname = \"r\"\non = [\"membership.*\"]\nto = [\"owners\"]\n"));
    let checked = house.command(&["check"]);
    assert_eq!((checked.status.code(), checked.stderr.as_str()), (Some(0), ""));
    assert!(checked.stdout.contains("relays: 1") && checked.stdout.contains("no problem"), "{}", checked.stdout);
    assert!(!house.data_dir().exists(), "checking touches nothing");
}

#[test]
fn letters_with_mistakes_are_told_with_their_places() {
    let house = House::furnish(|config| {
        let folder = config.folder().join("wording");
        fs::create_dir_all(folder.join("membership.joined")).expect("our own folder can be written");
        fs::write(folder.join("membership.joined/subject.de.txt"), "Willkommen {{ objekt.label }}\n")
            .expect("our own folder can be written");
        fs::write(folder.join("membership.joined/body.txt"), "Hello\n\n{{ member.lable }}\n").expect("our own folder can be written");
        config.set("letters", "templates", "\"wording\"");
    });
    for command in ["check", "serve"] {
        let refused = house.command(&[command]);
        assert_eq!(refused.status.code(), Some(2), "{command}: {}", refused.stderr);
        let of = |name: &str| {
            let place = house.path().join("wording/membership.joined").join(name).display().to_string();
            refused
                .stderr
                .lines()
                .find(|line| line.starts_with(&place))
                .unwrap_or_else(|| panic!("{command}: nothing on {name} in\n{}", refused.stderr))
                .to_owned()
        };
        let unknown = of("subject.de.txt");
        assert!(unknown.contains(":1:") && unknown.contains("`objekt.label` is not a variable of `membership.joined`"), "{unknown}");
        let misspelt = of("body.txt");
        assert!(misspelt.contains(":3:") && misspelt.contains("did you mean `member.label`?"), "{misspelt}");
    }
    // A filter that does not exist shows only when a letter is tried, which is done before anything is sent.
    fs::remove_file(house.path().join("wording/membership.joined/subject.de.txt")).expect("our own file");
    fs::write(house.path().join("wording/membership.joined/body.txt"), "Hello\n\n{{ member.label | shout }}\n")
        .expect("our own folder can be written");
    let tried = house.command(&["check"]);
    assert_eq!(tried.status.code(), Some(2), "{}", tried.stderr);
    assert!(tried.stderr.contains("membership.joined/body.txt:3:") && tried.stderr.contains("shout"), "{}", tried.stderr);
}

#[test]
fn a_pickup_folder_that_cannot_be_written_is_told_before_anything_starts() {
    let house = House::furnish(|config| {
        config.relays("[[relay]]\nname = \"p\"\nkind = \"pickup\"\nfolder = \"pickup\"\nfrom = \"a@example.org\"\n");
    });
    fs::create_dir(house.path().join("pickup")).expect("our own folder can be written");
    let read_only = Tmpfs::mount(&house.path().join("pickup"), "size=1m,ro");
    for command in ["check", "serve"] {
        let refused = house.command(&[command]);
        assert_eq!(refused.status.code(), Some(2), "{command}: {}", refused.stderr);
        assert!(
            refused.stderr.contains("relay[0].folder: the folder `") && refused.stderr.contains("is not writable for this user"),
            "{}",
            refused.stderr
        );
    }
    drop(read_only);
    assert!(house.command(&["check"]).status.success());
}

#[test]
fn a_missing_file_is_a_matter_of_arguments() {
    let house = House::furnish(|_| {});
    fs::remove_file(house.config_file()).expect("our own file");
    for command in [["check"].as_slice(), &["serve"], &["outbox", "list"], &["relay", "list"]] {
        let refused = house.command(command);
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("tidings.toml: cannot be read: there is no such file"), "{command:?}: {}", refused.stderr);
    }
    let nonsense = house.bare_command(&["outbox", "list", "--state", "lost"], "");
    assert_eq!(nonsense.status.code(), Some(2));
    assert!(nonsense.stderr.contains("`lost` is not a state (held, waiting, claimed"), "{}", nonsense.stderr);
}
