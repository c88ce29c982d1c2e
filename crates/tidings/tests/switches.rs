//! Directory Manager's page, switch by switch: `data/switches.toml` says who is told of a series of changes, and the real program has to agree.
//!
//! One server keeps a directory for every switch, in which that one alone is on, and some more. Every change is put into all of their folders at once; and, in a second run, is
//! made in a real slapd that all of them follow.

mod house;

use house::{House, sql};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use tidings_testkit::slapd::{PASSWORD, SUFFIX, Slapd, group, person};

/// Readers by directory.
type Readers = BTreeMap<String, BTreeSet<String>>;

struct Table {
    start: String,
    switches: BTreeMap<String, String>,
    changes: Vec<Change>,
}

struct Change {
    what: String,
    file: String,
    /// The same change for an LDAP server, if it can say it.
    ldif: Option<String>,
    /// The server does not say who did it.
    nameless: bool,
    told: Readers,
}

fn people() -> String {
    format!("ou=people,{SUFFIX}")
}

fn groups() -> String {
    format!("ou=groups,{SUFFIX}")
}

fn table() -> Table {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/switches.toml")).expect("the table is there");
    let table: toml::Table = text.parse().expect("the table is TOML");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    let switches: BTreeMap<String, String> =
        table["switches"].as_table().expect("a table").iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let readers = |value: &toml::Value| value.as_array().expect("a list").iter().map(text).collect::<BTreeSet<_>>();
    let changes = table["change"].as_array().expect("changes").iter().map(|change| {
        let told: Readers =
            change["told"].as_table().expect("a table").iter().map(|(name, value)| (name.clone(), readers(value))).collect();
        for name in told.keys() {
            assert!(switches.contains_key(name), "`{name}` is no switch of the table");
        }
        let ldif = change.get("ldif").map(|ldif| text(ldif).replace("@people", &people()).replace("@groups", &groups()));
        let nameless = change.get("nameless").is_some_and(|nameless| nameless.as_bool() == Some(true));
        Change { what: text(&change["what"]), file: text(&change["file"]), ldif, nameless, told }
    });
    Table { start: text(&table["start"]), changes: changes.collect(), switches }
}

/// What further directories must come to, given what the single switches come to.
const MORE: [(&str, &str); 6] = [
    ("off", "[directory.notify]\nactor = false\n"),
    ("all", ""),
    ("plain", ""),
    ("fixed", "to = [\"audit@example.org\"]\ncc = [\"copies@example.org\"]\n[directory.notify]\nactor = false\n"),
    ("copied", "[directory.notify]\nmembership = { joined = true, left = true }\nmanaged_by = { same_as_membership = true }\n"),
    ("replaced", "[directory.notify]\nactor = true\n"),
];

fn expected(table: &Table, change: &Change, directory: &str) -> BTreeSet<String> {
    let of = |names: &[&str]| names.iter().filter_map(|name| change.told.get(*name)).flatten().cloned().collect::<BTreeSet<String>>();
    match directory {
        // Its rule was replaced by one that is off.
        "off" | "replaced" => BTreeSet::new(),
        "all" => of(&table.switches.keys().map(String::as_str).collect::<Vec<_>>()),
        // Without switches the built-in rules hold: whoever joins or leaves is told.
        "plain" => of(&["added_member", "removed_member"]),
        "fixed" => ["audit", "copies"].map(str::to_owned).into(),
        "copied" => of(&["membership_joined", "membership_left", "managed_by_added", "managed_by_removed"]),
        switch => of(&[switch]),
    }
}

/// Where a directory comes from, as its section says it.
type Source<'a> = &'a dyn Fn(&str) -> String;

fn csv(name: &str) -> String {
    format!("source = \"csv\"\nfolder = \"in/{name}\"\npoll_every = \"100ms\"\nmost_vanishing = \"100%\"")
}

fn directory(name: &str, source: Source<'_>, notify: &str) -> String {
    format!("[[directory]]\nname = \"{name}\"\n{}\n{notify}\n", source(name))
}

