//! The reference and the sample of the configuration file.

use crate::{
    keys::{Key, Section, Shape},
    sections::ROOT,
};
use std::fmt::Write;

/// The commented sample that is packaged with the program. It loads without problems.
pub fn sample() -> &'static str {
    include_str!("../sample/tidings.toml")
}

/// The reference of the configuration file as Markdown, written from the table of keys that the loader checks against.
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
        One file in TOML, `tidings.toml`. Relative paths are relative to its folder. Unknown keys are refused, and all problems are told at once:\n\
        `tidings check -c tidings.toml`.\n\n\
        Durations are written `\"500ms\"`, `\"30s\"`, `\"15m\"`, `\"1h30m\"`, `\"4d\"`; sizes `\"8MiB\"` (1024s) or `\"8MB\"` (1000s).\n\n\
        Every secret can be written in four ways, of which one is chosen: `password` is the secret itself, `password_file` a file that holds it (one line break at\n\
        its end is dropped), `password_env` a variable of the environment, `password_command` a command for `sh` that prints it within 10 seconds.\n",
    );
    for key in ROOT.keys {
        match key.shape {
            Shape::Table(section) => write_section(&mut out, &format!("[{}]", key.name), key.name, section),
            Shape::Tables(section) => write_section(&mut out, &format!("[[{}]]", key.name), key.name, section),
            _ => {}
        }
    }
    out.push_str(
        "\n## Settings of Netwrix Identity Manager\n\n\
        `appsettings` of a relay names a settings file of the server (`MailSettings`) or the agent (`PasswordResetSettings.MailSettings`), which is read as it is:\n\
        comments, trailing commas, keys in any case, numbers as texts. The environment comes before the file: `MailSettings__Host`. A folder in `Host` is a pickup\n\
        directory. `Enabled`, `AllowedDomains`, `CatchAllAddress` and `CatchAllCCAddress` join `[safety]`; the stricter of both holds. `MaxRecipients` has no effect:\n\
        nobody is left out.\n",
    );
    out
}

fn write_section(out: &mut String, heading: &str, path: &str, section: &'static Section) {
    let _ = write!(out, "\n## `{heading}`\n\n{}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|\n", section.meaning);
    write_keys(out, "", section);
    debug_assert!(!path.is_empty(), "every section has a name");
}

fn write_keys(out: &mut String, prefix: &str, section: &'static Section) {
    for key in section.keys {
        match key.shape {
            Shape::Table(inner) | Shape::Tables(inner) => write_keys(out, &format!("{prefix}{}.", key.name), inner),
            ref shape => {
                let _ =
                    writeln!(out, "| `{prefix}{}` | {} | {} | {} |", key.name, value(shape), default(key), key.meaning.replace('|', "\\|"));
            }
        }
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Expression => "text".to_owned(),
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Number(_, i64::MAX) => "number".to_owned(),
        Shape::Number(least, most) => format!("number, {least}–{most}"),
        Shape::Port => "port, 1–65535".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::Size => "size".to_owned(),
        Shape::Path => "path".to_owned(),
        Shape::Address => "mail address".to_owned(),
        Shape::Listen => "IP address and port".to_owned(),
        Shape::Url => "web address".to_owned(),
        Shape::Colour => "`#rrggbb`".to_owned(),
        Shape::Locale => "language tag (RFC 5646)".to_owned(),
        Shape::Timezone => "time zone (IANA)".to_owned(),
        Shape::Lane => "lane".to_owned(),
        Shape::Cron => "cron expression".to_owned(),
        Shape::Choice(words, _) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Shape::Texts => "list of texts".to_owned(),
        Shape::Durations => "list of durations".to_owned(),
        Shape::Map => "table of texts".to_owned(),
        Shape::Servers => "`ldaps://host[:port]` or `ldap://…`, one or a list".to_owned(),
        Shape::Percent => "part, `\"0%\"` to `\"100%\"`".to_owned(),
        Shape::Secret => "secret".to_owned(),
        Shape::ReplyCodes => "`554`, `\"5xx\"` or `\"450-459\"`".to_owned(),
        Shape::EnhancedCodes => "`\"5.7.1\"`, `\"5.7.*\"` or `\"4.7.500-699\"`".to_owned(),
        Shape::Table(_) | Shape::Tables(_) => String::new(),
    }
}

fn default(key: &Key) -> String {
    match (key.default, &key.shape) {
        (None, _) => "–".to_owned(),
        (Some(default), Shape::Number(..) | Shape::Flag | Shape::Port) => format!("`{default}`"),
        (Some(default), Shape::Texts | Shape::Durations) => {
            let quoted: Vec<String> = default.split(", ").map(|word| format!("\"{word}\"")).collect();
            format!("`[{}]`", quoted.join(", "))
        }
        (Some(default), _) => format!("`\"{default}\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_names_every_key_and_no_key_of_a_later_version() {
        let text = reference();
        for expected in [
            "## `[[relay]]`",
            "| `auth.password` | secret |",
            "| `auth.oauth2.client_secret` | secret |",
            "| `timeouts.final_dot` | duration | `\"10m\"` |",
            "| `x_headers` |",
            "`[\"1m\", \"2m\"",
        ] {
            assert!(text.contains(expected), "{expected}");
        }
        assert!(text.contains("| `notify.managed_by.same_as_membership` |"));
    }

    #[test]
    fn the_written_delays_are_those_in_force() {
        let tidings_core::retry::Rhythm::Delays(delays) = tidings_core::retry::RetryPolicy::default().rhythm else { unreachable!() };
        let written: Vec<String> = delays
            .iter()
            .map(|d| if d.as_secs() >= 3600 { format!("{}h", d.as_secs() / 3600) } else { format!("{}m", d.as_secs() / 60) })
            .collect();
        assert!(reference().contains(&format!("`[\"{}\"]`", written.join("\", \""))));
    }
}
