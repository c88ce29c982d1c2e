//! Reports as servers and providers write them, read and taken.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod hostile;
mod house;
mod reading;
mod taking;

/// A sample of the folder `data` about this item (as ENVID), letter (as Message-ID) and event.
pub(crate) fn sample(name: &str, item: &str, letter: &str, event: &str) -> Vec<u8> {
    let path = format!("{}/tests/bounces/data/{name}.eml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let text = text.replace("{ITEM}", item).replace("{LETTER}", letter).replace("{EVENT}", event);
    text.replace('\n', "\r\n").into_bytes()
}
