//! Looks after a pickup directory: whether the mail server collects the files, and whether it put some aside as `.bad`.
//!
//! "Sent" means for a pickup directory only "handed to the folder", so a mail server that stands still, or cannot read a file, would be noticed by nobody.

use crate::{
    news::{News, Newswire},
    pickup::COMPOSING,
    plan::PickupPlan,
};
use metrics::{Gauge, gauge};
use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tidings_core::{Clock, Timestamp};
use tokio::sync::{Notify, watch};

/// How often to look, at least and at most; in between a tenth of `drain_within`.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// Names told at a time.
const TOLD: usize = 5;
/// Names of bad files remembered, so that they are told once.
const REMEMBERED: usize = 10_000;
/// What was being composed when a process died, of an item that was cancelled since, is cleared away after so long.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// What is to be said of a folder, for the relay's desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    /// Whether the files are not collected.
    pub(crate) stalled: bool,
    /// In words for an administrator.
    pub(crate) words: String,
}

/// Where a watch leaves its remark and a desk finds it.
#[derive(Default)]
pub(crate) struct Remarks {
    now: Mutex<Option<Remark>>,
    pub(crate) changed: Notify,
}

impl Remarks {
    pub(crate) fn now(&self) -> Option<Remark> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, remark: Option<Remark>) {
        let changed = {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = *now != remark;
            *now = remark;
            changed
        };
        if changed {
            self.changed.notify_one();
        }
    }
}

/// What lies in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sight {
    /// Letters not collected.
    waiting: usize,
    /// When the one that lies there longest came.
    oldest: Option<Timestamp>,
    /// Files that the mail server could not read, in order.
    bad: Vec<String>,
}

/// A watch over one folder.
pub(crate) struct DrainWatch {
    relay: String,
    plan: PickupPlan,
    clock: Arc<dyn Clock>,
    news: Newswire,
    remarks: Arc<Remarks>,
    waiting: Gauge,
    bad: Gauge,
    stalled: bool,
    told_bad: HashSet<String>,
}

impl DrainWatch {
    pub(crate) fn new(relay: String, plan: PickupPlan, clock: Arc<dyn Clock>, news: Newswire, remarks: Arc<Remarks>) -> Self {
        let waiting = gauge!("tidings_pickup_waiting", "relay" => relay.clone());
        let bad = gauge!("tidings_pickup_bad", "relay" => relay.clone());
        Self { relay, plan, clock, news, remarks, waiting, bad, stalled: false, told_bad: HashSet::new() }
    }

