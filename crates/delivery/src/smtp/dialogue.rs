//! What was said in a session, for `tidings send-test` and `relay probe`; secrets are masked before they get here.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// This program.
    Us,
    /// The relay.
    Relay,
    /// A remark: connected, encrypted, lost.
    Note,
}

/// A recorded session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dialogue {
    /// What was said, in order, a line each.
    pub lines: Vec<(Speaker, String)>,
}

impl fmt::Display for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (speaker, text) in &self.lines {
            let mark = match speaker {
                Speaker::Us => '>',
                Speaker::Relay => '<',
                Speaker::Note => '*',
            };
            writeln!(f, "{mark} {text}")?;
        }
        Ok(())
    }
}

/// Records a session, or nothing at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Mutex<Dialogue>>>);

impl Recorder {
    pub(crate) fn on() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes a line; `text` is asked for only if somebody listens.
    pub(crate) fn note<T: Into<String>>(&self, speaker: Speaker, text: impl FnOnce() -> T) {
        if let Some(dialogue) = &self.0 {
            let text = text().into();
            let mut dialogue = dialogue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            dialogue.lines.extend(text.lines().map(|line| (speaker, line.to_owned())));
        }
    }

    /// What was recorded so far.
    pub(crate) fn dialogue(&self) -> Dialogue {
        self.0.as_ref().map(|d| d.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()).unwrap_or_default()
    }
}
