//! What comes back, as the configuration has it: the terms that reports are judged by, the mailbox they are fetched from, and the relays whose letters name themselves in
//! their envelope senders.

use crate::{
    assemble::token_plan,
    clock::SystemClock,
    duties::{Begin, MAILBOX, Works},
};
use std::sync::Arc;
use tidings_bounces::{
    Reports, Terms,
    mailbox::{After, Mailbox, MailboxPlan},
};
use tidings_config as sections;
use tidings_core::verp::VerpKey;
use tidings_delivery::{
    Secret,
    imap::ImapPlan,
    plan::{AuthPlan, RelayPlan, Timeouts, TlsMode},
};
use tidings_store::{Database, HealthTerms};

/// What reports are judged by.
pub fn terms(bounces: &sections::Bounces) -> Terms {
    let health = HealthTerms { after: bounces.after, within: bounces.within, rest: bounces.rest, keep: bounces.keep };
    Terms { health, complaints_count: bounces.complaints_count }
}

/// The relays' plans, with the key of return paths for those that are to have them.
pub fn plans(relays: &[sections::Relay], key: &VerpKey) -> Vec<RelayPlan> {
    let plan = |relay: &sections::Relay| RelayPlan { return_paths: relay.verp.then(|| key.clone()), ..crate::assemble::plan(relay) };
    relays.iter().map(plan).collect()
}

/// The mailbox that reports are fetched from, if there is one.
pub fn mailbox(bounces: &sections::Bounces) -> Option<MailboxPlan> {
    let mailbox = bounces.mailbox.as_ref()?;
    let tls = match mailbox.tls {
        sections::TlsMode::None => TlsMode::None,
        sections::TlsMode::Implicit => TlsMode::Implicit,
        sections::TlsMode::Starttls | sections::TlsMode::Auto | sections::TlsMode::StarttlsWhenAvailable => TlsMode::StartTls,
    };
    let (host, port, user) = (mailbox.host.as_str(), mailbox.port, mailbox.username.clone());
    let auth = match &mailbox.credential {
        sections::Credential::Password(password) => AuthPlan::new(user.clone(), Secret::new(password.reveal()), host, port, tls),
        sections::Credential::OAuth2(tokens) => AuthPlan::with_tokens(user.clone(), token_plan(tokens), host, port, tls),
    };
    let auth = auth.allow_cleartext(mailbox.allow_cleartext);
    let imap = ImapPlan { host: host.to_owned(), port, tls, ca_pem: mailbox.ca_pem.clone(), auth, timeouts: Timeouts::default() };
    let after = match &mailbox.after {
        sections::AfterReading::Move(folder) => After::Move(folder.clone()),
        sections::AfterReading::Delete => After::Delete,
        sections::AfterReading::Flag => After::Flag,
    };
    Some(MailboxPlan { imap, user, folder: mailbox.folder.clone(), after, every: mailbox.every })
}

/// Fetching reports: the work of one node at a time.
pub fn works(mailbox: Option<&MailboxPlan>, reports: &Arc<Reports>, store: &Arc<dyn Database>) -> Works {
    let Some(plan) = mailbox else { return Works::new() };
    let mailbox = Arc::new(Mailbox::new(plan.clone(), Arc::clone(reports), Arc::clone(store), Arc::new(SystemClock)));
    let begin: Begin = Box::new(move |_| {
        let mailbox = Arc::clone(&mailbox);
        tokio::spawn(async move { mailbox.run().await })
    });
    Works::from([(MAILBOX.to_owned(), begin)])
}
