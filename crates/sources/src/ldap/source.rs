//! One directory that is watched: which server, which way, and what to do when it fails.

use super::{
    bookmark::{Bookmark, Place},
    connection::{Connection, Root},
    control, dirsync,
    error::{INSUFFICIENT_ACCESS, LdapError, UNAVAILABLE_CRITICAL_EXTENSION, UNWILLING},
    filter,
    gather::Report,
    health::Health,
    marker::Hints,
    marker_desk::Desk,
    message::{RawEntry, Scope, Search},
    plan::{LdapPlan, PlanError, Server, Way},
    poll, sync,
    tls::Encryption,
};
use sha2::{Digest as _, Sha256};
use std::{
    convert::Infallible,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidings_core::directory::{Became, Change, Head};
use tidings_intake::{Feed, Swept, Taken, Telling};
use tidings_store::DirectoryStanding;
use tokio::time::sleep;

/// Hears how far a load is.
pub type Progress = Arc<dyn Fn(&Report) + Send + Sync>;

/// One directory that is reached by LDAP.
pub struct LdapSource {
    directory: String,
    plan: LdapPlan,
    filter: Vec<u8>,
    attributes: Vec<String>,
    marker_attributes: Vec<String>,
    hints: Hints,
    shape: String,
    encryption: Encryption,
    feed: Arc<Feed>,
    progress: Option<Progress>,
    /// Which server is attended now.
    attended: AtomicUsize,
    said_references: AtomicBool,
    said_no_key: AtomicBool,
}

/// What a source is asked to do, once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Once {
    /// Read everything and compare, instead of what has changed since the last time.
    pub whole: bool,
    /// Whether differences become events; `None`: as they would be when watching.
    pub telling: Option<Telling>,
}

/// For what a server is attended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Watch,
    Once(Once),
}

impl Purpose {
    pub(crate) const fn whole(self) -> bool {
        matches!(self, Self::Once(Once { whole: true, .. }))
    }
}

/// What comes after a server was attended.
#[derive(Debug)]
pub(crate) enum Next {
    /// Again, after this time.
    After(Duration),
    /// It is done; what it came to.
    Done(Report),
}

/// What a server says of itself when it is tried out.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The server that answered.
    pub server: String,
    /// How changes will be heard of.
    pub way: Way,
    /// What the trees that it holds are called.
    pub contexts: Vec<String>,
    /// Some entries, as they would be mirrored.
    pub samples: Vec<tidings_core::directory::Entry>,
}

