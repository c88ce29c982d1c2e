//! Attributes of an entry and what their octets mean: names with options, texts, truth values, moments, identifiers.

use super::message::RawEntry;
use std::fmt::Write as _;
use tidings_core::Timestamp;

/// The name of an attribute without its options (RFC 4512 §2.5): `member` of `member;range=0-1499`.
pub(crate) fn base_name(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}

/// Which values of an attribute an answer holds: `(first, last)`, without a last one if these are all that are left.
/// Active Directory's way to give many values in portions (MS-ADTS §3.1.1.3.1.3.3).
pub(crate) fn range(description: &str) -> Option<(u64, Option<u64>)> {
    let range = description.split(';').skip(1).find_map(|option| option.to_ascii_lowercase().strip_prefix("range=").map(str::to_owned))?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, if last == "*" { None } else { Some(last.parse().ok()?) }))
}

impl RawEntry {
    /// The values of an attribute. The plain attribute is preferred to one with options, such as a language.
    pub(crate) fn values(&self, name: &str) -> &[Vec<u8>] {
        let is = |description: &str| description.eq_ignore_ascii_case(name);
        let plain = self.attributes.iter().find(|(description, _)| is(description));
        // An answer that holds a portion of the values has the plain attribute beside it, without values.
        let with_options = || self.attributes.iter().find(|(description, values)| is(base_name(description)) && !values.is_empty());
        let found = plain.filter(|(_, values)| !values.is_empty()).or_else(with_options);
        found.map_or(&[], |(_, values)| values)
    }

    /// The first value of an attribute, as text without control characters and without space around it.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.values(name).iter().find_map(|value| text(value))
    }

    /// The values of an attribute as written, for those that are names of entries.
    pub(crate) fn names(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).iter().filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Whether it has this object class.
    pub(crate) fn is_a(&self, class: &str) -> bool {
        self.names("objectClass").any(|found| found.eq_ignore_ascii_case(class))
    }

    /// About how much memory it takes.
    pub(crate) fn size(&self) -> usize {
        let values = |values: &Vec<Vec<u8>>| values.iter().map(|value| value.len() + 48).sum::<usize>();
        self.dn.len() + self.attributes.iter().map(|(name, list)| name.len() + 64 + values(list)).sum::<usize>()
    }
}

/// A value as text that may stand in a letter: control characters become spaces. `None` if it is not UTF-8 or empty.
pub(crate) fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.is_empty() {
        None
    } else if text.chars().any(char::is_control) {
        Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
    } else {
        Some(text.to_owned())
    }
}

/// A truth value (RFC 4517 §3.3.3), and the ways in which people write one.
pub(crate) fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "on" | "active" | "enabled" => Some(true),
        "false" | "0" | "no" | "n" | "off" | "inactive" | "disabled" => Some(false),
        _ => None,
    }
}

/// A moment (`GeneralizedTime`, RFC 4517 §3.3.13): `20261122051000Z`, `20261122051000.0Z`, `202611220510+0100`.
pub(crate) fn moment(value: &str) -> Option<Timestamp> {
    let (digits, zone) = match value.find(['Z', 'z', '+', '-']) {
        Some(at) => value.split_at(at),
        None => return None,
    };
    let (digits, fraction) = digits.split_once(['.', ',']).unwrap_or((digits, ""));
    if digits.len() < 10 || !digits.len().is_multiple_of(2) || digits.len() > 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize| digits.get(from..from + 2).unwrap_or("00");
    // A fraction of a second; one of a minute or an hour is never seen and left out.
    let fraction = if digits.len() == 14 && !fraction.is_empty() { format!(".{fraction}") } else { String::new() };
    let zone = match zone {
        "Z" | "z" => "Z".to_owned(),
        offset if offset.len() == 5 => format!("{}:{}", &offset[..3], &offset[3..]),
        offset if offset.len() == 3 => format!("{offset}:00"),
        _ => return None,
    };
    format!("{}-{}-{}T{}:{}:{}{fraction}{zone}", digits.get(..4)?, part(4), part(6), part(8), part(10), part(12)).parse().ok()
}

/// A moment as a search asks for it.
pub(crate) fn written(moment: Timestamp) -> String {
    moment.strftime("%Y%m%d%H%M%SZ").to_string()
}

