//! Reading everything by pages, and everything's keys: what every server can do, whatever else it lacks.

use super::{
    connection::{Connection, Pages, Step},
    error::LdapError,
    gather::{Gather, Report},
    message::RawEntry,
    source::Attendance,
    values,
};
use tidings_core::Timestamp;
use tidings_intake::Telling;

/// Reads every entry that a filter finds and hands it to `gather`; gives the newest moment of change among them.
pub(super) async fn read(
    visit: &Attendance<'_>,
    connection: &mut Connection,
    filter: &[u8],
    gather: &mut Gather<'_>,
) -> Result<Option<Timestamp>, LdapError> {
    let source = visit.source;
    let mut newest = None;
    let mut portions: Vec<RawEntry> = Vec::new();
    let mut pages = Pages::new(source.search(filter, source.attributes()), source.plan().page_size);
    loop {
        match pages.next(connection, |urls| source.referred(urls)).await? {
            Step::Entry(raw) if has_more(&raw) => portions.push(raw),
            Step::Entry(raw) => newest = newest.max(hand(visit, gather, &raw).await?),
            Step::PageOver => {
                for raw in portions.drain(..) {
                    // Gone since the search: its end is told elsewhere.
                    if let Some(whole) = complete(connection, raw).await? {
                        newest = newest.max(hand(visit, gather, &whole).await?);
                    }
                }
            }
            Step::Over => return Ok(newest),
        }
    }
}

async fn hand(visit: &Attendance<'_>, gather: &mut Gather<'_>, raw: &RawEntry) -> Result<Option<Timestamp>, LdapError> {
    let Some(key) = visit.source.key(raw) else { return Ok(None) };
    gather.push(visit.source.change(raw, key), raw.size()).await?;
    let moment = visit.source.plan().mapping.moment();
    Ok(moment.and_then(|name| raw.text(name)).and_then(|text| values::moment(&text)))
}

/// Whether a list of values is longer than the server gives at once.
fn has_more(raw: &RawEntry) -> bool {
    raw.attributes.iter().any(|(name, _)| matches!(values::range(name), Some((_, Some(_)))))
}

/// Fetches the values that are left (MS-ADTS §3.1.1.3.1.3.3); `None` if the entry is gone.
pub(super) async fn complete(connection: &mut Connection, mut raw: RawEntry) -> Result<Option<RawEntry>, LdapError> {
    while let Some(at) = raw.attributes.iter().position(|(name, _)| matches!(values::range(name), Some((_, Some(_))))) {
        let (description, mut all) = raw.attributes.swap_remove(at);
        let name = values::base_name(&description).to_owned();
        let mut last = values::range(&description).and_then(|(_, last)| last);
        while let Some(end) = last {
            let wanted = format!("{name};range={}-*", end + 1);
            let Some(mut portion) = connection.base_entry(&raw.dn, &[wanted]).await? else { return Ok(None) };
            let ranged = |(found, _): &(String, Vec<Vec<u8>>)| {
                values::base_name(found).eq_ignore_ascii_case(&name) && values::range(found).is_some()
            };
            // Without an answer in portions there is nothing left: the list has become shorter meanwhile.
            let Some(at) = portion.attributes.iter().position(ranged) else { break };
            let (description, mut values) = portion.attributes.swap_remove(at);
            all.append(&mut values);
            // A server that does not get on would be asked for ever.
            last = values::range(&description).and_then(|(_, last)| last).filter(|next| *next > end);
        }
        raw.attributes.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        raw.attributes.push((name, all));
    }
    Ok(Some(raw))
}

/// Compares everything: what is different is recorded, and what was not seen is gone. `bookmark` is told the newest moment of change.
pub(super) async fn compare(
    visit: &Attendance<'_>,
    connection: &mut Connection,
    bookmark: impl FnOnce(Option<Timestamp>) -> Vec<u8>,
) -> Result<Report, LdapError> {
    let source = visit.source;
    let telling = visit.telling_of_comparison();
    let generation = begin(visit).await?;
    let mut gather = Gather::refresh(source, telling, generation, visit.is_first());
    let newest = read(visit, connection, source.filter(), &mut gather).await?;
    gather.record(None).await?;
    let mut report = gather.report;
    visit.sweep(&mut report, generation, bookmark(newest), telling, connection.server()).await?;
    Ok(report)
}

/// Compares keys alone: what is gone is recorded.
pub(super) async fn compare_keys(
    visit: &Attendance<'_>,
    connection: &mut Connection,
    bookmark: Vec<u8>,
    telling: Telling,
) -> Result<Report, LdapError> {
    let source = visit.source;
    let generation = begin(visit).await?;
    let mut gather = Gather::refresh(source, telling, generation, false);
    let wanted = [source.plan().mapping.key().to_owned()];
    let mut pages = Pages::new(source.search(source.filter(), &wanted), source.plan().page_size);
    loop {
        match pages.next(connection, |urls| source.referred(urls)).await? {
            Step::Entry(raw) => {
                if let Some(key) = source.key(&raw) {
                    gather.see(key).await?;
                }
            }
            Step::PageOver => {}
            Step::Over => break,
        }
    }
    gather.record(None).await?;
    let mut report = gather.report;
    visit.sweep(&mut report, generation, bookmark, telling, connection.server()).await?;
    Ok(report)
}

async fn begin(visit: &Attendance<'_>) -> Result<i64, LdapError> {
    let source = visit.source;
    Ok(source.feed().mirror().begin_refresh(source.directory()).await.map_err(tidings_intake::IntakeError::from)?)
}
