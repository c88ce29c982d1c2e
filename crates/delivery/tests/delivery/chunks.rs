//! Letters in chunks: what is offered and switched off, refusals in mid-window, long ways, full buffers, relays that only pretend.

use crate::{
    proxy::{Ways, between, between_several},
    sessions::{Batch, deliver, load, plan, run, short_end, short_timeouts},
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tidings_delivery::{
    courier::SessionEnd,
    plan::{Limits, SmtpPlan, Timeouts},
    smtp::SmtpCourier,
};
use tidings_sink::{Extensions, Fault, Sink, SinkOptions, Stage, What, When};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    time::Instant,
};

fn sink(extensions: Extensions) -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { extensions, ..SinkOptions::default() }).unwrap()
}

fn chunked(sink: &Sink) -> usize {
    sink.letters().iter().filter(|letter| letter.chunked).count()
}

#[tokio::test]
async fn chunks_are_used_where_both_extensions_are_offered_and_wanted() {
    let all = Extensions::ALL;
    for (extensions, pipelining, chunking, wanted) in [
        (all, true, true, 20),
        (all, true, false, 0),
        (all, false, true, 0),
        (Extensions { chunking: false, ..all }, true, true, 0),
        (Extensions { pipelining: false, ..all }, true, true, 0),
    ] {
        let sink = sink(extensions);
        let mut batch = Batch::letters(20);
        let end = deliver(SmtpPlan { pipelining, chunking, ..plan(sink.addr()) }, &mut batch).await;
        assert_eq!((end, sink.count(), chunked(&sink)), (SessionEnd::Done, 20, wanted), "{extensions:?} {pipelining} {chunking}");
        assert_eq!(sink.statistics().sessions, 1);
    }
}

#[tokio::test]
async fn bare_line_ends_are_made_whole_and_dots_stay_as_they_are() {
    let sink = sink(Extensions::ALL);
    let evil = "one\n.\nRSET\nMAIL FROM:<eve@example.org>\r.\r..two\r\n.\r\n.";
    let mut batch = Batch::of([load(1, "ada@example.org", evil), load(2, "bob@example.org", evil), load(3, "cy@example.org", "after")]);
    deliver(plan(sink.addr()), &mut batch).await;
    assert_eq!((batch.short().join(" ").as_str(), chunked(&sink)), ("sent sent sent", 3));
    let whole = "one\r\n.\r\nRSET\r\nMAIL FROM:<eve@example.org>\r\n.\r\n..two\r\n.\r\n.\r\n";
    assert!(sink.letters()[..2].iter().all(|letter| String::from_utf8_lossy(letter.body()) == whole));
}

#[tokio::test]
async fn refusals_in_mid_window_touch_their_letters_only() {
    for (stage, name) in [(Stage::Mail, "mail"), (Stage::Rcpt, "rcpt"), (Stage::Content, "content")] {
        let sink = sink(Extensions::ALL);
        sink.add_fault(Fault::new(stage, When::Every(3), What::reply("550 5.7.1 not this one")));
        sink.add_fault(Fault::new(stage, When::Every(4), What::reply("451 4.7.1 not now")));
        let mut batch = Batch::letters(60);
        let end = deliver(plan(sink.addr()), &mut batch).await;
        assert_eq!(end, SessionEnd::Done, "{name}");
        for (number, outcome) in (1..).zip(batch.short()) {
            let wanted = match number {
                n if n % 3 == 0 => format!("permanent {name}"),
                n if n % 4 == 0 => format!("transient {name}"),
                _ => "sent".to_owned(),
            };
            assert_eq!(outcome, wanted, "letter {number} at {name}");
        }
        for letter in sink.letters() {
            let number: i64 = letter.to[0].trim_start_matches("reader").split('@').next().unwrap().parse().unwrap();
            assert_eq!(letter.header("Subject").unwrap(), number.to_string(), "an envelope with the letter of another");
            assert!(number % 3 != 0 && number % 4 != 0, "a refused letter was kept");
        }
    }
}