    /// Looks until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let pause = (self.plan.drain_within / 10).clamp(LOOK.0, LOOK.1);
        loop {
            let (folder, now) = (self.plan.folder.clone(), self.clock.now());
            // A folder that cannot be read is the courier's trouble, told when a letter goes there.
            if let Ok(Ok(sight)) = tokio::task::spawn_blocking(move || look(&folder, now)).await {
                self.note(&sight, now);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Says what is new.
    fn note(&mut self, sight: &Sight, now: Timestamp) {
        #[expect(clippy::cast_precision_loss, reason = "files are few")]
        {
            self.waiting.set(sight.waiting as f64);
            self.bad.set(sight.bad.len() as f64);
        }
        let age = sight.oldest.map_or(Duration::ZERO, |oldest| now.duration_since(oldest).try_into().unwrap_or_default());
        let stalled = age > self.plan.drain_within;
        let folder = self.plan.folder.display();
        if stalled && !self.stalled {
            tracing::error!(relay = %self.relay, pickup.waiting = sight.waiting, pickup.oldest_s = age.as_secs(), folder = %folder, "the mail server does not collect its files");
            self.news.tell(&self.relay, News::NotDrained { files: sight.waiting, oldest: age });
        } else if !stalled && self.stalled {
            tracing::info!(relay = %self.relay, folder = %folder, "the mail server collects its files again");
            self.news.tell(&self.relay, News::Drained);
        }
        self.stalled = stalled;
        self.note_bad(sight);
        self.remarks.set(remark(&self.plan, sight, stalled));
    }

    fn note_bad(&mut self, sight: &Sight) {
        let new: Vec<String> = sight.bad.iter().filter(|name| !self.told_bad.contains(*name)).cloned().collect();
        if new.is_empty() {
            return;
        }
        let names = new.iter().take(TOLD).cloned().collect::<Vec<_>>();
        tracing::error!(relay = %self.relay, pickup.bad = new.len(), files = names.join(", "), "the mail server could not read files and put them aside");
        self.news.tell(&self.relay, News::BadFiles { names, count: new.len() });
        if self.told_bad.len() + new.len() > REMEMBERED {
            self.told_bad.clear();
        }
        self.told_bad.extend(new);
    }
}

/// What stands in the list of relays.
fn remark(plan: &PickupPlan, sight: &Sight, stalled: bool) -> Option<Remark> {
    let mut words = Vec::new();
    if stalled {
        let since = sight.oldest.map(|oldest| oldest.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default();
        words.push(format!(
            "{} in {} since {since} UTC: the mail server does not collect them; see whether it runs, and reads this folder",
            files(sight.waiting),
            plan.folder.display(),
        ));
    }
    if !sight.bad.is_empty() {
        let names = sight.bad.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
        let more = if sight.bad.len() > TOLD { " …" } else { "" };
        words.push(format!(
            "{} put aside as .bad by the mail server ({names}{more}): `tidings outbox show` with the name before .bad says whose letter it is; mend it, or delete the file",
            files(sight.bad.len()),
        ));
    }
    (!words.is_empty()).then(|| Remark { stalled, words: words.join("; ") })
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn look(folder: &Path, now: Timestamp) -> io::Result<Sight> {
    let mut sight = Sight::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let Some(end) = path.extension().map(|end| end.to_string_lossy().to_ascii_lowercase()) else { continue };
        // Files come and go under our eyes.
        let came = || entry.metadata().and_then(|data| data.modified()).ok().and_then(moment);
        match end.as_str() {
            "eml" => {
                let Some(came) = came() else { continue };
                sight.waiting += 1;
                sight.oldest = Some(sight.oldest.map_or(came, |oldest| oldest.min(came)));
            }
            "bad" => sight.bad.push(entry.file_name().to_string_lossy().into_owned()),
            COMPOSING if came().is_some_and(|came| now.duration_since(came).as_secs() > FORGOTTEN.as_secs().cast_signed()) => {
                let _ = fs::remove_file(&path);
            }
            _ => {}
        }
    }
    sight.bad.sort();
    Ok(sight)
}

fn moment(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings_core::{testing::FixedClock, time::later};

    fn watch(folder: &Path, wire: &Newswire) -> (DrainWatch, Arc<Remarks>) {
        let remarks = Arc::new(Remarks::default());
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at("2026-11-21T09:00:00Z"));
        (DrainWatch::new("drop".to_owned(), PickupPlan::new(folder), clock, wire.clone(), Arc::clone(&remarks)), remarks)
    }

    #[test]
    fn files_that_nobody_collects_are_news_once_and_so_is_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let wire = Newswire::default();
        let mut heard = wire.listen();
        let (mut watch, remarks) = watch(folder.path(), &wire);
        for name in ["a.eml", "b.EML", "c.tmp", "readme.txt", "d.tidings-part"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let came = moment(fs::metadata(folder.path().join("a.eml")).unwrap().modified().unwrap()).unwrap();
        let mut at = |minutes| {
            let now = later(came, Duration::from_mins(minutes));
            let sight = look(folder.path(), now).unwrap();
            watch.note(&sight, now);
            sight.waiting
        };
        assert_eq!(at(9), 2);
        assert!(heard.try_recv().is_err() && remarks.now().is_none());
        at(11);
        assert!(matches!(heard.try_recv().unwrap().what, News::NotDrained { files: 2, oldest } if oldest >= Duration::from_mins(10)));
        let remark = remarks.now().unwrap();
        assert!(remark.stalled && remark.words.starts_with("2 files in ") && remark.words.contains("does not collect"), "{}", remark.words);
        at(12);
        assert!(heard.try_recv().is_err(), "told once");
        for name in ["a.eml", "b.EML"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        at(13);
        assert_eq!(heard.try_recv().unwrap().what, News::Drained);
        assert!(remarks.now().is_none());
        assert!(folder.path().join("d.tidings-part").exists());
        at(25 * 60);
        assert!(!folder.path().join("d.tidings-part").exists() && folder.path().join("c.tmp").exists());
    }

    #[test]
    fn a_bad_file_is_told_once_and_stands_in_the_list_until_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let wire = Newswire::default();
        let mut heard = wire.listen();
        let (mut watch, remarks) = watch(folder.path(), &wire);
        let mut note = || {
            let now = watch.clock.now();
            watch.note(&look(folder.path(), now).unwrap(), now);
        };
        fs::write(folder.path().join("one.bad"), "x").unwrap();
        note();
        assert_eq!(heard.try_recv().unwrap().what, News::BadFiles { names: vec!["one.bad".to_owned()], count: 1 });
        fs::write(folder.path().join("two.bad"), "x").unwrap();
        note();
        note();
        assert_eq!(heard.try_recv().unwrap().what, News::BadFiles { names: vec!["two.bad".to_owned()], count: 1 });
        assert!(heard.try_recv().is_err());
        let remark = remarks.now().unwrap();
        assert!(!remark.stalled && remark.words.contains("one.bad, two.bad"), "{}", remark.words);
        fs::remove_file(folder.path().join("one.bad")).unwrap();
        fs::remove_file(folder.path().join("two.bad")).unwrap();
        note();
        assert!(remarks.now().is_none());
    }
}
