//! Directories: what their settings come to, and the rules that their switches stand for.

use std::{fmt::Write as _, fs, path::Path, time::Duration};
use tidings_config::{
    BadRows, CsvSource, DirectorySource, LdapBind, LdapPreset, LdapSource, LdapWay, Lifecycle, LoadOptions, Loaded, load_text,
};
use tidings_core::policy::{Origin, Rule};

const RELAY: &str = "[[relay]]\nname = \"a\"\nhost = \"mail.example.org\"\ntls = \"starttls\"\nfrom = \"a@example.org\"\n";

fn env(name: &str) -> Option<String> {
    (name == "BIND").then(|| "geheim".to_owned())
}

fn loaded_in(folder: &Path, directories: &str) -> Loaded {
    let text = format!("{RELAY}{directories}");
    load_text(&text, &folder.join("tidings.toml"), &env, LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn loaded(directories: &str) -> Loaded {
    loaded_in(Path::new("."), directories)
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(|one| format!("{}: {}", one.key, one.message)).collect()
}

fn ldap(text: &str) -> LdapSource {
    match loaded(&format!("[[directory]]\nname = \"corp\"\nsource = \"ldap\"\nbase = \"dc=example\"\n{text}"))
        .settings
        .directories
        .remove(0)
        .source
    {
        DirectorySource::Ldap(source) => *source,
        other => panic!("{other:?}"),
    }
}

fn csv(text: &str) -> CsvSource {
    match loaded(&format!("[[directory]]\nname = \"hr\"\nsource = \"csv\"\n{text}")).settings.directories.remove(0).source {
        DirectorySource::Csv(source) => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_ldap_directory_has_its_defaults() {
    let source = ldap("url = \"ldaps://dc1.example.org\"\n");
    assert_eq!((source.servers.len(), source.servers[0].ldaps, source.servers[0].port), (1, true, 636));
    assert!(matches!(source.bind, LdapBind::Anonymous));
    assert_eq!((source.preset, source.way, source.filter), (LdapPreset::OpenLdap, LdapWay::Auto, None));
    assert_eq!(
        (source.poll_every, source.timeout, source.failing_after),
        (Duration::from_mins(1), Duration::from_mins(2), Duration::from_mins(1))
    );
    assert!(!source.tls.starttls && source.tls.ca_pem.is_none() && source.attributes.is_empty());
}

#[test]
fn every_key_of_an_ldap_directory_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let loaded = loaded_in(
        folder.path(),
        r#"
[[directory]]
name = "corp"
source = "ldap"
url = ["ldap://DC1.example.org", "ldap://[::1]:3389"]
bind_dn = "cn=tidings,dc=example,dc=org"
bind_password_env = "BIND"
base = "dc=example,dc=org"
filter = "(objectClass=person)"
starttls = true
ca_file = "cert.pem"
client_cert_file = "cert.pem"
client_key_file = "key.pem"
preset = "active-directory"
way = "poll"
poll_every = "5m"
attributes = { mail = "proxyAddress", site = "l" }
timeout = "5s"
failing_after = "10m"
relay = "a"
to = ["audit@example.org"]
cc = ["copies@example.org", "more@example.org"]
password_portal_url = "https://portal.example.org"
"#,
    );
    assert_eq!(warnings(&loaded), Vec::<String>::new());
    let directory = loaded.settings.directory("corp").unwrap();
    assert_eq!(directory.relay.as_deref(), Some("a"));
    assert_eq!((directory.to.len(), directory.cc.len(), directory.first_load_told), (1, 2, false));
    assert_eq!(directory.password_portal_url.as_deref(), Some("https://portal.example.org"));
    assert!(directory.notify.is_none());
    let DirectorySource::Ldap(source) = &directory.source else { panic!("{directory:?}") };
    let servers: Vec<_> = source.servers.iter().map(|server| (server.host.as_str(), server.port)).collect();
    assert_eq!(servers, [("dc1.example.org", 389), ("::1", 3389)]);
    assert!(matches!(&source.bind, LdapBind::Simple { dn, password } if dn.starts_with("cn=tidings") && password.reveal() == "geheim"));
    assert!(source.tls.starttls && source.tls.ca_pem.is_some() && source.tls.client_identity.is_some());
    assert_eq!(
        (source.preset, source.way, source.filter.as_deref()),
        (LdapPreset::ActiveDirectory, LdapWay::Poll, Some("(objectClass=person)"))
    );
    assert_eq!(source.attributes, [("mail".into(), "proxyAddress".into()), ("site".into(), "l".into())]);
    assert!(!format!("{directory:?}").contains("geheim"));
}

#[test]
fn a_client_certificate_alone_signs_in_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cert.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let text = "[[directory]]\nname = \"c\"\nsource = \"ldap\"\nurl = \"ldaps://x\"\nbase = \"dc=x\"\nclient_cert_file = \"cert.pem\"\nclient_key_file = \"key.pem\"\n";
    let DirectorySource::Ldap(source) = loaded_in(folder.path(), text).settings.directories.remove(0).source else { panic!() };
    assert!(matches!(source.bind, LdapBind::External));
}

#[test]
fn a_csv_directory_has_its_defaults_and_takes_over_every_key() {
    let source = csv("");
    assert_eq!(
        source,
        CsvSource {
            folder: None,
            files: "*.csv".into(),
            delta_files: "*.delta.csv".into(),
            delimiter: b',',
            list_separator: ';',
            columns: Vec::new(),
            bad_rows: BadRows::Skip,
            most_vanishing_percent: 20,
            poll_every: Duration::from_mins(1),
        }
    );
    assert_eq!(csv("delimiter = \";\"\n").list_separator, ',');
    let source = csv(
        "folder = \"hr\"\nfiles = \"full-*\"\ndelta_files = \"d-*\"\ndelimiter = \"tab\"\nlist_separator = \"|\"\ncolumns = { key = \"Nr.\", \"cost centre\" = \"KST\" }\nbad_rows = \"refuse\"\nmost_vanishing = \"0%\"\npoll_every = \"5s\"\n",
    );
    assert_eq!(source.folder.as_deref(), Some(Path::new("hr")));
    assert_eq!((source.delimiter, source.list_separator, source.bad_rows, source.most_vanishing_percent), (b'\t', '|', BadRows::Refuse, 0));
    assert_eq!(source.columns, [("key".into(), "Nr.".into()), ("cost centre".into(), "KST".into())]);
    assert_eq!((source.files.as_str(), source.delta_files.as_str(), source.poll_every), ("full-*", "d-*", Duration::from_secs(5)));
}

#[test]
fn a_first_load_is_silent_but_that_of_a_provisioner_is_told() {
    let told =
        |source: &str| loaded(&format!("[[directory]]\nname = \"x\"\nsource = \"{source}\"\n")).settings.directories[0].first_load_told;
    assert!(told("scim") && !told("csv"));
}

#[test]
fn what_works_but_should_be_known_is_a_warning() {
    let found = warnings(&loaded(
        r#"
[[directory]]
name = "posted"
source = "none"

[[directory]]
name = "corp"
source = "ldap"
url = "ldap://dc1.example.org"
base = "dc=example"
attributes = { mangaer = "boss", departement = "dept" }
[directory.notify]
membership = { joined = true, days_before_leaving = 2 }
managed_by = { days_before_removal = 3 }

[[directory]]
name = "here"
source = "ldap"
url = "ldap://127.0.0.1:3389"
base = "dc=example"
"#,
    ));
    assert_eq!(
        found,
        [
            "directory[0].source: \"none\" with none of `notify`, `to` and `password_portal_url` says nothing about anything",
            "directory[1].url: `ldap://dc1.example.org` is not encrypted: anybody in between can read and change what it says; write ldaps, or starttls = true",
            "directory[1].attributes.mangaer: `mangaer` becomes an attribute of that name; did you mean `manager`?",
            "directory[1].attributes.departement: `departement` becomes an attribute of that name; did you mean `department`?",
            "directory[1].notify.membership.days_before_leaving: is kept, but reminders come with schedules, in a later version",
            "directory[1].notify.managed_by.days_before_removal: is kept, but reminders come with schedules, in a later version",
        ]
    );
}

fn table(rules: &[&Rule]) -> String {
    let mut out = String::new();
    for rule in rules {
        let list = |list: Vec<String>| list.join(" ");
        let on = list(rule.on.iter().map(ToString::to_string).collect());
        let to = list(rule.to.iter().chain(&rule.cc).map(ToString::to_string).collect());
        let when = rule.when.as_ref().map(|when| format!(" if {}", when.source())).unwrap_or_default();
        writeln!(out, "{} on {on}{when} -> {to} by {:?} of {:?}", rule.name, rule.relay, rule.directories).expect("a text takes it");
    }
    out
}

#[test]
fn every_switch_is_a_rule_of_its_directory_alone() {
    let loaded = loaded(
        r#"
[[directory]]
name = "corp"
source = "scim"
relay = "a"
to = ["audit@example.org"]
cc = ["copies@example.org"]
[directory.notify]
actor = true
owner_manager = true
object = true
public_group_owners = true
added_member = true
removed_member = true
membership = { joined = true, left = true, days_before_leaving = 2 }
managed_by = { same_as_membership = true }
"#,
    );
    let notify = loaded.settings.directories[0].notify.unwrap();
    assert_eq!(notify.managed_by, Lifecycle { begun: true, ended: true, days_before: Some(2) });
    let switches: Vec<&Rule> = loaded.settings.rules.all().iter().filter(|rule| rule.origin == Origin::Switch).collect();
    insta::assert_snapshot!(table(&switches));
    assert_eq!(loaded.settings.directories[0].rules().len(), switches.len());
}

#[test]
fn a_switch_that_is_off_is_no_rule_and_the_built_in_rules_on_memberships_leave_the_directory_alone() {
    let names = |directories: &str| {
        let loaded = loaded(directories);
        let rules = loaded.settings.rules.all();
        rules
            .iter()
            .map(|rule| format!("{} {:?}", rule.name, rule.directories))
            .filter(|one| one.contains("membership") || one.contains(':') && !one.starts_with("built-in"))
            .collect::<Vec<_>>()
    };
    let without = "[[directory]]\nname = \"corp\"\nsource = \"scim\"\n";
    assert_eq!(names(without), ["built-in:membership.joined All", "built-in:membership.left All", "built-in:membership.ending All"]);
    assert_eq!(
        names(&format!("{without}[directory.notify]\nobject = true\n")),
        [
            "built-in:membership.joined AllBut([\"corp\"])",
            "built-in:membership.left AllBut([\"corp\"])",
            "built-in:membership.ending AllBut([\"corp\"])",
            "corp:object Only(\"corp\")",
        ]
    );
    // Addresses alone are no switches: the built-in rules stay.
    assert_eq!(names(&format!("{without}cc = [\"a@example.org\"]\n"))[3..], ["corp:recipients Only(\"corp\")"]);
}

#[test]
fn a_configured_rule_takes_the_place_of_a_switch_of_its_name_and_may_be_of_one_directory() {
    let loaded = loaded(
        "[[directory]]\nname = \"corp\"\nsource = \"scim\"\nnotify = { added_member = true }\n[[rule]]\nname = \"corp:added_member\"\non = [\"membership.joined\"]\nto = [\"manager\"]\ndirectory = \"corp\"\n",
    );
    let rules: Vec<&Rule> = loaded.settings.rules.all().iter().filter(|rule| rule.name == "corp:added_member").collect();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].origin, Origin::Configured);
    assert_eq!(format!("{:?}", rules[0].directories), "Only(\"corp\")");
}