#[tokio::test]
async fn a_relay_that_closes_in_mid_window_with_a_word_leaves_nothing_in_doubt() {
    let sink = sink(Extensions::ALL);
    sink.add_fault(Fault::new(Stage::Mail, When::Nth(30), What::reply("421 4.3.2 enough")));
    let mut batch = Batch::letters(60);
    let end = deliver(plan(sink.addr()), &mut batch).await;
    let short = batch.short();
    assert_eq!(short_end(&end), "busy mail");
    assert!(short[..29].iter().all(|outcome| outcome == "sent") && short[29..].iter().all(|outcome| outcome == "returned"), "{short:?}");
    assert_eq!(sink.count(), 29);
}

#[tokio::test]
async fn trouble_of_the_relay_is_told_when_the_letters_behind_are_answered_for() {
    let sink = sink(Extensions::ALL);
    sink.add_fault(Fault::new(Stage::Rcpt, When::Nth(20), What::reply("530 5.7.0 sign in")));
    let mut batch = Batch::letters(60);
    let end = deliver(plan(sink.addr()), &mut batch).await;
    assert_eq!(short_end(&end), "auth rcpt");
    let short = batch.short();
    assert_eq!(short[19], "returned");
    let sent = short.iter().filter(|outcome| *outcome == "sent").count() as u64;
    assert_eq!(sink.count(), sent, "what the relay took is known to be taken: {short:?}");
    assert!(!short.contains(&"unknown".to_owned()));
}

#[tokio::test]
async fn a_relay_that_hangs_up_in_mid_window_gets_one_letter_at_a_time_afterwards() {
    let sink = sink(Extensions::ALL);
    sink.add_fault(Fault::new(Stage::Content, When::Nth(20), What::Hangup));
    let ways = Ways { delay: Duration::from_millis(5), ..Ways::default() };
    let (addr, passing) = between_several(sink.addr(), ways, 2).await;
    let courier = SmtpCourier::new(plan(addr), Limits::default(), short_timeouts());
    let mut batch = Batch::letters(40);
    let end = run(&courier, &mut batch).await;
    let short = batch.short();
    assert_eq!(short_end(&end), "unreachable content");
    assert!(short[..19].iter().all(|outcome| outcome == "sent"), "{short:?}");
    let in_doubt = short[19..].iter().take_while(|outcome| *outcome == "unknown").count();
    assert!((2..=16).contains(&in_doubt) && short[19 + in_doubt..].iter().all(|outcome| outcome == "returned"), "{short:?}");

    let before = chunked(&sink);
    let mut batch = Batch::of((101..=110).map(|n| load(n, "ada@example.org", "again")));
    assert_eq!(run(&courier, &mut batch).await, SessionEnd::Done);
    assert_eq!((batch.short(), chunked(&sink)), (vec!["sent".to_owned(); 10], before), "by DATA for a while");
    assert_eq!(passing.await.unwrap().len(), 2);
}

/// A server that announces CHUNKING and does not know it.
#[tokio::test]
async fn an_unknown_bdat_is_the_relays_fault_and_not_the_letters() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = plan(listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 hello\r\n").await.unwrap();
            let (mut line, mut in_data) = (String::new(), false);
            while matches!(stream.read_line(&mut line).await, Ok(n) if n > 0) {
                let said = std::mem::take(&mut line);
                let answer = match said.get(..4) {
                    _ if in_data && said != ".\r\n" => continue,
                    _ if in_data => "250 taken\r\n",
                    Some("EHLO") => "250-relay\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                    Some("MAIL" | "RCPT" | "RSET") => "250 ok\r\n",
                    Some("DATA") => "354 go\r\n",
                    Some("QUIT") => "221 bye\r\n",
                    _ => "500 what?\r\n",
                };
                in_data = answer.starts_with("354");
                heard.push(said);
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
        heard
    });
    let courier = SmtpCourier::new(plan, Limits::default(), short_timeouts());
    let mut batch = Batch::letters(3);
    let end = run(&courier, &mut batch).await;
    assert_eq!((batch.short().join(" ").as_str(), short_end(&end).as_str()), ("returned", "protocol content"));
    let mut batch = Batch::letters(3);
    assert_eq!(run(&courier, &mut batch).await, SessionEnd::Done);
    assert_eq!(batch.short().join(" "), "sent sent sent", "and then by DATA");
    let heard = serving.await.unwrap();
    assert_eq!(heard.iter().filter(|line| line.starts_with("BDAT")).count(), 1, "only one letter was put at stake: {heard:?}");
}

