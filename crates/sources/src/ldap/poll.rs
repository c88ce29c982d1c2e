//! Looking again and again: for what was modified since the last look, by the server's count of changes (`uSNChanged`) or its clock (`modifyTimestamp`), and now and then for
//! what is there no longer.

use super::{
    bookmark::{Bookmark, Place},
    connection::{Connection, Root},
    error::LdapError,
    filter,
    gather::{Gather, Report},
    health::Health,
    source::{Attendance, Next, Purpose},
    values, whole,
};
use std::time::Duration;
use tidings_core::Timestamp;
use tokio::time::Instant;

/// What was modified is looked for again for so long: a moment says a second, not more, and servers that share a tree have clocks of their own.
const OVERLAP: Duration = Duration::from_secs(10);

/// One look.
pub(super) async fn attend(
    visit: &Attendance<'_>,
    connection: &mut Connection,
    root: &Root,
    health: &mut Health,
) -> Result<Next, LdapError> {
    let count = count(connection, root).await?;
    let mark = visit.bookmark().filter(|_| !health.is_comparison_due());
    let mut report = match mark.map(|mark| mark.place) {
        Some(Place::Stamp { newest, since }) if count.is_none() => modified_since(visit, connection, newest, since).await?,
        Some(Place::Count { changes, of }) if count.as_ref().is_some_and(|count| count.of == of && count.changes >= changes) => {
            counted_since(visit, connection, count.expect("it was looked at just before"), changes).await?
        }
        _ => {
            let report = everything(visit, connection, count).await?;
            health.compared();
            report
        }
    };
    let plan = visit.source.plan();
    if health.swept.is_none_or(|swept| swept.elapsed() >= plan.deletions_every) {
        // The look above has recorded where to go on; the sweep says it once more.
        let bookmark = visit.source.standing().await?.bookmark.unwrap_or_default();
        let keys = whole::compare_keys(visit, connection, bookmark, visit.telling_of_news()).await?;
        report.unchanged += keys.unchanged;
        report.taken.changed += keys.taken.changed;
        report.taken.events += keys.taken.events;
        report.taken.letters += keys.taken.letters;
        health.swept = Some(Instant::now());
    }
    if let Purpose::Once(_) = visit.purpose {
        return Ok(Next::Done(report));
    }
    health.works(visit.source).await?;
    Ok(Next::After(plan.poll_every))
}

/// How many changes were counted, and in which database.
struct Count {
    changes: u64,
    of: String,
}

/// Active Directory's count. A server that was restored from a backup keeps its name and counts on from where the backup was made; its database has another name then,
/// `invocationId` (MS-ADTS §3.1.1.1.9). If this account may not read that, the server's name has to do.
async fn count(connection: &mut Connection, root: &Root) -> Result<Option<Count>, LdapError> {
    let Some((changes, server)) = root.changes.clone() else { return Ok(None) };
    let service = match connection.base_entry(&server, &["invocationId".to_owned()]).await {
        Err(LdapError::Refused { .. }) => None,
        service => service?,
    };
    let database = service.and_then(|service| <[u8; 16]>::try_from(service.values("invocationId").first()?.as_slice()).ok());
    let of = match database {
        Some(database) => format!("{server} {}", values::guid(&database)),
        None => server,
    };
    Ok(Some(Count { changes, of }))
}

async fn everything(visit: &Attendance<'_>, connection: &mut Connection, count: Option<Count>) -> Result<Report, LdapError> {
    let begun = Instant::now();
    let server = connection.server().to_owned();
    let bookmark = |newest: Option<Timestamp>| {
        let place = match (count, newest) {
            (Some(Count { changes, of }), _) => Place::Count { changes, of },
            (None, Some(newest)) => Place::Stamp { newest, since: earlier(newest, begun.elapsed() + OVERLAP) },
            (None, None) => Place::Unknown,
        };
        visit.source.mark(&server, place)
    };
    whole::compare(visit, connection, bookmark).await
}

/// What the server's clock says was modified.
///
/// While a search runs, entries are modified that it has passed already. The newest moment that it shows is at most its end, so that less the time it took is at most its beginning:
/// looking from there on misses nothing, whatever our own clock says.
async fn modified_since(
    visit: &Attendance<'_>,
    connection: &mut Connection,
    newest: Timestamp,
    since: Timestamp,
) -> Result<Report, LdapError> {
    let source = visit.source;
    let begun = Instant::now();
    let Some(attribute) = source.plan().mapping.moment() else {
        let what = "no attribute says when an entry was changed; set changed_at".to_owned();
        return Err(LdapError::Doubtful { server: connection.server().to_owned(), what });
    };
    let wanted = both(source.plan().filter.trim(), &format!("({attribute}>={})", values::written(since)));
    let mut gather = Gather::found(source, visit.telling_of_news());
    let seen = whole::read(visit, connection, &wanted, &mut gather).await?;
    let place = match seen {
        Some(seen) if seen > newest => Place::Stamp { newest: seen, since: since.max(earlier(seen, begun.elapsed() + OVERLAP)) },
        // Nothing newer than last time, and by the server's clock that was a while ago: what is modified from now on is newer.
        _ if source.plan().poll_every >= OVERLAP => Place::Stamp { newest, since: since.max(newest) },
        _ => Place::Stamp { newest, since },
    };
    let mark = Bookmark::read(visit.standing.bookmark.as_deref().unwrap_or_default());
    let moved = mark.is_none_or(|mark| mark.place != place || mark.server != connection.server());
    let bookmark = moved.then(|| source.mark(connection.server(), place));
    gather.record(bookmark).await?;
    Ok(gather.report)
}

/// What the server has counted. The count was read before the search: what changes meanwhile is found by the next one.
async fn counted_since(visit: &Attendance<'_>, connection: &mut Connection, count: Count, known: u64) -> Result<Report, LdapError> {
    let source = visit.source;
    let Count { changes, of } = count;
    let mut gather = Gather::found(source, visit.telling_of_news());
    if changes > known {
        let wanted = both(source.plan().filter.trim(), &format!("(uSNChanged>={})", known + 1));
        whole::read(visit, connection, &wanted, &mut gather).await?;
        gather.record(Some(source.mark(connection.server(), Place::Count { changes, of }))).await?;
    }
    Ok(gather.report)
}

fn both(one: &str, other: &str) -> Vec<u8> {
    filter::compile(&format!("(&{one}{other})")).expect("the plan's filter was checked, and the other is made here")
}

fn earlier(moment: Timestamp, by: Duration) -> Timestamp {
    moment.checked_sub(by).unwrap_or(Timestamp::UNIX_EPOCH)
}
