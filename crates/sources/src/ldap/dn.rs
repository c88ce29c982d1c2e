//! Distinguished names (RFC 4514) in one form, so that two spellings of a name are the same text.

use std::fmt::Write as _;

/// Other spellings of attribute types that stand in names (RFC 4519, RFC 4524): by OID, and the long ones.
const SPELLINGS: [(&str, &str); 25] = [
    ("2.5.4.3", "cn"),
    ("commonname", "cn"),
    ("2.5.4.4", "sn"),
    ("surname", "sn"),
    ("2.5.4.6", "c"),
    ("countryname", "c"),
    ("2.5.4.7", "l"),
    ("localityname", "l"),
    ("2.5.4.8", "st"),
    ("stateorprovincename", "st"),
    ("2.5.4.9", "street"),
    ("streetaddress", "street"),
    ("2.5.4.10", "o"),
    ("organizationname", "o"),
    ("2.5.4.11", "ou"),
    ("organizationalunitname", "ou"),
    ("2.5.4.42", "givenname"),
    ("gn", "givenname"),
    ("0.9.2342.19200300.100.1.1", "uid"),
    ("userid", "uid"),
    ("0.9.2342.19200300.100.1.25", "dc"),
    ("domaincomponent", "dc"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("rfc822mailbox", "mail"),
    ("1.2.840.113549.1.9.1", "email"),
];

/// The one form of a name: types in lower case under one spelling, values in lower case with single spaces, escapes only where they are needed and each written one way,
/// the parts of a part in order. What is not a name becomes itself in lower case.
///
/// Matching by lower case is what nearly every attribute that names use asks for (`caseIgnoreMatch`, RFC 4517 §4.2.11).
pub(crate) fn normalise(dn: &str) -> String {
    plain(dn).or_else(|| parse(dn)).unwrap_or_else(|| folded(dn.trim()))
}

/// The quick way for names that have nothing about them but capital letters: groups hold them by the hundred thousand. `None` for all others.
fn plain(dn: &str) -> Option<String> {
    if !dn.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ,=-_.@'()&/".contains(&byte)) {
        return None;
    }
    let form = dn.to_ascii_lowercase();
    let is_plain = form.split(',').all(|part| {
        part.split_once('=').is_some_and(|(kind, value)| {
            matches!(kind, "cn" | "ou" | "dc" | "uid" | "o" | "c" | "l")
                && !value.is_empty()
                && !value.starts_with(' ')
                && !value.ends_with(' ')
                && !value.contains('=')
                && !value.contains("  ")
        })
    });
    is_plain.then_some(form)
}

fn parse(dn: &str) -> Option<String> {
    let mut rest = dn.trim().chars().peekable();
    let mut form = String::with_capacity(dn.len());
    let mut parts: Vec<String> = Vec::new();
    while rest.peek().is_some() {
        let mut kind = String::new();
        loop {
            match rest.next()? {
                '=' => break,
                ',' | ';' | '+' => return None,
                c => kind.extend(c.to_lowercase()),
            }
        }
        let kind = kind.trim();
        let kind = kind.strip_prefix("oid.").unwrap_or(kind);
        if kind.is_empty() {
            return None;
        }
        let kind = SPELLINGS.iter().find(|(spelling, _)| *spelling == kind).map_or(kind, |(_, one)| one);
        let (value, end) = value(&mut rest)?;
        parts.push(format!("{kind}={value}"));
        if end != Some('+') {
            parts.sort_unstable();
            if !form.is_empty() {
                form.push(',');
            }
            form.push_str(&parts.join("+"));
            parts.clear();
            if end.is_some() && rest.peek().is_none() {
                return None;
            }
        } else if rest.peek().is_none() {
            return None;
        }
    }
    Some(form)
}