/// Sixteen octets as a UUID, the first octet first (RFC 4122 §4.1.2), as `entryUUID` is.
pub(crate) fn uuid(octets: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, octet) in octets.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        write!(text, "{octet:02x}").expect("a string takes everything");
    }
    text
}

/// Sixteen octets as a GUID of Microsoft's (MS-DTYP §2.3.4.2), as `objectGUID` is: the first three parts are turned round.
pub(crate) fn guid(octets: &[u8; 16]) -> String {
    let mut turned = *octets;
    for part in [0..4, 4..6, 6..8] {
        turned[part].reverse();
    }
    uuid(&turned)
}

/// What names an entry for ever, in one form: binary identifiers as GUID, everything of 32 hexadecimal digits as UUID in lower case, other texts as they are.
pub(crate) fn key(attribute: &str, value: &[u8]) -> Option<String> {
    if attribute.eq_ignore_ascii_case("objectGUID") || std::str::from_utf8(value).is_err() {
        return <&[u8; 16]>::try_from(value).ok().map(guid);
    }
    let text = text(value)?;
    Some(canonical(&text).unwrap_or(text))
}

/// `6BA7B810-9DAD11D1-80B400C0-4FD430C8` and its like as a UUID.
fn canonical(text: &str) -> Option<String> {
    if text.len() > 38 {
        return None;
    }
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, '-' | '{' | '}'))
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let octets: [u8; 16] = digits.chunks_exact(2).map(|two| two[0] * 16 + two[1]).collect::<Vec<_>>().try_into().ok()?;
    (digits.len() == 32).then(|| uuid(&octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_names_of_attributes() {
        assert_eq!(range("member;range=0-1499"), Some((0, Some(1499))));
        assert_eq!(range("member;Range=1500-*"), Some((1500, None)));
        assert_eq!(range("member"), None);
        assert_eq!(base_name("member;range=0-1499"), "member");
    }

    #[test]
    fn the_plain_attribute_is_preferred() {
        let value = |text: &str| vec![text.as_bytes().to_vec()];
        let entry = RawEntry {
            dn: String::new(),
            attributes: vec![
                ("cn;lang-de".into(), value("Köln")),
                ("CN".into(), value("Cologne\r\nCity")),
                ("member".into(), Vec::new()),
                ("member;range=0-0".into(), value("x")),
                ("sn;lang-de".into(), value("Müller")),
            ],
        };
        assert_eq!(entry.text("cn").unwrap(), "Cologne  City");
        assert_eq!(entry.text("sn").unwrap(), "Müller");
        assert_eq!(entry.names("member").collect::<Vec<_>>(), ["x"]);
        assert_eq!(entry.text("title"), None);
    }

    #[test]
    fn moments_are_read() {
        let read = |text| moment(text).map(|at| at.to_string());
        assert_eq!(read("20261122051059Z").unwrap(), "2026-11-22T05:10:59Z");
        assert_eq!(read("20261122051059.25Z").unwrap(), "2026-11-22T05:10:59.25Z");
        assert_eq!(read("202611220610+0100").unwrap(), "2026-11-22T05:10:00Z");
        assert_eq!(read("20261122051059"), None);
        assert_eq!(read("yesterdayZ"), None);
        assert_eq!(written(moment("20261122051059.0Z").unwrap()), "20261122051059Z");
    }

    #[test]
    fn identifiers_have_one_form() {
        // MS-DTYP's own order: the same octets as a UUID and as a GUID.
        let octets: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).unwrap() * 0x11);
        assert_eq!(uuid(&octets), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(guid(&octets), "33221100-5544-7766-8899-aabbccddeeff");
        assert_eq!(key("objectGUID", &octets).unwrap(), guid(&octets));
        assert_eq!(key("nsUniqueId", b"00112233-44556677-8899AABB-CCDDEEFF").unwrap(), uuid(&octets));
        assert_eq!(key("entryUUID", b"00112233-4455-6677-8899-AABBCCDDEEFF").unwrap(), uuid(&octets));
        assert_eq!(key("uid", b"Ada").unwrap(), "Ada");
        assert_eq!(key("objectGUID", b"short"), None);
    }
}