#[test]
fn queries_are_kept_as_written() {
    let loaded = loaded(
        "[[directory]]\nname = \"corp\"\nsource = \"scim\"\n[[query]]\nname = \"sales\"\nfilter = 'department eq \"Sales\"'\ndirectory = \"corp\"\n[[query]]\nname = \"all\"\nfilter = 'name pr'\n",
    );
    let queries: Vec<_> = loaded.settings.queries.iter().map(|query| (query.name.as_str(), query.directory.as_deref())).collect();
    assert_eq!(queries, [("sales", Some("corp")), ("all", None)]);
}

#[test]
fn a_marker_says_which_value_asks_for_which_letter() {
    let source = ldap(
        r#"url = "ldaps://dc1.example.org"
bind_dn = "cn=tidings"
bind_password_env = "BIND"
[directory.marker]
attribute = "destinationIndicator"
indicator = "teletexTerminalIdentifier"
kinds = { PR_EMAIL = "password.reset", "pw expires" = "tidings.password.expiring" }
schedule = "*/5 * * * *"
details = { expires_at = "pwdEndTime", account = "uid" }
"#,
    );
    let marker = source.marker.unwrap();
    assert_eq!((marker.attribute.as_str(), marker.indicator.as_deref()), ("destinationIndicator", Some("teletexTerminalIdentifier")));
    let kinds: Vec<_> = marker.kinds.iter().map(|(value, kind)| (value.as_str(), kind.name)).collect();
    assert_eq!(kinds, [("PR_EMAIL", "password.reset"), ("pw expires", "password.expiring")]);
    assert_eq!(marker.schedule.map(|cron| cron.to_string()).as_deref(), Some("*/5 * * * *"));
    assert_eq!(marker.details.len(), 2);
    assert!(ldap("url = \"ldaps://dc1.example.org\"\n").marker.is_none());
}