/// A value up to its separator, which is given with it.
fn value(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<(String, Option<char>)> {
    while rest.next_if_eq(&' ').is_some() {}
    // Octets rather than letters: an escape may stand for part of a letter.
    let mut octets: Vec<u8> = Vec::new();
    // Up to here nothing may be trimmed.
    let mut kept = 0;
    let mut quoted = false;
    let push = |octets: &mut Vec<u8>, c: char| octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let end = loop {
        match rest.next() {
            None if quoted => return None,
            None => break None,
            Some('"') => quoted = !quoted,
            Some('\\') => {
                let next = rest.next()?;
                match (next.to_digit(16), rest.peek().and_then(|second| second.to_digit(16))) {
                    (Some(high), Some(low)) => {
                        rest.next();
                        octets.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    _ => push(&mut octets, next),
                }
                kept = octets.len();
            }
            Some(c @ (',' | ';' | '+')) if !quoted => break Some(c),
            Some(c) => push(&mut octets, c),
        }
    };
    let length = octets.iter().rposition(|octet| *octet != b' ').map_or(0, |last| last + 1).max(kept);
    octets.truncate(length);
    Some((escaped(&folded(&String::from_utf8_lossy(&octets))), end))
}

/// In lower case, with single spaces (RFC 4518 §2.6.1).
fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c != ' ' || !folded.ends_with(' ') {
            folded.push(c);
        }
    }
    folded.trim_matches(' ').to_owned()
}

/// As RFC 4514 §2.4 has it; control characters by number, because a name may come to stand in an event.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => escaped.extend(['\\', c]),
            '#' if at == 0 => escaped.push_str("\\#"),
            c if c.is_control() => {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| write!(escaped, "\\{byte:02x}").expect("a string takes everything"));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_become_one_text() {
        let one = normalise("cn=Ada King,ou=people,dc=example,dc=org");
        for other in [
            "CN=Ada King,OU=People,DC=example,DC=org",
            "cn = ada  king , ou = people , dc=example , dc=org",
            "commonName=Ada King;ou=people;domainComponent=example;dc=org",
            "2.5.4.3=Ada King,OID.2.5.4.11=people,dc=example,dc=org",
            r#"cn="Ada King",ou=people,dc=example,dc=org"#,
            r"cn=\41da\20King,ou=people,dc=example,dc=org",
        ] {
            assert_eq!(normalise(other), one, "{other}");
        }
        assert_eq!(one, "cn=ada king,ou=people,dc=example,dc=org");
    }

    #[test]
    fn what_is_escaped_stays_within_its_value() {
        assert_eq!(normalise(r"cn=King\, Ada,dc=org"), r"cn=king\, ada,dc=org");
        assert_eq!(normalise(r"cn=King\2C Ada,dc=org"), r"cn=king\, ada,dc=org");
        assert_eq!(normalise(r#"cn="King, Ada",dc=org"#), r"cn=king\, ada,dc=org");
        assert_eq!(normalise(r"cn=\C3\84rger"), "cn=ärger");
        assert_eq!(normalise("cn=a\\0Ab"), r"cn=a\0ab");
        assert_eq!(normalise(r"cn=\#1"), r"cn=\#1");
        assert_ne!(normalise("cn=a,ou=b"), normalise(r"cn=a\,ou=b"));
    }

    #[test]
    fn parts_of_a_part_have_an_order() {
        assert_eq!(normalise("uid=7+cn=Ada,dc=org"), normalise("CN=ada+UID=7,dc=org"));
    }

    #[test]
    fn what_is_no_name_is_kept() {
        assert_eq!(normalise(""), "");
        assert_eq!(normalise("Somebody"), "somebody");
        assert_eq!(normalise("cn=a,"), "cn=a,");
    }

    proptest! {
        #[test]
        fn the_quick_way_leads_to_the_same(dn in "(cn|OU|st|commonName)=[ a-zA-Z.=']{1,8}(,[dD]c=[a-zA-Z ]{1,6}){0,2}") {
            if let Some(form) = plain(&dn) {
                prop_assert_eq!(Some(form), parse(&dn));
            }
        }

        #[test]
        fn the_form_of_a_form_is_itself(dn in r#"(cn|OU)=[ a-zA-ZäÖ,+"\\#=;0-9]{1,12}(,dc=[a-z\\, ]{1,6})?"#) {
            let once = normalise(&dn);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
