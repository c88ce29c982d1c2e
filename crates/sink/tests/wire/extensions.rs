//! Pipelining, chunking, and servers poorer than that.

use tidings_sink::{Extensions, SinkOptions};

use crate::client::{Client, a_sink, content};

#[tokio::test]
async fn replies_to_pipelined_commands_leave_in_one_write() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client.send("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<nobody>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n").await;
    let replies = client.one_read().await;
    let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "501", "250", "354"]);
    client.send(format!("{}MAIL FROM:<a@example.org>\r\nRCPT TO:<d@example.org>\r\nDATA\r\n", content("1@x"))).await;
    let replies = client.one_read().await;
    let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "354"]);
    client.send(format!("{}QUIT\r\n", content("2@x"))).await;
    assert_eq!(client.rest().await.lines().count(), 2);
    let letters = sink.letters();
    assert_eq!(letters.iter().map(|letter| letter.to.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(letters[1].place, 2);
}

#[tokio::test]
async fn a_dialogue_cut_anywhere_means_the_same() {
    let dialogue = format!("MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n{}QUIT\r\n", content("1@x"));
    let sink = a_sink(SinkOptions::default());
    for cut in (0..dialogue.len()).step_by(7) {
        let mut client = Client::ready(&sink).await;
        client.send(&dialogue[..cut]).await;
        // One thread runs both sides: the sink reads the first part before the second is sent.
        tokio::task::yield_now().await;
        client.send(&dialogue[cut..]).await;
        assert!(client.rest().await.ends_with("221 2.0.0 bye\r\n"), "cut at {cut}");
    }
    let letters = sink.letters();
    assert_eq!(letters.len(), dialogue.len().div_ceil(7));
    assert!(letters.iter().all(|letter| letter.bytes == letters[0].bytes && letter.to == ["b@example.org"]));
}

#[tokio::test]
async fn chunks_are_taken_as_they_are_and_pipelined() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client
        .send(
            "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 14\r\nSubject: x\r\n\r\nBDAT 8\r\n..\r\n.\r\na\
             BDAT 2 LAST\r\n\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\nQUIT\r\n",
        )
        .await;
    let replies = client.rest().await;
    let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "250", "250", "250", "250", "250", "221"]);
    let letters = sink.letters();
    assert_eq!(letters[0].bytes, b"Subject: x\r\n\r\n..\r\n.\r\na\r\n");
    assert!(letters[0].chunked && letters[1].bytes.is_empty());
}

#[tokio::test]
async fn octets_of_an_unwanted_chunk_are_not_taken_for_commands() {
    let sink = a_sink(SinkOptions::default());
    let mut client = Client::ready(&sink).await;
    client.send("BDAT 6 LAST\r\nQUIT\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<nobody>\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n").await;
    for start in ["503 ", "250 ", "501 ", "554 ", "250 "] {
        client.expect(start).await;
    }
    client.ask("RCPT TO:<b@example.org>", "250 ").await;
    client.send("BDAT 2\r\nab").await;
    client.expect("250 ").await;
    client.ask("DATA", "503 ").await;
    client.ask("RCPT TO:<c@example.org>", "503 ").await;
}

#[tokio::test]
async fn what_is_not_announced_is_not_honoured() {
    let sink = a_sink(SinkOptions { extensions: Extensions::NONE, ..SinkOptions::default() });
    let mut client = Client::greeted(&sink).await;
    assert_eq!(client.ask("EHLO c", "250 ").await, "250 sink.example.org\r\n");
    for parameter in ["SIZE=1", "BODY=8BITMIME", "SMTPUTF8", "RET=FULL", "AUTH=<>", "FUTURERELEASE"] {
        client.ask(&format!("MAIL FROM:<a@example.org> {parameter}"), "555 parameter").await;
    }
    client.ask("MAIL FROM:<a@example.org>", "250 sender").await;
    client.ask("RCPT TO:<a@example.org> NOTIFY=NEVER", "555 ").await;
    client.send("BDAT 2 LAST\r\nab").await;
    client.expect("502 ").await;
    client.send("RSET\r\nNOOP\r\n").await;
    client.expect("554 SMTP protocol synchronization").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn every_extension_is_announced_and_a_helo_session_has_none() {
    let options = SinkOptions {
        users: [("ada".to_owned(), "x".to_owned())].into(),
        extra_ehlo_lines: vec!["X-WHATEVER yes".into()],
        max_message_bytes: 77,
        ..SinkOptions::default()
    };
    let sink = a_sink(options);
    let mut client = Client::greeted(&sink).await;
    let reply = client.ask("EHLO c", "250-sink.example.org\r\n").await;
    for word in ["PIPELINING", "SIZE 77", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING", "AUTH PLAIN LOGIN"] {
        assert!(reply.contains(&format!("250-{word}\r\n")), "{word} in {reply}");
    }
    assert!(reply.ends_with("250 X-WHATEVER yes\r\n") && !reply.contains("STARTTLS"));
    client.ask("HELO c", "250 sink.example.org").await;
    client.ask("MAIL FROM:<a@example.org> SIZE=1", "555 ").await;
}

#[tokio::test]
async fn a_server_without_ehlo_still_takes_letters_after_helo() {
    let sink = a_sink(SinkOptions { extensions: Extensions { ehlo: false, ..Extensions::NONE }, ..SinkOptions::default() });
    let mut client = Client::greeted(&sink).await;
    client.ask("EHLO c", "502 ").await;
    client.ask("HELO c", "250 ").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    assert_eq!(sink.letters()[0].helo, "c");
}
