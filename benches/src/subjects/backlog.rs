//! What a letter costs the database beside many items that wait and many that have ended, and beside nothing.
//!
//! Items are made by the server's own SQL from one that was accepted over HTTP, so that each has an event, a letter and (if it has ended) its line of history; those that have ended are spread
//! over thirty days.

use super::{PATIENCE, deliver};
use crate::{
    bench::Bench,
    counting_sink::{CountingSink, Duties},
    finding::{Bound, Finding},
    load::{self, Manner},
    postgres::{DatabaseCost, Postgres},
    proc,
    server::{House, Setup},
    stats::{counted, real},
};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// So many times what it costs beside nothing.
const AIM: f64 = 1.5;
/// An item with all that belongs to it takes about so many bytes, its indexes included.
const ITEM_BYTES: u64 = 3_500;
/// Rows of one statement.
const STEP: u64 = 250_000;
const DAYS: u64 = 30;

/// How fast letters left, and what each has cost.
type Drained = (f64, DatabaseCost);

/// Measures in rounds: the filled database, then an empty one.
///
/// # Errors
/// If the disk has too little room, or a letter does not come.
pub(crate) async fn measure(bench: &Bench) -> Result<Finding> {
    let (waiting, settled) = (bench.scale.waiting.last().copied().unwrap_or_default(), bench.scale.settled);
    let wanted = (waiting + settled) * ITEM_BYTES * 3 / 2;
    let free = proc::free_bytes(bench.work())?;
    ensure!(free > wanted, "{} items take about {wanted} bytes of disk, and {free} are free", counted(waiting + settled));
    let postgres = Postgres::start(bench.work()).await?;
    let name = format!("PostgreSQL, {} waiting and {} ended in {DAYS} days", counted(waiting), counted(settled));
    let mut finding = Finding::new("backlog", name);
    let url = postgres.create("filled").await?;
    let sink = CountingSink::listen(Duties::default()).await?;
    let house = House::new(bench, Setup::smtp(bench, sink.addr()).on(&url)).await?;
    house.pause().await?;
    let server = house.serve().await?;
    load::post(server.door(), 0..1, Manner::SINGLE).await.context("the item that others are made from")?;
    server.stop().await?;
    fill(&postgres, waiting, settled).await?;
    let letters = bench.scale.letters.min(waiting / u64::from(bench.scale.rounds + 1)).max(100);
    let (mut full, mut empty) = (Vec::new(), Vec::new());
    for round in 1..=bench.scale.rounds {
        full.push(drained(&postgres, &house, &sink, letters).await.context("beside many")?);
        let url = postgres.create("bare").await?;
        let bare = House::new(bench, Setup::smtp(bench, sink.addr()).on(&url)).await?;
        bare.pause().await?;
        let server = bare.serve().await?;
        load::post(server.door(), 0..letters, Manner::BATCHES).await.context("filling the outbox")?;
        server.stop().await?;
        empty.push(drained(&postgres, &bare, &sink, letters).await.context("beside nothing")?);
        postgres.drop_database("bare").await?;
        eprintln!(
            "backlog, round {round}/{}: {:.0}/s, beside nothing {:.0}/s",
            bench.scale.rounds,
            full[full.len() - 1].0,
            empty[empty.len() - 1].0
        );
    }
    postgres.stop().await?;
    finding.add("letters a second", full.iter().map(|one| one.0), None);
    finding.add("beside nothing: letters a second", empty.iter().map(|one| one.0), None);
    let times = |of: fn(&Drained) -> f64| full.iter().zip(&empty).map(move |(full, empty)| of(full) / of(empty)).collect::<Vec<_>>();
    finding.add("time a letter, times that beside nothing", times(|one| 1.0 / one.0), Some(Bound::AtMost(AIM)));
    finding.add("CPU of the database a letter, times that beside nothing", times(|one| one.1.cpu_us), Some(Bound::AtMost(AIM)));
    finding.add("log of the database, bytes a letter", full.iter().map(|one| one.1.wal_bytes), None);
    Ok(finding)
}

/// Sends so many letters of what waits.
async fn drained(postgres: &Postgres, house: &House, sink: &CountingSink, letters: u64) -> Result<Drained> {
    // What filling has left to do is done before, and counts for nobody.
    postgres.sql("postgres", "CHECKPOINT").await?;
    let server = house.serve().await?;
    let (there, database) = (sink.letters(), postgres.state().await?);
    house.resume().await?;
    let start = sink.wait_for(there + 1, PATIENCE).await?;
    let end = sink.wait_for(there + letters, PATIENCE).await?;
    let cost = postgres.state().await?.since(&database, letters);
    house.pause().await?;
    server.stop().await?;
    Ok((deliver::rate(letters, end - start), cost))
}

