//! Delivery against servers that speak the protocol, or break it: scripted dialogues, the mail sink, the real outbox.

mod flow;
mod folders;
mod house;
mod refusals;
mod scripts;
mod secure;
mod sessions;
