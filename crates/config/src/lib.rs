//! Files and environment to checked settings.
//!
//! [`load`] reads a configuration file and tells all its problems at once, each with its place, its key, what was found and what is allowed. What is allowed
//! stands in one table of keys, from which [`reference()`] is written too. The environment comes in as an argument; only the binary knows the real one. What
//! deliberately does not live here: command lines (the binary), the letters' own files (`render`).

mod agent;
mod appsettings;
mod dotnet;
mod error;
mod json;
mod keys;
mod load;
mod node;
mod problem;
mod read;
mod reference;
mod secret;
mod sections;
pub mod units;

pub use agent::{Agent, ConfirmationUri, TwoWay};
pub use error::{JsonError, SecretError, UnitError};
pub use load::{Drafts, Environment, LoadOptions, Loaded, is_appsettings, load, load_drafts, load_text, load_with};
pub use problem::{Problem, Problems};
pub use reference::{reference, sample};
pub use secret::Secret;
pub use sections::{
    AfterReading, Alerts, Auth, BadRows, Bounces, ClientAuthority, ClientIdentity, ClientKey, ClientProof, Courier, Credential, CsvSource,
    Database, Directory, DirectorySource, Dsn, EnhancedRange, Extensions, Grant, Graph, KeyAlgorithm, LdapBind, LdapMarker, LdapPreset,
    LdapServer, LdapSource, LdapTls, LdapWay, Letters, Lifecycle, Limits, Log, LogFormat, LogLevel, Logo, Mailbox, Mechanism, Notify,
    OAuth2, Organisation, Pickup, Query, Relay, ReplyMeaning, ReplyRule, Safety, Server, ServerTls, Settings, Smtp, Timeouts, Tls, TlsMode,
    TlsVersion, Webhook,
};
