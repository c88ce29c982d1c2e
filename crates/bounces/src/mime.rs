//! A mail taken to pieces, as far as reports need it: header fields and leaf parts, bounded in depth, number and size, in time that grows with the bytes alone.
//!
//! The taking apart is our own because a report comes from anybody: each level of a multipart is walked once, line by line, and there are few levels. What stands in
//! the pieces (media types, charsets, encoded words) the library reads.

use mail_parser::{
    HeaderValue, MessageParser, MimeHeaders,
    decoders::{base64::base64_decode, charsets::map::charset_decoder, html::html_to_text, quoted_printable::quoted_printable_decode},
};
use std::borrow::Cow;

/// Multiparts within multiparts that are gone into.
const DEEPEST: usize = 4;
/// Parts that are looked at.
const MOST_PARTS: usize = 40;
/// Fields of a header that are looked at.
const MOST_FIELDS: usize = 400;
/// Bytes of a field that are looked at.
const LONGEST_FIELD: usize = 8 * 1024;
/// Bytes of a header that are looked at.
const LONGEST_HEADER: usize = 256 * 1024;

/// Fields of a header, unfolded, names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a block. A line that is none is left out.
    pub(crate) fn of(block: &[u8]) -> Self {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines(&block[..block.len().min(LONGEST_HEADER)]) {
            let text = String::from_utf8_lossy(line);
            if text.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut().filter(|(_, value)| value.len() < LONGEST_FIELD) {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                continue;
            }
            let Some((name, value)) = text.split_once(':') else { continue };
            let name = name.trim();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                continue;
            }
            if fields.len() == MOST_FIELDS {
                break;
            }
            let value = value.trim();
            let cut = value.char_indices().nth(LONGEST_FIELD).map_or(value.len(), |(cut, _)| cut);
            fields.push((name.to_ascii_lowercase(), value[..cut].to_owned()));
        }
        Self(fields)
    }

    /// The first field of this name (lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All fields of this name.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether there is a field whose name begins so.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A leaf of a mail.
#[derive(Debug)]
pub(crate) struct Leaf<'a> {
    /// `type/subtype` in lower case.
    pub(crate) media: String,
    charset: Option<String>,
    body: Cow<'a, [u8]>,
}

impl Leaf<'_> {
    /// The bytes, decoded.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The text; of HTML what is to be read.
    pub(crate) fn text(&self) -> String {
        let decoder = self.charset.as_ref().and_then(|charset| charset_decoder(charset.as_bytes()));
        let text = decoder.map_or_else(|| String::from_utf8_lossy(&self.body).into_owned(), |decode| decode(&self.body));
        if self.media == "text/html" { html_to_text(&text) } else { text }
    }
}

/// A mail in pieces.
#[derive(Debug)]
pub(crate) struct Mail<'a> {
    /// Its own header.
    pub(crate) fields: Fields,
    /// The subject, decoded.
    pub(crate) subject: String,
    /// Its leaves, in order. A mail inside is one leaf.
    pub(crate) leaves: Vec<Leaf<'a>>,
}

impl<'a> Mail<'a> {
    /// Takes a mail to pieces. Whatever it is, something comes of it.
    pub(crate) fn of(raw: &'a [u8]) -> Self {
        let (head, _) = split_head(raw);
        let subject = MessageParser::default()
            .parse_headers(&head[..head.len().min(LONGEST_HEADER)])
            .and_then(|parsed| parsed.subject().map(str::to_owned))
            .unwrap_or_default();
        let mut leaves = Vec::new();
        walk(raw, DEEPEST, false, &mut leaves);
        Self { fields: Fields::of(head), subject, leaves }
    }

    /// The first leaf of one of these media types.
    pub(crate) fn leaf(&self, media: &[&str]) -> Option<&Leaf<'a>> {
        self.leaves.iter().find(|leaf| media.contains(&leaf.media.as_str()))
    }

    /// The first text that is written for people.
    pub(crate) fn words(&self) -> String {
        self.leaf(&["text/plain"]).or_else(|| self.leaf(&["text/html"])).map(Leaf::text).unwrap_or_default()
    }
}

/// The lines of a text without their ends.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// A mail or part as header, with its empty line, and body.
pub(crate) fn split_head(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line == b"\n" || line == b"\r\n" {
            break;
        }
    }
    raw.split_at(at)
}

/// Goes through a part, and through the parts in it. `digest` says that a part without a media type is a mail (RFC 2046 §5.1.5).
fn walk<'a>(raw: &'a [u8], depth: usize, digest: bool, leaves: &mut Vec<Leaf<'a>>) {
    if leaves.len() >= MOST_PARTS {
        return;
    }
    let (head, body) = split_head(raw);
    let parsed = MessageParser::default().parse_headers(&head[..head.len().min(LONGEST_HEADER)]);
    let content_type = parsed.as_ref().and_then(|parsed| parsed.content_type());
    let media = content_type.map_or_else(
        || if digest { "message/rfc822".to_owned() } else { "text/plain".to_owned() },
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("plain")).to_ascii_lowercase(),
    );
    let attribute = |name: &str| content_type.and_then(|kind| kind.attribute(name)).map(str::to_owned);
    if media.starts_with("multipart/")
        && let Some(boundary) = attribute("boundary").filter(|boundary| !boundary.is_empty())
    {
        if depth > 0 {
            for part in parts(body, boundary.as_bytes()) {
                walk(part, depth - 1, media == "multipart/digest", leaves);
            }
        }
        return;
    }
    let encoding = parsed.as_ref().and_then(|parsed| match parsed.header("Content-Transfer-Encoding") {
        Some(HeaderValue::Text(encoding)) => Some(encoding.to_ascii_lowercase()),
        _ => None,
    });
    let body = match encoding.as_deref() {
        Some("base64") => base64_decode(body).map_or(Cow::Borrowed(body), Cow::Owned),
        Some("quoted-printable") => quoted_printable_decode(body).map_or(Cow::Borrowed(body), Cow::Owned),
        _ => Cow::Borrowed(body),
    };
    leaves.push(Leaf { media, charset: attribute("charset"), body });
}

/// The parts between the lines of a boundary (RFC 2046 §5.1.1), at most as many as are looked at.
fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut begin, mut at) = (Vec::new(), None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let after = at + line.len();
        let rest = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary));
        if let Some(rest) = rest.map(<[u8]>::trim_ascii_end).filter(|rest| rest.is_empty() || *rest == b"--") {
            if let Some(begin) = begin {
                parts.push(&body[begin..at]);
            }
            begin = rest.is_empty().then_some(after);
            if begin.is_none() || parts.len() >= MOST_PARTS {
                return parts;
            }
        }
        at = after;
    }
    // Cut off: what there is of the last part.
    parts.extend(begin.map(|begin| &body[begin..]));
    parts
}
