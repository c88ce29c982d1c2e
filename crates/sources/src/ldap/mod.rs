//! Directories that are reached by LDAP (RFC 4511): they are read, mirrored, and followed as they change.
//!
//! `plan` says which and how, `mapping` what the attributes mean. [`LdapSource`] (`source`) goes from server to server and attends to one in the best way that it has: `sync`
//! (RFC 4533), `dirsync` (Active Directory), `poll` (any). What they find goes by `gather` to the intake's feed. `marker` and
//! `marker_desk` answer values that ask for a letter, and are the only ones that write. Below that: `connection`, `message`, `control`, `filter`, `ber`,
//! which speak the protocol, and `values`, `dn`, which know its texts.
//!
//! The protocol is spoken here and not by a library for one reason: a directory of a million entries must not pile up in memory. Nothing is read from a server before what was read is
//! recorded, and a group of 100,000 members is one message. What deliberately does not live here: what a difference means (`intake`), and how entries are kept (`store`).

mod ber;
mod bookmark;
mod connection;
mod control;
mod dirsync;
mod dn;
mod error;
mod filter;
mod gather;
mod health;
mod mapping;
mod marker;
mod marker_desk;
mod message;
mod plan;
mod poll;
mod source;
mod sync;
mod tls;
mod values;
mod whole;

pub use ber::Malformed;
pub use error::LdapError;
pub use filter::FilterError;
pub use gather::Report;
pub use mapping::{Mapping, Preset};
pub use marker::MarkerPlan;
pub use plan::{Bind, LdapPlan, Password, PlanError, Server, Tls, Way};
pub use source::{LdapSource, Once, Progress, Visit};
