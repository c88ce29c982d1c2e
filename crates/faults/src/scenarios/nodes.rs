//! Several nodes on one PostgreSQL database: nodes that die or stand still, and a database that loses connections, restarts, is full, or dies for good.

use std::time::{Duration, Instant};

use tidings_sink::{Fault, Stage, What, When};
use tidings_testkit::postgres::{ADMIN, Postgres};
use tidings_testkit::wait;

use crate::crew::Crew;
use crate::dice::Dice;
use crate::{Scale, Scenario, Tally};

/// See `proves`.
pub(crate) const KILLED: Scenario = Scenario {
    name: "nodes_killed",
    proves: "nodes killed at random under load lose nothing; a dead node's letters go by the others within its lease, and what may have been sent twice is marked",
    play: killed,
};

/// See `proves`.
pub(crate) const STOPPED: Scenario = Scenario {
    name: "nodes_stopped",
    proves: "a node that stands still longer than its lease is done without; when it goes on it sends and settles nothing that is not its own any more, and works again",
    play: stopped,
};

/// See `proves`.
pub(crate) const BACKENDS: Scenario = Scenario {
    name: "nodes_backends_killed",
    proves: "connections ended by the database's server, again and again and all at once, lose and double nothing",
    play: backends,
};

/// See `proves`.
pub(crate) const RESTARTED: Scenario = Scenario {
    name: "nodes_primary_restarts",
    proves: "a database server that crashes, and one that is stopped in order, delays and loses nothing",
    play: restarted,
};

/// See `proves`.
pub(crate) const EXHAUSTED: Scenario = Scenario {
    name: "nodes_pool_exhausted",
    proves: "fewer connections than the nodes want, and connections that all wait for a lock, delay and lose nothing",
    play: exhausted,
};

/// See `proves`.
pub(crate) const PROMOTED: Scenario = Scenario {
    name: "nodes_standby_promoted",
    proves: "a primary that dies for good, and the synchronous standby that takes its place, lose nothing that was answered for",
    play: promoted,
};

/// How long a node that says nothing is believed to be there.
const LEASE: Duration = Duration::from_secs(6);
/// What a busy machine may take beyond that to find and send what a dead node has left.
const SLACK: Duration = Duration::from_secs(60);

/// A server with an empty database for the crew.
fn server() -> Postgres {
    let server = Postgres::builder().flush().start();
    server.create("house", None);
    server
}

fn crew(scale: Scale, address: &str) -> Crew {
    let crew = Crew::open(scale.of(2, 4), address, |config| {
        config.set("server", "node_lease", &format!("\"{}s\"", LEASE.as_secs()));
        config.relay_key("limits", "{ sessions = 8 }");
    });
    // Letters take a moment, so that some are on the wire whenever trouble comes.
    crew.sink.add_fault(Fault::new(Stage::Content, When::Always, What::Stall(Duration::from_millis(5))));
    crew
}

/// The crew after its trouble: waits until nothing is on its way, and counts.
fn come_to_rest(crew: &Crew, accepted: usize) -> Tally {
    crew.until_quiet();
    crew.reckon(accepted)
}

/// Waits until about this share of all letters has come.
fn until_share(crew: &Crew, letters: usize, part: usize, parts: usize) {
    crew.sink.wait_for_within((letters * part / parts) as u64, Duration::from_mins(5));
}

fn killed(scale: Scale) -> Tally {
    let (letters, kills) = scale.of((2_000, 4), (40_000, 40));
    let mut dice = Dice::seeded();
    let server = server();
    let crew = crew(scale, &server.url("house"));
    crew.under_load(letters, || {
        for kill in 1..=kills {
            until_share(&crew, letters, kill, kills + 2);
            let node = dice.below(crew.len());
            crew.kill9(node);
            crew.start(node);
        }
    });
    // The last one stays dead: the others do its work.
    let more = scale.of(200, 2_000);
    wait::until("every node to serve", LEASE + SLACK, || (0..crew.len()).all(|node| crew.answers(node)).then_some(()));
    crew.post_more(letters..letters + more);
    crew.kill9(0);
    let death = Instant::now();
    crew.until_quiet();
    let took = death.elapsed();
    assert!(took < LEASE + SLACK, "what a dead node had leased was sent {took:?} after its death");
    come_to_rest(&crew, letters + more)
}

