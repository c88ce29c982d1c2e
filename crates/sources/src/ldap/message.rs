//! LDAP messages (RFC 4511 §4): the requests that a client of ours makes, and every answer that a server may give to them.

use super::ber::{BOOLEAN, ENUMERATED, INTEGER, Malformed, OCTETS, Reader, SEQUENCE, SET, Writer};

/// Extended operation that starts TLS (RFC 4511 §4.14).
pub(crate) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// The server's word that it hangs up (RFC 4511 §4.4.1).
pub(crate) const NOTICE_OF_DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";

/// How deep below the base a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Base = 0,
    Subtree = 2,
}

/// A control of a request or an answer (RFC 4511 §4.1.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) oid: String,
    pub(crate) critical: bool,
    pub(crate) value: Option<Vec<u8>>,
}

/// What a search asks for.
#[derive(Debug, Clone)]
pub(crate) struct Search<'a> {
    pub(crate) base: &'a str,
    pub(crate) scope: Scope,
    /// As the wire has it: [`super::filter::compile`].
    pub(crate) filter: &'a [u8],
    pub(crate) attributes: &'a [String],
}

/// How somebody signs in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credentials<'a> {
    Simple {
        dn: &'a str,
        password: &'a str,
    },
    /// The identity of the client certificate (RFC 4422, appendix A).
    External,
}

/// How an operation ended (RFC 4511 §4.1.9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ending {
    pub(crate) code: i64,
    pub(crate) text: String,
}

/// An entry as a search gives it: values are octets, names as the server writes them, options included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RawEntry {
    pub(crate) dn: String,
    pub(crate) attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Bound(Ending),
    Entry(RawEntry),
    /// Entries of interest lie on other servers.
    Reference(Vec<String>),
    Done(Ending),
    Modified(Ending),
    Extended {
        ending: Ending,
        oid: Option<String>,
    },
    Intermediate {
        oid: Option<String>,
        value: Vec<u8>,
    },
}

/// One answer with the number of the request that it is for; 0 if it is for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) answer: Answer,
    pub(crate) controls: Vec<Control>,
}

fn message(id: i64, controls: &[Control], operation: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.nest(SEQUENCE, |w| {
        w.number(INTEGER, id);
        operation(w);
        if !controls.is_empty() {
            w.nest(0xa0, |w| controls.iter().for_each(|control| write_control(w, control)));
        }
    });
    writer.finish()
}

pub(crate) fn write_control(writer: &mut Writer, control: &Control) {
    writer.nest(SEQUENCE, |w| {
        w.text(&control.oid);
        if control.critical {
            w.boolean(true);
        }
        if let Some(value) = &control.value {
            w.octets(value);
        }
    });
}

/// A bind request (RFC 4511 §4.2).
pub(crate) fn bind(id: i64, credentials: Credentials<'_>) -> Vec<u8> {
    message(id, &[], |w| {
        w.nest(0x60, |w| {
            w.number(INTEGER, 3);
            match credentials {
                Credentials::Simple { dn, password } => w.text(dn).value(0x80, password.as_bytes()),
                // An empty authorisation identity, given as such: without it a server may ask back for one.
                Credentials::External => w.text("").nest(0xa3, |w| _ = w.text("EXTERNAL").text("")),
            };
        });
    })
}

/// A search request (RFC 4511 §4.5). Aliases are not followed; limits are the server's.
pub(crate) fn search(id: i64, search: &Search<'_>, controls: &[Control]) -> Vec<u8> {
    message(id, controls, |w| {
        w.nest(0x63, |w| {
            w.text(search.base).number(ENUMERATED, search.scope as i64).number(ENUMERATED, 0);
            w.number(INTEGER, 0).number(INTEGER, 0).boolean(false);
            w.raw(search.filter);
            w.nest(SEQUENCE, |w| search.attributes.iter().for_each(|name| _ = w.text(name)));
        });
    })
}

/// What a change does to the values of an attribute (RFC 4511 §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Adds these; one that is there already is an error.
    Add = 0,
    /// Deletes these, or all if none is named; one that is not there is an error.
    Delete = 1,
    /// Has these and no others; with none the attribute is gone, if it was there.
    Replace = 2,
}

/// A change of one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modification {
    pub(crate) operation: Operation,
    pub(crate) attribute: String,
    pub(crate) values: Vec<Vec<u8>>,
}

