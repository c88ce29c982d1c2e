//! What happens at Nordwind while the demo runs: events, an outage of the mail relay in the middle, and its return.

use super::{
    company as nordwind,
    tally::{self, Tally},
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidings_core::{Clock, Id, time::later};
use tidings_sink::{Fault, Sink, Stage, What, When};
use tidings_store::Store;

/// How many people the bulk change in the middle of the outage adds to groups.
const BULK: usize = 120;

/// After which time without a letter the demo gives up waiting for the rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// One line of what happened, for the page.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// When, `09:15:02` UTC.
    pub at: String,
    /// What.
    pub what: String,
    /// How the page shows it: `event`, `outage`, `good`.
    pub tone: &'static str,
}

/// The demo's stage.
pub struct Script {
    /// The mail relay.
    pub sink: Arc<Sink>,
    /// The outbox.
    pub store: Arc<dyn Store>,
    server: String,
    token: String,
    /// Stands before the ids of the events: in a folder where a demo was played before, the same ids would be known already.
    run: String,
    /// The items that earlier demos in this folder have done with.
    earlier: HashSet<Id>,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<Line>,
    events: Vec<Id>,
    known: u64,
    relay_down: bool,
    over: bool,
}

impl Script {
    /// A stage on which nothing has happened yet. No other demo in this folder has had the same `run`; `earlier` are the items that they have done with.
    pub fn new(sink: Arc<Sink>, store: Arc<dyn Store>, server: String, token: String, run: String, earlier: HashSet<Id>) -> Self {
        Self { sink, store, server, token, run, earlier, log: Mutex::default() }
    }

    /// What happened so far.
    pub fn lines(&self) -> Vec<Line> {
        self.log.lock().expect("no holder panics").lines.clone()
    }

    /// Whether the relay is switched off just now, and whether the script is over.
    pub fn state(&self) -> (bool, bool) {
        let log = self.log.lock().expect("no holder panics");
        (log.relay_down, log.over)
    }

    /// Counts what was accepted and what arrived.
    ///
    /// # Errors
    /// If the outbox cannot be read.
    pub async fn tally(&self) -> Result<Tally> {
        let (events, known) = {
            let log = self.log.lock().expect("no holder panics");
            (log.events.clone(), log.known)
        };
        tally::count(&self.store, &self.sink, &self.earlier, events.len() as u64, known).await
    }

    fn note(&self, tone: &'static str, what: impl Into<String>, say: &dyn Fn(&str)) {
        let what = what.into();
        let at = crate::clock::SystemClock.now().strftime("%H:%M:%S").to_string();
        say(&format!("{at}  {what}"));
        self.log.lock().expect("no holder panics").lines.push(Line { at, what, tone });
    }

