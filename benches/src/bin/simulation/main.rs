//! What nodes, databases and relays carry together, by a discrete simulation of them: `cargo run --release -p tidings-benches --bin simulation`.
//!
//! What a letter costs is measured elsewhere (`docs/scale.md` says how) and given here; the simulation adds what a sum cannot tell: queues, groups, commits that wait for the disk, a relay that is
//! the slow part, hours that are busier than others. Nothing of the house runs here.

mod world;

use clap::Parser;
use world::{Cost, Outcome, World};

/// Simulates nodes, databases and relays.
#[derive(Debug, Parser)]
#[command(name = "simulation", version, max_term_width = 120)]
struct Options {
    /// CPU of a node a letter, in microseconds.
    #[arg(long, default_value_t = 315.0)]
    node_us: f64,
    /// CPU of the database a letter, in microseconds.
    #[arg(long, default_value_t = 186.0)]
    database_us: f64,
    /// Bytes of the database's log a letter.
    #[arg(long, default_value_t = 3_500.0)]
    wal_bytes: f64,
    /// Cores of a node that are its own.
    #[arg(long, default_value_t = 2)]
    node_cores: usize,
    /// Cores of a database.
    #[arg(long, default_value_t = 8)]
    database_cores: usize,
    /// Megabytes a second that a database's disk writes of its log.
    #[arg(long, default_value_t = 100.0)]
    wal_mb: f64,
    /// Milliseconds that a commit waits for the disk, and for a synchronous standby if there is one.
    #[arg(long, default_value_t = 3.0)]
    commit_ms: f64,
    /// Milliseconds until a relay answers a letter.
    #[arg(long, default_value_t = 20.0)]
    answer_ms: f64,
    /// Sessions of a node.
    #[arg(long, default_value_t = 40)]
    sessions: usize,
    /// How much busier the busiest hour is than the mean.
    #[arg(long, default_value_t = 10.0)]
    peak: f64,
    /// Seconds that are simulated of the busiest hour.
    #[arg(long, default_value_t = 120.0)]
    seconds: f64,
}

const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

fn main() {
    let options = Options::parse();
    println!("The most that is carried without a queue that grows:\n");
    println!("| nodes | databases | letters a second | by the sum | what is full | letters a month at a peak of {} |", options.peak);
    println!("|---|---|---|---|---|---|");
    for (nodes, databases) in [(1, 1), (2, 1), (5, 1), (10, 1), (20, 2), (40, 4)] {
        let world = options.world(nodes, databases);
        let most = world.most();
        let carried = world.carried(options.seconds.min(30.0));
        println!(
            "| {nodes} | {databases} | {:.0} | {:.0} | {} | {:.1} million |",
            carried,
            most.letters,
            most.what,
            carried / options.peak * MONTH_SECONDS / 1e6
        );
    }
    println!("\nThe busiest hour of installations, ten letters a person and month:\n");
    println!(
        "| people | letters a month | letters a second then | nodes | databases | half within | 99 % within | database busy | node busy | left waiting |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (people, nodes, databases) in [(100_000.0, 1, 1), (1e6, 1, 1), (1e7, 2, 1), (1e8, 4, 1), (1e8, 10, 1), (1e8, 10, 2)] {
        let letters = people * 10.0;
        let rate = letters / MONTH_SECONDS * options.peak;
        let outcome = options.world(nodes, databases).under(rate, options.seconds);
        println!("| {people:.0} | {letters:.0} | {rate:.0} | {nodes} | {databases} | {} |", row(&outcome));
    }
}

fn row(outcome: &Outcome) -> String {
    format!(
        "{:.0} ms | {:.0} ms | {:.0} % | {:.0} % | {:.0}",
        outcome.half_ms,
        outcome.most_ms,
        outcome.database_busy * 100.0,
        outcome.node_busy * 100.0,
        outcome.left
    )
}

impl Options {
    fn world(&self, nodes: usize, databases: usize) -> World {
        World {
            nodes,
            databases,
            node_cores: self.node_cores,
            database_cores: self.database_cores,
            cost: Cost { node: self.node_us / 1e6, database: self.database_us / 1e6, wal: self.wal_bytes },
            wal_bytes_a_second: self.wal_mb * 1e6,
            commit: self.commit_ms / 1e3,
            answer: self.answer_ms / 1e3,
            sessions: self.sessions,
        }
    }
}
