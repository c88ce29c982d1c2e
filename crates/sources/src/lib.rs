//! Where events come from. One folder a source; each brings what it hears into the form of a CloudEvent and hands it to the one door (`intake`).

pub mod api;
pub mod csv;
pub mod ldap;
pub mod scim;