impl LdapSource {
    /// Prepares a source. Nothing is connected yet.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(directory: impl Into<String>, plan: LdapPlan, feed: Arc<Feed>) -> Result<Self, PlanError> {
        plan.check()?;
        let encryption = Encryption::from_plan(&plan)?;
        let digest = Sha256::digest(format!("{}\n{}\n{}", plan.base, plan.filter, plan.mapping.shape()));
        let shape = digest[..8].iter().fold(String::new(), |mut text, octet| {
            write!(text, "{octet:02x}").expect("a string takes everything");
            text
        });
        let (mut attributes, mut marker_attributes) = (plan.mapping.attributes(), Vec::new());
        if let Some(marker) = &plan.marker {
            marker_attributes = attributes.iter().cloned().chain(marker.attributes().map(str::to_owned)).collect();
            attributes.push(marker.attribute.clone());
        }
        Ok(Self {
            directory: directory.into(),
            filter: filter::compile(&plan.filter)?,
            attributes,
            marker_attributes,
            hints: Hints::default(),
            shape,
            encryption,
            plan,
            feed,
            progress: None,
            attended: AtomicUsize::new(0),
            said_references: AtomicBool::new(false),
            said_no_key: AtomicBool::new(false),
        })
    }

    /// Has this called as reading goes on.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Watches, and answers markers, for ever. Whoever wants it to end drops the future: whatever is recorded is recorded whole.
    pub async fn run(&self) -> Infallible {
        match &self.plan.marker {
            None => self.follow().await,
            Some(plan) => {
                tokio::select! {
                    never = self.follow() => never,
                    never = Desk::new(self, plan).run() => never,
                }
            }
        }
    }

    async fn follow(&self) -> Infallible {
        let mut health = Health::new(&self.plan);
        loop {
            let pause = match self.round(Purpose::Watch, &mut health).await {
                Ok(Next::After(pause)) => pause,
                Ok(Next::Done(_)) => Duration::ZERO,
                Err(error) => {
                    let pause = health.failed();
                    tracing::warn!(
                        directory.name = self.directory,
                        error = error.chain(),
                        wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                        "the directory cannot be followed now"
                    );
                    if health.is_grave() && !error.is_ours() {
                        self.report_failure(&error, &mut health).await;
                    }
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Reads once what there is to read, and ends.
    ///
    /// # Errors
    /// [`LdapError`] of the last server, if all failed.
    pub async fn once(&self, what: Once) -> Result<Report, LdapError> {
        let mut health = Health::new(&self.plan);
        loop {
            match self.round(Purpose::Once(what), &mut health).await? {
                Next::Done(report) => return Ok(report),
                Next::After(pause) => sleep(pause).await,
            }
        }
    }

    /// Connects, looks around, reads up to `most` entries and leaves; nothing is recorded.
    ///
    /// # Errors
    /// [`LdapError`] of the last server, if all failed.
    pub async fn visit(&self, most: usize) -> Result<Visit, LdapError> {
        let mut failed = None;
        for server in &self.plan.servers {
            match self.visit_one(server, most).await {
                Ok(visit) => return Ok(visit),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("a checked plan names a server"))
    }

    /// The entries of these names at the server that is attended, as far as they are of this directory. By a connection of its own: the other one is in the middle of something.
    pub(crate) async fn named(&self, names: &[String]) -> Result<Vec<RawEntry>, LdapError> {
        let base = super::dn::normalise(&self.plan.base);
        let below = |name: &&String| name.strip_suffix(&base).is_some_and(|front| front.is_empty() || front.ends_with(','));
        let mut names = names.iter().filter(below).peekable();
        if names.peek().is_none() {
            return Ok(Vec::new());
        }
        let mut connection =
            Connection::open(&self.plan.servers[self.attended.load(Ordering::Relaxed)], &self.plan, &self.encryption).await?;
        let mut entries = Vec::new();
        for name in names {
            let search = Search { base: name, scope: Scope::Base, filter: &self.filter, attributes: &self.attributes };
            if let Some(raw) = connection.entry(&search).await? {
                entries.extend(super::whole::complete(&mut connection, raw).await?);
            }
        }
        connection.close().await;
        Ok(entries)
    }

    async fn visit_one(&self, server: &Server, most: usize) -> Result<Visit, LdapError> {
        let mut connection = Connection::open(server, &self.plan, &self.encryption).await?;
        let root = connection.root().await?;
        let mut samples = Vec::new();
        let size = u32::try_from(most).unwrap_or(u32::MAX).min(self.plan.page_size);
        let mut pages = super::connection::Pages::new(self.search(&self.filter, &self.attributes), size);
        while samples.len() < most
            && let super::connection::Step::Entry(raw) = pages.next(&mut connection, |urls| self.referred(urls)).await?
        {
            if let Some(key) = self.plan.mapping.key_of(&raw) {
                samples.push(self.plan.mapping.map(&raw, key).entry);
            }
        }
        let way = self.ways(&root)[0];
        let visit = Visit { server: connection.server().to_owned(), way, contexts: root.contexts, samples };
        connection.close().await;
        Ok(visit)
    }

    /// Attends the first server that is there.
    async fn round(&self, purpose: Purpose, health: &mut Health) -> Result<Next, LdapError> {
        let mut failed = None;
        for (position, server) in self.plan.servers.iter().enumerate() {
            self.attended.store(position, Ordering::Relaxed);
            match self.attend(server, purpose, health).await {
                Ok(next) => return Ok(next),
                Err(error) => {
                    // One that had worked and is lost is no reason to go on to the next: the first may be back by now.
                    if health.take_worked() || error.is_ours() {
                        return Err(error);
                    }
                    tracing::debug!(directory.name = self.directory, error = error.chain(), "this server is of no use now");
                    failed = Some(error);
                }
            }
        }
        Err(failed.expect("a checked plan names a server"))
    }

    async fn attend(&self, server: &Server, purpose: Purpose, health: &mut Health) -> Result<Next, LdapError> {
        let mut connection = Connection::open(server, &self.plan, &self.encryption).await?;
        let root = connection.root().await?;
        let ways = self.ways(&root);
        for (position, way) in ways.iter().enumerate() {
            let standing = self.standing().await?;
            let visit = Attendance { source: self, standing, purpose };
            let outcome = match way {
                Way::Sync => sync::attend(&visit, &mut connection, health).await,
                Way::DirSync => dirsync::attend(&visit, &mut connection, health).await,
                Way::Poll | Way::Auto => poll::attend(&visit, &mut connection, &root, health).await,
            };
            match outcome {
                Err(error) if position + 1 < ways.len() && is_of_the_way(&error) => {
                    tracing::info!(
                        directory.name = self.directory,
                        error = error.chain(),
                        "changes cannot be heard of in this way here; another one is taken"
                    );
                }
                Ok(next) => {
                    connection.close().await;
                    return Ok(next);
                }
                Err(error) => return Err(error),
            }
        }
        unreachable!("the last way's outcome was returned")
    }

    /// The ways that this server may have, the best first.
    fn ways(&self, root: &Root) -> Vec<Way> {
        if self.plan.way != Way::Auto {
            return vec![self.plan.way];
        }
        let has = |oid: &str| root.controls.iter().any(|control| control == oid);
        let mut ways = Vec::new();
        if has(control::SYNC_REQUEST) && self.plan.mapping.key_is_entry_uuid() {
            ways.push(Way::Sync);
        }
        let base = super::dn::normalise(&self.plan.base);
        if has(control::DIR_SYNC) && root.contexts.iter().any(|context| super::dn::normalise(context) == base) {
            ways.push(Way::DirSync);
        }
        ways.push(Way::Poll);
        ways
    }

    async fn report_failure(&self, error: &LdapError, health: &mut Health) {
        match self.feed.source_failed(&self.directory, &error.chain()).await {
            Ok(()) => health.was_told(),
            Err(error) => {
                tracing::warn!(directory.name = self.directory, %error, "that the directory fails could not be recorded; it will be tried again");
            }
        }
    }

    pub(crate) fn directory(&self) -> &str {
        &self.directory
    }

    pub(crate) fn plan(&self) -> &LdapPlan {
        &self.plan
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(crate) fn filter(&self) -> &[u8] {
        &self.filter
    }

    pub(crate) fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// What is read of an entry to answer its markers.
    pub(crate) fn marker_attributes(&self) -> &[String] {
        &self.marker_attributes
    }

    /// Word of entries that bear markers.
    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Connects to one of the servers.
    pub(crate) async fn connect(&self, place: usize) -> Result<(Connection, Root), LdapError> {
        let mut connection = Connection::open(&self.plan.servers[place], &self.plan, &self.encryption).await?;
        let root = connection.root().await?;
        Ok((connection, root))
    }

    /// A search below the base.
    pub(crate) fn search<'a>(&'a self, filter: &'a [u8], attributes: &'a [String]) -> Search<'a> {
        Search { base: &self.plan.base, scope: Scope::Subtree, filter, attributes }
    }

    pub(crate) async fn standing(&self) -> Result<DirectoryStanding, LdapError> {
        Ok(self.feed.mirror().directory(&self.directory).await.map_err(tidings_intake::IntakeError::from)?)
    }

    /// Where to go on, in the form that the store keeps.
    pub(crate) fn mark(&self, server: &str, place: Place) -> Vec<u8> {
        Bookmark { shape: self.shape.clone(), server: server.to_owned(), place }.write()
    }

    /// An entry, now exactly this, as a change.
    pub(crate) fn change(&self, raw: &RawEntry, key: String) -> Change {
        if let Some(plan) = &self.plan.marker {
            self.hints.hear(raw, &key, plan);
        }
        let mapped = self.plan.mapping.map(raw, key);
        Change { what: Became::Is(mapped.entry), actor: mapped.actor, at: mapped.at }
    }

    /// An entry, as its object is mirrored.
    pub(crate) fn head(&self, raw: &RawEntry, key: String) -> Head {
        self.plan.mapping.map(raw, key).entry.head
    }

    /// The key of an entry; one without is passed over, and said so once.
    pub(crate) fn key(&self, raw: &RawEntry) -> Option<String> {
        let key = self.plan.mapping.key_of(raw);
        if key.is_none() && !self.said_no_key.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                directory.name = self.directory,
                attribute = self.plan.mapping.key(),
                "an entry has no value in the attribute that is to name it for ever, or this account may not read it; such entries are passed over"
            );
        }
        key
    }

    /// Takes note of references to other servers.
    pub(crate) fn referred(&self, urls: &[String]) {
        if !self.said_references.swap(true, Ordering::Relaxed) {
            let to = urls.first().map_or("", String::as_str);
            tracing::info!(
                directory.name = self.directory,
                to,
                "the server refers to other servers for part of the tree; references are not followed"
            );
        }
    }

    pub(crate) fn tell_progress(&self, report: &Report) {
        if let Some(progress) = &self.progress {
            progress(report);
        }
    }
}

/// Whether it is the way that does not work here, and not the server.
fn is_of_the_way(error: &LdapError) -> bool {
    matches!(error.code(), Some(UNAVAILABLE_CRITICAL_EXTENSION | INSUFFICIENT_ACCESS | UNWILLING))
}

/// A server attended for a directory.
pub(crate) struct Attendance<'a> {
    pub(crate) source: &'a LdapSource,
    pub(crate) standing: DirectoryStanding,
    pub(crate) purpose: Purpose,
}

