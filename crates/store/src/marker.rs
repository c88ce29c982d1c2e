//! Markers: requests for a letter that stand as a value in an attribute of an entry, until the letter is sent. What the store keeps of each while it is open.

use tidings_core::{Id, Timestamp};

/// How far a marker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerState {
    /// Its event is accepted.
    Noted,
    /// And the directory bears our token beside it, by which a marker that is set anew is told from this one.
    Claimed,
    /// Its letter is sent, and the directory was, or is just being, asked to clear it. Without an answer nobody knows whether it has been.
    Clearing,
}

impl MarkerState {
    /// Every state with its number in the database and its written name.
    const ALL: [(Self, i64, &'static str); 3] = [(Self::Noted, 0, "noted"), (Self::Claimed, 1, "claimed"), (Self::Clearing, 2, "clearing")];

    /// The written name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, ..)| *state == self).map_or("", |(.., name)| name)
    }

    pub(crate) fn number(self) -> i64 {
        Self::ALL.iter().find(|(state, ..)| *state == self).map_or(0, |(_, number, _)| *number)
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.iter().find(|(_, one, _)| *one == number).map(|(state, ..)| *state)
    }
}

/// A marker that was found, to be noted with its event ([`crate::Mirror::note_marker`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMarker {
    /// The directory.
    pub directory: String,
    /// The key of the entry that bears it.
    pub key: String,
    /// The entry's name as the source wrote it.
    pub reference: String,
    /// The value as values are compared: with directory and key it names the marker while it is open.
    pub value: String,
    /// The value as the source wrote it.
    pub written: String,
    /// The mark of the entry's last change when it was found; the store does not look into it.
    pub seen: Option<String>,
}

/// What changes about an open marker ([`crate::Mirror::move_marker`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkerStep {
    /// How far it is.
    pub state: MarkerState,
    /// The entry's name as the source wrote it last.
    pub reference: String,
    /// The mark of the entry's last change when it was last looked at.
    pub seen: Option<String>,
    /// How often the source has refused what was to be done about it, since that last went well.
    pub tries: u32,
    /// Not to be tried before then.
    pub due_at: Option<Timestamp>,
    /// Why it goes no further, in words for an administrator.
    pub failure: Option<String>,
}

/// How the letters of a marker's event stand; copies (Cc) do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MarkerLetters {
    /// On their way, or held.
    pub open: u64,
    /// Taken by a relay.
    pub sent: u64,
    /// Failed, bounced, expired or cancelled.
    pub lost: u64,
    /// A crowd is still being told.
    pub crowd: bool,
}

impl MarkerLetters {
    /// Whether all of them are sent; of no letter at all that cannot be said.
    pub const fn are_sent(&self) -> bool {
        self.sent > 0 && self.lost == 0 && !self.are_open()
    }

    /// Whether one of them may still be sent by itself.
    pub const fn are_open(&self) -> bool {
        self.open > 0 || self.crowd
    }
}

/// An open marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its event, which names it.
    pub event: Id,
    /// The key of the entry that bears it.
    pub key: String,
    /// The value as values are compared.
    pub value: String,
    /// The value as the source wrote it.
    pub written: String,
    /// When it was noted.
    pub noted_at: Timestamp,
    /// How far it is, and what keeps it there.
    pub step: MarkerStep,
    /// How its letters stand.
    pub letters: MarkerLetters,
}