fn stopped(scale: Scale) -> Tally {
    let letters = scale.of(1_500, 20_000);
    let server = server();
    let crew = crew(scale, &server.url("house"));
    crew.under_load(letters, || {
        for turn in 1..=scale.of(1, 4) {
            until_share(&crew, letters, turn, scale.of(2, 5));
            let node = turn % crew.len();
            wait::until("the node to send letters", SLACK, || crew.has_sent(node).then_some(()));
            crew.freeze(node);
            let still = Instant::now();
            // Until it is believed dead; the load goes on by the others.
            wait::until("its lease to end", LEASE * 2, || (still.elapsed() > LEASE + Duration::from_secs(3)).then_some(()));
            crew.thaw(node);
        }
    });
    crew.until_quiet();
    wait::until("every node to serve", LEASE + SLACK, || (0..crew.len()).all(|node| crew.answers(node)).then_some(()));
    // Whoever stood still is of use again.
    let more = scale.of(200, 2_000);
    crew.post_more(letters..letters + more);
    come_to_rest(&crew, letters + more)
}

/// A node that lives remembers what its relay has said; but one that gets no connection for longer than its lease cannot be told from a dead one.
fn none_twice(crew: &Crew, tally: &Tally) {
    let given_up = (0..crew.len()).any(|node| crew.house(node).log_has("was not heard of any more"));
    assert!(tally.doubled == 0 || given_up, "{} letters came twice, and no node was taken for dead", tally.doubled);
}

fn backends(scale: Scale) -> Tally {
    let (letters, cuts) = scale.of((1_500, 6), (20_000, 60));
    let server = server();
    let crew = crew(scale, &server.url("house"));
    let mut ended = 0;
    crew.under_load(letters, || {
        for cut in 1..=cuts {
            until_share(&crew, letters, cut, cuts + 1);
            ended += server.end_connections("house");
        }
    });
    eprintln!("{ended} connections were ended");
    assert!(ended > cuts, "the scenario wants connections that are in use");
    let tally = come_to_rest(&crew, letters);
    none_twice(&crew, &tally);
    tally
}

fn restarted(scale: Scale) -> Tally {
    let (letters, restarts) = scale.of((1_500, 2), (20_000, 10));
    let mut server = server();
    let crew = crew(scale, &server.url("house"));
    crew.under_load(letters, || {
        for restart in 1..=restarts {
            until_share(&crew, letters, restart, restarts + 1);
            if restart % 2 == 1 {
                server.kill9();
            } else {
                server.stop();
            }
            server.start();
        }
    });
    let tally = come_to_rest(&crew, letters);
    none_twice(&crew, &tally);
    tally
}

fn exhausted(scale: Scale) -> Tally {
    let letters = scale.of(1_500, 20_000);
    let server = Postgres::builder().flush().start();
    server.sql(ADMIN, "CREATE ROLE tidings LOGIN");
    server.sql(ADMIN, "CREATE DATABASE house OWNER tidings");
    let crew = crew(scale, &server.url("house").replace(&format!("//{ADMIN}@"), "//tidings@"));
    crew.under_load(letters, || {
        until_share(&crew, letters, 1, 4);
        // Fewer than one node's share of them.
        server.sql(ADMIN, &format!("ALTER ROLE tidings CONNECTION LIMIT {}", crew.len() + 1));
        server.end_connections("house");
        until_share(&crew, letters, 2, 4);
        server.sql(ADMIN, "ALTER ROLE tidings CONNECTION LIMIT -1");
        // Everybody's connections wait for one lock.
        for table in ["open_item", "item", "slate"] {
            server.sql("house", &format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT"));
        }
    });
    let tally = come_to_rest(&crew, letters);
    none_twice(&crew, &tally);
    tally
}

fn promoted(scale: Scale) -> Tally {
    let letters = scale.of(1_500, 20_000);
    let mut primary = server();
    let standby = primary.synchronous_standby();
    let crew = crew(scale, &Postgres::url_of(&[&primary, &standby], "house"));
    crew.under_load(letters, || {
        until_share(&crew, letters, 1, 3);
        primary.kill9();
        wait::until("every node to notice", SLACK, || (0..crew.len()).all(|node| !crew.answers(node)).then_some(()));
        standby.promote();
    });
    let tally = come_to_rest(&crew, letters);
    none_twice(&crew, &tally);
    tally
}
