//! A mailbox that reports come to: read by IMAP, each mail once, and put away once what it says is kept.
//!
//! What was read is known by a bookmark in the database: the folder's UIDVALIDITY and the last number below which nothing is left to read. Reports are put away; whatever
//! else lies there is left alone and never read again. The order is: keep, put away, move the bookmark. So a connection that is lost anywhere, or a process that dies, at worst
//! has a report read again, and taking the same one twice changes nothing. One node at a time should read; two would only do it twice.

use crate::{BounceError, LONGEST, Parcel, Reports, Taken, Way};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tidings_core::{Clock, Timestamp};
use tidings_delivery::{
    courier::TroubleKind,
    error::ImapError,
    imap::{Imap, ImapPlan, Selected, Session},
};
use tidings_store::{Database, Slate, SlateWritten, StoreError};
use tokio::time::sleep;

/// Mails between two moves of the bookmark.
const GROUP: usize = 50;
/// Numbers looked for at a time: the first step, and the longest after empty ones.
const STEP: (u32, u32) = (1000, 100_000);
/// After trouble that passes by itself, and after such as a person has to mend: slow, because of account lock-out.
const PAUSES: [u64; 6] = [1, 2, 5, 10, 30, 60];
const SLOW_PAUSES: [u64; 4] = [60, 120, 300, 600];
/// A report that has to be brought again, because its letter is still on the wire, is brought after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Servers end a wait of 30 minutes (RFC 2177), and what stands between forgets connections earlier.
const LONGEST_WAIT: Duration = Duration::from_mins(9);

/// What is done with a report once it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It goes to this folder, which is made if there is none.
    Move(String),
    /// It is deleted.
    Delete,
    /// It stays and is marked as seen.
    Flag,
}

/// A mailbox and what is done there.
#[derive(Debug, Clone, PartialEq)]
pub struct MailboxPlan {
    /// The server, and how to sign in.
    pub imap: ImapPlan,
    /// Whose mailbox it is, for the bookmark.
    pub user: String,
    /// The folder that is read.
    pub folder: String,
    /// What is done with a report once it is kept.
    pub after: After,
    /// How often the mailbox is looked at, if the server does not tell of mails by itself.
    pub every: Duration,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxStatus {
    /// `starting`, `reading`, `waiting` (for mail) or `held` (in trouble).
    pub condition: &'static str,
    /// Why it is held, and what to do about it.
    pub reason: Option<String>,
    /// When everything there was to read had been read last.
    pub read_at: Option<Timestamp>,
}

/// Reads a mailbox.
pub struct Mailbox {
    plan: MailboxPlan,
    imap: Imap,
    reports: Arc<Reports>,
    store: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    status: Mutex<MailboxStatus>,
}

/// Why a visit ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Imap(#[from] ImapError),
    #[error("the database cannot be asked or written")]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotTaken(BounceError),
}

impl Broken {
    /// Whether it takes a person to mend it.
    fn needs_a_person(&self) -> bool {
        match self {
            Self::Imap(ImapError::NotIn(trouble)) => trouble.kind.needs_a_person() || trouble.kind == TroubleKind::Tls,
            Self::Imap(ImapError::Refused { .. }) => true,
            Self::Imap(ImapError::Lost(_) | ImapError::Garbled(_)) | Self::Store(_) | Self::NotTaken(_) => false,
        }
    }

    fn sentence(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    }
}

/// How far a folder is read.
struct Bookmark {
    name: String,
    slate: Slate,
    uid_validity: u32,
    /// The last number below and at which nothing is left to read.
    uid: u32,
}

impl Bookmark {
    fn text(&self) -> String {
        format!("{} {}", self.uid_validity, self.uid)
    }

    /// What stands on a slate, if it is about this state of the folder.
    fn read(text: &str, uid_validity: u32) -> u32 {
        let parts = text.split_once(' ').and_then(|(validity, uid)| Some((validity.parse::<u32>().ok()?, uid.parse::<u32>().ok()?)));
        parts.filter(|(validity, _)| *validity == uid_validity).map_or(0, |(_, uid)| uid)
    }
}

