//! `[database]`: where the outbox is kept.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, shown},
    read::Table,
    secret::{self, Secret},
};

pub(crate) static DATABASE: Section = Section {
    meaning: "Where events and the outbox are kept.",
    keys: &[
        preset(
            "url",
            Shape::Text,
            "sqlite:tidings.db",
            "`sqlite:` and a file, relative to `server.data_dir`; or a PostgreSQL database: `postgres://user@host/name`. Several hosts (`h1:5432,h2:5432`) are tried in order for the one that can be written. `sslmode` is `prefer` unless set in the URL; `verify-full` checks the server's certificate, by the authorities in `sslrootcert` or else the system's.",
        ),
        key("password", Shape::Secret, "The password for PostgreSQL, if it is not in the URL."),
        key(
            "key",
            Shape::Secret,
            "The key that seals sensitive letters at rest: 32 bytes in hexadecimal or base64. If absent, one is made on first start and kept in `server.data_dir`, for its owner only.",
        ),
        preset(
            "min_free",
            Shape::Size,
            "256MiB",
            "Below this much free disk space new events are answered with 503; what was accepted is still delivered. Not for PostgreSQL: there, a server whose disk is full refuses by itself.",
        ),
    ],
};

/// Where events and the outbox are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `sqlite:` and a file, relative to the data folder, or `postgres://` without its password. Default: `sqlite:tidings.db`.
    pub url: String,
    /// The password for PostgreSQL, from the URL or from its own key.
    pub password: Option<Secret>,
    /// The key that seals sensitive letters at rest, as written: hexadecimal or base64. Default: one is made on first start.
    pub key: Option<Secret>,
    /// Below this much free disk space, in bytes, nothing new is accepted. Default: 256 MiB.
    pub min_free_bytes: u64,
}

impl Database {
    /// The URL with its password.
    pub fn url_with_password(&self) -> Secret {
        let (Some(password), Some((scheme, rest))) = (&self.password, self.url.split_once("://")) else { return Secret::of(&self.url) };
        let authority = rest.find(['/', '?']).unwrap_or(rest.len());
        match rest[..authority].rfind('@') {
            Some(end) => Secret::of(format!("{scheme}://{}:{}{}", &rest[..end], escaped(password.reveal()), &rest[end..])),
            None => Secret::of(&self.url),
        }
    }
}

/// As part of a URL (RFC 3986 §2.1): all but letters and digits by their numbers.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// The text that [`escaped`] was made from, or any other; `None` if it is not well written.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Takes the password out of a URL. What is wrong with the URL is said without repeating it.
fn postgres(url: &str) -> Result<(String, Option<Secret>), &'static str> {
    const WRITTEN: &str = "write \"postgres://user@host/name\"";
    let (scheme, rest) = url.split_once("://").ok_or(WRITTEN)?;
    if rest.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair.starts_with("password="))) {
        return Err("holds a password behind its question mark; write it as `password_file`");
    }
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    let Some(end) = rest[..authority].rfind('@').filter(|end| *end > 0) else {
        return Err("names no user; write \"postgres://user@host/name\"");
    };
    let Some((user, password)) = rest[..end].split_once(':') else { return Ok((url.to_owned(), None)) };
    let password = unescaped(password).ok_or("has a password that is not written as in a URL; write it as `password_file`")?;
    Ok((format!("{scheme}://{user}{}", &rest[end..]), Some(Secret::of(password))))
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Database> {
    let written = table.text("url")?;
    let found = match written.strip_prefix("sqlite:") {
        Some("") => Err("names no file; write \"sqlite:tidings.db\"".to_owned()),
        Some(_) => Ok((written.to_owned(), None)),
        None if ["postgres://", "postgresql://"].iter().any(|scheme| written.starts_with(scheme)) => {
            postgres(written).map_err(str::to_owned)
        }
        // A word that is no URL; what looks like one may hold a password.
        None if written.contains('@') => Err("is not a database; write \"sqlite:tidings.db\" or \"postgres://user@host/name\"".to_owned()),
        None => Err(format!("`{}` is not a database; write \"sqlite:tidings.db\" or \"postgres://user@host/name\"", shown(written))),
    };
    let (url, in_url) = match found {
        Ok(found) => found,
        Err(fault) => {
            loading.problem(table.place("url"), table.key("url"), fault);
            (String::new(), None)
        }
    };
    let given = secret::read(loading, table, "password");
    if given.is_some() && (in_url.is_some() || url.starts_with("sqlite:")) {
        let written =
            ["password", "password_file", "password_env", "password_command"].into_iter().find(|way| table.has(way)).unwrap_or("password");
        let fault = if in_url.is_some() {
            "the password stands in the URL already; write one of the two"
        } else {
            "an SQLite database has no password"
        };
        loading.problem(table.place(written), table.key(written), fault);
    }
    let key = secret::read(loading, table, "key");
    if key.as_ref().is_some_and(|key| !is_key(key.reveal().trim())) {
        let written = ["key", "key_file", "key_env", "key_command"].into_iter().find(|way| table.has(way)).unwrap_or("key");
        loading.problem(table.place(written), table.key(written), "is not a key: 32 bytes, as 64 hexadecimal digits or in base64");
    }
    Some(Database { url, password: in_url.or(given), key, min_free_bytes: table.size("min_free")? })
}

/// Whether a text is 32 bytes in hexadecimal or base64 (RFC 4648 §4, §5), by its look: 64 digits, or 43 characters and perhaps their padding.
fn is_key(text: &str) -> bool {
    let hexadecimal = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bare = text.strip_suffix('=').unwrap_or(text);
    hexadecimal || bare.len() == 43 && bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_password(url: &str, given: Option<&str>) -> String {
        let (url, in_url) = postgres(url).unwrap();
        let database = Database { url, password: in_url.or(given.map(Secret::of)), key: None, min_free_bytes: 0 };
        assert!(!format!("{database:?}").contains("p@ss"), "a password is never printed");
        database.url_with_password().reveal().to_owned()
    }

    #[test]
    fn a_password_comes_from_the_url_or_from_its_own_key() {
        assert_eq!(with_password("postgres://u:p%40ss@h/d?sslmode=require", None), "postgres://u:p%40ss@h/d?sslmode=require");
        assert_eq!(with_password("postgres://u@h1:5432,h2/d", Some("p@ss/wörd")), "postgres://u:p%40ss%2Fw%C3%B6rd@h1:5432,h2/d");
        assert_eq!(with_password("postgresql://u@h", None), "postgresql://u@h");
        assert_eq!(postgres("postgres://u:p%40ss@h/d").unwrap().0, "postgres://u@h/d");
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_it() {
        assert!(postgres("postgres://h/d").unwrap_err().contains("names no user"));
        assert!(postgres("postgres://u:%zz@h/d").unwrap_err().contains("password_file"));
        assert!(postgres("postgres://u@h/d?password=x").unwrap_err().contains("question mark"));
    }
}
