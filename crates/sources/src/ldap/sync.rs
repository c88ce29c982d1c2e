//! Content synchronisation (RFC 4533): the server tells what has changed since the cookie, and then tells on as it happens.
//!
//! A refresh may tell the whole content (no cookie), or what changed and what is unchanged (a phase of presence), or what changed and what is deleted. After a whole content
//! and after a phase of presence, whatever was not seen is gone. The cookie is recorded when the refresh is complete, never before: a refresh that was cut begins anew from the old
//! one, and what was recorded of it compares as equal.

use super::{
    bookmark::Place,
    connection::{Connection, Finished, Found},
    control::{self, SyncBecame, SyncDone, SyncInfo},
    error::{LdapError, PROTOCOL_ERROR, SYNC_REFRESH_REQUIRED, UNWILLING},
    gather::{Gather, Report},
    health::Health,
    source::{Attendance, Next, Purpose},
};
use std::time::Duration;
use tidings_core::directory::{Became, Change};
use tokio::time::timeout;

/// A change that says an entry is gone takes about as much memory.
const GONE_OCTETS: usize = 200;

/// How a refresh ended.
enum Refreshed {
    /// It is complete, and the search that goes on telling is this one.
    Complete { search: i64, report: Report },
    /// The server does not take the cookie.
    CookieRefused { code: i64, text: String },
}

/// Brings the mirror up to date, and when watching stays until the connection ends or a comparison is due.
pub(super) async fn attend(visit: &Attendance<'_>, connection: &mut Connection, health: &mut Health) -> Result<Next, LdapError> {
    let due = health.is_comparison_due();
    let known = visit.bookmark().filter(|_| !due);
    let cookie = known.as_ref().and_then(|mark| if let Place::Sync(cookie) = &mark.place { Some(cookie.as_slice()) } else { None });
    let mut whole = cookie.is_none();
    let mut refreshed = refresh(visit, connection, cookie).await?;
    if let Refreshed::CookieRefused { code, text } = refreshed {
        let directory = visit.source.directory();
        let same_server = known.as_ref().is_some_and(|mark| mark.server == connection.server());
        // A server that was set back to an older state is to be believed. Another one than last time may just not have caught up yet.
        if !same_server && visit.source.plan().servers.len() > 1 && !health.lags() {
            let what = format!("it is behind what is known from another server, and is left alone until it has caught up ({text})");
            return Err(LdapError::Doubtful { server: connection.server().to_owned(), what });
        }
        tracing::warn!(directory.name = directory, code, text, "the server does not go on from where we were; everything is compared");
        refreshed = refresh(visit, connection, None).await?;
        whole = true;
    }
    let Refreshed::Complete { search, report } = refreshed else {
        unreachable!("without a cookie there is none to refuse");
    };
    if whole {
        health.compared();
    }
    health.behind_since = None;
    if matches!(visit.purpose, Purpose::Once(_)) {
        return Ok(Next::Done(report));
    }
    health.works(visit.source).await?;
    tracing::info!(
        directory.name = visit.source.directory(),
        entries = report.entries,
        changed = report.taken.changed,
        "the directory is followed as it changes"
    );
    follow(visit, connection, health, search).await
}