/// What a round through the folder has come to.
#[derive(Default)]
struct Round {
    /// The first mail that has to be brought again: the bookmark stays below it.
    postponed: Option<u32>,
}

impl Mailbox {
    /// For this mailbox. `clock` dates what is told of it.
    pub fn new(plan: MailboxPlan, reports: Arc<Reports>, store: Arc<dyn Database>, clock: Arc<dyn Clock>) -> Self {
        let imap = Imap::new(plan.imap.clone(), &clock);
        let status = Mutex::new(MailboxStatus { condition: "starting", reason: None, read_at: None });
        Self { plan, imap, reports, store, clock, status }
    }

    /// How it goes.
    pub fn status(&self) -> MailboxStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, condition: &'static str, reason: Option<String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.condition == "held" && condition == "waiting" {
            tracing::info!(imap.host = self.imap.host(), "the mailbox is read again");
        }
        if condition == "waiting" {
            status.read_at = Some(self.clock.now());
        }
        // Until everything is read it is not known to work again.
        if !(status.condition == "held" && condition == "reading") {
            (status.condition, status.reason) = (condition, reason);
        }
        metrics::gauge!("tidings_mailbox_held").set(if status.condition == "held" { 1.0 } else { 0.0 });
    }

    /// Reads, for as long as it is left to. May be dropped at any point: what was kept stays kept, and the rest is read next time.
    pub async fn run(&self) {
        let mut failures = 0;
        loop {
            let read_before = self.status().read_at;
            let Err(broken) = self.visit().await else { continue };
            if self.status().read_at != read_before {
                failures = 0;
            }
            let pauses = if broken.needs_a_person() { &SLOW_PAUSES[..] } else { &PAUSES[..] };
            let pause = pauses[failures.min(pauses.len() - 1)];
            failures += 1;
            let reason = broken.sentence();
            // A server that ends a connection now and then is not in trouble.
            if failures > 1 || broken.needs_a_person() {
                if broken.needs_a_person() {
                    tracing::error!(imap.host = self.imap.host(), %reason, next_try_s = pause, "the mailbox of reports cannot be read");
                } else {
                    tracing::warn!(imap.host = self.imap.host(), %reason, next_try_s = pause, "the mailbox of reports cannot be read");
                }
                self.say("held", Some(reason));
            } else {
                tracing::info!(imap.host = self.imap.host(), %reason, next_try_s = pause, "the visit of the mailbox has ended");
            }
            sleep(Duration::from_secs(pause)).await;
        }
    }

    /// One session: reads what there is, and what comes while the server tells of it. Without that, one round.
    async fn visit(&self) -> Result<(), Broken> {
        let mut session = self.imap.open().await?;
        let selected = session.select(&self.plan.folder).await.map_err(|error| self.explain(error))?;
        let mut bookmark = self.bookmark(selected.uid_validity).await?;
        loop {
            self.say("reading", None);
            session.look_away();
            let round = self.read_all(&mut session, selected, &mut bookmark).await?;
            if round.postponed.is_some() {
                sleep(AGAIN).await;
                continue;
            }
            self.say("waiting", None);
            if !session.can_idle() {
                session.log_out().await;
                sleep(self.plan.every).await;
                return Ok(());
            }
            session.idle(LONGEST_WAIT.min(self.plan.every.max(Duration::from_secs(60)))).await?;
        }
    }

    /// A folder that is not there is for a person to mend, and told with advice.
    fn explain(&self, error: ImapError) -> ImapError {
        match error {
            ImapError::Refused { command, code, words } => {
                let words = format!("{words} (check bounces.mailbox.folder: `{}`)", self.plan.folder);
                ImapError::Refused { command, code, words }
            }
            other => other,
        }
    }

    async fn bookmark(&self, uid_validity: u32) -> Result<Bookmark, Broken> {
        let name = format!("mailbox {} {} {}", self.plan.imap.host.to_lowercase(), self.plan.user, self.plan.folder);
        let slate = self.store.slate(&name).await?;
        let uid = Bookmark::read(&slate.text, uid_validity);
        if uid == 0 && slate.version > 0 {
            tracing::warn!(imap.host = self.imap.host(), "the mailbox was made anew (UIDVALIDITY): it is read from its beginning");
        }
        Ok(Bookmark { name, slate, uid_validity, uid })
    }

    /// Writes how far the folder is read. If somebody else has written meanwhile, the farther one stands.
    async fn move_bookmark(&self, bookmark: &mut Bookmark, uid: u32) -> Result<(), Broken> {
        if uid <= bookmark.uid {
            return Ok(());
        }
        bookmark.uid = uid;
        loop {
            match self.store.write_slate(&bookmark.name, bookmark.slate.version, &bookmark.text()).await? {
                SlateWritten::Done(slate) => {
                    bookmark.slate = slate;
                    return Ok(());
                }
                SlateWritten::Moved(slate) => {
                    let theirs = Bookmark::read(&slate.text, bookmark.uid_validity);
                    bookmark.slate = slate;
                    if theirs >= bookmark.uid {
                        bookmark.uid = theirs;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Reads everything above the bookmark: step by step up to where the folder ended when it was opened, then what has come since.
    async fn read_all(&self, session: &mut Session, selected: Selected, bookmark: &mut Bookmark) -> Result<Round, Broken> {
        let mut round = Round::default();
        let (mut from, mut step) = (bookmark.uid.saturating_add(1), STEP.0);
        while from < selected.uid_next {
            let to = from.saturating_add(step - 1).min(selected.uid_next - 1);
            let uids = session.uids(from, Some(to)).await?;
            step = if uids.is_empty() { (step * 4).min(STEP.1) } else { STEP.0 };
            self.read_these(session, &uids, bookmark, &mut round).await?;
            if round.postponed.is_none() {
                self.move_bookmark(bookmark, to).await?;
            }
            from = to + 1;
        }
        let uids = session.uids(from, None).await?;
        self.read_these(session, &uids, bookmark, &mut round).await?;
        Ok(round)
    }

    async fn read_these(&self, session: &mut Session, uids: &[u32], bookmark: &mut Bookmark, round: &mut Round) -> Result<(), Broken> {
        for group in uids.chunks(GROUP) {
            let mut taken = Vec::with_capacity(group.len());
            let mut broken = None;
            for uid in group {
                match self.read_one(session, *uid).await {
                    Ok(true) => taken.push(*uid),
                    Ok(false) => {}
                    Err(Broken::NotTaken(BounceError::NotYet(item))) => {
                        tracing::debug!(outbox.item = %item, "a report is faster than the relay's answer; it is read again soon");
                        round.postponed.get_or_insert(*uid);
                    }
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
            let lost = matches!(broken, Some(Broken::Imap(_)));
            if !taken.is_empty() && !lost {
                self.put_away(session, &taken).await?;
            }
            if let Some(broken) = broken {
                return Err(broken);
            }
            if let (None, Some(last)) = (round.postponed, group.last()) {
                self.move_bookmark(bookmark, *last).await?;
            }
        }
        Ok(())
    }

    /// Reads a mail and takes what it says; whether it is to be put away.
    async fn read_one(&self, session: &mut Session, uid: u32) -> Result<bool, Broken> {
        let Some(raw) = session.message(uid, LONGEST).await? else { return Ok(false) };
        let parcel = Parcel { raw: &raw, recipient: None, way: Way::Mailbox };
        let (what, is_report) = match self.reports.take(parcel).await.map_err(Broken::NotTaken)? {
            Taken::Report { .. } => ("report", true),
            Taken::Known => ("known", true),
            Taken::Ignored(_) => ("other", false),
        };
        metrics::counter!("tidings_mailbox_mails_total", "what" => what).increment(1);
        Ok(is_report)
    }

    async fn put_away(&self, session: &mut Session, uids: &[u32]) -> Result<(), ImapError> {
        match &self.plan.after {
            After::Move(folder) => session.move_to(uids, folder).await,
            After::Delete => session.delete(uids).await,
            After::Flag => session.mark_seen(uids).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_of_another_state_of_the_folder_is_none() {
        for (text, uid) in [("42 17", 17), ("41 17", 0), ("", 0), ("42", 0), ("42 x", 0), ("42 4294967295", u32::MAX)] {
            assert_eq!(Bookmark::read(text, 42), uid, "{text}");
        }
    }
}