/// Letters far larger than the buffers between the two, both ways slow: writing and reading must not wait for each other.
#[tokio::test]
async fn full_buffers_do_not_make_both_sides_wait_for_each_other() {
    let sink = sink(Extensions::ALL);
    let line = format!("{}\r\n", "x".repeat(998));
    let mut batch = Batch::of((1..=24).map(|n| load(n, &format!("r{n}@example.org"), &line.repeat(250))));
    let (addr, passing) = between(sink.addr(), Ways { delay: Duration::from_millis(2), ..Ways::default() }).await;
    let end = deliver(plan(addr), &mut batch).await;
    assert_eq!((end, sink.count(), chunked(&sink)), (SessionEnd::Done, 24, 24));
    assert!(passing.await.unwrap().up.len() > 24 * 1000 * 250);
}

/// A relay that answers each command a while after it has come, as one far away does, and nothing before that. Gives how many letters were unanswered at most.
async fn far_away(delay: Duration) -> (SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (reading, mut writing) = listener.accept().await.unwrap().0.into_split();
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel::<(Instant, &str)>();
        say.send((Instant::now(), "220 hello\r\n")).unwrap();
        let unanswered = Arc::new(AtomicUsize::new(0));
        let open = Arc::clone(&unanswered);
        let speaking = tokio::spawn(async move {
            while let Some((at, answer)) = said.recv().await {
                tokio::time::sleep_until(at).await;
                if answer.contains("taken") {
                    open.fetch_sub(1, Ordering::AcqRel);
                }
                writing.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let (mut reading, mut line, mut most) = (BufReader::new(reading), String::new(), 0);
        while reading.read_line(&mut line).await.unwrap() > 0 {
            let said = std::mem::take(&mut line);
            let answer = match &said[..4] {
                "EHLO" => "250-relay\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                "MAIL" | "RCPT" | "RSET" => "250 ok\r\n",
                "BDAT" => {
                    let size = said.split_whitespace().nth(1).unwrap().parse().unwrap();
                    reading.read_exact(&mut vec![0; size]).await.unwrap();
                    most = most.max(unanswered.fetch_add(1, Ordering::AcqRel) + 1);
                    "250 taken\r\n"
                }
                "QUIT" => "221 bye\r\n",
                _ => panic!("{said}"),
            };
            say.send((Instant::now() + delay, answer)).unwrap();
        }
        drop(say);
        speaking.await.unwrap();
        most
    });
    (addr, serving)
}

/// How many a second that makes is measured by the benchmark `distance`.
#[tokio::test]
async fn over_a_long_way_many_letters_are_under_way() {
    let (addr, serving) = far_away(Duration::from_millis(50)).await;
    let limits = Limits { messages_per_session: 10_000, ..Limits::default() };
    let mut batch = Batch::letters(200);
    let courier = SmtpCourier::new(plan(addr), limits, Timeouts::default());
    assert_eq!(run(&courier, &mut batch).await, SessionEnd::Done);
    // Next door it would be two. Not more than what may be in doubt at once.
    let most = serving.await.unwrap();
    assert!((5..=16).contains(&most), "{most} letters at a time");
}