#[test]
fn a_marker_that_would_stay_for_ever_is_warned_of() {
    let found = warnings(&loaded(
        r#"
[letters]
off = ["password.expiring"]

[[directory]]
name = "corp"
source = "ldap"
url = "ldaps://dc1.example.org"
base = "dc=example"
marker = { attribute = "title", kinds = { NEW = "account.created", CHANGED = "object.changed", ID = "password.reset", SOON = "password.expiring" }, details = { expires_at = "st" } }

[[directory]]
name = "lab"
source = "ldap"
url = "ldaps://dc1.example.org"
base = "dc=example"
bind_dn = "cn=tidings"
bind_password_env = "BIND"
marker = { attribute = "title", kinds = { CHANGED = "object.changed" } }

[[rule]]
name = "changes of the lab"
on = ["object.changed"]
to = ["object"]
directory = "lab"

[[rule]]
name = "built-in:password.reset"
on = ["password.reset"]
to = ["object"]
enabled = false
"#,
    ));
    let silent = |kind: &str, value: &str| {
        format!("directory[0].marker.kinds.{value}: no rule that is on tells anybody of `{kind}`: such a marker makes no letter, and stays")
    };
    assert_eq!(
        found,
        [
            "directory[0].marker: nobody signs in, and a server lets hardly anybody clear a marker; name an account with `bind_dn`"
                .to_owned(),
            silent("object.changed", "CHANGED"),
            silent("password.reset", "ID"),
            silent("password.expiring", "SOON"),
        ]
    );
}