/// One refresh, from the cookie or of everything.
async fn refresh(visit: &Attendance<'_>, connection: &mut Connection, cookie: Option<&[u8]>) -> Result<Refreshed, LdapError> {
    let source = visit.source;
    let telling = if cookie.is_none() { visit.telling_of_comparison() } else { visit.telling_of_news() };
    let generation = source.feed().mirror().begin_refresh(source.directory()).await.map_err(tidings_intake::IntakeError::from)?;
    let persist = matches!(visit.purpose, Purpose::Watch);
    let request = control::sync(cookie, persist);
    let search = connection.search(&source.search(source.filter(), source.attributes()), &[request]).await?;
    let mut stage = Stage {
        gather: Gather::refresh(source, telling, generation, visit.is_first()),
        presence: cookie.is_none(),
        cookie: cookie.map(<[u8]>::to_vec),
    };
    loop {
        match connection.found(search).await? {
            Found::Finished(end) if cookie.is_some() && matches!(end.ending.code, SYNC_REFRESH_REQUIRED | UNWILLING | PROTOCOL_ERROR) => {
                return Ok(Refreshed::CookieRefused { code: end.ending.code, text: end.ending.text });
            }
            Found::Finished(end) => {
                stage.finished(connection, end, persist)?;
                break;
            }
            found => {
                if stage.hear(visit, connection, found).await? {
                    break;
                }
            }
        }
    }
    stage.complete(visit, connection, generation).await.map(|report| Refreshed::Complete { search, report })
}

/// A refresh under way.
struct Stage<'a> {
    gather: Gather<'a>,
    /// What is not seen is gone.
    presence: bool,
    cookie: Option<Vec<u8>>,
}

impl Stage<'_> {
    /// Takes what the server says; gives whether the refresh is over with it.
    async fn hear(&mut self, visit: &Attendance<'_>, connection: &Connection, found: Found) -> Result<bool, LdapError> {
        let malformed = |wrong| connection.malformed(wrong);
        match found {
            Found::Entry(raw, controls) => {
                let Some(state) = control::sync_state(&controls).map_err(malformed)? else { return Ok(false) };
                match state.became {
                    SyncBecame::Present => self.gather.see(state.key).await?,
                    SyncBecame::AddedOrModified => self.gather.push(visit.source.change(&raw, state.key), raw.size()).await?,
                    SyncBecame::Deleted => self.gather.push(gone(state.key), GONE_OCTETS).await?,
                }
            }
            Found::Intermediate { oid, value } => match control::sync_info(oid.as_deref(), &value).map_err(malformed)? {
                Some(SyncInfo::PhaseOver { present, cookie, done }) => {
                    self.presence |= present;
                    self.cookie = cookie.or_else(|| self.cookie.take());
                    return Ok(done);
                }
                Some(SyncInfo::Keys { deleted, cookie, keys }) => {
                    self.cookie = cookie.or_else(|| self.cookie.take());
                    for key in keys {
                        if deleted {
                            self.gather.push(gone(key), GONE_OCTETS).await?;
                        } else {
                            self.presence = true;
                            self.gather.see(key).await?;
                        }
                    }
                }
                Some(SyncInfo::NewCookie(cookie)) => self.cookie = Some(cookie),
                None => {}
            },
            Found::Reference(urls) => visit.source.referred(&urls),
            Found::Finished(_) => {}
        }
        Ok(false)
    }

    /// The search is over, which it is at the end of a refresh that is not to go on.
    fn finished(&mut self, connection: &Connection, end: Finished, persist: bool) -> Result<(), LdapError> {
        connection.demand(end.ending, "content synchronisation")?;
        if persist {
            let what = "it ended a synchronisation that was to go on".to_owned();
            return Err(LdapError::Doubtful { server: connection.server().to_owned(), what });
        }
        if let Some(SyncDone { cookie, deletes }) = control::sync_done(&end.controls).map_err(|wrong| connection.malformed(wrong))? {
            self.cookie = cookie.or_else(|| self.cookie.take());
            // RFC 4533 §3.3.2: without this word, the refresh told what is present.
            self.presence |= !deletes;
        }
        Ok(())
    }

    async fn complete(mut self, visit: &Attendance<'_>, connection: &Connection, generation: i64) -> Result<Report, LdapError> {
        let server = connection.server();
        let place = self.cookie.take().map_or(Place::Unknown, Place::Sync);
        let bookmark = visit.source.mark(server, place);
        if self.presence {
            self.gather.record(None).await?;
            let mut report = self.gather.report;
            visit.sweep(&mut report, generation, bookmark, self.gather.telling, server).await?;
            return Ok(report);
        }
        self.gather.record(Some(bookmark)).await?;
        Ok(self.gather.report)
    }
}