    /// Plays the script; `pause` lies between its steps.
    ///
    /// # Errors
    /// If the house does not do its part: an event is not accepted, a letter does not arrive in time.
    pub async fn play(&self, pause: Duration, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let in_hours =
            |hours: u64| later(crate::clock::SystemClock.now(), Duration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();

        self.note("event", "Priya Raman gets an account, and Chloé Dubois-Martin joins Payroll", say);
        self.post(vec![nordwind::account_created("e1", "p11"), nordwind::joined("e2", "p07", "g1", "p01")]).await?;
        tokio::time::sleep(pause).await;

        self.note("event", "Birgit Ödegaard's password expires in three days; Tom O'Brien's project membership in a week", say);
        self.post(vec![
            nordwind::password_expiring("e3", "p05", &in_hours(3 * 24)),
            nordwind::ending("e4", "p12", "g4", &in_hours(7 * 24)),
        ])
        .await?;
        tokio::time::sleep(pause).await;

        self.note("outage", "The relay greylists the next letter: 450, come back later", say);
        self.sink.add_fault(Fault::new(
            Stage::Rcpt,
            When::ToAddressContains("joerg".into()),
            What::reply("450 4.7.1 greylisted, come back later"),
        ));
        self.note("event", "The connector to SAP fails; both administrators are told", say);
        self.post(vec![nordwind::connector("e5", false)]).await?;
        self.arrived(|to| to.contains("sam.okafor"), "the alarm to Sam Okafor").await?;
        self.greylisted().await?;
        self.sink.clear_faults();
        tokio::time::sleep(pause).await;

        self.log.lock().expect("no holder panics").relay_down = true;
        self.sink.close().await;
        self.note("outage", "The mail relay goes down", say);
        tokio::time::sleep(pause).await;

        self.note(
            "event",
            "Max Huber asks for a link to choose a new password; Amara Diallo moves to Finance; Łukasz leaves VPN users",
            say,
        );
        self.post(vec![
            nordwind::reset_link("e6", "p10", "kX3-9fTq", &in_hours(3)),
            nordwind::changed("e7", "p09", "p03"),
            nordwind::left("e8", "p06", "g2"),
        ])
        .await?;
        self.note("event", format!("The personnel import adds {BULK} people to groups at once"), say);
        self.post((0..BULK).map(bulk).collect()).await?;
        self.note("event", "The personnel system posts the same events again, to be sure", say);
        self.post((0..BULK / 4).map(bulk).collect()).await?;
        self.waiting(BULK as u64).await?;
        tokio::time::sleep(pause * 2).await;

        self.sink.reopen().context("the mail sink comes back")?;
        self.log.lock().expect("no holder panics").relay_down = false;
        self.note("good", "The mail relay is back", say);
        self.post(vec![nordwind::connector("e9", true)]).await?;
        self.drained().await?;
        self.note("good", "Everything that had waited has arrived, the password link first", say);
        self.log.lock().expect("no holder panics").over = true;
        Ok(())
    }

    async fn post(&self, mut events: Vec<Value>) -> Result<()> {
        for event in &mut events {
            let id = event["id"].as_str().expect("the demo's own events have ids");
            event["id"] = format!("{}-{id}", self.run).into();
        }
        let (url, token) = (format!("{}/v1/events", self.server), self.token.clone());
        let receipt = tokio::task::spawn_blocking(move || -> Result<Value> {
            let body = serde_json::to_vec(&events)?;
            let mut answer = ureq::post(url)
                .header("Authorization", format!("Bearer {token}"))
                .header("Content-Type", "application/cloudevents-batch+json")
                .send(body.as_slice())
                .context("posting events")?;
            Ok(serde_json::from_str(&answer.body_mut().read_to_string()?)?)
        })
        .await??;
        let mut log = self.log.lock().expect("no holder panics");
        log.known += receipt["duplicates"].as_u64().unwrap_or_default();
        for id in receipt["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).filter_map(|id| id.parse::<Id>().ok()) {
            if !log.events.contains(&id) {
                log.events.push(id);
            }
        }
        Ok(())
    }

    async fn arrived(&self, to: impl Fn(&str) -> bool, what: &str) -> Result<()> {
        let there = |letters: &[Arc<tidings_sink::Received>]| letters.iter().any(|l| l.to.iter().any(|address| to(address)));
        self.sink.wait_until(there, PATIENCE).await.map(drop).with_context(|| format!("waiting for {what}"))
    }

    /// Waits until the outbox has noted the relay's "not now".
    async fn greylisted(&self) -> Result<()> {
        self.until("the greylisted letter to be put off", || async {
            let page = self
                .store
                .items(tidings_store::Filter { to: Some(nordwind::whom("p02").mail.to_owned()), ..Default::default() }, None, 50)
                .await?;
            let mut items = page.items.iter().filter(|item| !self.earlier.contains(&item.id));
            Ok(items.any(|item| item.last_reply.as_deref().is_some_and(|reply| reply.contains("greylisted"))))
        })
        .await
    }

    async fn waiting(&self, at_least: u64) -> Result<()> {
        self.until("the letters to wait for the relay", || async {
            Ok(self.store.depths().await?.iter().map(|d| d.items).sum::<u64>() >= at_least)
        })
        .await
    }

    async fn drained(&self) -> Result<()> {
        self.until("the outbox to drain", || async { Ok(self.store.depths().await?.is_empty()) }).await
    }

    async fn until<F: Future<Output = Result<bool>>>(&self, what: &str, holds: impl Fn() -> F) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds().await? {
            if tokio::time::Instant::now() > deadline {
                bail!("gave up waiting for {what} after {} seconds", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// One of the many joins of the personnel import.
fn bulk(n: usize) -> Value {
    let people = nordwind::PEOPLE;
    let groups = ["g2", "g3", "g4"];
    nordwind::joined(&format!("bulk-{n}"), people[n % people.len()].id, groups[n % groups.len()], "p01")
}
