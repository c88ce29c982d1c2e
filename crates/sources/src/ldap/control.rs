//! Controls beside a request and an answer: paging (RFC 2696), content synchronisation (RFC 4533), DirSync (MS-ADTS §3.1.1.3.4.1.3), assertion (RFC 4528).

use super::{
    ber::{BOOLEAN, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET, Writer},
    message::Control,
    values,
};

/// Results by the page.
pub(crate) const PAGED: &str = "1.2.840.113556.1.4.319";
/// Asks for content synchronisation.
pub(crate) const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";
/// Active Directory's synchronisation.
pub(crate) const DIR_SYNC: &str = "1.2.840.113556.1.4.841";
/// Asks Active Directory for deleted objects as well.
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// With DirSync: what a reader of the objects may see, no right to replicate needed.
const OBJECT_SECURITY: i64 = 0x1;
/// With DirSync: only those values of a list that came or went.
const INCREMENTAL_VALUES: i64 = -0x8000_0000;
/// Octets of one DirSync answer.
const DIR_SYNC_OCTETS: i64 = 1 << 20;

/// Has a change made only if the entry fits a filter at that moment (RFC 4528).
pub(crate) const ASSERTION: &str = "1.3.6.1.1.12";

/// The condition of a change; `filter` as the wire has it.
pub(crate) fn assertion(filter: Vec<u8>) -> Control {
    Control { oid: ASSERTION.to_owned(), critical: true, value: Some(filter) }
}

/// Asks for a page; the cookie of the page before, empty for the first.
pub(crate) fn page(size: u32, cookie: &[u8]) -> Control {
    let value = sequence(|w| _ = w.number(INTEGER, i64::from(size)).octets(cookie));
    Control { oid: PAGED.to_owned(), critical: true, value: Some(value) }
}

/// The cookie for the next page; `None` if this was the last.
pub(crate) fn next_page(value: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut inside = Reader::new(value).inside(SEQUENCE)?;
    inside.number(INTEGER)?;
    let cookie = inside.expect(OCTETS)?;
    Ok((!cookie.is_empty()).then(|| cookie.to_vec()))
}

/// Asks for content since the cookie; with `persist` for what changes afterwards, too.
pub(crate) fn sync(cookie: Option<&[u8]>, persist: bool) -> Control {
    let value = sequence(|w| {
        w.number(ENUMERATED, if persist { 3 } else { 1 });
        if let Some(cookie) = cookie {
            w.octets(cookie);
        }
        // No reload in place of a refusal: what to do without the cookie is decided here.
    });
    Control { oid: SYNC_REQUEST.to_owned(), critical: true, value: Some(value) }
}

/// What became of an entry that stands beside this (RFC 4533 §2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncState {
    pub(crate) became: SyncBecame,
    /// Its `entryUUID`, as text.
    pub(crate) key: String,
    pub(crate) cookie: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncBecame {
    Present,
    AddedOrModified,
    Deleted,
}

/// What the server says of the synchronisation itself (RFC 4533 §2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyncInfo {
    NewCookie(Vec<u8>),
    /// A phase is over: one that told what is present, or else one that told what is deleted. `done`: so is the refresh.
    PhaseOver {
        present: bool,
        cookie: Option<Vec<u8>>,
        done: bool,
    },
    /// Keys of entries that are unchanged, or deleted.
    Keys {
        deleted: bool,
        cookie: Option<Vec<u8>>,
        keys: Vec<String>,
    },
}

/// Reads the state beside an entry.
pub(crate) fn sync_state(controls: &[Control]) -> Result<Option<SyncState>, Malformed> {
    let Some(value) = value_of(controls, SYNC_STATE) else { return Ok(None) };
    let mut inside = Reader::new(value).inside(SEQUENCE)?;
    let became = match inside.number(ENUMERATED)? {
        0 => SyncBecame::Present,
        1 | 2 => SyncBecame::AddedOrModified,
        3 => SyncBecame::Deleted,
        _ => return Err(Malformed("a state that synchronisation does not have")),
    };
    let key = key(inside.expect(OCTETS)?)?;
    Ok(Some(SyncState { became, key, cookie: inside.optional(OCTETS)?.map(<[u8]>::to_vec) }))
}

/// What stands at the end of a refresh (RFC 4533 §2.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyncDone {
    pub(crate) cookie: Option<Vec<u8>>,
    /// The refresh told what is deleted; else it told what is present.
    pub(crate) deletes: bool,
}

/// Reads what stands at the end of a refresh.
pub(crate) fn sync_done(controls: &[Control]) -> Result<Option<SyncDone>, Malformed> {
    let Some(value) = value_of(controls, SYNC_DONE) else { return Ok(None) };
    let mut inside = Reader::new(value).inside(SEQUENCE)?;
    let cookie = inside.optional(OCTETS)?.map(<[u8]>::to_vec);
    Ok(Some(SyncDone { cookie, deletes: flag(&mut inside, false)? }))
}