impl Attendance<'_> {
    /// Where to go on; `None` if everything has to be read anew.
    pub(crate) fn bookmark(&self) -> Option<Bookmark> {
        let mark = Bookmark::read(self.standing.bookmark.as_deref()?)?;
        (mark.shape == self.source.shape && !self.is_first() && !self.purpose.whole()).then_some(mark)
    }

    /// Whether nothing was ever loaded.
    pub(crate) const fn is_first(&self) -> bool {
        self.standing.loaded_at.is_none()
    }

    /// Whether differences found by comparing everything become events.
    pub(crate) fn telling_of_comparison(&self) -> Telling {
        if let Purpose::Once(Once { telling: Some(telling), .. }) = self.purpose {
            return telling;
        }
        let known = self.standing.bookmark.as_deref().and_then(Bookmark::read).is_some_and(|mark| mark.shape == self.source.shape);
        if self.is_first() {
            return Telling::Silent;
        }
        if !known {
            tracing::warn!(
                directory.name = self.source.directory,
                "base, filter or attributes have changed since the directory was last read: it is read anew, and nobody is told of the differences"
            );
            return Telling::Silent;
        }
        Telling::FoundLate
    }

    /// Whether changes that the server tells become events.
    pub(crate) const fn telling_of_news(&self) -> Telling {
        match self.purpose {
            Purpose::Once(Once { telling: Some(telling), .. }) => telling,
            _ => Telling::Told,
        }
    }

    /// Ends a refresh: what it did not see is gone.
    pub(crate) async fn sweep(
        &self,
        report: &mut Report,
        generation: i64,
        bookmark: Vec<u8>,
        telling: Telling,
        server: &str,
    ) -> Result<(), LdapError> {
        let source = self.source;
        let doubtful = |what| LdapError::Doubtful { server: server.to_owned(), what };
        let most = source.plan.most_gone_percent;
        if report.entries + report.unchanged == 0 && self.standing.objects > 0 && most != Some(100) {
            let objects = self.standing.objects;
            return Err(doubtful(format!(
                "it shows none of the {objects} objects that were there; check base and filter, and that this account may read them"
            )));
        }
        match source.feed.sweep(&source.directory, generation, Some(bookmark), telling, most).await? {
            Swept::Done(Taken { changed, events, letters }) => {
                report.taken.changed += changed;
                report.taken.events += events;
                report.taken.letters += letters;
                Ok(())
            }
            Swept::TooMany { unseen, objects } => Err(doubtful(format!(
                "{unseen} of {objects} objects would be gone, which is more than is allowed; nothing was taken for gone"
            ))),
        }
    }
}
