//! Measures what an event costs before it reaches the database: `cargo run --release -p tidings-intake --example measure [EVENTS]`.
//!
//! One thread, no database, no network: reading JSON, checking, deciding, writing the letter, each on its own, in microseconds an event.
//! Dropping what a step was given counts as part of it.

#![allow(clippy::disallowed_methods, reason = "a measurement runs by the machine's clock")]

use mimalloc::MiMalloc;
use serde_json::Value;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use tidings_core::{
    Address, Event, Id, Timestamp,
    policy::{Facts, RuleSet, decide},
};
use tidings_render::{Imprint, Stationery, StationeryOptions};

/// As in the server, so that the figures hold there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const LOCALES: [&str; 3] = ["en", "de", "fr"];

fn event(number: usize) -> String {
    let locale = LOCALES[number % 3];
    format!(
        r#"{{"specversion":"1.0","id":"{number}","source":"measure","type":"tidings.membership.joined","time":"2026-11-21T09:00:00Z","data":{{"actor":{{"id":"u1","name":"Ada King","mail":"ada@example.org"}},"object":{{"type":"group","id":"g7","name":"Payroll","public":true,"owners":[{{"id":"u2","name":"Grace","mail":"grace@example.org","locale":"de"}}],"members":[]}},"member":{{"id":"p{number}","name":"Linus {number}","mail":"linus.{number}@example.org","locale":"{locale}","timezone":"Europe/Paris","enabled":true,"manager":{{"id":"u1","name":"Ada King","mail":"ada@example.org"}}}},"before":{{}},"after":{{}},"details":{{"ends_at":"2026-12-31"}}}}}}"#
    )
}

/// Events handled at a time: few, so that they stay in the processor's cache as they do in a server.
const AT_ONCE: usize = 64;

/// What each step took so far.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    /// Runs `step` over all of `things` and adds up what it took.
    fn of<A, B>(&mut self, name: &'static str, things: Vec<A>, step: impl FnMut(A) -> B) -> Vec<B> {
        let begun = Instant::now();
        let done: Vec<B> = things.into_iter().map(step).map(black_box).collect();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += begun.elapsed(),
            None => self.0.push((name, begun.elapsed())),
        }
        done
    }
}

fn main() {
    let count = std::env::args().nth(1).map_or(20_000, |text| text.parse().expect("a number of events"));
    let stationery = Stationery::load(StationeryOptions::default()).expect("the built-in letters load");
    let rules = RuleSet::with_built_in(Vec::new());
    let now = Timestamp::now();
    let imprint = Imprint {
        from: Address::parse("no-reply@example.org").expect("an address"),
        from_name: Some("Example".to_owned()),
        reply_to: None,
        message_id: "0123456789abc.0123456789@example.org",
        date: now,
        event_id: Id::from_number(4711),
    };
    for round in 1..=3 {
        let (mut times, mut bytes) = (Times::default(), 0);
        for first in (0..count).step_by(AT_ONCE) {
            let texts: Vec<String> = (first..count.min(first + AT_ONCE)).map(event).collect();
            let values: Vec<Value> = times.of("JSON", texts, |text| serde_json::from_str(&text).expect("JSON"));
            let events: Vec<Event> = times.of("reading the event", values, |value| Event::read(value, "", now).expect("a good event"));
            let decided = times.of("deciding", events, |event| (decide(&event, &rules, &Facts::NONE), event));
            let decided = times.of("the trace as JSON", decided, |(decision, event)| {
                (serde_json::to_vec(&decision.trace).expect("a trace serialises").len(), decision, event)
            });
            let letters = times.of("writing the letter", decided, |(_, decision, event)| {
                stationery.write(&event, &decision.notices[0], &imprint).expect("a letter").bytes.len()
            });
            bytes += letters.iter().sum::<usize>();
        }
        println!("round {round} of 3, {count} events, letters of {} bytes", bytes / count);
        for (name, sum) in &times.0 {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = sum.as_secs_f64() * 1e6 / count as f64;
            println!("  {name:<24} {each:8.2} µs");
        }
    }
}