/// Reads an intermediate message; `None` if it is of something else.
pub(crate) fn sync_info(oid: Option<&str>, value: &[u8]) -> Result<Option<SyncInfo>, Malformed> {
    if oid != Some(SYNC_INFO) {
        return Ok(None);
    }
    let (tag, content) = Reader::new(value).any()?;
    let mut inside = Reader::new(content);
    Ok(Some(match tag {
        0x80 => SyncInfo::NewCookie(content.to_vec()),
        0xa1 | 0xa2 => {
            let cookie = inside.optional(OCTETS)?.map(<[u8]>::to_vec);
            SyncInfo::PhaseOver { present: tag == 0xa2, cookie, done: flag(&mut inside, true)? }
        }
        0xa3 => {
            let cookie = inside.optional(OCTETS)?.map(<[u8]>::to_vec);
            let deleted = flag(&mut inside, false)?;
            let mut set = inside.inside(SET)?;
            let mut keys = Vec::new();
            while set.peek().is_some() {
                keys.push(key(set.expect(OCTETS)?)?);
            }
            SyncInfo::Keys { deleted, cookie, keys }
        }
        _ => return Err(Malformed("a word that synchronisation does not have")),
    }))
}

/// Asks Active Directory for changes since the cookie, empty for everything.
pub(crate) fn dir_sync(cookie: &[u8]) -> [Control; 2] {
    let value = sequence(|w| _ = w.number(INTEGER, OBJECT_SECURITY | INCREMENTAL_VALUES).number(INTEGER, DIR_SYNC_OCTETS).octets(cookie));
    [
        Control { oid: DIR_SYNC.to_owned(), critical: true, value: Some(value) },
        Control { oid: SHOW_DELETED.to_owned(), critical: false, value: None },
    ]
}

/// Reads whether there is more, and the cookie for it.
pub(crate) fn dir_sync_done(value: &[u8]) -> Result<(bool, Vec<u8>), Malformed> {
    let mut inside = Reader::new(value).inside(SEQUENCE)?;
    let more = inside.number(INTEGER)? != 0;
    inside.number(INTEGER)?;
    Ok((more, inside.expect(OCTETS)?.to_vec()))
}

fn value_of<'a>(controls: &'a [Control], oid: &str) -> Option<&'a [u8]> {
    controls.iter().find(|control| control.oid == oid)?.value.as_deref()
}

fn sequence(inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.nest(SEQUENCE, inside);
    writer.finish()
}

fn flag(reader: &mut Reader<'_>, otherwise: bool) -> Result<bool, Malformed> {
    Ok(reader.optional(BOOLEAN)?.map_or(otherwise, |flag| flag != [0]))
}

fn key(octets: &[u8]) -> Result<String, Malformed> {
    octets.try_into().map(values::uuid).map_err(|_| Malformed("an entryUUID of another length than 16 octets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn requests_have_their_form_on_the_wire() {
        assert_eq!(page(500, b"").value.unwrap(), b"\x30\x06\x02\x02\x01\xf4\x04\x00");
        assert_eq!(sync(Some(b"c"), true).value.unwrap(), b"\x30\x06\x0a\x01\x03\x04\x01c");
        assert_eq!(sync(None, false).value.unwrap(), b"\x30\x03\x0a\x01\x01");
        // Flags 0x80000001 as a number of four octets with a sign, which is how Active Directory reads them.
        assert_eq!(dir_sync(b"x")[0].value.as_deref().unwrap(), b"\x30\x0e\x02\x04\x80\x00\x00\x01\x02\x03\x10\x00\x00\x04\x01x");
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(next_page(b"\x30\x06\x02\x01\x00\x04\x01c").unwrap(), Some(b"c".to_vec()));
        assert_eq!(next_page(b"\x30\x05\x02\x01\x00\x04\x00").unwrap(), None);
        assert_eq!(dir_sync_done(b"\x30\x09\x02\x01\x01\x02\x01\x00\x04\x01c").unwrap(), (true, b"c".to_vec()));
        let value = [b"\x30\x18\x0a\x01\x03\x04\x10".as_slice(), &UUID, b"\x04\x01c"].concat();
        let state = Control { oid: SYNC_STATE.to_owned(), critical: false, value: Some(value) };
        let read = sync_state(&[state]).unwrap().unwrap();
        assert_eq!((read.became, read.key.as_str()), (SyncBecame::Deleted, "00010203-0405-0607-0809-0a0b0c0d0e0f"));
        assert_eq!(read.cookie.unwrap(), b"c");
    }

    #[test]
    fn words_about_a_synchronisation_are_read() {
        let info = |value: &[u8]| sync_info(Some(SYNC_INFO), value).unwrap().unwrap();
        assert_eq!(info(b"\x80\x01c"), SyncInfo::NewCookie(b"c".to_vec()));
        assert_eq!(info(b"\xa1\x03\x04\x01c"), SyncInfo::PhaseOver { present: false, cookie: Some(b"c".to_vec()), done: true });
        assert_eq!(info(b"\xa2\x03\x01\x01\x00"), SyncInfo::PhaseOver { present: true, cookie: None, done: false });
        let value = [b"\xa3\x17\x01\x01\xff\x31\x12\x04\x10".as_slice(), &UUID].concat();
        assert_eq!(info(&value), SyncInfo::Keys { deleted: true, cookie: None, keys: vec![values::uuid(&UUID)] });
        assert!(sync_info(Some(SYNC_INFO), b"\xa3\x04\x31\x02\x04\x00").is_err());
        assert_eq!(sync_info(Some("1.2"), b"").unwrap(), None);
    }
}
