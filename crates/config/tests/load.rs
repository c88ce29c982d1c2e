//! Configurations that load, and what they come to.

use proptest::prelude::*;
use std::{fs, path::Path, time::Duration};
use tidings_config::{
    AfterReading, ClientProof, Courier, Credential, Grant, Graph, LoadOptions, Loaded, LogFormat, LogLevel, Logo, Mechanism, OAuth2, Relay,
    ReplyMeaning, ReplyRule, Smtp, TlsMode, TlsVersion, load, load_text, load_with, reference, sample,
};
use tidings_core::{Lane, guard::Mode, retry::Rhythm};

const MINIMAL: &str = "[[relay]]\nname = \"a\"\nhost = \"mail.example.org\"\ntls = \"starttls\"\nfrom = \"a@example.org\"\n";

fn no_env(_: &str) -> Option<String> {
    None
}

fn text(text: &str) -> Loaded {
    load_text(text, Path::new("tidings.toml"), &no_env, LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn warnings(loaded: &Loaded) -> String {
    loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn smtp(relay: &Relay) -> &Smtp {
    match &relay.courier {
        Courier::Smtp(smtp) => smtp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sample_loads_without_a_problem_or_a_warning() {
    assert_eq!(warnings(&text(sample())), "");
}

#[test]
fn the_loader_knows_every_key_of_the_reference() {
    // A key that the reference names must not be told as unknown.
    for line in reference().lines().filter(|line| line.starts_with("| `")) {
        let key = line.split('`').nth(1).unwrap();
        for section in ["server", "organisation", "database", "safety", "letters", "log", "relay", "directory", "query", "rule"] {
            let heading =
                if matches!(section, "relay" | "directory" | "query" | "rule") { format!("[[{section}]]") } else { format!("[{section}]") };
            let block = reference().split(&format!("\n## `{heading}`\n")).nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
            if !block.contains(line) {
                continue;
            }
            let error =
                load_text(&format!("{heading}\n{key} = {{ \"no such key\" = 1 }}\n"), Path::new("t"), &no_env, LoadOptions::default())
                    .unwrap_err();
            let unknown = error.0.iter().any(|p| p.key.ends_with(key) && p.message.starts_with("there is no such key"));
            assert!(!unknown, "{heading} {key}: {error}");
        }
    }
}

#[test]
fn the_reference_is_the_one_that_was_reviewed() {
    insta::assert_snapshot!(reference());
}

#[test]
fn what_is_left_out_has_its_default() {
    let loaded = text(MINIMAL);
    assert_eq!(warnings(&loaded), "");
    let settings = loaded.settings;
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8025");
    assert_eq!(settings.server.public_url, "http://127.0.0.1:8025");
    assert_eq!(settings.server.data_dir, Path::new("./tidings-data"));
    assert_eq!(settings.server.max_body_bytes, 8 << 20);
    assert!(settings.server.tls.is_none());
    assert_eq!(settings.organisation.name, "Your organisation");
    assert_eq!(settings.organisation.default_locale.as_str(), "en");
    assert_eq!(settings.organisation.default_timezone.iana_name(), Some("UTC"));
    assert_eq!(settings.database.url, "sqlite:tidings.db");
    assert_eq!(settings.database.min_free_bytes, 256 << 20);
    assert!(settings.database.key.is_none());
    assert_eq!(settings.safety.mode, Mode::Live);
    assert_eq!((settings.log.format, settings.log.level), (LogFormat::Auto, LogLevel::Info));
    let relay = settings.relay("a").unwrap();
    assert_eq!(relay.envelope_from, relay.from);
    assert_eq!((relay.limits.sessions, relay.limits.messages_per_session), (5, 100));
    assert_eq!(relay.retry.give_up_after, Duration::from_hours(96));
    assert!(matches!(&relay.retry.rhythm, Rhythm::Delays(delays) if delays.len() == 8));
    let smtp = smtp(relay);
    assert_eq!((smtp.port, smtp.tls.mode, smtp.tls.min_version), (587, TlsMode::Starttls, TlsVersion::V1_2));
    assert_eq!(smtp.timeouts.connect, Duration::from_secs(10));
    assert_eq!(smtp.timeouts.command, Duration::from_mins(1));
    assert_eq!(smtp.timeouts.final_dot, Duration::from_mins(10));
    assert!(smtp.auth.is_none());
    assert!(settings.rules.all().iter().any(|rule| rule.name == "built-in:password.reset"));
}

#[test]
fn every_key_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("logo.png", b"\x89PNG\r\n\x1a\n");
    write("cert.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    write("key.pem", b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n");
    fs::create_dir(folder.path().join("pickup")).unwrap();
    fs::create_dir(folder.path().join("wording")).unwrap();
    let file = folder.path().join("tidings.toml");
    fs::write(
        &file,
        r##"
[server]
listen = "[::1]:9000"
public_url = "https://tidings.example.org/"
data_dir = "data"
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
max_body = "1MB"
[organisation]
name = "Bücher AG"
logo = "logo.png"
colour = "#AABBCC"
default_locale = "de_AT"
default_timezone = "Europe/Vienna"
website = "https://example.org"
[database]
url = "sqlite:/srv/t.db"
key_env = "SEAL"
min_free = "1GiB"
[safety]
mode = "redirect"
redirect_to = "team@example.org"
redirect_cc = "copies@example.org"
allowed_domains = ["Example.org", "*.corp.example"]
guard = { per_event = 500, per_rule_hour = 5000 }
[letters]
templates = "wording"
[log]
format = "json"
level = "debug"
[[relay]]
name = "main"
host = "mail.example.org"
port = 2525
tls = "implicit"
ca_file = "cert.pem"
client_cert_file = "cert.pem"
client_key_file = "key.pem"
tls_min = "1.3"
from = "a@example.org"
from_name = "Team"
reply_to = "b@example.org"
envelope_from = "bounces@example.org"
auth = { username = "u", password_command = "printf 'ge%s' heim", mechanism = "login", allow_cleartext = true }
limits = { sessions = 3, messages_per_session = 7, per_hour = 900 }
retry = { delays = ["1m", "1h30m"], give_up_after = "2d" }
timeouts = { connect = "500ms", command = "1s", final_dot = "2m" }
next = "drop"
[[relay]]
name = "drop"
kind = "pickup"
folder = "pickup"
x_headers = false
from = "a@example.org"
retry = { cron = "*/5 * * * *" }
[[relay]]
name = "dev"
kind = "file"
path = "out.mbox"
from = "a@example.org"
[[rule]]
name = "payroll-owners"
on = ["membership.*", "tidings.test"]
when = 'object.name == "Payroll"'
to = ["owners", "managers:2"]
cc = ["boss@example.org"]
fallback = ["helpdesk@example.org"]
kind = "object.changed"
relay = "drop"
lane = "security"
enabled = false
[alerts]
to = ["ops@example.org"]
relay = "drop"
after = "30s"
webhook = { url = "https://alerts.example.org/hook", secret_env = "HOOK", ca_file = "cert.pem" }
"##,
    )
    .unwrap();
    let env = |name: &str| match name {
        "SEAL" => Some("00ff".repeat(16)),
        "HOOK" => Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
        _ => None,
    };
    let loaded = load_with(&file, &env, LoadOptions { check_folders: true }).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings(&loaded), "");
    let settings = loaded.settings;
    assert_eq!(settings.server.public_url, "https://tidings.example.org");
    assert_eq!(settings.server.data_dir, folder.path().join("data"));
    assert_eq!(settings.server.tls.as_ref().unwrap().key_file, folder.path().join("key.pem"));
    assert_eq!(settings.server.max_body_bytes, 1_000_000);
    assert!(matches!(&settings.organisation.logo, Some(Logo::File { media_type: "image/png", bytes, .. }) if bytes.len() == 8));
    assert_eq!(settings.organisation.colour, "#aabbcc");
    assert_eq!(settings.organisation.default_locale.as_str(), "de-AT");
    assert_eq!(settings.database.key.as_ref().unwrap().reveal(), "00ff".repeat(16));
    assert_eq!(settings.safety.mode, Mode::Redirect);
    assert_eq!(settings.safety.redirect_cc.as_ref().unwrap().as_str(), "copies@example.org");
    assert_eq!(settings.safety.allowed_domains, ["example.org", ".corp.example"]);
    assert_eq!(settings.safety.guard().mode(), Mode::Redirect);
    let alerts = &settings.alerts;
    assert_eq!((alerts.to[0].as_str(), alerts.relay.as_deref(), alerts.after), ("ops@example.org", Some("drop"), Duration::from_secs(30)));
    let webhook = alerts.webhook.as_ref().unwrap();
    assert_eq!((webhook.url.as_str(), webhook.secret.reveal().len()), ("https://alerts.example.org/hook", 38));
    assert!(webhook.ca_pem.is_some() && settings.rules.all().iter().any(|rule| rule.name == "built-in:alerts"));
    assert_eq!(settings.letters.templates, Some(folder.path().join("wording")));
    assert_eq!((settings.log.format, settings.log.level), (LogFormat::Json, LogLevel::Debug));
    let main = &settings.relays[0];
    assert_eq!(main.envelope_from.as_str(), "bounces@example.org");
    assert_eq!((main.from_name.as_deref(), main.next.as_deref()), (Some("Team"), Some("drop")));
    assert_eq!((main.limits.sessions, main.limits.messages_per_session, main.limits.per_hour), (3, 7, Some(900)));
    assert!(matches!(&main.retry.rhythm, Rhythm::Delays(delays) if delays[1] == Duration::from_mins(90)));
    let smtp = smtp(main);
    assert_eq!((smtp.port, smtp.tls.mode, smtp.tls.min_version), (2525, TlsMode::Implicit, TlsVersion::V1_3));
    assert!(smtp.tls.ca_pem.is_some() && smtp.tls.client_identity.as_ref().unwrap().key_pem.reveal().contains("EC PRIVATE KEY"));
    let auth = smtp.auth.as_ref().unwrap();
    assert_eq!(
        (auth.username.as_str(), auth.password().unwrap().reveal(), auth.mechanism, auth.allow_cleartext),
        ("u", "geheim", Mechanism::Login, true)
    );
    assert_eq!(smtp.timeouts.connect, Duration::from_millis(500));
    assert!(
        matches!(&settings.relays[1].courier, Courier::Pickup(pickup) if !pickup.x_headers && pickup.folder == folder.path().join("pickup"))
    );
    assert!(matches!(settings.relays[1].retry.rhythm, Rhythm::Cron(_)));
    assert!(matches!(&settings.relays[2].courier, Courier::File { path } if *path == folder.path().join("out.mbox")));
    let rule = settings.rules.all().last().unwrap();
    assert_eq!(
        (rule.name.as_str(), rule.lane, rule.enabled, rule.relay.as_deref()),
        ("payroll-owners", Some(Lane::Security), false, Some("drop"))
    );
    assert_eq!((rule.on.len(), rule.to.len(), rule.cc.len(), rule.fallback.len()), (2, 2, 1, 1));
    assert_eq!(rule.kind.unwrap().name, "object.changed");
    assert!(!format!("{:?}", settings.relays).contains("geheim"), "no debug line shows a secret");
}

#[test]
fn what_works_but_should_be_known_is_a_warning() {
    let loaded = text(
        r#"[server]
listen = "0.0.0.0:8025"

[safety]
redirect_to = "team@example.org"

[[relay]]
name = "a"
host = "mail.example.org  "
port = 993
from = "a@example.org"
auth = { username = "u" }
retry = { delays = ["2h"], give_up_after = "1h" }

[[relay]]
name = "b"
host = "localhost"
from = "a@example.org"

[[relay]]
name = "c"
host = "mail.example.org"
tls = "starttls-when-available"
from = "a@example.org"

[[relay]]
name = "d"
host = "mail.example.org"
port = 465
tls = "starttls"
from = "a@example.org"

[[relay]]
name = "e"
host = "mail.example.org"
port = 587
tls = "implicit"
from = "a@example.org"

[[rule]]
name = "r"
on = ["password.reset"]
to = ["object", "manager"]
"#,
    );
    insta::assert_snapshot!(warnings(&loaded), @r#"
tidings.toml:2:10: server.listen: 0.0.0.0:8025 is reached from other machines, and tokens would travel in clear; set tls_cert_file and tls_key_file, or stand behind a proxy that speaks TLS
tidings.toml:5:15: safety.redirect_to: has no effect while safety.mode is "live"
tidings.toml:9:8: relay[0].host: has blanks around it; `mail.example.org` is taken
tidings.toml:9:8: relay[0].tls: "auto" may end unencrypted if the server, or somebody in between, offers no TLS; "starttls" and "implicit" never do
tidings.toml:10:8: relay[0].port: 993 is the port of IMAP over TLS, which does not send mail; mail servers take letters on 25, 465 or 587
tidings.toml:12:21: relay[0].auth.username: stands without a password, so nobody signs in
tidings.toml:13:20: relay[0].retry.delays: the first delay is longer than give_up_after, so nothing is ever tried twice
tidings.toml:23:7: relay[2].tls: "starttls-when-available" may end unencrypted if the server, or somebody in between, offers no TLS; "starttls" and "implicit" never do
tidings.toml:29:8: relay[3].port: on 465 mail servers expect TLS from the first byte (RFC 8314), which is "implicit", or SslOnConnect
tidings.toml:36:8: relay[4].port: on 25 and 587 mail servers begin in clear; TLS from the first byte is spoken on 465
tidings.toml:43:6: rule[0].to: letters of the kind `password.reset` hold a secret, and `manager` may be another person than the one it belongs to
"#);
    assert_eq!(smtp(&loaded.settings.relays[0]).host, "mail.example.org");
}

#[cfg(unix)]
#[test]
fn a_secret_file_loses_one_line_break_and_is_a_warning_if_others_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("relay.password");
    fs::write(&secret, "geheim\n").unwrap();
    let file = folder.path().join("tidings.toml");
    fs::write(&file, format!("{MINIMAL}auth = {{ username = \"u\", password_file = \"relay.password\" }}\n")).unwrap();
    let password = |loaded: &Loaded| smtp(&loaded.settings.relays[0]).auth.as_ref().unwrap().password().unwrap().reveal().to_owned();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let tight = load(&file, &no_env).unwrap();
    assert_eq!((password(&tight).as_str(), warnings(&tight).as_str()), ("geheim", ""));
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let open = load(&file, &no_env).unwrap();
    assert_eq!(password(&open), "geheim");
    assert!(
        warnings(&open).contains("6:42: relay[0].auth.password_file: ") && warnings(&open).contains("(mode 644); chmod 600 it"),
        "{}",
        warnings(&open)
    );
}

#[test]
fn a_pickup_folder_that_is_not_there_is_looked_for_only_if_asked() {
    let pickup = "[[relay]]\nname = \"p\"\nkind = \"pickup\"\nfolder = \"nowhere\"\nfrom = \"a@example.org\"\n";
    assert_eq!(warnings(&text(pickup)), "");
    let looked = load_text(pickup, Path::new("tidings.toml"), &no_env, LoadOptions { check_folders: true }).unwrap_err();
    assert_eq!(looked.to_string(), "tidings.toml:4:10: relay[0].folder: the folder `nowhere` is not there");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_makes_the_loader_panic(garbage in "(\\[{0,2}(server|relay|rule|safety|a)\\]{0,2}\n|(name|host|port|on|to|when|tls|mode|from|auth|x\\.y) ?= ?(\"[a-z@.\\\\é]{0,6}\"|'''[a-z&\n ]{0,9}'''|-?[0-9]{1,22}|\\[\"?[a-z]{0,4}\"?,?\\]|\\{ ?[a-z]{0,8} ?= ?1 ?\\}|true|1.5e9|2026-01-01)\n?|\\PC{0,8}){0,12}") {
        if let Err(problems) = load_text(&garbage, Path::new("t.toml"), &no_env, LoadOptions::default()) {
            prop_assert!(!problems.0.is_empty() && problems.0.iter().all(|p| p.line > 0 && p.column > 0), "{problems}");
        }
    }

    #[test]
    fn no_value_in_any_place_makes_the_loader_panic(
        key in "(server|organisation|database|safety|letters|log)\\.(listen|public_url|max_body|name|logo|colour|default_timezone|url|min_free|mode|allowed_domains|guard|templates|level)",
        value in "(\"\\PC{0,12}\"|[0-9]{1,25}|\\[\"\\PC{0,6}\"\\]|\\{a=1\\})",
    ) {
        if let Err(problems) = load_text(&format!("{key} = {value}\n{MINIMAL}"), Path::new("t.toml"), &no_env, LoadOptions::default()) {
            prop_assert!(!problems.0.is_empty() && problems.to_string().lines().count() == problems.0.len(), "{problems}");
        }
    }
}

/// The token settings of a relay written like this.
fn tokens(folder: &Path, oauth2: &str) -> OAuth2 {
    let file = folder.join("tidings.toml");
    fs::write(&file, format!("{MINIMAL}auth = {{ username = \"u\", oauth2 = {{ {oauth2} }} }}\n")).expect("our own folder can be written");
    let loaded = load_with(&file, &|_| None, LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"));
    match smtp(&loaded.settings.relays[0]).auth.as_ref().map(|auth| &auth.credential) {
        Some(Credential::OAuth2(tokens)) => tokens.as_ref().clone(),
        other => panic!("no tokens: {other:?}"),
    }
}

#[test]
fn a_provider_gives_what_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let microsoft = r#"provider = "microsoft", tenant = "contoso.com", client_id = "7", client_secret = "s""#;
    let found = tokens(folder.path(), microsoft);
    assert_eq!(found.token_url, "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token");
    assert_eq!((found.scope.as_deref(), found.grant), (Some("https://outlook.office365.com/.default"), Grant::ClientCredentials));
    assert!(matches!(&found.proof, ClientProof::SecretInBody(secret) if secret.reveal() == "s"));
    assert_eq!(tokens(folder.path(), &format!("{microsoft}, scope = \"other\"")).scope.as_deref(), Some("other"));

    let account = r#"{"client_email": "post@project.example", "private_key_id": "k1", "private_key": "-----BEGIN PRIVATE KEY-----"}"#;
    fs::write(folder.path().join("account.json"), account).unwrap();
    let found = tokens(folder.path(), r#"provider = "google", client_key_file = "account.json""#);
    assert_eq!((found.token_url.as_str(), found.client_id.as_str()), ("https://oauth2.googleapis.com/token", "post@project.example"));
    assert_eq!((found.scope.as_deref(), found.grant), (Some("https://mail.google.com/"), Grant::JwtBearer));
    let ClientProof::Key(key) = &found.proof else { panic!("no key") };
    assert_eq!((key.pem.reveal(), key.id.as_deref(), key.algorithm), ("-----BEGIN PRIVATE KEY-----", Some("k1"), None));

    let generic = r#"token_url = "https://login.example.org/token", client_id = "7", client_secret = "s", client_auth = "basic""#;
    let found = tokens(folder.path(), generic);
    assert_eq!((found.scope, found.grant), (None, Grant::ClientCredentials));
    assert!(matches!(found.proof, ClientProof::SecretByBasic(_)));
}

#[test]
fn a_preset_holds_where_nothing_is_written_and_what_is_written_holds_before_it() {
    let load =
        |text: &str| load_text(text, Path::new("tidings.toml"), &|_| None, LoadOptions::default()).unwrap().settings.relays.remove(0);
    let exchange = load("[[relay]]\nname = \"a\"\npreset = \"exchange-online\"\nfrom = \"a@example.org\"\n");
    let way = smtp(&exchange);
    assert_eq!((way.host.as_str(), way.port, way.tls.mode), ("smtp.office365.com", 587, TlsMode::Starttls));
    let limits = exchange.limits;
    assert_eq!((limits.sessions, limits.per_minute, limits.per_hour, limits.per_day), (3, Some(30), None, Some(10_000)));
    assert_eq!(exchange.preset.as_deref(), Some("exchange-online"));

    let own = load(
        "[[relay]]\nname = \"a\"\npreset = \"exchange-online\"\nfrom = \"a@example.org\"\nhost = \"contoso.mail.protection.outlook.com\"\nport = 25\n\
         limits = { sessions = 9, per_minute = 0, per_day = 7, sessions_per_minute = 4 }\n",
    );
    assert_eq!(
        (smtp(&own).host.as_str(), smtp(&own).port, smtp(&own).tls.mode),
        ("contoso.mail.protection.outlook.com", 25, TlsMode::Starttls)
    );
    let limits = own.limits;
    assert_eq!((limits.sessions, limits.per_minute, limits.per_day, limits.sessions_per_minute), (9, None, Some(7), Some(4)));

    let implicit = load("[[relay]]\nname = \"a\"\npreset = \"google-workspace-relay\"\ntls = \"implicit\"\nfrom = \"a@example.org\"\n");
    assert_eq!((smtp(&implicit).port, implicit.limits.per_day), (465, Some(10_000)), "the port follows the encryption that is written");
    let plain = load(MINIMAL);
    assert_eq!((plain.limits.per_minute, plain.limits.per_day, plain.preset), (None, None, None));
}

#[test]
fn rows_of_the_reply_table_are_read_in_order() {
    let text = format!(
        "{MINIMAL}[[relay.replies]]\nstage = \"rcpt\"\ncode = 550\nenhanced = \"5.7.*\"\ntext = \"Daily\"\nmeans = \"quota\"\nhint = \"wait\"\n\
         [[relay.replies]]\ncode = \"5xx\"\nmeans = \"retry\"\n"
    );
    let replies = load_text(&text, Path::new("tidings.toml"), &|_| None, LoadOptions::default()).unwrap().settings.relays.remove(0).replies;
    let first = ReplyRule {
        stage: Some(tidings_core::outbox::Stage::Rcpt),
        codes: (550, 550),
        enhanced: Some(((5, 7), (0, 999))),
        text: Some("Daily".to_owned()),
        means: ReplyMeaning::Quota,
        hint: Some("wait".to_owned()),
    };
    let second = ReplyRule { stage: None, codes: (500, 599), enhanced: None, text: None, means: ReplyMeaning::Retry, hint: None };
    assert_eq!(replies, [first, second]);
}

#[test]
fn kinds_are_switched_off_one_by_one_or_by_a_pattern() {
    let loaded = text(&format!("{MINIMAL}[letters]\noff = [\"membership.left\", \"tidings.management.*\"]\n"));
    assert_eq!(warnings(&loaded), "");
    let off: Vec<&str> = loaded.settings.letters.off.iter().map(|kind| kind.name).collect();
    assert_eq!(off, ["membership.left", "management.added", "management.removed"]);
    let is_off = |name: &str| loaded.settings.rules.is_off(tidings_core::Kind::find(name).unwrap());
    assert!(is_off("membership.left") && is_off("management.added") && !is_off("membership.joined"));
    assert!(text(MINIMAL).settings.letters.off.is_empty(), "all kinds are on if nothing is said");

    let loaded = text(&format!("{MINIMAL}[letters]\noff = [\"password.reset_link\"]\n"));
    let warned =
        "tidings.toml:7:8: letters.off[0]: letters of the kind `password.reset_link`, which readers may not switch off, are not written";
    assert_eq!(warnings(&loaded), warned);
    let wrong = format!("{MINIMAL}[letters]\noff = [\"test\", \"membership.join\"]\n");
    let problems = load_text(&wrong, Path::new("tidings.toml"), &no_env, LoadOptions::default()).unwrap_err();
    let expected = "tidings.toml:7:16: letters.off[1]: `membership.join` matches no type; did you mean `membership.joined`?";
    assert_eq!(problems.to_string().trim_end(), expected);
}

fn graph(more: &str) -> (Graph, tidings_config::Limits, String) {
    let loaded = text(&format!("[[relay]]\nname = \"a\"\nkind = \"graph\"\nfrom = \"post@contoso.com\"\n{more}"));
    let told = warnings(&loaded);
    match &loaded.settings.relays[0].courier {
        Courier::Graph(graph) => (graph.as_ref().clone(), loaded.settings.relays[0].limits, told),
        other => panic!("{other:?}"),
    }
}

const TOKENS: &str = "oauth2 = { tenant = \"contoso.com\", client_id = \"x\", client_secret = \"geheim\" }";

#[test]
fn a_relay_by_graph_needs_only_its_tokens() {
    let (graph, limits, told) = graph(&format!("auth = {{ {TOKENS} }}\n"));
    assert_eq!((graph.url.as_str(), graph.mailbox.as_str(), told.as_str()), ("https://graph.microsoft.com/v1.0", "post@contoso.com", ""));
    assert_eq!(graph.tokens.token_url, "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token");
    assert_eq!(graph.tokens.scope.as_deref(), Some("https://graph.microsoft.com/.default"));
    assert_eq!((limits.sessions, limits.per_minute, limits.per_day), (4, Some(30), Some(10_000)));
    assert_eq!((graph.timeouts.final_dot, graph.timeouts.connect), (Duration::from_mins(2), Duration::from_secs(10)));
    assert!(!format!("{graph:?}").contains("geheim"));
}

#[test]
fn a_national_cloud_has_its_own_addresses() {
    for (written, url, login) in [
        ("cloud = \"us-government\"", "https://graph.microsoft.us/v1.0", "login.microsoftonline.us"),
        ("cloud = \"us-government-dod\"", "https://dod-graph.microsoft.us/v1.0", "login.microsoftonline.us"),
        ("cloud = \"china\"", "https://microsoftgraph.chinacloudapi.cn/v1.0", "login.partner.microsoftonline.cn"),
        ("url = \"https://graph.microsoft.us/beta\"", "https://graph.microsoft.us/beta", "login.microsoftonline.us"),
        ("url = \"http://localhost:1/v1.0\"", "http://localhost:1/v1.0", "login.microsoftonline.com"),
    ] {
        let (graph, ..) = graph(&format!("{written}\nauth = {{ username = \"4711\", {TOKENS} }}\n"));
        assert_eq!((graph.url.as_str(), graph.mailbox.as_str()), (url, "4711"));
        assert!(graph.tokens.token_url.starts_with(&format!("https://{login}/contoso.com/")), "{}", graph.tokens.token_url);
    }
    let more = format!(
        "envelope_from = \"x@contoso.com\"\nlimits = {{ sessions = 2, per_minute = 0 }}\ntimeouts = {{ final_dot = \"5m\" }}\nauth = {{ {TOKENS} }}\n"
    );
    let (graph, limits, told) = graph(&more);
    assert!(told.contains("envelope_from") && told.contains("reports go to that mailbox"), "{told}");
    assert_eq!((limits.sessions, limits.per_minute, graph.timeouts.final_dot), (2, None, Duration::from_mins(5)));
}

#[test]
fn a_mailbox_of_reports_needs_a_host_an_account_and_a_proof() {
    let bare = text(MINIMAL);
    assert!(bare.settings.bounces.mailbox.is_none());
    let mailbox = |more: &str| {
        let loaded = text(&format!("{MINIMAL}[bounces.mailbox]\nhost = \"imap.example.org\"\nusername = \"b@example.org\"\n{more}"));
        let told = warnings(&loaded);
        (loaded.settings.bounces.mailbox.unwrap(), told)
    };
    let (found, told) = mailbox("password = \"geheim\"\n");
    assert_eq!((found.port, found.tls, found.folder.as_str(), told.contains("port")), (993, TlsMode::Implicit, "INBOX", false));
    assert_eq!(
        (found.after, found.every, found.allow_cleartext),
        (AfterReading::Move("Tidings done".into()), Duration::from_mins(1), false)
    );
    assert!(matches!(&found.credential, Credential::Password(password) if password.reveal() == "geheim"));
    let tokens = "oauth2 = { provider = \"microsoft\", tenant = \"contoso.com\", client_id = \"x\", client_secret = \"y\" }\n";
    let (found, _) = mailbox(&format!("tls = \"starttls\"\nafter = \"flag\"\nfolder = \"Berichte/Zustellung\"\nevery = \"5m\"\n{tokens}"));
    assert_eq!(
        (found.port, found.tls, found.folder.as_str(), found.after),
        (143, TlsMode::Starttls, "Berichte/Zustellung", AfterReading::Flag)
    );
    assert!(
        matches!(&found.credential, Credential::OAuth2(tokens) if tokens.scope.as_deref() == Some("https://outlook.office365.com/.default"))
    );
    let (_, told) = mailbox("port = 995\npassword = \"geheim\"\nafter = \"delete\"\n");
    assert!(told.contains("POP3"), "{told}");
}
