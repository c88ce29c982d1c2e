//! Plain RFC 5321: order of commands, dots, limits, sign-in.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tidings_sink::{Mechanism, SinkOptions};

use crate::client::{Client, DEADLINE, a_sink, content};

fn with_users() -> SinkOptions {
    SinkOptions { users: [("ada".to_owned(), "se cret".to_owned())].into(), require_auth: true, ..SinkOptions::default() }
}

#[tokio::test]
async fn a_letter_is_kept_with_its_envelope() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client.ask("MAIL FROM:<> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x1", "250 2.1.0 ").await;
    client.ask("RCPT TO:<ada@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;ada@example.org", "250 2.1.5 ").await;
    client.ask("RCPT TO:<bob@example.org>", "250 2.1.5 ").await;
    client.ask("DATA", "354 ").await;
    client.send("Message-ID: <1@x>\r\nSubject: a\r\n long one\r\n\r\n..dot\r\n.\r\n").await;
    client.expect("250 2.0.0 ").await;
    client.ask("QUIT", "221 2.0.0 ").await;
    assert_eq!(client.rest().await, "");

    let letters = sink.wait_for(1, DEADLINE).await.unwrap();
    let letter = &letters[0];
    assert_eq!((letter.from.as_str(), letter.helo.as_str(), letter.tls, letter.user.as_deref()), ("", "client.example.org", false, None));
    assert_eq!(letter.to, ["ada@example.org", "bob@example.org"]);
    assert_eq!(letter.mail_parameters.iter().map(|p| p.keyword.as_str()).collect::<Vec<_>>(), ["SIZE", "BODY", "RET", "ENVID"]);
    assert_eq!(letter.rcpt_parameters[0][1].value.as_deref(), Some("rfc822;ada@example.org"));
    assert!(letter.rcpt_parameters[1].is_empty());
    assert_eq!(letter.header("subject").as_deref(), Some("a long one"));
    assert_eq!(letter.body(), b".dot\r\n");
    assert_eq!((letter.session, letter.place), (1, 1));
}

#[tokio::test]
async fn commands_out_of_order_are_refused() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::greeted(&sink).await;
    client.ask("MAIL FROM:<a@example.org>", "503 5.5.1").await;
    client.ask("EHLO c", "250-").await;
    client.ask("RCPT TO:<a@example.org>", "503 5.5.1").await;
    client.ask("DATA", "503 5.5.1").await;
    client.ask("BDAT 0 LAST", "503 5.5.1").await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("MAIL FROM:<a@example.org>", "503 5.5.1").await;
    client.ask("DATA", "554 5.5.1").await;
    client.ask("RCPT TO:<a@example.org>", "250 ").await;
    client.ask("RSET", "250 2.0.0").await;
    client.ask("DATA", "503 5.5.1").await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("EHLO again", "250-").await;
    client.ask("RCPT TO:<a@example.org>", "503 5.5.1").await;
    client.ask("STARTTLS", "502 5.5.1").await;
    client.ask("AUTH PLAIN AGEAYg==", "502 5.5.1").await;
    client.ask("VRFY ada", "252 2.1.5").await;
    client.ask("NOOP", "250 2.0.0").await;
    client.ask("WHAT", "500 5.5.2").await;
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn overlong_lines_and_letters_are_refused_and_the_session_goes_on() {
    let sink = a_sink(SinkOptions { max_message_bytes: 1000, ..SinkOptions::default() });
    let mut client = Client::ready(&sink).await;
    client.ask(&format!("NOOP {}", "x".repeat(4096)), "500 5.5.2").await;
    client.send("NOOP\n").await;
    client.expect("500 5.5.2").await;
    client.ask("MAIL FROM:<a@example.org> SIZE=1001", "552 5.3.4").await;
    client.ask("MAIL FROM:<a@example.org> SIZE=99999999999999999999", "552 5.3.4").await;
    client.envelope("ada@example.org").await;
    client.send(format!("Subject: x\r\n\r\n{}.\r\n", "0123456789\r\n".repeat(100))).await;
    client.expect("552 5.3.4").await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("RCPT TO:<a@example.org>", "250 ").await;
    client.send(format!("BDAT 1001\r\n{}", "x".repeat(1001))).await;
    client.expect("552 5.3.4").await;
    client.send("BDAT 3 LAST\r\nabc").await;
    client.expect("503 5.5.1").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn lone_newlines_in_content_are_refused_unless_allowed() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client.envelope("ada@example.org").await;
    client.send("Subject: x\n\r\n.\r\n").await;
    client.expect("550 5.6.11").await;
    sink.reconfigure(SinkOptions { refuse_bare_newlines: false, ..SinkOptions::default() }).unwrap();
    let mut client = Client::ready(&sink).await;
    client.envelope("ada@example.org").await;
    client.send("Subject: x\n.\n\r\n.\r\n").await;
    client.expect("250 ").await;
    assert_eq!(sink.letters()[0].bytes, b"Subject: x\n.\n\r\n");
}

