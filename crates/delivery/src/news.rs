//! News of relays, for whoever tells people of them: held, working again, files that nobody collects. Desks tell; what becomes of it is decided elsewhere.
//!
//! News is a hint and nothing durable: a listener that sleeps loses the oldest first, and how a relay stands now is always in its status.

use crate::courier::RelayTrouble;
use std::time::Duration;
use tokio::sync::broadcast;

/// Pieces of news kept for a slow listener.
const KEPT: usize = 256;

/// A piece of news of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayNews {
    /// The relay's name.
    pub relay: String,
    /// What happened.
    pub what: News,
}

/// What can happen to a relay. Told at the change and not again while it lasts; probes that fail are no news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing more is handed to it until a probe gets through.
    Held {
        /// What is wrong.
        trouble: RelayTrouble,
    },
    /// A probe got through: letters flow again.
    Recovered,
    /// It does not let this sender address write, and says so for every letter of it. Told once for each address.
    SenderRefused {
        /// The envelope sender.
        from: String,
        /// The relay's words.
        reply: String,
    },
    /// Files in the pickup directory wait too long: the mail server does not collect them.
    NotDrained {
        /// How many wait.
        files: usize,
        /// For how long the oldest does.
        oldest: Duration,
    },
    /// The mail server collects files again.
    Drained,
    /// The mail server could not make sense of files and renamed them to `.bad`. Told once for each file.
    BadFiles {
        /// Their names, a few at most.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
}

/// Where news is told and heard. Clones share one wire.
#[derive(Debug, Clone)]
pub struct Newswire(broadcast::Sender<RelayNews>);

impl Default for Newswire {
    /// A wire without listeners.
    fn default() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }
}

impl Newswire {
    /// Tells all listeners; without any, the news is gone.
    pub fn tell(&self, relay: &str, what: News) {
        // An error says that nobody listens.
        let _ = self.0.send(RelayNews { relay: relay.to_owned(), what });
    }

    /// Hears what is told from now on. `RecvError::Lagged` says that news was missed: look at the statuses then.
    pub fn listen(&self) -> broadcast::Receiver<RelayNews> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_hears_and_nobody_is_needed() {
        let wire = Newswire::default();
        wire.tell("a", News::Recovered);
        let (mut one, mut two) = (wire.listen(), wire.clone().listen());
        wire.tell("a", News::Drained);
        for listener in [&mut one, &mut two] {
            assert_eq!(listener.try_recv().unwrap(), RelayNews { relay: "a".to_owned(), what: News::Drained });
            assert!(listener.try_recv().is_err());
        }
    }
}
