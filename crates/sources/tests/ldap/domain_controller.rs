//! A stand-in for a domain controller of Active Directory, as far as its documents tell (MS-ADTS): DirSync with portions of lists, paging, lists by ranges, names by GUID.
//! For polling it counts changes (`uSNChanged`) and says which server counts. It stands for what cannot be run here; of filters it knows `(uSNChanged>=…)` and no other.

use crate::ber::{ENUMERATED, INTEGER, OCTETS, Reader, SEQUENCE, SET, Writer, header};
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) const BASE: &str = "DC=corp,DC=example";
const DIR_SYNC: &str = "1.2.840.113556.1.4.841";
const PAGED: &str = "1.2.840.113556.1.4.319";
/// So many values of a list are given at once.
const VALUES: usize = 3;
/// So many changes are given at once.
const CHANGES: usize = 2;

/// Attributes with their values.
type Attributes = Vec<(String, Vec<Vec<u8>>)>;

#[derive(Clone)]
struct Object {
    dn: String,
    attributes: BTreeMap<String, Vec<Vec<u8>>>,
    /// The count of changes when it was last changed.
    changed: u64,
}

struct Content {
    objects: BTreeMap<u8, Object>,
    /// What changed, one after the other: the object's name and the attributes as DirSync tells them.
    changes: Vec<(String, Attributes)>,
    stale: bool,
    requests: Vec<String>,
    /// So many changes were counted; by whom.
    count: u64,
    counter: Counter,
}

impl Content {
    fn count(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}

/// Whose count of changes it is.
#[derive(Clone)]
pub(crate) struct Counter {
    /// The server.
    pub(crate) service: &'static str,
    /// Its database: another one once it was restored from a backup. `None`: nobody may read it.
    pub(crate) invocation: Option<u8>,
}

pub(crate) const COUNTER: Counter =
    Counter { service: "CN=NTDS Settings,CN=DC1,CN=Servers,CN=Configuration,DC=corp,DC=example", invocation: Some(0xa1) };

/// The stand-in. It lives until the test ends.
pub(crate) struct DomainController {
    port: u16,
    content: Arc<Mutex<Content>>,
}

fn guid(number: u8) -> Vec<u8> {
    vec![number; 16]
}

impl DomainController {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(Mutex::new(Content {
            objects: BTreeMap::new(),
            changes: Vec::new(),
            stale: false,
            requests: Vec::new(),
            count: 0,
            counter: COUNTER,
        }));
        let shared = content.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = shared.clone();
                thread::spawn(move || attend(stream, &content));
            }
        });
        Self { port, content }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Adds an object, or changes attributes of one.
    pub(crate) fn put(&self, number: u8, dn: &str, attributes: &[(&str, &[&str])]) {
        let mut content = self.content.lock().unwrap();
        let changed = content.count();
        let object = content.objects.entry(number).or_insert_with(|| Object { dn: dn.to_owned(), attributes: BTreeMap::new(), changed });
        object.changed = changed;
        dn.clone_into(&mut object.dn);
        let mut told = vec![("objectGUID".to_owned(), vec![guid(number)]), ("instanceType".to_owned(), vec![b"4".to_vec()])];
        for (name, values) in attributes {
            let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
            object.attributes.insert((*name).to_owned(), values.clone());
            told.push((if *name == "member" { "member;range=1-1".to_owned() } else { (*name).to_owned() }, values));
        }
        object.attributes.insert("objectGUID".to_owned(), vec![guid(number)]);
        content.changes.push((dn.to_owned(), told));
    }

    /// Somebody joins or leaves a group.
    pub(crate) fn member(&self, number: u8, member: &str, joins: bool) {
        let mut content = self.content.lock().unwrap();
        let changed = content.count();
        let object = content.objects.get_mut(&number).unwrap();
        object.changed = changed;
        let dn = object.dn.clone();
        let members = object.attributes.entry("member".to_owned()).or_default();
        members.retain(|one| one != member.as_bytes());
        if joins {
            members.push(member.as_bytes().to_vec());
        }
        let part = if joins { "member;range=1-1" } else { "member;range=0-0" };
        let told = vec![("objectGUID".to_owned(), vec![guid(number)]), (part.to_owned(), vec![member.as_bytes().to_vec()])];
        content.changes.push((dn, told));
    }

    /// Deletes an object: what is left of it is told.
    pub(crate) fn delete(&self, number: u8) {
        let mut content = self.content.lock().unwrap();
        content.count();
        content.objects.remove(&number);
        let told = vec![("objectGUID".to_owned(), vec![guid(number)]), ("isDeleted".to_owned(), vec![b"TRUE".to_vec()])];
        content.changes.push((format!("CN=x\\0ADEL:{number},CN=Deleted Objects,{BASE}"), told));
    }

    /// Every cookie given out so far is refused from now on.
    pub(crate) fn forget_cookies(&self) {
        self.content.lock().unwrap().stale = true;
    }

    /// Somebody else counts the changes, and has come so far. Every object was changed within the first few.
    pub(crate) fn counted_by(&self, counter: Counter, count: u64) {
        let mut content = self.content.lock().unwrap();
        for (object, place) in content.objects.values_mut().zip(1..) {
            object.changed = place;
        }
        assert!(count >= content.objects.len() as u64, "every object was counted");
        (content.counter, content.count) = (counter, count);
    }

    /// How many changes were counted.
    pub(crate) fn count(&self) -> u64 {
        self.content.lock().unwrap().count
    }

    /// What was searched for so far: bases, with `+since` if changes from a count on were asked for, with `+paged` or `+dirsync`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.content.lock().unwrap().requests.clone()
    }
}

