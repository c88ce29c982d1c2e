//! The only room that speaks SQL. One verb is one transaction, and what a verb has answered is on disk.
//!
//! [`Store`] is the contract of the outbox, [`Mirror`] that of the directories; [`open()`] chooses the database by its URL. Deliberately not here: what follows from an outcome (`tidings_core::outbox::settle`)
//! and when to claim (`delivery`).

pub mod bounce;
pub mod copy;
mod duties;
pub mod error;
pub mod flood;
mod health;
pub mod marker;
pub mod mirror;
pub mod nodes;
pub mod open;
mod pack;
mod postgres;
pub mod seal;
pub mod slate;
mod sqlite;
pub mod store;

pub use bounce::*;
pub use copy::{Copied, CopiedTable, CopyError, CopyOptions, CopyStage, CopyStep, CopyWatcher, copy};
pub use error::StoreError;
pub use flood::*;
pub use marker::*;
pub use mirror::*;
pub use nodes::*;
pub use open::{Database, OpenOptions, ServeLock, ServeNote, database_path, is_on_server, lock_exclusive, open, serve_note};
pub use postgres::{PostgresStore, PostgresTuning};
pub use seal::SealKey;
pub use slate::{Slate, SlateWritten};
pub use sqlite::{FreeSpace, SqliteStore, Tuning};
pub use store::*;