/// The configuration of all directories, and their names.
fn directories(table: &Table, source: Source<'_>) -> (String, Vec<String>) {
    let mut text = String::new();
    let mut names = Vec::new();
    for (name, switch) in &table.switches {
        text += &directory(name, source, &format!("[directory.notify]\n{switch}\n"));
        names.push(name.clone());
    }
    let all = ["actor", "owner_manager", "object", "public_group_owners", "added_member", "removed_member"]
        .map(|name| format!("{name} = true\n"));
    let all = format!(
        "[directory.notify]\n{}membership = {{ joined = true, left = true }}\nmanaged_by = {{ added = true, removed = true }}\n",
        all.concat()
    );
    for (name, notify) in MORE {
        text += &directory(name, source, if name == "all" { &all } else { notify });
        names.push(name.to_owned());
    }
    text += "[[rule]]\nname = \"replaced:actor\"\non = [\"*\"]\nto = [\"actor\"]\ndirectory = \"replaced\"\nenabled = false\n";
    (text, names)
}

/// Puts a file into every folder under a name that is none of ours, renames it, and waits until every one was taken.
fn put(house: &House, names: &[String], file: &str, text: &str) {
    for name in names {
        let folder = house.path().join("in").join(name);
        fs::write(folder.join("coming.part"), text.trim_start()).expect("our own folder can be written");
        fs::rename(folder.join("coming.part"), folder.join(file)).expect("our own folder can be written");
    }
    for name in names {
        let report = house.path().join("in").join(name).join("done").join(format!("{file}.report.txt"));
        let coming = house.path().join("in").join(name).join(file);
        house.until(&format!("{name} to take {file}"), || (report.exists() && !coming.exists()).then_some(()));
        let report = fs::read_to_string(report).expect("a report that is there");
        assert!(!report.contains("cannot be read"), "{name}: {report}");
    }
}

/// Who stands in the outbox, by directory, from the item `known` on.
fn readers(house: &House, known: &mut BTreeSet<String>) -> Readers {
    let mut readers = Readers::new();
    for item in house.outbox(&[]) {
        let text = |key: &str| item[key].as_str().unwrap_or_else(|| panic!("{key} of {item}")).to_owned();
        if known.insert(text("id")) {
            let rule = text("rule");
            let (of, _) = rule.split_once(':').unwrap_or_else(|| panic!("no rule of a directory: {rule}"));
            let directory = if of == "built-in" { "plain" } else { of };
            let to = text("to");
            let name = to.strip_suffix("@example.org").unwrap_or(&to);
            readers.entry(directory.to_owned()).or_default().insert(name.to_owned());
        }
    }
    readers
}

