//! `[organisation]`: who the letters come from in the reader's eyes.

use crate::{
    keys::{Section, Shape, key, preset},
    load::{Loading, said, shown},
    read::Table,
};
use jiff::tz::TimeZone;
use std::path::PathBuf;
use tidings_core::Locale;

pub(crate) static ORGANISATION: Section = Section {
    meaning: "Who the letters come from in the reader's eyes.",
    keys: &[
        preset("name", Shape::Text, "Your organisation", "The name at the head and foot of every letter."),
        key("logo", Shape::Text, "An `https` address, or a file (PNG, JPEG, GIF; at most 512KiB) that is put into every letter."),
        preset("colour", Shape::Colour, "#1f5f8b", "The colour of headings, buttons and links."),
        preset("default_locale", Shape::Locale, "en", "The language for readers whose own is unknown or has no letter."),
        preset("default_timezone", Shape::Timezone, "UTC", "The time zone for readers whose own is unknown (IANA name)."),
        key("website", Shape::Url, "The address behind the organisation's name."),
    ],
};

/// The largest logo that is put into letters, in bytes.
const LARGEST_LOGO: u64 = 512 * 1024;

/// Who the letters come from in the reader's eyes.
#[derive(Debug, Clone)]
pub struct Organisation {
    /// The name at the head and foot of every letter. Default: "Your organisation".
    pub name: String,
    /// The picture at the head of every letter. Default: none.
    pub logo: Option<Logo>,
    /// The colour of headings, buttons and links, as `#rrggbb`. Default: `#1f5f8b`.
    pub colour: String,
    /// The language for readers whose own is unknown or has no letter. Default: English.
    pub default_locale: Locale,
    /// The time zone for readers whose own is unknown. Default: UTC.
    pub default_timezone: TimeZone,
    /// The address behind the organisation's name. Default: none.
    pub website: Option<String>,
}

/// The picture at the head of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logo {
    /// An `https` address from which the reader's mail program fetches it.
    Url(String),
    /// A picture that travels inside the letter.
    File {
        /// Where it was read.
        path: PathBuf,
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its media type, told by its first bytes.
        media_type: &'static str,
    },
}

pub(crate) fn build(loading: &Loading<'_>, table: &Table<'_>) -> Option<Organisation> {
    let logo = table
        .text("logo")
        .and_then(|text| logo(loading, text).map_err(|message| loading.problem(table.place("logo"), table.key("logo"), message)).ok());
    let default_timezone = table.text("default_timezone").and_then(|name| TimeZone::get(name).ok());
    Some(Organisation {
        name: table.owned("name")?,
        logo,
        colour: table.text("colour")?.to_ascii_lowercase(),
        default_locale: table.parsed("default_locale")?,
        default_timezone: default_timezone?,
        website: table.owned("website"),
    })
}

fn logo(loading: &Loading<'_>, text: &str) -> Result<Logo, String> {
    let lower = text.to_ascii_lowercase();
    let ending = lower.split(['?', '#']).next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    if matches!(ending, "svg" | "svgz") {
        return Err("is an SVG picture, which mail programs do not show; use PNG, JPEG or GIF".to_owned());
    }
    if lower.starts_with("http:") {
        return Err("must be an https address; mail programs do not load pictures over http".to_owned());
    }
    if lower.starts_with("https:") {
        return super::web_address(text).map(|()| Logo::Url(text.to_owned()));
    }
    let path = loading.resolve(text);
    let cannot = |e: std::io::Error| format!("cannot read `{}`: {}", path.display(), said(&e));
    let length = std::fs::metadata(&path).map_err(cannot)?.len();
    if length > LARGEST_LOGO {
        return Err(format!("`{}` has {length} bytes; a logo has at most {LARGEST_LOGO}", path.display()));
    }
    let bytes = std::fs::read(&path).map_err(cannot)?;
    let media_type = match bytes.as_slice() {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xFF, 0xD8, 0xFF, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        _ => return Err(format!("`{}` is not a PNG, JPEG or GIF picture", shown(text))),
    };
    Ok(Logo::File { path, bytes, media_type })
}
