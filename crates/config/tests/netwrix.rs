//! The settings files of Netwrix Identity Manager, as they are published: the two samples of its documentation verbatim, and every key it knows.

use std::{fs, path::Path};
use tidings_config::{Courier, LoadOptions, Loaded, Smtp, TlsMode, load_text};
use tidings_core::guard::Mode;

fn load_with_env(json: &str, before: &str, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/netwrix");
    let toml = format!("{before}[[relay]]\nname = \"netwrix\"\nappsettings = \"{json}.json\"\n");
    load_text(&toml, &folder.join("tidings.toml"), env, LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn load(json: &str) -> Loaded {
    load_with_env(json, "", &|_| None)
}

fn warnings(loaded: &Loaded) -> String {
    let folder = format!("{}/tests/netwrix/", env!("CARGO_MANIFEST_DIR"));
    loaded.warnings.iter().map(|warning| format!("{warning}\n").replace(&folder, "")).collect()
}

fn smtp(loaded: &Loaded) -> &Smtp {
    match &loaded.settings.relays[0].courier {
        Courier::Smtp(smtp) => smtp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_published_server_sample_loads_verbatim_with_its_ellipsis() {
    let loaded = load("server");
    assert_eq!((smtp(&loaded).host.as_str(), smtp(&loaded).port, smtp(&loaded).tls.mode), ("smtp.contoso.com", 25, TlsMode::Auto));
    assert_eq!(loaded.settings.relays[0].from.as_str(), "no-reply@contoso.com");
    assert!(smtp(&loaded).auth.is_none());
    insta::assert_snapshot!(warnings(&loaded), @r#"
server.json:4:9: MailSettings.Host: SecureSocketOption Auto may end unencrypted if the server, or somebody in between, offers no TLS; StartTls and SslOnConnect never do
"#);
}

#[test]
fn the_published_agent_sample_loads_verbatim_without_its_braces() {
    let loaded = load("agent");
    let auth = smtp(&loaded).auth.as_ref().unwrap();
    assert_eq!((smtp(&loaded).port, auth.username.as_str(), auth.password().unwrap().reveal()), (993, "contosousercube", "secret"));
    insta::assert_snapshot!(warnings(&loaded), @r#"
agent.json:3:8: MailSettings.Host: SecureSocketOption Auto may end unencrypted if the server, or somebody in between, offers no TLS; StartTls and SslOnConnect never do
agent.json:4:8: MailSettings.Port: 993 is the port of IMAP over TLS, which does not send mail; mail servers take letters on 25, 465 or 587
"#);
}

#[test]
fn the_published_pickup_sample_loads_verbatim_with_its_trailing_comma() {
    let loaded = load("pickup");
    assert!(
        matches!(&loaded.settings.relays[0].courier, Courier::Pickup(pickup) if pickup.x_headers && pickup.folder == Path::new("C:/Temp/identitymanagerContosoPickup"))
    );
    assert_eq!(warnings(&loaded), "");
}

#[test]
fn every_key_of_the_server_block_is_taken_over_or_told() {
    let loaded = load("every-key");
    let relay = &loaded.settings.relays[0];
    assert_eq!((relay.from.as_str(), relay.from_name.as_deref()), ("no-reply@contoso.com", Some("Identity Team")));
    assert_eq!((smtp(&loaded).port, smtp(&loaded).tls.mode), (587, TlsMode::Starttls));
    let safety = &loaded.settings.safety;
    assert_eq!(safety.mode, Mode::Redirect);
    assert_eq!(safety.redirect_to.as_ref().unwrap().as_str(), "test@contoso.com");
    assert_eq!(safety.redirect_cc.as_ref().unwrap().as_str(), "test-cc@contoso.com");
    assert_eq!(safety.allowed_domains, ["contoso.com", "fabrikam.com"]);
    insta::assert_snapshot!(warnings(&loaded), @r#"
every-key.json:4:19: MailSettings: mail may go to contoso.com, fabrikam.com only, because of this file
every-key.json:4:19: MailSettings: safety.mode is "redirect" because of this file, which is stricter than "live"
every-key.json:13:24: MailSettings.PickupDirectory: has no effect while UseSpecifiedPickupDirectory is not true
every-key.json:15:18: MailSettings.EnableSsl: has no effect beside SecureSocketOption
every-key.json:19:22: MailSettings.MaxRecipients: has no effect: everybody gets a letter of their own, and nobody is left out
"#);
}

#[test]
fn the_agent_block_is_found_below_password_reset_settings() {
    let loaded = load("agent-nested");
    assert_eq!((smtp(&loaded).port, smtp(&loaded).tls.mode), (465, TlsMode::Implicit));
    assert!(smtp(&loaded).auth.is_none());
    assert_eq!(loaded.settings.safety.mode, Mode::Off);
    insta::assert_snapshot!(warnings(&loaded), @r#"
agent-nested.json:4:21: PasswordResetSettings.MailSettings: safety.mode is "off" because of this file, which is stricter than "live"
agent-nested.json:9:19: PasswordResetSettings.MailSettings.UserName: stands without a Password, so nobody signs in
agent-nested.json:10:32: PasswordResetSettings.MailSettings.UseDefaultCredentials: is not possible here: there is no Windows account to sign in with; UserName and Password are used if they are given
agent-nested.json:12:7: PasswordResetSettings.MailSettings.SecureSocketOptions: is not known and has no effect; did you mean `SecureSocketOption`?
"#);
}

#[test]
fn the_environment_comes_before_the_file() {
    let env = |name: &str| match name {
        "MailSettings__Host" => Some("other.contoso.com".to_owned()),
        "MAILSETTINGS__PORT" => Some("465".to_owned()),
        "MailSettings__SecureSocketOption" => Some("sslonconnect".to_owned()),
        _ => None,
    };
    let loaded = load_with_env("agent", "", &env);
    assert_eq!((smtp(&loaded).host.as_str(), smtp(&loaded).port, smtp(&loaded).tls.mode), ("other.contoso.com", 465, TlsMode::Implicit));
    let folder_in_host = load_with_env("server", "", &|name| (name == "MailSettings__Host").then(|| "../Mails".to_owned()));
    assert!(
        matches!(&folder_in_host.settings.relays[0].courier, Courier::Pickup(pickup) if pickup.folder.ends_with("tests/netwrix/../Mails"))
    );
}

#[test]
fn a_wrong_value_of_the_environment_names_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), r#"{"MailSettings": {"Host": "h", "FromAddress": "a@example.org"}}"#).unwrap();
    let env = |name: &str| (name == "MailSettings__Port").then(|| "many".to_owned());
    let toml = "[[relay]]\nappsettings = \"a.json\"\n";
    let problems = load_text(toml, &folder.path().join("tidings.toml"), &env, LoadOptions::default()).unwrap_err().to_string();
    assert!(problems.ends_with("a.json: MailSettings__Port: many is not a port (1–65535)"), "{problems}");
}

#[test]
fn the_stricter_safety_wins_and_is_told() {
    let own_is_stricter =
        load_with_env("every-key", "[safety]\nmode = \"off\"\nallowed_domains = [\"fabrikam.com\", \"example.org\"]\n", &|_| None);
    assert_eq!(own_is_stricter.settings.safety.mode, Mode::Off);
    assert_eq!(own_is_stricter.settings.safety.allowed_domains, ["fabrikam.com"]);
    let file_is_stricter = load_with_env("agent-nested", "[safety]\nmode = \"redirect\"\nredirect_to = \"team@example.org\"\n", &|_| None);
    assert_eq!(file_is_stricter.settings.safety.mode, Mode::Off);
    let told = format!("{}{}", warnings(&own_is_stricter), warnings(&file_is_stricter));
    let about_safety: Vec<&str> = told.lines().filter(|line| line.contains("safety.")).collect();
    insta::assert_snapshot!(about_safety.join("\n"), @r#"
every-key.json:4:19: MailSettings: mail may go to fabrikam.com only: the domains that both this file and safety.allowed_domains allow
every-key.json:4:19: MailSettings: safety.mode stays "off" as [safety] says, which is stricter than this file's "redirect"
agent-nested.json:4:21: PasswordResetSettings.MailSettings: safety.mode is "off" because of this file, which is stricter than "redirect"
"#);
}