fn attend(mut stream: TcpStream, content: &Mutex<Content>) {
    let mut buffer = Vec::new();
    let mut room = [0; 4096];
    loop {
        while let Some(head) = header(&buffer).unwrap()
            && buffer.len() >= head.head + head.length
        {
            let message: Vec<u8> = buffer.drain(..head.head + head.length).collect();
            let Some(answer) = answer(&message, content) else { return };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
        match stream.read(&mut room) {
            Ok(read) if read > 0 => buffer.extend_from_slice(&room[..read]),
            _ => return,
        }
    }
}

/// All answers to a request; `None` to an unbind.
fn answer(message: &[u8], content: &Mutex<Content>) -> Option<Vec<u8>> {
    let mut message = Reader::new(message).inside(SEQUENCE).unwrap();
    let id = message.number(INTEGER).unwrap();
    let (tag, operation) = message.any().unwrap();
    let controls = message.optional(0xa0).unwrap().map(controls).unwrap_or_default();
    match tag {
        0x60 => Some(envelope(id, 0x61, None, |w| _ = ended(w, 0))),
        0x63 => Some(search(id, Reader::new(operation), &controls, &mut content.lock().unwrap())),
        _ => None,
    }
}

fn controls(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut list = Reader::new(bytes);
    let mut controls = Vec::new();
    while list.peek().is_some() {
        let mut control = list.inside(SEQUENCE).unwrap();
        let oid = control.text().unwrap();
        control.optional(1).unwrap();
        controls.push((oid, control.optional(OCTETS).unwrap().unwrap_or_default().to_vec()));
    }
    controls
}

fn search(id: i64, mut operation: Reader<'_>, controls: &[(String, Vec<u8>)], content: &mut Content) -> Vec<u8> {
    let base = operation.text().unwrap();
    let scope = operation.number(ENUMERATED).unwrap();
    for _ in 0..4 {
        operation.any().unwrap();
    }
    let since = operation.any().map(|(tag, filter)| since(tag, filter)).unwrap();
    let mut wanted = Vec::new();
    let mut list = operation.inside(SEQUENCE).unwrap();
    while list.peek().is_some() {
        wanted.push(list.text().unwrap());
    }
    let control = |oid: &str| controls.iter().find(|(found, _)| found == oid).map(|(_, value)| value.clone());
    let mark = if control(DIR_SYNC).is_some() {
        "+dirsync"
    } else if control(PAGED).is_some() {
        "+paged"
    } else {
        ""
    };
    content.requests.push(format!("{base}{}{mark}", if since > 0 { "+since" } else { "" }));
    if let Some(value) = control(DIR_SYNC) {
        return dir_sync(id, &value, content);
    }
    if base.is_empty() {
        let texts = |values: &[&str]| values.iter().map(|value| value.as_bytes().to_vec()).collect();
        let count = content.count.to_string();
        let root = [
            ("supportedControl", texts(&[DIR_SYNC, PAGED])),
            ("namingContexts", texts(&[BASE, "CN=Schema"])),
            ("highestCommittedUSN", texts(&[&count])),
            ("dsServiceName", texts(&[content.counter.service])),
        ]
        .map(|(name, values)| (name.to_owned(), values));
        return [entry(id, "", &root), done(id, 0, None)].concat();
    }
    if scope == 0 && base == content.counter.service {
        let shown: Attributes =
            content.counter.invocation.map(|number| ("invocationId".to_owned(), vec![guid(number)])).into_iter().collect();
        return [entry(id, &base, &shown), done(id, 0, None)].concat();
    }
    if scope == 0 {
        let found = content
            .objects
            .values()
            .find(|object| object.dn == base || format!("<GUID={}>", written(&object.attributes["objectGUID"][0])) == base);
        return match found {
            Some(object) => [entry(id, &object.dn, &shown(object, &wanted)), done(id, 0, None)].concat(),
            None => done(id, 32, None),
        };
    }
    // A page goes on behind the last object of the one before, as a server's does: what is deleted meanwhile moves nothing.
    let (size, behind): (usize, Option<u8>) = control(PAGED).map_or((usize::MAX, None), |value| {
        let mut page = Reader::new(&value).inside(SEQUENCE).unwrap();
        let size = usize::try_from(page.number(INTEGER).unwrap()).unwrap();
        (size, std::str::from_utf8(page.expect(OCTETS).unwrap()).unwrap().parse().ok())
    });
    let rest: Vec<(&u8, &Object)> =
        content.objects.iter().filter(|(number, object)| behind.is_none_or(|last| **number > last) && object.changed >= since).collect();
    let page = &rest[..size.min(rest.len())];
    let mut answers: Vec<u8> = page.iter().flat_map(|(_, object)| entry(id, &object.dn, &shown(object, &wanted))).collect();
    let cookie = page.last().filter(|_| page.len() < rest.len()).map_or_else(String::new, |(number, _)| number.to_string());
    let value = sequence(|w| _ = w.number(INTEGER, 0).text(&cookie));
    answers.extend(done(id, 0, Some((PAGED, value))));
    answers
}

/// From which count on changes are asked for; 0 if the filter does not say.
fn since(tag: u8, filter: &[u8]) -> u64 {
    let mut inside = Reader::new(filter);
    match tag {
        0xa0 => {
            let mut since_all = 0;
            while inside.peek().is_some() {
                let (tag, part) = inside.any().unwrap();
                since_all = since_all.max(since(tag, part));
            }
            since_all
        }
        0xa5 if inside.text().unwrap() == "uSNChanged" => inside.text().unwrap().parse().unwrap(),
        _ => 0,
    }
}

fn dir_sync(id: i64, value: &[u8], content: &mut Content) -> Vec<u8> {
    let mut asked = Reader::new(value).inside(SEQUENCE).unwrap();
    assert_eq!(asked.number(INTEGER).unwrap(), -0x7fff_ffff, "as who may read them, and only values that came or went");
    asked.number(INTEGER).unwrap();
    let cookie = String::from_utf8(asked.expect(OCTETS).unwrap().to_vec()).unwrap();
    if std::mem::take(&mut content.stale) && !cookie.is_empty() {
        return done(id, 53, None);
    }
    let start: usize = cookie.parse().unwrap_or(0);
    let end = (start + CHANGES).min(content.changes.len());
    let mut answers: Vec<u8> = content.changes[start..end].iter().flat_map(|(dn, told)| entry(id, dn, told)).collect();
    let more = i64::from(end < content.changes.len());
    let value = sequence(|w| _ = w.number(INTEGER, more).number(INTEGER, 0).text(&end.to_string()));
    answers.extend(done(id, 0, Some((DIR_SYNC, value))));
    answers
}

/// The attributes that are asked for; long lists by ranges.
fn shown(object: &Object, wanted: &[String]) -> Attributes {
    let mut shown = Vec::new();
    for name in wanted {
        let (base, range) = name.split_once(";range=").map_or((name.as_str(), None), |(base, range)| (base, range.split_once('-')));
        let Some(values) = object.attributes.get(base) else { continue };
        let first: usize = range.map_or(0, |(first, _)| first.parse().unwrap());
        if range.is_none() && values.len() <= VALUES {
            shown.push((base.to_owned(), values.clone()));
            continue;
        }
        let end = (first + VALUES).min(values.len());
        let last = if end == values.len() { "*".to_owned() } else { (end - 1).to_string() };
        if range.is_none() {
            shown.push((base.to_owned(), Vec::new()));
        }
        shown.push((format!("{base};range={first}-{last}"), values[first..end].to_vec()));
    }
    shown
}

/// A GUID of equal octets, whose order does not matter, as text.
fn written(guid: &[u8]) -> String {
    let octet = format!("{:02x}", guid[0]);
    [4, 2, 2, 2, 6].map(|octets| octet.repeat(octets)).join("-")
}

fn entry(id: i64, dn: &str, attributes: &[(String, Vec<Vec<u8>>)]) -> Vec<u8> {
    envelope(id, 0x64, None, |w| {
        w.text(dn).nest(SEQUENCE, |w| {
            for (name, values) in attributes {
                w.nest(SEQUENCE, |w| {
                    w.text(name).nest(SET, |w| values.iter().for_each(|value| _ = w.octets(value)));
                });
            }
        });
    })
}

fn done(id: i64, code: i64, control: Option<(&str, Vec<u8>)>) -> Vec<u8> {
    envelope(id, 0x65, control, |w| _ = ended(w, code))
}

fn ended(writer: &mut Writer, code: i64) -> &mut Writer {
    writer.number(ENUMERATED, code).text("").text("")
}

fn envelope(id: i64, tag: u8, control: Option<(&str, Vec<u8>)>, inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    sequence(|w| {
        w.number(INTEGER, id).nest(tag, inside);
        if let Some((oid, value)) = control {
            w.nest(0xa0, |w| _ = w.nest(SEQUENCE, |w| _ = w.text(oid).octets(&value)));
        }
    })
}

fn sequence(inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.nest(SEQUENCE, inside);
    writer.finish()
}