/// Hears what the server tells as it happens.
async fn follow(visit: &Attendance<'_>, connection: &mut Connection, health: &mut Health, search: i64) -> Result<Next, LdapError> {
    let plan = visit.source.plan();
    let mut gather = Gather::news(visit.source, visit.telling_of_news());
    let mut cookie: Option<Vec<u8>> = None;
    let mut knock = None;
    loop {
        let patience = if knock.is_some() { plan.connect_timeout } else { plan.heartbeat.saturating_sub(connection.quiet_for()) };
        let patience = health.until_comparison().map_or(patience, |until| patience.min(until.max(Duration::from_millis(1))));
        match timeout(patience, connection.any_found()).await {
            Ok(found) => {
                let (id, found) = found?;
                if Some(id) == knock {
                    if let Found::Finished(_) = found {
                        knock = None;
                        health.works(visit.source).await?;
                    }
                } else if id == search
                    && let Some(newer) = hear(visit, connection, &mut gather, found).await?
                {
                    cookie = Some(newer);
                }
            }
            Err(_) if health.is_comparison_due() => {
                connection.abandon(search).await?;
                return Ok(Next::After(Duration::ZERO));
            }
            Err(_) if knock.is_some() => {
                return Err(LdapError::Silent {
                    server: connection.server().to_owned(),
                    doing: "being followed",
                    after: plan.heartbeat + plan.connect_timeout,
                });
            }
            Err(_) => {
                // A cookie without changes is worth a record of its own only now and then.
                if let Some(cookie) = cookie.take() {
                    gather.record(Some(visit.source.mark(connection.server(), Place::Sync(cookie)))).await?;
                }
                knock = Some(connection.knock().await?);
            }
        }
        // What has come together is recorded together.
        if !gather.is_empty() && !connection.has_more() {
            let bookmark = cookie.take().map(|cookie| visit.source.mark(connection.server(), Place::Sync(cookie)));
            gather.record(bookmark).await?;
        }
    }
}

/// Takes what the server tells while it is followed; gives the cookie that came with it.
async fn hear(
    visit: &Attendance<'_>,
    connection: &Connection,
    gather: &mut Gather<'_>,
    found: Found,
) -> Result<Option<Vec<u8>>, LdapError> {
    let malformed = |wrong| connection.malformed(wrong);
    match found {
        Found::Entry(raw, controls) => {
            let Some(state) = control::sync_state(&controls).map_err(malformed)? else { return Ok(None) };
            match state.became {
                SyncBecame::Present => {}
                SyncBecame::AddedOrModified => gather.push(visit.source.change(&raw, state.key), raw.size()).await?,
                SyncBecame::Deleted => gather.push(gone(state.key), GONE_OCTETS).await?,
            }
            Ok(state.cookie)
        }
        Found::Intermediate { oid, value } => Ok(match control::sync_info(oid.as_deref(), &value).map_err(malformed)? {
            Some(SyncInfo::NewCookie(cookie)) => Some(cookie),
            Some(SyncInfo::Keys { deleted: true, cookie, keys }) => {
                for key in keys {
                    gather.push(gone(key), GONE_OCTETS).await?;
                }
                cookie
            }
            Some(SyncInfo::Keys { cookie, .. } | SyncInfo::PhaseOver { cookie, .. }) => cookie,
            None => None,
        }),
        Found::Reference(urls) => {
            visit.source.referred(&urls);
            Ok(None)
        }
        Found::Finished(end) => {
            let doing = "to go on with the synchronisation";
            connection.demand(end.ending, doing)?;
            let what = "it ended a synchronisation that was to go on".to_owned();
            Err(LdapError::Doubtful { server: connection.server().to_owned(), what })
        }
    }
}

fn gone(key: String) -> Change {
    Change::of(Became::Gone { key })
}
