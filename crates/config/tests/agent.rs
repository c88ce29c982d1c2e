//! The `appsettings.json` of an agent: what is published by Netwrix under `PasswordResetSettings`, and our own section beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{path::Path, time::Duration};
use tidings_config::{Agent, Courier, LoadOptions, Loaded, Smtp, TlsMode, load_text};
use tidings_core::guard::Mode;

fn try_load(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, String> {
    load_text(text, Path::new("appsettings.json"), env, LoadOptions::default()).map_err(|problems| problems.to_string())
}

/// The one relay is read from the file itself, so it must be there.
fn load(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("appsettings.json");
    std::fs::write(&file, text).unwrap();
    load_text(text, &file, env, LoadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn smtp(loaded: &Loaded) -> &Smtp {
    match &loaded.settings.relays[0].courier {
        Courier::Smtp(smtp) => smtp,
        other => panic!("{other:?}"),
    }
}

fn agent(loaded: &Loaded) -> &Agent {
    loaded.settings.agent.as_ref().unwrap()
}

const WHOLE: &str = r##"{
  "Logging": { "LogLevel": { "Default": "Information" } },
  "MailSettings": { "FromAddress": "server@contoso.com", "Host": "server-mail.contoso.com" },
  "PasswordResetSettings": {
    "EncryptionCertificate": { "File": "C:/contoso.pfx", "Password": "secret" },
    // The agent's own way out.
    "mailsettings": { "FromAddress": "Reset <no-reply@contoso.com>", "Host": "smtp.contoso.com", "Port": "587", "SecureSocketOption": "StartTls", },
    "NotificationSettings": { "Cultures": ["fr", "en"] },
    "TokenBuildingSettings": { "ValidFor": "00:30:00" },
    "TwoFactorSettings": {
      "ApplicationUri": "https://app.contoso.com/",
      "ResetConfirmationUri": "https://agent.contoso.com/PasswordReset/Activate/?activationCode="
    }
  },
  "Tidings": {
    "Listen": "127.0.0.1:9000",
    "PublicUrl": "https://agent.contoso.com",
    "Organisation": { "Name": "Contoso", "Colour": "#112233", "default_timezone": "Europe/Paris" },
    "Relay": { "Limits": { "Sessions": "2" } },
    "Log": { "Level": "warn" }
  }
}"##;

#[test]
fn a_whole_file_comes_to_the_settings_of_a_house() {
    let loaded = load(WHOLE, &|_| None);
    let settings = &loaded.settings;
    assert_eq!((smtp(&loaded).host.as_str(), smtp(&loaded).port, smtp(&loaded).tls.mode), ("smtp.contoso.com", 587, TlsMode::Starttls));
    let relay = &settings.relays[0];
    assert_eq!((relay.name.as_str(), relay.from.as_str(), relay.limits.sessions), ("mail", "no-reply@contoso.com", 2));
    assert_eq!((settings.server.listen.port(), settings.server.public_url.as_str()), (9000, "https://agent.contoso.com"));
    assert!(settings.server.data_dir.ends_with("tidings-agent-data"));
    assert_eq!((settings.organisation.name.as_str(), settings.organisation.colour.as_str()), ("Contoso", "#112233"));
    assert_eq!((settings.safety.mode, settings.database.url.as_str()), (Mode::Live, "sqlite:tidings.db"));
    let cultures: Vec<&str> = agent(&loaded).cultures.iter().map(tidings_core::Locale::as_str).collect();
    assert_eq!(cultures, ["fr", "en"]);
    let two_way = agent(&loaded).two_way.as_ref().unwrap();
    assert_eq!((two_way.hand_over_uri.as_str(), two_way.valid_for), ("https://app.contoso.com/", Duration::from_secs(1800)));
    assert_eq!(
        (two_way.confirmation.path.as_str(), two_way.confirmation.parameter.as_str()),
        ("/PasswordReset/Activate/", "activationCode")
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(|warning| format!("{}: {}", warning.key, warning.message)).collect();
    assert_eq!(warnings, ["MailSettings: is left aside: the agent's letters go as `PasswordResetSettings.MailSettings` says"]);
}

#[test]
fn the_mail_settings_at_the_top_are_enough_and_no_link_is_made() {
    let loaded =
        load(r#"{ "MailSettings": { "FromAddress": "a@contoso.com", "Host": "smtp", "SecureSocketOption": "StartTls" } }"#, &|_| None);
    assert_eq!(smtp(&loaded).host, "smtp");
    assert_eq!(agent(&loaded), &Agent { cultures: Vec::new(), two_way: None });
    assert_eq!(loaded.settings.server.listen.to_string(), "127.0.0.1:8026");
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_environment_comes_before_the_file() {
    let env = |name: &str| {
        let value = match name {
            "PasswordResetSettings__MailSettings__Host" => "other.contoso.com",
            "PASSWORDRESETSETTINGS__TOKENBUILDINGSETTINGS__VALIDFOR" => "1.00:00:00",
            "PasswordResetSettings__NotificationSettings__Cultures__0" => "de",
            "PasswordResetSettings__NotificationSettings__Cultures__2" => "it",
            "PasswordResetSettings__TwoFactorSettings__ApplicationUri" => "https://elsewhere.contoso.com",
            "Tidings__Listen" => "127.0.0.1:9001",
            "Tidings__Relay__Limits__PerMinute" => "30",
            "TIDINGS__ORGANISATION__NAME" => "Fabrikam",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let loaded = load(WHOLE, &env);
    assert_eq!(smtp(&loaded).host, "other.contoso.com");
    let two_way = agent(&loaded).two_way.as_ref().unwrap();
    assert_eq!((two_way.hand_over_uri.as_str(), two_way.valid_for), ("https://elsewhere.contoso.com", Duration::from_secs(86_400)));
    let cultures: Vec<&str> = agent(&loaded).cultures.iter().map(tidings_core::Locale::as_str).collect();
    // There is no second one between them, so the third is not looked for; as .NET counts, the file's own second one stays.
    assert_eq!(cultures, ["de", "en"]);
    assert_eq!(loaded.settings.server.listen.port(), 9001);
    assert_eq!((loaded.settings.relays[0].limits.sessions, loaded.settings.relays[0].limits.per_minute), (2, Some(30)));
    assert_eq!(loaded.settings.organisation.name, "Fabrikam");
}

#[test]
fn a_wrong_value_of_the_environment_names_the_variable() {
    let env = |name: &str| match name {
        "Tidings__Listen" => Some("nowhere".to_owned()),
        "PasswordResetSettings__TokenBuildingSettings__ValidFor" => Some("3h".to_owned()),
        _ => None,
    };
    let problems = try_load(WHOLE, &env).unwrap_err();
    assert!(problems.contains("appsettings.json: Tidings__Listen: "), "{problems}");
    assert!(
        problems.contains("appsettings.json: PasswordResetSettings__TokenBuildingSettings__ValidFor: `3h` is not of the form"),
        "{problems}"
    );
}