/// A request to change an entry (RFC 4511 §4.6): all of it in this order, or nothing.
pub(crate) fn modify(id: i64, dn: &str, changes: &[Modification], controls: &[Control]) -> Vec<u8> {
    message(id, controls, |w| {
        w.nest(0x66, |w| {
            w.text(dn);
            w.nest(SEQUENCE, |w| {
                for change in changes {
                    w.nest(SEQUENCE, |w| {
                        w.number(ENUMERATED, change.operation as i64);
                        w.nest(SEQUENCE, |w| {
                            w.text(&change.attribute);
                            w.nest(SET, |w| change.values.iter().for_each(|value| _ = w.octets(value)));
                        });
                    });
                }
            });
        });
    })
}

/// An extended request without a value (RFC 4511 §4.12).
pub(crate) fn extended(id: i64, oid: &str) -> Vec<u8> {
    message(id, &[], |w| _ = w.nest(0x77, |w| _ = w.value(0x80, oid.as_bytes())))
}

/// The farewell (RFC 4511 §4.3).
pub(crate) fn unbind(id: i64) -> Vec<u8> {
    message(id, &[], |w| _ = w.value(0x42, &[]))
}

/// A request to do no more for another one (RFC 4511 §4.11).
pub(crate) fn abandon(id: i64, other: i64) -> Vec<u8> {
    message(id, &[], |w| _ = w.number(0x50, other))
}

/// Reads one whole message.
pub(crate) fn read(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut message = Reader::new(bytes).inside(SEQUENCE)?;
    let id = message.number(INTEGER)?;
    let (tag, content) = message.any()?;
    let mut inside = Reader::new(content);
    let answer = match tag {
        0x61 => Answer::Bound(ending(&mut inside)?),
        0x64 => Answer::Entry(entry(inside)?),
        0x65 => Answer::Done(ending(&mut inside)?),
        0x67 => Answer::Modified(ending(&mut inside)?),
        0x73 => Answer::Reference(texts(inside)?),
        0x78 => {
            let ending = ending(&mut inside)?;
            inside.optional(0xa3)?;
            let oid = inside.optional(0x8a)?;
            Answer::Extended { ending, oid: oid.map(|oid| String::from_utf8_lossy(oid).into_owned()) }
        }
        0x79 => {
            let oid = inside.optional(0x80)?.map(|oid| String::from_utf8_lossy(oid).into_owned());
            Answer::Intermediate { oid, value: inside.optional(0x81)?.unwrap_or_default().to_vec() }
        }
        _ => return Err(Malformed("an answer that LDAP does not know")),
    };
    // Active Directory puts the name of its last message where controls belong: whatever else stands here is passed over.
    let controls = match message.optional(0xa0)? {
        Some(controls) => read_controls(Reader::new(controls))?,
        None => Vec::new(),
    };
    Ok(Message { id, answer, controls })
}

fn ending(reader: &mut Reader<'_>) -> Result<Ending, Malformed> {
    let code = reader.number(ENUMERATED)?;
    reader.expect(OCTETS)?;
    Ok(Ending { code, text: reader.text()? })
}

fn entry(mut reader: Reader<'_>) -> Result<RawEntry, Malformed> {
    let dn = reader.text()?;
    let mut list = reader.inside(SEQUENCE)?;
    let mut attributes = Vec::new();
    while list.peek().is_some() {
        let mut attribute = list.inside(SEQUENCE)?;
        let name = attribute.text()?;
        let mut set = attribute.inside(SET)?;
        let mut values = Vec::new();
        while set.peek().is_some() {
            values.push(set.expect(OCTETS)?.to_vec());
        }
        attributes.push((name, values));
    }
    Ok(RawEntry { dn, attributes })
}

fn texts(mut reader: Reader<'_>) -> Result<Vec<String>, Malformed> {
    let mut texts = Vec::new();
    while reader.peek().is_some() {
        texts.push(reader.text()?);
    }
    Ok(texts)
}

fn read_controls(mut reader: Reader<'_>) -> Result<Vec<Control>, Malformed> {
    let mut controls = Vec::new();
    while reader.peek().is_some() {
        let mut control = reader.inside(SEQUENCE)?;
        let oid = control.text()?;
        let critical = control.optional(BOOLEAN)?.is_some_and(|flag| flag != [0]);
        controls.push(Control { oid, critical, value: control.optional(OCTETS)?.map(<[u8]>::to_vec) });
    }
    Ok(controls)
}
