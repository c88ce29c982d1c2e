//! A reader that watches a pickup folder as a mail server does: it takes a file for whole as soon as it sees its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// A watcher at work in a thread of its own. It looks without pause; keep it for the moments that matter.
#[derive(Debug)]
pub struct PickupWatch {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Sightings>>,
    folder: PathBuf,
}

/// What a watcher saw.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    /// Every `.eml` file by name, with its bytes at first sight.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that changed after they were first seen, or were half at first sight, with what was wrong.
    pub faults: Vec<String>,
}

impl PickupWatch {
    /// Begins to watch `folder`, which must be there. Files already in it count as seen now.
    ///
    /// # Panics
    /// If the folder is not there.
    pub fn start(folder: &Path) -> Self {
        assert!(folder.is_dir(), "there is no folder {}", folder.display());
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let thread = thread::spawn({
            let (folder, stop, seen) = (folder.to_owned(), Arc::clone(&stop), Arc::clone(&seen));
            move || {
                let mut sightings = Sightings::default();
                // One more look after the word to stop: what was there before it is seen for certain.
                loop {
                    let last = stop.load(Ordering::Acquire);
                    sightings.look(&folder);
                    seen.store(sightings.files.len(), Ordering::Release);
                    if last {
                        return sightings;
                    }
                    thread::yield_now();
                }
            }
        });
        Self { stop, seen, thread: Some(thread), folder: folder.to_owned() }
    }

    /// Files seen so far.
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::Acquire)
    }

    /// Ends the watch and tells what was seen. Files still there are compared with their first sight.
    pub fn finish(mut self) -> Sightings {
        self.stop.store(true, Ordering::Release);
        let mut sightings = self.thread.take().expect("only taken here and in drop").join().expect("the watcher does not panic");
        sightings.compare(&self.folder);
        sightings
    }
}

impl Drop for PickupWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Sightings {
    fn look(&mut self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let eml = Path::new(&name).extension().is_some_and(|end| end.eq_ignore_ascii_case("eml"));
            if !eml || self.files.contains_key(&name) {
                continue;
            }
            // A file that is gone already was taken by the real reader: nothing to say about it.
            let Ok(bytes) = fs::read(entry.path()) else { continue };
            if bytes.is_empty() {
                self.faults.push(format!("{name} was empty at first sight"));
            } else if !bytes.ends_with(b"\r\n") {
                self.faults.push(format!("{name} did not end in CRLF at first sight ({} octets)", bytes.len()));
            }
            self.files.insert(name, bytes);
        }
    }

    fn compare(&mut self, folder: &Path) {
        for (name, first) in &self.files {
            if let Ok(now) = fs::read(folder.join(name))
                && now != *first
            {
                self.faults.push(format!("{name} had {} octets at first sight and {} in the end", first.len(), now.len()));
            }
        }
    }

    /// Demands that every file was whole from the first sight on.
    ///
    /// # Panics
    /// If one was not, or if none was seen at all.
    #[track_caller]
    pub fn assert_whole(&self) -> &Self {
        assert!(!self.files.is_empty(), "the watcher saw no file at all");
        assert!(self.faults.is_empty(), "half files: {:?}", self.faults);
        self
    }
}
