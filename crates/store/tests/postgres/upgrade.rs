//! Two versions on one database: a newer one brings the schema up to date while this one runs.

use crate::house::{House, a_server, clock, options, outcome};
use std::sync::Arc;
use tidings_core::outbox::State;
use tidings_store::{Action, Filter, OpenOptions, Settled, StoreError};
use tidings_testkit::postgres::Postgres;

/// What a next version might do: a column more in every table, a table more, an index more.
const NEXT: &str = "DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
        LOOP EXECUTE format('ALTER TABLE %I ADD COLUMN next_version integer', name); END LOOP; END $$;
    CREATE TABLE of_next_version (number integer PRIMARY KEY);
    CREATE INDEX item_next ON item (next_version) WHERE next_version IS NOT NULL;
    UPDATE meta SET value = convert_to((convert_from(value, 'UTF8')::integer + 1)::text, 'UTF8') WHERE name = 'schema';";

async fn sql(server: &Arc<Postgres>, sql: String) -> String {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || server.sql("house", &sql)).await.unwrap()
}

/// All that a node does with an event, from end to end.
async fn work(house: &House, name: &str) {
    for (n, state) in [State::Sent, State::Failed, State::Waiting].into_iter().enumerate() {
        house.accept_one(house.an_event(&format!("{name}-{n}"))).await;
        let lease = house.claim(1).await.remove(0);
        assert_eq!(house.store.settle(vec![outcome(&lease, state, house.now())]).await.unwrap(), [Settled::Done]);
        assert_eq!(house.detail(lease.id).await.row.state, state);
    }
    let waiting = Filter { state: Some(State::Waiting), ..Filter::default() };
    assert_eq!(house.store.act(Action::Cancel, waiting, "ada").await.unwrap().changed, 1);
    assert_eq!(house.store.expire(10).await.unwrap(), 0);
    house.store.depths().await.unwrap();
    house.store.relays().await.unwrap();
    house.store.directories().await.unwrap();
    house.store.nodes().await.unwrap();
    house.store.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_beside_a_newer_one_and_starts_again_beside_it() {
    let server = a_server().await;
    let house = House::on_postgres(&server, "house").await;
    work(&house, "before").await;
    let known: i64 = sql(&server, "SELECT convert_from(value, 'UTF8') FROM meta WHERE name = 'schema'".to_owned()).await.parse().unwrap();
    sql(&server, NEXT.to_owned()).await;
    work(&house, "after").await;
    crate::house::dice::play(&house, &mut crate::house::dice::Dice(3), 1).await.unwrap();
    // The newer version says that what it has changed does not concern this one.
    sql(&server, format!("UPDATE meta SET value = '{known}' WHERE name = 'schema_oldest'")).await;
    let beside = House::node(&server, "house", 2, Arc::clone(&house.clock)).await;
    work(&beside, "beside").await;
    // And one that does.
    sql(&server, format!("UPDATE meta SET value = '{}' WHERE name = 'schema_oldest'", known + 1)).await;
    let options = OpenOptions { url: server.url("house"), ..options("unused".into(), clock()) };
    match tidings_store::open(options).await.map(drop) {
        Err(StoreError::Newer { found, known: ours, .. }) => assert_eq!((found, ours), (known + 1, known)),
        other => panic!("it is refused: {other:?}"),
    }
}
