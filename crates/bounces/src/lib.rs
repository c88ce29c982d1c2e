//! What comes back: reports about letters that a relay had taken are read, matched with the outbox, and kept.
//!
//! [`read()`] is pure: from the bytes of a mail to what it says, or why it is none of ours. [`Reports::take`] is the door: whatever way a report comes (standard
//! input, HTTP, a mailbox), it goes through there, and the same report taken twice changes nothing. [`mailbox`] is the way in that has to be fetched. What does not live here: the other ways in, IMAP itself (`delivery`), SQL (`store`), who is
//! told of an unhealthy address (a rule), what becomes of letters to one (`intake`).

pub mod automatic;
pub mod classify;
mod dsn;
pub mod error;
mod feedback;
pub mod mailbox;
mod mime;
mod read;
mod report;
mod take;
mod text;

pub use automatic::Ignored;
pub use error::BounceError;
pub use read::{LONGEST, read};
pub use report::{Form, Reading, Report, Reported};
pub use take::{Parcel, Reports, Taken, TakenLine, Terms, Way};
