//! `tidings rules list`: what is in force, and where it comes from.

mod house;

use house::run;
use serde_json::Value;
use tidings_testkit::folder::Folder;

const CONFIG: &str = r#"
[letters]
off = ["password.*"]
[[relay]]
name = "a"
kind = "file"
path = "letters.mbox"
from = "a@example.org"
[[directory]]
name = "corp"
source = "scim"
to = ["audit@example.org"]
[directory.notify]
added_member = true
[[rule]]
name = "mine"
on = ["membership.*"]
to = ["owners"]
fallback = ["help@example.org"]
enabled = false
"#;

#[test]
fn rules_are_listed_with_their_origin_for_people_and_for_programs() {
    let folder = Folder::new("rules-list");
    let file = folder.join("tidings.toml");
    std::fs::write(&file, CONFIG).expect("a writable folder");
    let file = file.to_str().expect("a readable path");
    let shown = run(&["rules", "list", "-c", file]);
    assert!(shown.status.success(), "{}", shown.stderr);
    let words = |name: &str| {
        let line =
            shown.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{}", shown.stdout));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words("built-in:membership.left"), "built-in:membership.left built-in membership.left all but corp member");
    assert_eq!(words("corp:added_member"), "corp:added_member switch membership.joined corp member");
    assert_eq!(words("mine"), "mine (off) configured membership.* owners help@example.org");
    assert_eq!(words("built-in:password.reset"), "built-in:password.reset (letters.off) built-in password.reset object");
    let listed = run(&["rules", "list", "-c", file, "--json"]);
    let rows: Vec<Value> = serde_json::from_str(&listed.stdout).expect("a JSON array");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(row("built-in:membership.joined")["not_directories"], serde_json::json!(["corp"]));
    assert_eq!((&row("corp:recipients")["origin"], &row("corp:recipients")["directory"]), (&"switch".into(), &"corp".into()));
    assert_eq!((&row("mine")["enabled"], &row("mine")["letters_off"]), (&false.into(), &false.into()));
    assert_eq!(row("built-in:password.expiring")["letters_off"], true);
}
