//! DirSync (MS-ADTS §3.1.1.3.4.1.3): Active Directory tells which attributes of which objects have changed since the cookie.
//!
//! Only what changed is told, so an object is read anew when anything but its members is different; of members, those that came and went are told and are enough. Everything is read by
//! pages and not by DirSync: the cookie is taken before, so that nothing falls in between.

use super::{
    bookmark::Place,
    connection::{Connection, Found},
    control, dn,
    error::{LdapError, PROTOCOL_ERROR, UNWILLING},
    gather::{Gather, Report},
    health::Health,
    message::RawEntry,
    source::{Attendance, Next, Purpose},
    values, whole,
};
use tidings_core::directory::{Became, Change, Link, LinkRole};
use tidings_intake::IntakeError;

/// Attributes that say nothing of their own when members change.
const BESIDE: [&str; 6] = ["objectGUID", "objectClass", "instanceType", "whenChanged", "uSNChanged", "isDeleted"];

/// One answer's objects, and how to go on.
struct Portion {
    objects: Vec<RawEntry>,
    more: bool,
    cookie: Vec<u8>,
}

/// One look.
pub(super) async fn attend(visit: &Attendance<'_>, connection: &mut Connection, health: &mut Health) -> Result<Next, LdapError> {
    let mark = visit.bookmark().filter(|_| !health.is_comparison_due());
    let report = match mark.map(|mark| mark.place) {
        Some(Place::DirSync(cookie)) => match changes(visit, connection, cookie).await {
            Err(error) if matches!(error.code(), Some(PROTOCOL_ERROR | UNWILLING)) => {
                tracing::warn!(
                    directory.name = visit.source.directory(),
                    error = error.chain(),
                    "the server does not go on from where we were; everything is compared"
                );
                everything(visit, connection, health).await?
            }
            report => report?,
        },
        _ => everything(visit, connection, health).await?,
    };
    if let Purpose::Once(_) = visit.purpose {
        return Ok(Next::Done(report));
    }
    health.works(visit.source).await?;
    Ok(Next::After(visit.source.plan().poll_every))
}

async fn everything(visit: &Attendance<'_>, connection: &mut Connection, health: &mut Health) -> Result<Report, LdapError> {
    let mut cookie = Vec::new();
    loop {
        let portion = ask(visit, connection, &cookie, false).await?;
        cookie = portion.cookie;
        if !portion.more {
            break;
        }
    }
    let bookmark = visit.source.mark(connection.server(), Place::DirSync(cookie));
    let report = whole::compare(visit, connection, |_| bookmark).await?;
    health.compared();
    Ok(report)
}

async fn changes(visit: &Attendance<'_>, connection: &mut Connection, mut cookie: Vec<u8>) -> Result<Report, LdapError> {
    let mut gather = Gather::news(visit.source, visit.telling_of_news());
    loop {
        let portion = ask(visit, connection, &cookie, true).await?;
        for raw in portion.objects {
            if let Some((change, octets)) = change(visit, connection, &raw).await? {
                gather.push(change, octets).await?;
            }
        }
        let moved = portion.cookie != cookie;
        cookie = portion.cookie;
        gather.record(moved.then(|| visit.source.mark(connection.server(), Place::DirSync(cookie.clone())))).await?;
        if !portion.more {
            return Ok(gather.report);
        }
    }
}

/// Asks once; the server bounds its answer.
async fn ask(visit: &Attendance<'_>, connection: &mut Connection, cookie: &[u8], keep: bool) -> Result<Portion, LdapError> {
    let source = visit.source;
    let mut attributes = source.attributes().to_vec();
    attributes.push("isDeleted".to_owned());
    let search = connection.search(&source.search(source.filter(), &attributes), &control::dir_sync(cookie)).await?;
    let mut objects = Vec::new();
    loop {
        match connection.found(search).await? {
            Found::Entry(raw, _) if keep => objects.push(raw),
            Found::Entry(..) | Found::Intermediate { .. } => {}
            Found::Reference(urls) => source.referred(&urls),
            Found::Finished(end) => {
                connection.demand(end.ending, "DirSync")?;
                let value =
                    end.controls.iter().find(|control| control.oid == control::DIR_SYNC).and_then(|control| control.value.as_deref());
                let Some(value) = value else {
                    return Err(LdapError::Doubtful {
                        server: connection.server().to_owned(),
                        what: "it does not say how to go on with DirSync".to_owned(),
                    });
                };
                let (more, cookie) = control::dir_sync_done(value).map_err(|wrong| connection.malformed(wrong))?;
                return Ok(Portion { objects, more, cookie });
            }
        }
    }
}

/// What became of an object, by what changed of it; with its size. `None` if it is gone meanwhile, which will be told.
async fn change(visit: &Attendance<'_>, connection: &mut Connection, raw: &RawEntry) -> Result<Option<(Change, usize)>, LdapError> {
    let source = visit.source;
    let Some(key) = source.key(raw) else { return Ok(None) };
    if raw.text("isDeleted").as_deref().and_then(values::truth) == Some(true) {
        return Ok(Some((Change::of(Became::Gone { key }), raw.size())));
    }
    if let Some((added, removed)) = members_alone(raw, source.plan().mapping.members())
        && source.feed().mirror().object(source.directory(), &key).await.map_err(IntakeError::from)?.is_some()
    {
        let at = raw.text("whenChanged").and_then(|text| values::moment(&text));
        let what = Became::Adjusted { key, head: None, added, removed, document: None };
        return Ok(Some((Change { what, actor: None, at }, raw.size())));
    }
    let Some(found) = connection.base_entry(&format!("<GUID={key}>"), source.attributes()).await? else { return Ok(None) };
    let Some(found) = whole::complete(connection, found).await? else { return Ok(None) };
    let size = found.size();
    Ok(Some((source.change(&found, key), size)))
}

type Members = (Vec<Link>, Vec<(LinkRole, String)>);

/// Members that came (`member;range=1-1`) and went (`member;range=0-0`), if nothing else has changed.
fn members_alone(raw: &RawEntry, attributes: &[String]) -> Option<Members> {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (description, list) in &raw.attributes {
        let name = values::base_name(description);
        if BESIDE.iter().any(|beside| beside.eq_ignore_ascii_case(name)) {
            continue;
        }
        if !attributes.iter().any(|member| member.eq_ignore_ascii_case(name)) {
            return None;
        }
        let names = list.iter().filter_map(|value| std::str::from_utf8(value).ok()).map(dn::normalise);
        match values::range(description) {
            Some((1, Some(1))) => added.extend(names.map(|to| Link::new(LinkRole::Member, to))),
            Some((0, Some(0))) => removed.extend(names.map(|to| (LinkRole::Member, to))),
            // The attribute itself stands empty beside its portions.
            None if list.is_empty() => {}
            _ => return None,
        }
    }
    (!added.is_empty() || !removed.is_empty()).then_some((added, removed))
}