#[tokio::test]
async fn too_many_recipients_and_addresses_beyond_ascii_are_refused() {
    let sink = a_sink(SinkOptions { max_recipients: 1, ..SinkOptions::default() });
    let mut client = Client::ready(&sink).await;
    client.ask("MAIL FROM:<jörg@example.org>", "553 5.6.7").await;
    client.ask("MAIL FROM:<a@example.org>", "250 ").await;
    client.ask("RCPT TO:<jörg@example.org>", "553 5.6.7").await;
    client.ask("RSET", "250 ").await;
    client.ask("MAIL FROM:<jörg@example.org> SMTPUTF8", "250 ").await;
    client.ask("RCPT TO:<josé@example.org>", "250 ").await;
    client.ask("RCPT TO:<bob@example.org>", "452 4.5.3").await;
}

#[tokio::test]
async fn plain_and_login_sign_in_with_and_without_an_initial_response() {
    let sink = a_sink(with_users());
    let plain = STANDARD.encode("\0ada\0se cret");
    let (name, password) = (STANDARD.encode("ada"), STANDARD.encode("se cret"));

    let mut client = Client::ready(&sink).await;
    client.ask("MAIL FROM:<a@example.org>", "530 5.7.0").await;
    client.ask(&format!("AUTH PLAIN {plain}"), "235 2.7.0").await;
    client.ask(&format!("AUTH PLAIN {plain}"), "503 5.5.1").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));

    let mut client = Client::ready(&sink).await;
    client.ask("AUTH PLAIN", "334 ").await;
    client.ask(&plain, "235 2.7.0").await;

    let mut client = Client::ready(&sink).await;
    client.ask("AUTH LOGIN", "334 VXNlcm5hbWU6").await;
    client.ask(&name, "334 UGFzc3dvcmQ6").await;
    client.ask(&password, "235 2.7.0").await;

    let mut client = Client::ready(&sink).await;
    client.ask(&format!("AUTH LOGIN {name}"), "334 UGFzc3dvcmQ6").await;
    client.ask(&password, "235 2.7.0").await;
    assert_eq!(sink.letters()[0].user.as_deref(), Some("ada"));
    assert_eq!(sink.statistics().refused_sign_ins, 0);
}

#[tokio::test]
async fn a_bad_sign_in_is_refused() {
    let sink = a_sink(with_users());
    let mut client = Client::ready(&sink).await;
    client.ask(&format!("AUTH PLAIN {}", STANDARD.encode("\0ada\0wrong")), "535 5.7.8").await;
    client.ask(&format!("AUTH PLAIN {}", STANDARD.encode("bob\0ada\0se cret")), "535 5.7.8").await;
    client.ask(&format!("AUTH PLAIN {}", STANDARD.encode("ada")), "501 5.5.2").await;
    client.ask("AUTH PLAIN =", "501 5.5.2").await;
    client.ask("AUTH PLAIN !!!", "501 5.5.2").await;
    client.ask("AUTH CRAM-MD5", "504 5.5.4").await;
    client.ask("AUTH LOGIN", "334 ").await;
    client.ask("*", "501 5.7.0").await;
    client.ask("MAIL FROM:<a@example.org>", "530 5.7.0").await;
    assert_eq!(sink.statistics().refused_sign_ins, 2);

    sink.reconfigure(SinkOptions { mechanisms: vec![Mechanism::Login], auth_needs_tls: true, ..with_users() }).unwrap();
    let mut client = Client::greeted(&sink).await;
    assert!(!client.ask("EHLO c", "250-").await.contains("AUTH"));
    client.ask("AUTH LOGIN", "538 5.7.11").await;
}

#[tokio::test]
async fn a_silent_client_is_sent_away() {
    let sink = a_sink(SinkOptions { idle: Duration::from_millis(50), ..SinkOptions::default() });
    let said = Client::connect(&sink).await.rest().await;
    assert!(said.starts_with("220 ") && said.ends_with("421 4.4.2 silent for too long\r\n"), "{said:?}");
}

#[tokio::test]
async fn duplicates_are_told_by_message_id_and_recipient() {
    let sink = a_sink(SinkOptions { keep: Some(2), ..SinkOptions::default() });
    let mut client = Client::ready(&sink).await;
    for (to, id) in [("ada@example.org", "1@x"), ("bob@example.org", "1@x"), ("ada@example.org", "2@x")] {
        client.letter(to, id).await;
    }
    assert_eq!(sink.duplicates(), []);
    client.letter("ada@example.org", "1@x").await;
    let duplicates = sink.duplicates();
    assert_eq!(duplicates.len(), 1);
    assert_eq!((duplicates[0].message_id.as_str(), duplicates[0].recipient.as_str(), duplicates[0].times), ("<1@x>", "ada@example.org", 2));
    assert_eq!((sink.count(), sink.letters().len(), sink.letters_to("ADA@example.org").len()), (4, 2, 2));
}

#[tokio::test]
async fn waiting_ends_with_the_letters_or_at_the_deadline() {
    let sink = a_sink(SinkOptions::default());
    let mut news = sink.subscribe();
    let late = sink.wait_for(1, Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(late.have, 0);
    let mut client = Client::ready(&sink).await;
    client.envelope("ada@example.org").await;
    let waiting = sink.wait_until(|letters| letters.iter().any(|l| l.header("Message-ID").as_deref() == Some("<7@x>")), DEADLINE);
    let (letters, ()) = tokio::join!(waiting, client.send(content("7@x")));
    assert_eq!(letters.unwrap().len(), 1);
    assert_eq!(news.recv().await.unwrap().to, ["ada@example.org"]);
}
