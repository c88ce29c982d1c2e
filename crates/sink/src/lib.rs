//! A mail sink that really speaks SMTP (RFC 5321): it keeps every letter it accepts in memory and delivers none of them.
//!
//! It stands in for a mail relay in `tidings demo` and in tests. It speaks the extensions a modern relay speaks, each of which can be switched
//! off, and it misbehaves on command: refuse, stall, hang up before or after a letter was taken, send nonsense. What it does not do: resolve
//! names, queue, relay, filter.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use tidings_sink::{Fault, Sink, SinkOptions, Stage, What, When};
//! let sink = Sink::listen("127.0.0.1:0".parse().expect("an address"), SinkOptions::default())?;
//! sink.add_fault(Fault::new(Stage::Rcpt, When::First(1), What::reply("451 4.7.1 come back later")));
//! // … a client delivers to sink.addr() …
//! let letters = sink.wait_for(1, std::time::Duration::from_secs(5)).await.expect("a letter");
//! assert!(letters[0].header("Message-ID").is_some());
//! # Ok(())
//! # }
//! ```

#![allow(clippy::disallowed_methods, reason = "a foreign server has a clock of its own")]

mod command;
mod content;
mod error;
mod fault;
mod letter;
mod options;
mod reply;
mod session;
mod sign_in;
mod sink;
mod tls;
mod transaction;
mod wire;

pub use command::Parameter;
pub use error::{Late, TlsFileError};
pub use fault::{Fault, Stage, What, When};
pub use letter::{Duplicate, Received};
pub use options::{Extensions, Mechanism, SinkOptions};
pub use sink::{Sink, Statistics};
pub use tls::server_tls;
