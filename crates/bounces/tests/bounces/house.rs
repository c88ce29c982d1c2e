//! A database with letters that a relay has taken.

use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tidings_bounces::{BounceError, Parcel, Reports, Taken, Terms, Way};
use tidings_core::{
    Address, Clock, Id, IdMint, Lane,
    outbox::{Item, Letter, Role, Settlement, State},
    testing::FixedClock,
    time::later,
};
use tidings_store::{Acceptance, Claim, Database, HealthTerms, Lease, OpenOptions, SealKey};

pub(crate) struct House {
    pub(crate) store: Arc<dyn Database>,
    pub(crate) reports: Reports,
    clock: Arc<FixedClock>,
    mint: IdMint,
    _folder: TempDir,
}

/// A letter that went out.
pub(crate) struct Sent {
    pub(crate) item: Id,
    pub(crate) event: Id,
    pub(crate) message_id: String,
}

pub(crate) const TERMS: Terms = Terms {
    health: HealthTerms { after: 2, within: Duration::from_hours(720), rest: None, keep: Duration::from_hours(4000) },
    complaints_count: false,
};

impl House {
    pub(crate) async fn open() -> Self {
        let (folder, clock) = (TempDir::new().unwrap(), Arc::new(FixedClock::at("2026-11-22T09:00:00Z")));
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.path().to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock: clock.clone(),
            min_free_bytes: 0,
        };
        let store = tidings_store::open(options).await.unwrap();
        Self { reports: Reports::new(store.clone(), TERMS), store, clock, mint: IdMint::starting_after(None, 1), _folder: folder }
    }

    /// Accepts a letter; the first address stands in To, the others get a copy.
    pub(crate) async fn accept(&self, to: &[&str]) -> Vec<Sent> {
        let now = self.clock.now();
        let (event, letter) = (self.mint.mint(now), self.mint.mint(now));
        let message_id = format!("{letter}.ab12cd34ef@example.org");
        let item = |(place, to): (usize, &&str)| Item {
            id: if place == 0 { letter } else { self.mint.mint(now) },
            letter,
            to: Address::parse(to).unwrap(),
            role: if place == 0 { Role::To } else { Role::Cc },
            relay: "main".to_owned(),
            lane: Lane::Notices,
            held: None,
            due_at: now,
            expires_at: later(now, Duration::from_hours(96)),
        };
        let items: Vec<Item> = to.iter().enumerate().map(item).collect();
        let sent = items.iter().map(|item| Sent { item: item.id, event, message_id: message_id.clone() }).collect();
        let letter = Letter {
            id: letter,
            kind: "membership.joined",
            rule: "joined".to_owned(),
            message_id,
            sender: Some(Address::parse("bounces@example.org").unwrap()),
            bytes: b"Subject: x\r\n\r\nx\r\n".to_vec(),
            sensitive: false,
            pattern: None,
        };
        let acceptance = Acceptance {
            id: event,
            source: "test".to_owned(),
            event_id: event.to_string(),
            kind: "membership.joined",
            time: now,
            data: b"{}".to_vec(),
            secrets: None,
            trace: b"{}".to_vec(),
            trace_pattern: None,
            letters: vec![letter],
            items,
            fan_outs: Vec::new(),
            guard: None,
            claimed_by: None,
        };
        self.store.accept(vec![acceptance]).await.unwrap();
        sent
    }

    /// A letter that the relay has taken.
    pub(crate) async fn sent(&self, to: &str) -> Sent {
        let sent = self.accept(&[to]).await.remove(0);
        self.send_all().await;
        sent
    }

    pub(crate) async fn send_all(&self) {
        self.answer(self.claim_all().await).await;
    }

    pub(crate) async fn claim_all(&self) -> Vec<Lease> {
        self.store.claim(Claim::new("node", "main", 100, Duration::from_mins(5))).await.unwrap()
    }

    /// The relay has taken these.
    pub(crate) async fn answer(&self, leases: Vec<Lease>) {
        let now = self.clock.now();
        let settled = |lease: Lease| Settlement {
            id: lease.id,
            token: lease.token,
            state: State::Sent,
            due_at: now,
            attempts: 1,
            maybe_duplicate: false,
            at: now,
            what: "sent",
            reply: "250 2.0.0 queued".to_owned(),
            relay: None,
        };
        self.store.settle(leases.into_iter().map(settled).collect()).await.unwrap();
    }

    pub(crate) async fn take(&self, raw: &[u8]) -> Result<Taken, BounceError> {
        self.reports.take(Parcel { raw, recipient: None, way: Way::Mailbox }).await
    }

    pub(crate) async fn state(&self, id: Id) -> State {
        self.store.item(id).await.unwrap().unwrap().row.state
    }
}

/// A delivery status notification about one recipient, sent to an address, with these fields for the message and the recipient.
pub(crate) fn dsn(to: &str, about: &str, recipient: &str, number: u32) -> Vec<u8> {
    format!(
        "From: MAILER-DAEMON@mx.example\nTo: {to}\nSubject: Undelivered\nMessage-ID: <{number}@mx.example>\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n\
         Reporting-MTA: dns; mx.example\n{about}\n{recipient}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n\n--b--\n"
    )
    .into_bytes()
}
