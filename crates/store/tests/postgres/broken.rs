//! Backends and servers that are killed in the middle of their work: nothing is half done, and what had been answered is there.

use crate::house::{House, a_server, outcome};
use futures_util::future::join_all;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tidings_core::{Id, IdMint, outbox::State};
use tidings_store::{Accepted, Filter, OpenOptions, PostgresStore, PostgresTuning, Settled, StoreError};
use tidings_testkit::postgres::Postgres;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Ends every backend of the house, over and over.
pub(crate) struct Killer {
    stop: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
    work: tokio::task::JoinHandle<()>,
}

impl Killer {
    pub(crate) fn hire(server: &Arc<Postgres>) -> Self {
        let (stop, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (server, told, count) = (Arc::clone(server), Arc::clone(&stop), Arc::clone(&ended));
        let work = tokio::task::spawn_blocking(move || {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'house' AND application_name = 'tidings'";
            while !told.load(Ordering::Relaxed) {
                count.fetch_add(server.sql("postgres", sql).lines().count(), Ordering::Relaxed);
            }
        });
        Self { stop, ended, work }
    }

    /// How many it has ended so far.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) async fn dismiss(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.unwrap();
    }
}

/// What must hold of an outbox whatever was killed: an event is there with all it caused, or not at all.
const WHOLE: &str = "SELECT
    (SELECT count(*) FROM item i WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.id = i.event)),
    (SELECT count(*) FROM item i WHERE NOT EXISTS (SELECT 1 FROM letter l WHERE l.id = i.letter)),
    (SELECT count(*) FROM event e WHERE NOT EXISTS (SELECT 1 FROM item i WHERE i.event = e.id)),
    (SELECT count(*) FROM item i LEFT JOIN open_item o ON o.id = i.id WHERE (i.state IS NULL) <> (o.id IS NOT NULL)),
    (SELECT count(*) FROM open_item o WHERE NOT EXISTS (SELECT 1 FROM item i WHERE i.id = o.id))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_are_killed_leave_nothing_half_and_settle_nothing_twice() {
    let server = a_server().await;
    let house = Arc::new(House::on_postgres(&server, "house").await);
    let killer = Arc::new(Killer::hire(&server));
    let callers = (0..6).map(|caller| {
        let (house, killer) = (Arc::clone(&house), Arc::clone(&killer));
        tokio::spawn(async move {
            let mut accepted = Vec::new();
            // However fast this is, it goes on until enough has been broken off.
            for n in (0..).take_while(|n| *n < 60 || killer.ended() <= 20) {
                let name = format!("e{caller}-{n}");
                // As a source does it: told again until it is answered.
                for _ in 0..200 {
                    let draft = house.an_event(&name).to(&["ada@example.org", "grace@example.org"]).build();
                    match house.store.accept(vec![draft]).await {
                        Ok(answers) => {
                            let (Accepted::New(id) | Accepted::Duplicate(id)) = answers[0];
                            accepted.push(id);
                            break;
                        }
                        Err(StoreError::Unavailable(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                assert_eq!(accepted.len(), n + 1, "{name} is answered in the end");
            }
            accepted
        })
    });
    let answers: Vec<Id> = join_all(callers).await.into_iter().flat_map(Result::unwrap).collect();
    let accepted: HashSet<Id> = answers.iter().copied().collect();
    assert_eq!(accepted.len(), answers.len(), "an event told again is the same event");

    // A claim whose answer is lost hides nothing: no lease ends here, for the clock stands still. An outcome whose answer is lost is told again, as the settler does.
    let at_work = async {
        loop {
            let Ok(leases) = house.store.claim(crate::house::ask("node-a", 40)).await else { continue };
            assert!(leases.iter().all(|lease| !lease.maybe_duplicate), "nobody was given it before");
            if leases.is_empty() {
                if house.store.depths().await.is_ok_and(|depths| depths.is_empty()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let outcomes: Vec<_> = leases.iter().map(|lease| outcome(lease, State::Sent, house.now())).collect();
            while let Err(error) = house.store.settle(outcomes.clone()).await {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(240), at_work).await.expect("all is sent in the end");
    Arc::into_inner(killer).expect("the callers have ended").dismiss().await;
    let (whole, sent) = tokio::task::spawn_blocking(move || {
        let sent = "SELECT count(*), count(DISTINCT item) FROM history WHERE what = 'sent'";
        (server.sql("house", WHOLE), server.sql("house", sent))
    })
    .await
    .unwrap();
    let items = 2 * accepted.len();
    assert_eq!((whole.as_str(), sent), ("0|0|0|0|0", format!("{items}|{items}")));
}

/// Between the house and its server: of so many commits the server's answer is lost, and the connection with it.
async fn losing_answers(server: u16, losses: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
            tokio::spawn(hand_on(client, upstream, Arc::clone(&losses)));
        }
    });
    port
}

/// Hands everything on, until an answer is to be lost.
async fn hand_on(mut client: TcpStream, mut server: TcpStream, losses: Arc<AtomicUsize>) -> std::io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let read = read?;
                server.write_all(&asked[..read]).await?;
                let commits = asked[..read].windows(7).any(|part| part == b"COMMIT\0");
                if commits && losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    // It is done once the server says so.
                    return server.read(&mut answered).await.map(drop);
                }
                if read == 0 {
                    return Ok(());
                }
            }
            read = server.read(&mut answered) => {
                let read = read?;
                client.write_all(&answered[..read]).await?;
                if read == 0 {
                    return Ok(());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_is_lost_hides_nothing() {
    let server = a_server().await;
    let losses = Arc::new(AtomicUsize::new(0));
    let port = losing_answers(server.port(), Arc::clone(&losses)).await;
    let (folder, clock) = (TempDir::new().unwrap(), crate::house::clock());
    let url = format!("postgres://postgres@127.0.0.1:{port}/house_template?sslmode=disable");
    let options = OpenOptions { url, ..crate::house::options(folder.path().to_owned(), clock.clone()) };
    let store = PostgresStore::open(options, PostgresTuning { told_time: true, ..PostgresTuning::default() }).await.unwrap();
    let house = House { store, clock, mint: IdMint::starting_after(None, 1), folder };
    house.store.accept((0..5).map(|n| house.an_event(&format!("e{n}")).build()).collect()).await.unwrap();

    // Lost once: the verb finds out by itself, and nobody waits for the end of a lease, for the clock stands still.
    losses.store(1, Ordering::SeqCst);
    let leases = house.claim(10).await;
    assert_eq!((leases.len(), losses.load(Ordering::SeqCst)), (5, 0));
    assert!(leases.iter().all(|lease| !lease.maybe_duplicate && lease.token == 2), "claimed twice, given once: {leases:?}");
    let sent: Vec<_> = leases.iter().map(|lease| outcome(lease, State::Sent, house.now())).collect();
    assert!(house.store.settle(sent).await.unwrap().iter().all(|settled| *settled == Settled::Done));

    // Lost as often as it is tried: the caller hears of it, and its next claim finds everything where it was.
    house.store.accept((5..10).map(|n| house.an_event(&format!("e{n}")).build()).collect()).await.unwrap();
    losses.store(usize::MAX, Ordering::SeqCst);
    let refused = house.store.claim(crate::house::ask("node-a", 3)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    losses.store(0, Ordering::SeqCst);
    let leases = house.claim(10).await;
    assert_eq!(leases.len(), 5);
    assert!(leases.iter().all(|lease| !lease.maybe_duplicate), "{leases:?}");
    let history = house.history(leases[0].id).await;
    assert!(!history.iter().any(|what| what == "lapsed"), "{history:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_survives_the_servers_crash() {
    let server = tokio::task::spawn_blocking(|| {
        let server = Postgres::builder().flush().start();
        server.create("house", None);
        server
    });
    let mut server = server.await.unwrap();
    let (folder, clock) = (TempDir::new().unwrap(), crate::house::clock());
    let options = OpenOptions { url: server.url("house"), ..crate::house::options(folder.path().to_owned(), clock.clone()) };
    let store = PostgresStore::open(options, PostgresTuning { told_time: true, ..PostgresTuning::default() }).await.unwrap();
    let house = Arc::new(House { store, clock, mint: IdMint::starting_after(None, 1), folder });
    let mut answered = Vec::new();
    for round in 0..3 {
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let house = Arc::clone(&house);
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    for n in 0.. {
                        let batch = (0..3).map(|k| house.an_event(&format!("r{round}-{caller}-{n}-{k}")).build()).collect();
                        match house.store.accept(batch).await {
                            Ok(answers) => mine.extend(answers.into_iter().map(|(Accepted::New(id) | Accepted::Duplicate(id))| id)),
                            Err(_) => break,
                        }
                    }
                    mine
                })
            })
            .collect();
        let (back, before) = (house.store.clone(), answered.len());
        let seen = async {
            // Something of this round is there: now.
            while back.items(Filter::default(), None, u16::MAX).await.map_or(0, |page| page.items.len()) < before + 60 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the callers are at work");
        server = tokio::task::spawn_blocking(move || {
            server.kill9();
            server
        })
        .await
        .unwrap();
        for caller in callers {
            answered.extend(caller.await.unwrap());
        }
        server = tokio::task::spawn_blocking(move || {
            server.start();
            server
        })
        .await
        .unwrap();
        for id in &answered {
            assert!(house.store.event(*id).await.unwrap().is_some(), "{id} was accepted and is gone (round {round})");
        }
    }
    let whole = tokio::task::spawn_blocking(move || server.sql("house", WHOLE)).await.unwrap();
    assert_eq!(whole, "0|0|0|0|0");
    assert!(answered.len() >= 150, "{} accepted", answered.len());
}
