//! Notice → letter: subject, text, HTML, and the bytes that go over the wire (RFC 5322).
//!
//! [`Stationery::load`] reads the built-in letters and the operator's overrides, checks them, compiles them once and writes every sample as a trial;
//! [`Stationery::write`] then writes one letter in the reader's language. What does not live here: who is told (`core`), keeping letters (`store`), sending
//! them (`delivery`). Nothing here asks the clock; the one thing read is the templates folder, while loading.

mod assemble;
mod calendar;
mod catalogue;
mod context;
mod environment;
mod error;
mod load;
mod mime;
mod organisation;
mod sample;
mod source;
mod stationery;
mod variables;

pub use error::{RenderError, TemplateProblem};
pub use mime::subject::{Glance, glance};
pub use organisation::{Logo, MAX_LOGO_BYTES, Organisation};
pub use sample::Size;
pub use stationery::{Imprint, MAX_SUBJECT_CHARS, Stationery, StationeryOptions, Written};
