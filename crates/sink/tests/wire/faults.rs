//! Misbehaviour on command, seen from the wire.

use std::time::{Duration, Instant};

use tidings_sink::{Fault, SinkOptions, Stage, What, When};

use crate::client::{Client, a_sink, content};

fn a_faulty_sink(stage: Stage, when: When, what: What) -> tidings_sink::Sink {
    let sink = a_sink(SinkOptions::default());
    sink.add_fault(Fault::new(stage, when, what));
    sink
}

#[tokio::test]
async fn a_refusal_replaces_the_reply_and_its_effect() {
    let sink = a_faulty_sink(Stage::Content, When::First(1), What::reply("451 4.7.1 later"));
    let mut client = Client::ready(&sink).await;
    assert_eq!(client.letter("ada@example.org", "1@x").await, "451 4.7.1 later\r\n");
    assert_eq!(sink.count(), 0);
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    assert_eq!((sink.count(), sink.duplicates().len()), (1, 0));
}

#[tokio::test]
async fn a_refused_mail_or_rcpt_opens_nothing() {
    let sink = a_faulty_sink(Stage::Mail, When::Nth(1), What::reply("450-slow\n450 down"));
    sink.add_fault(Fault::new(Stage::Rcpt, When::ToAddressContains("gone".into()), What::reply("550 5.1.1 no such user")));
    let mut client = Client::ready(&sink).await;
    assert_eq!(client.ask("MAIL FROM:<a@example.org>", "450").await, "450-slow\r\n450 down\r\n");
    client.ask("RCPT TO:<b@example.org>", "503 ").await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("RCPT TO:<Gone@example.org>", "550 5.1.1").await;
    client.ask("DATA", "554 ").await;
    sink.clear_faults();
    client.ask("RCPT TO:<Gone@example.org>", "250 ").await;
}

#[tokio::test]
async fn a_421_ends_the_session() {
    let sink = a_faulty_sink(Stage::Connect, When::First(1), What::reply("421 4.3.2 closing"));
    assert_eq!(Client::connect(&sink).await.rest().await, "421 4.3.2 closing\r\n");
    Client::ready(&sink).await;
}

#[tokio::test]
async fn a_hangup_keeps_nothing_and_one_after_accept_keeps_the_letter() {
    let sink = a_faulty_sink(Stage::Content, When::Nth(1), What::Hangup);
    sink.add_fault(Fault::new(Stage::Content, When::Nth(2), What::HangupAfterAccept));
    for expected in [0, 1] {
        let mut client = Client::ready(&sink).await;
        client.envelope("ada@example.org").await;
        client.send(content("1@x")).await;
        assert_eq!(client.rest().await, "");
        assert_eq!(sink.count(), expected);
    }
    Client::ready(&sink).await.letter("ada@example.org", "1@x").await;
    assert_eq!(sink.duplicates()[0].times, 2);
}

#[tokio::test]
async fn a_hangup_lets_earlier_pipelined_replies_out_first() {
    let sink = a_faulty_sink(Stage::Rcpt, When::Nth(2), What::Hangup);
    let mut client = Client::ready(&sink).await;
    client.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n").await;
    assert_eq!(client.rest().await, "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n");
}

#[tokio::test]
async fn a_session_can_end_right_after_a_good_reply() {
    let sink = a_faulty_sink(Stage::Content, When::Always, What::HangupAfterReply);
    let mut client = Client::ready(&sink).await;
    client.envelope("ada@example.org").await;
    client.send(format!("{}MAIL FROM:<a@example.org>\r\n", content("1@x"))).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("250 ") && rest.lines().count() == 1, "{rest:?}");
}

#[tokio::test]
async fn a_stall_delays_and_then_behaves() {
    let pause = Duration::from_millis(120);
    let sink = a_faulty_sink(Stage::Data, When::Always, What::Stall(pause));
    let mut client = Client::ready(&sink).await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("RCPT TO:<b@example.org>", "250 ").await;
    let start = Instant::now();
    client.ask("DATA", "354 ").await;
    assert!(start.elapsed() >= pause);
}

#[tokio::test]
async fn garbage_surplus_bytes_and_cuts_reach_the_client() {
    let sink = a_faulty_sink(Stage::Mail, When::Nth(1), What::Garbage(b"!?\r\n".to_vec()));
    sink.add_fault(Fault::new(Stage::Mail, When::Nth(2), What::SurplusReply("250 2.1.5 you did not ask".into())));
    sink.add_fault(Fault::new(Stage::Ehlo, When::Always, What::ReplyInBytes));
    sink.add_fault(Fault::new(Stage::Quit, When::Always, What::CutReplyAfter(5)));
    let mut client = Client::ready(&sink).await;
    assert_eq!(client.ask("MAIL FROM:<a@example.org>", "!?").await, "!?\r\n");
    client.ask("MAIL FROM:<a@example.org>", "250 2.1.0").await;
    client.expect("250 2.1.5 you did not ask").await;
    client.send("QUIT\r\n").await;
    assert_eq!(client.rest().await, "221 2");
}

#[tokio::test]
async fn a_refused_sign_in_can_be_ordered() {
    let options = SinkOptions { users: [("a".to_owned(), "b".to_owned())].into(), ..SinkOptions::default() };
    let sink = a_sink(options);
    sink.add_fault(Fault::new(Stage::Auth, When::First(1), What::reply("454 4.7.0 temporary failure")));
    let mut client = Client::ready(&sink).await;
    client.ask("AUTH PLAIN AGEAYg==", "454 4.7.0").await;
    client.ask("AUTH PLAIN AGEAYg==", "235 ").await;
}
