//! How long a letter takes: `cargo run --release -p tidings-render --example measure`.

use std::{hint::black_box, time::Instant};
use tidings_core::{Address, Id, kind::KINDS};
use tidings_render::{Imprint, Size, Stationery, StationeryOptions};

fn main() {
    let start = Instant::now();
    let stationery = Stationery::load(StationeryOptions::default()).expect("the built-in letters are sound");
    println!("load and trial: {:?}", start.elapsed());
    let imprint = Imprint {
        from: Address::parse("no-reply@example.org").expect("a valid address"),
        from_name: Some("Example".into()),
        reply_to: None,
        message_id: "<1@example.org>",
        date: "2026-11-21T09:00:00Z".parse().expect("a moment"),
        event_id: Id::from_number(1),
    };
    let rounds = 3000;
    for kind in KINDS {
        for locale in stationery.locales() {
            let (event, notice) = stationery.sample(kind, &locale, Size::Full);
            let start = Instant::now();
            let mut bytes = 0;
            for _ in 0..rounds {
                bytes = black_box(stationery.write(&event, &notice, &imprint)).expect("a letter").bytes.len();
            }
            println!("{:<22} {locale}  {:>6.1} µs  {bytes} bytes", kind.name, start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
        }
    }
}
