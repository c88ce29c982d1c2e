//! The only room that speaks SQL. One verb is one transaction, and what a verb has answered is on disk.
//!
//! [`Store`] is the contract of the outbox, [`Mirror`] that of the directories; [`open()`] chooses the database by its URL. Deliberately not here: what follows from an outcome (`tidings_core::outbox::settle`)
//! and when to claim (`delivery`).

pub mod error;
pub mod flood;
pub mod marker;
pub mod mirror;
pub mod open;
mod pack;
mod postgres;
pub mod seal;
mod sqlite;
pub mod store;

pub use error::StoreError;
pub use flood::*;
pub use marker::*;
pub use mirror::*;
pub use open::{Database, OpenOptions, ServeLock, ServeNote, database_path, is_on_server, lock_exclusive, open, serve_note};
pub use postgres::{PostgresStore, PostgresTuning, ServerLock, lock_on_server};
pub use seal::SealKey;
pub use sqlite::{FreeSpace, SqliteStore, Tuning};
pub use store::*;