/// Makes the items. `k` is an item's number; ids hold milliseconds above 22 bits.
async fn fill(postgres: &Postgres, waiting: u64, settled: u64) -> Result<()> {
    let now = postgres.sql("filled", "SELECT floor(extract(epoch FROM now()) * 1000)::bigint").await?.parse::<u64>()?;
    let week = 604_800_000;
    for week_number in (now - DAYS * 86_400_000) / week..now / week {
        let (from, to) = (week_number * week, (week_number + 1) * week);
        let sql = format!("CREATE TABLE IF NOT EXISTS history_{week_number} PARTITION OF history FOR VALUES FROM ({from}) TO ({to})");
        postgres.sql("filled", &sql).await?;
    }
    for (count, ended) in [(settled, true), (waiting, false)] {
        let mut done = 0;
        while done < count {
            let step = STEP.min(count - done);
            postgres.sql("filled", &rows(done, step, count, now, ended)).await.with_context(|| format!("making {step} items"))?;
            done += step;
            eprintln!("backlog: {} of {} {}", counted(done), counted(count), if ended { "ended" } else { "waiting" });
        }
    }
    tokio::time::timeout(Duration::from_secs(3 * 3600), postgres.sql("filled", "VACUUM (ANALYZE)"))
        .await
        .context("vacuum takes too long")??;
    Ok(())
}

fn rows(done: u64, step: u64, count: u64, now: u64, ended: bool) -> String {
    // Spread over the days before today, or over the last hour.
    let (from, span) = if ended { (now - DAYS * 86_400_000, (DAYS - 1) * 86_400_000) } else { (now - 3_600_000, 3_500_000) };
    let kind = if ended { "e" } else { "w" };
    let span = real(span) / real(count);
    let numbers = format!(
        "CREATE TEMP TABLE n ON COMMIT DROP AS
            SELECT k, {from} + floor(k * {span})::bigint AS at, (({from} + floor(k * {span})::bigint) << 22) | (k & 65535) << 2 AS id
            FROM generate_series({done}::bigint, {}::bigint) AS k",
        done + step - 1
    );
    let state = if ended { "3::smallint" } else { "NULL::smallint" };
    let item = format!(
        "INSERT INTO item (id, event, letter, due_at, expires_at, accepted_at, token, kind, relay, attempts, size, span, folded_hash, lane, role, state, flags, recipient, folded)
            SELECT n.id, n.id, n.id, n.at, n.at + i.expires_at - i.accepted_at, n.at, {}, i.kind, i.relay, {}, i.size, ((n.id >> 22) / 86400000)::integer,
                (hashint8(n.k % 100000))::integer, i.lane, i.role, {state}, i.flags, 'reader' || n.k % 100000 || '@example.org', NULL
            FROM n, (SELECT * FROM item ORDER BY id DESC LIMIT 1) i",
        u8::from(ended),
        u8::from(ended)
    );
    let rest = if ended {
        "INSERT INTO history (item, at, what, detail, token) SELECT id, at, 'sent', '250 2.0.0 taken', 1 FROM n".to_owned()
    } else {
        "INSERT INTO open_item (id, due_at, expires_at, accepted_at, token, relay, node, attempts, size, lane, state, flags)
            SELECT n.id, n.at, n.at + i.expires_at - i.accepted_at, n.at, 0, i.relay, NULL, 0, i.size, i.lane, 1, i.flags
            FROM n, (SELECT * FROM item ORDER BY id DESC LIMIT 1) i"
            .to_owned()
    };
    format!(
        "BEGIN; {numbers};
        INSERT INTO event (id, time, accepted_at, source, kind, trace_pattern, event_id, data, trace)
            SELECT n.id, n.at, n.at, e.source, e.kind, e.trace_pattern, '{kind}' || n.k, e.data, e.trace FROM n, (SELECT * FROM event ORDER BY id DESC LIMIT 1) e;
        INSERT INTO letter (id, rule, pattern, sensitive, message_id, sender, bytes)
            SELECT n.id, l.rule, l.pattern, l.sensitive, '{kind}' || n.k || '@example.org', l.sender, l.bytes FROM n, (SELECT * FROM letter ORDER BY id DESC LIMIT 1) l;
        {item}; {rest}; COMMIT"
    )
}
