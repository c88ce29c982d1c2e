//! Outages: closing, reopening, dropping, too many sessions.

use std::io::ErrorKind;

use tidings_sink::{Sink, SinkOptions};
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Client, DEADLINE, a_sink};

#[tokio::test]
async fn an_outage_refuses_connections_and_drops_sessions_and_ends() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client.letter("ada@example.org", "1@x").await;
    sink.close().await;
    assert_eq!(sink.statistics().open, 0);
    assert_eq!(client.rest().await, "");
    assert_eq!(TcpStream::connect(sink.addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    sink.close().await;
    sink.reopen().unwrap();
    sink.reopen().unwrap();
    Client::ready(&sink).await.letter("ada@example.org", "2@x").await;
    assert_eq!((sink.letters().len(), sink.statistics().sessions), (2, 2));
}

#[tokio::test]
async fn the_port_is_held_during_an_outage() {
    let sink = a_sink(SinkOptions::default());
    sink.close().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    assert_eq!(socket.bind(sink.addr()).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_dropped_sink_frees_its_port_and_ends_its_sessions() {
    let sink = a_sink(SinkOptions::default());
    let addr = sink.addr();
    let mut client = Client::ready(&sink).await;
    drop(sink);
    assert_eq!(client.rest().await, "");
    tokio::time::timeout(DEADLINE, async {
        while TcpListener::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is free");
}

#[tokio::test]
async fn one_session_too_many_is_turned_away() {
    let sink = a_sink(SinkOptions { max_sessions: Some(1), ..SinkOptions::default() });
    let mut first = Client::ready(&sink).await;
    assert_eq!(Client::connect(&sink).await.rest().await, "421 4.7.0 too many sessions\r\n");
    first.ask("NOOP", "250 ").await;
    assert_eq!(sink.statistics().most_open, 2);
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let sink = a_sink(SinkOptions::default());
    let error = Sink::listen(sink.addr(), SinkOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let options = SinkOptions { implicit_tls: true, ..SinkOptions::default() };
    assert_eq!(sink.reconfigure(options).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_at_once_lose_nothing() {
    let sink = std::sync::Arc::new(a_sink(SinkOptions::default()));
    let mut clients = tokio::task::JoinSet::new();
    for session in 0..20 {
        let sink = std::sync::Arc::clone(&sink);
        clients.spawn(async move {
            let mut client = Client::ready(&sink).await;
            for number in 0..25 {
                assert!(client.letter("ada@example.org", &format!("{session}.{number}@x")).await.starts_with("250 "));
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let letters = sink.wait_for(500, DEADLINE).await.unwrap();
    assert_eq!((letters.len(), sink.duplicates().len()), (500, 0));
}