#[test]
fn every_switch_tells_exactly_those_whom_the_page_says() {
    let table = table();
    let (text, names) = directories(&table, &csv);
    let mut house = House::furnish(|config| config.more(&text));
    for name in &names {
        fs::create_dir_all(house.path().join("in").join(name)).expect("our own folder can be written");
    }
    house.token = house.create_token("outbox:read");
    house.serve();
    put(&house, &names, "start.csv", &table.start);
    let mut known = BTreeSet::new();
    assert_eq!(readers(&house, &mut known), Readers::new(), "a first load is silent");
    let mut wrong = Vec::new();
    for (number, change) in table.changes.iter().enumerate() {
        put(&house, &names, &format!("{number}.delta.csv"), &change.file);
        let told = readers(&house, &mut known);
        for name in &names {
            let (told, expected) = (told.get(name).cloned().unwrap_or_default(), expected(&table, change, name));
            if told != expected {
                wrong.push(format!("{}: {name}: told {told:?}, expected {expected:?}", change.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(known.len() > 150, "only {} letters", known.len());
    // What the table knows is what the program knows: every rule of a switch was looked at.
    let rules = house.json(&["rules", "list"]);
    let switches = rules.as_array().expect("a list").iter().filter(|rule| rule["origin"] == "switch" && rule["directory"] == "all").count();
    assert_eq!(switches, table.switches.len());
}

/// The company of the table as it stands in an LDAP server: what is public stands in businessCategory, additional owners in seeAlso, and contacts are residential persons.
fn company() -> String {
    let users = ["ada", "boss", "gina", "grace", "hal", "max", "ivy", "joe"].map(person).concat();
    let managed =
        ["linus", "eve"].map(|name| format!("{}manager: cn=boss,{}\n\n", person(name).trim_start().replace("\n\n", "\n"), people()));
    let mute = person("mute").replace("mail: mute@example.org\n", "").replace("\n\n", "\n") + &format!("manager: cn=boss,{}\n\n", people());
    let kim = format!(
        "dn: cn=kim,{0}\nobjectClass: residentialPerson\nobjectClass: extensibleObject\ncn: kim\nsn: kim\nl: Here\nmail: kim@example.org\nmanager: cn=boss,{0}\n\n",
        people()
    );
    let owned = |name: &str, members: &[&str], public: &str, more: &[&str]| {
        let more: Vec<String> = more.iter().map(|owner| format!("seeAlso: cn={owner},{}\n", people())).collect();
        let more = more.concat();
        let group = group(name, members);
        format!("{}\nowner: cn=grace,{}\nbusinessCategory: {public}\n{more}\n", group.trim_end(), people())
    };
    let barrier = person("barrier").replace("mail: barrier@example.org\n", "");
    let groups = owned("pub", &["linus", "max"], "yes", &["hal"]) + &owned("priv", &["linus"], "no", &[]);
    [users, managed.concat(), mute, kim, barrier, groups].concat()
}

/// Waits until every directory has come so far that it knows the barrier by this name.
fn pass(house: &House, slapd: &Slapd, directories: usize, name: &str) {
    slapd.modify(&format!("dn: cn=barrier,{}\nchangetype: modify\nreplace: displayName\ndisplayName: {name}", people()));
    let count = format!("SELECT count(*) FROM object WHERE name = '{name}'");
    house.until(&format!("all directories to pass {name}"), || {
        (sql(&house.database(), &count).trim() == directories.to_string()).then_some(())
    });
}

#[test]
fn every_switch_tells_the_same_people_of_changes_in_a_real_ldap_server() {
    let table = table();
    let slapd = Slapd::builder().content(&company()).start();
    let source = |_: &str| {
        format!(
            "source = \"ldap\"\nurl = \"{}\"\nbase = \"{SUFFIX}\"\npreset = \"openldap\"\nattributes = {{ public = \"businessCategory\", additional_owner = \"seeAlso\", contact_classes = \"residentialPerson\" }}",
            slapd.url()
        )
    };
    let (text, names) = directories(&table, &source);
    let mut house = House::furnish(|config| config.more(&text));
    house.token = house.create_token("outbox:read");
    house.serve();
    let loaded = "SELECT count(*) FROM directory WHERE loaded_at IS NOT NULL";
    house.until("all directories to be loaded", || (sql(&house.database(), loaded).trim() == names.len().to_string()).then_some(()));
    let mut known = BTreeSet::new();
    assert_eq!(readers(&house, &mut known), Readers::new(), "a first load is silent");
    let (mut wrong, mut played) = (Vec::new(), 0);
    for (number, change) in table.changes.iter().enumerate() {
        let Some(ldif) = &change.ldif else { continue };
        slapd.modify_as(&format!("cn=ada,{}", people()), PASSWORD, ldif);
        pass(&house, &slapd, names.len(), &format!("barrier {number}"));
        let told = readers(&house, &mut known);
        for name in &names {
            let (told, mut expected) = (told.get(name).cloned().unwrap_or_default(), expected(&table, change, name));
            if change.nameless {
                expected.remove("ada");
            }
            if told != expected {
                wrong.push(format!("{}: {name}: told {told:?}, expected {expected:?}", change.what));
            }
        }
        played += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(played >= 10 && known.len() > 80, "{played} changes, {} letters", known.len());
}
