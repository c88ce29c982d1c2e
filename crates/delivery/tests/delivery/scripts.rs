//! Dialogues as data against a bare listener: what a well-behaved server never says.
//!
//! `C: x` waits for a line that begins with `x`, `S: x` says a line, `S! x` says it without its end; lines said in a row leave in one write. At the end of the
//! script the server closes, unless it ends in `STAY`.

use crate::sessions::{Batch, deliver, load, plan, run, short_end, short_timeouts};
use std::time::Duration;
use tidings_delivery::{
    plan::{Limits, SmtpPlan, Timeouts, TlsMode},
    smtp::SmtpCourier,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    task::JoinHandle,
};

/// Plays each script to one connection, in order; gives what the clients said.
pub(crate) async fn server(scripts: Vec<String>) -> (SmtpPlan, JoinHandle<Vec<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = plan(listener.local_addr().unwrap());
    let playing = tokio::spawn(async move {
        let mut heard = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.unwrap();
            heard.push(play(stream, &script).await);
        }
        heard
    });
    (plan, playing)
}

async fn play(stream: tokio::net::TcpStream, script: &str) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let (mut heard, mut say) = (Vec::new(), String::new());
    let steps: Vec<&str> = script.lines().filter(|line| !line.trim().is_empty()).collect();
    for (at, step) in steps.iter().enumerate() {
        if let Some(words) = step.strip_prefix("S: ") {
            say.push_str(words);
            say.push_str("\r\n");
        } else if let Some(words) = step.strip_prefix("S! ") {
            say.push_str(words);
        }
        let says_more = steps.get(at + 1).is_some_and(|next| next.starts_with("S:") || next.starts_with("S!"));
        if !says_more {
            // The client may be gone by now; the script's assertions are on the client's side.
            let _ = stream.write_all(std::mem::take(&mut say).as_bytes()).await;
        }
        if let Some(words) = step.strip_prefix("C: ") {
            loop {
                let mut line = String::new();
                match tokio::time::timeout(Duration::from_secs(10), stream.read_line(&mut line)).await {
                    Ok(Ok(n)) if n > 0 => {}
                    _ => return heard,
                }
                heard.push(line.trim_end().to_owned());
                if line.starts_with(words) && (words != "." || line == ".\r\n") {
                    break;
                }
            }
        }
        if *step == "STAY" {
            // Until the client leaves.
            let mut line = String::new();
            while matches!(stream.read_line(&mut line).await, Ok(n) if n > 0) {
                heard.push(std::mem::take(&mut line).trim_end().to_owned());
            }
        }
    }
    heard
}

const HELLO: &str = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250-8BITMIME\nS: 250 PIPELINING\n";
const PLAIN_HELLO: &str = "S: 220 hello\nC: EHLO\nS: 250 relay\n";
const ENVELOPE: &str = "C: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n";
const STEPS: &str = "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\n";
const TAKEN: &str = "C: .\nS: 250 2.0.0 taken\n";
const BYE: &str = "C: QUIT\nS: 221 bye\n";

/// Letters, script, outcomes, end of the session.
type Case = (&'static str, i64, String, &'static [&'static str], &'static str);

fn cases() -> Vec<Case> {
    let s = |parts: &[&str]| parts.concat();
    vec![
        (
            "all is well, pipelined",
            2,
            s(&[HELLO, ENVELOPE, "C: .\nC: DATA\nS: 250 taken\nS: 250 ok\nS: 250 ok\nS: 354 go\n", TAKEN, BYE]),
            &["sent", "sent"],
            "done",
        ),
        ("all is well, step by step", 2, s(&[PLAIN_HELLO, STEPS, TAKEN, STEPS, TAKEN, BYE]), &["sent", "sent"], "done"),
        ("garbage for a greeting", 1, s(&["S: SSH-2.0-OpenSSH\nSTAY"]), &[], "protocol greeting"),
        ("hang-up before the greeting", 1, String::new(), &[], "unreachable greeting"),
        ("hang-up at EHLO", 1, s(&["S: 220 hello\nC: EHLO\n"]), &[], "unreachable ehlo"),
        ("a server of old", 1, s(&["S: 220 hello\nC: EHLO\nS: 500 what\nC: HELO\nS: 250 relay\n", STEPS, TAKEN, BYE]), &["sent"], "done"),
        ("hang-up at MAIL", 1, s(&[HELLO, "C: DATA\n"]), &["returned"], "unreachable mail"),
        ("hang-up after MAIL", 1, s(&[HELLO, "C: DATA\nS: 250 ok\n"]), &["returned"], "unreachable rcpt"),
        ("hang-up after RCPT", 1, s(&[HELLO, "C: DATA\nS: 250 ok\nS: 250 ok\n"]), &["returned"], "unreachable data"),
        ("hang-up after the dot", 2, s(&[HELLO, ENVELOPE, "C: .\nC: DATA\n"]), &["unknown", "returned"], "unreachable content"),
        ("hang-up after the first of two", 2, s(&[HELLO, ENVELOPE, "C: .\nC: DATA\nS: 250 taken\n"]), &["sent", "returned"], "limit"),
        (
            "garbage to the dot",
            2,
            s(&[HELLO, ENVELOPE, "C: .\nC: DATA\nS: ok, thanks\nSTAY"]),
            &["unknown", "returned"],
            "protocol content",
        ),
        ("354 to the dot", 1, s(&[HELLO, ENVELOPE, "C: .\nS: 354 more\nSTAY"]), &["unknown"], "protocol content"),
        ("250 to DATA", 1, s(&[HELLO, "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nSTAY"]), &["returned"], "protocol data"),
        ("one reply too many before the content", 1, s(&[HELLO, ENVELOPE, "S: 250 surplus\nSTAY"]), &["returned"], "protocol data"),
        (
            "one reply too many after the dot",
            1,
            s(&[HELLO, ENVELOPE, "C: .\nS: 250 taken\nS: 250 surplus\nSTAY"]),
            &["sent"],
            "protocol mail",
        ),
        (
            "one reply too many between two letters",
            2,
            s(&[HELLO, ENVELOPE, "C: .\nC: DATA\nS: 250 taken\nS: 250 surplus\nS: 250 ok\nS: 250 ok\nS: 354 go\nSTAY"]),
            &["sent", "returned"],
            "protocol data",
        ),
        ("a code outside the range", 1, s(&[HELLO, "C: DATA\nS: 199 hm\nSTAY"]), &["returned"], "protocol mail"),
        ("lines of different codes", 1, s(&[HELLO, "C: DATA\nS: 250-ok\nS: 550 no\nSTAY"]), &["returned"], "protocol mail"),
        (
            "354 though nobody was accepted",
            2,
            s(&[HELLO, "C: DATA\nS: 250 ok\nS: 550 5.1.1 nobody\nS: 354 go\nC: .\nS: 554 no recipients\n", ENVELOPE, TAKEN, BYE]),
            &["permanent rcpt", "sent"],
            "done",
        ),
        (
            "503 to the DATA of a refused letter",
            2,
            s(&[
                HELLO,
                "C: DATA\nS: 250 ok\nS: 450 busy\nS: 503 no recipients\nC: RSET\nC: DATA\nS: 250 reset\nS: 250 ok\nS: 250 ok\nS: 354 go\n",
                TAKEN,
                BYE,
            ]),
            &["transient rcpt", "sent"],
            "done",
        ),
        (
            "MAIL of the next letter is refused behind the content",
            3,
            s(&[
                HELLO,
                ENVELOPE,
                "C: .\nC: DATA\nS: 250 taken\nS: 550 no such sender\nS: 503 no\nS: 503 no\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n",
                TAKEN,
                BYE,
            ]),
            &["sent", "permanent mail", "sent"],
            "done",
        ),
        (
            "552 to RCPT is for now",
            1,
            s(&[PLAIN_HELLO, "C: MAIL\nS: 250 ok\nC: RCPT\nS: 552 too many\n", BYE]),
            &["transient rcpt"],
            "done",
        ),
        ("530 in mid-session", 1, s(&[HELLO, "C: DATA\nS: 530 5.7.0 sign in\nS: 503 no\nS: 503 no\nSTAY"]), &["returned"], "auth mail"),
        (
            "STARTTLS with clear text behind the answer is covered elsewhere; 4yz to the content",
            1,
            s(&[HELLO, ENVELOPE, "C: .\nS: 452 4.3.1 disk full\n", BYE]),
            &["transient content"],
            "done",
        ),
    ]
}

#[tokio::test]
async fn every_dialogue_ends_as_it_must() {
    for (name, letters, script, outcomes, end) in cases() {
        let (plan, playing) = server(vec![script]).await;
        let mut batch = Batch::letters(letters);
        let ended = deliver(plan, &mut batch).await;
        assert_eq!(
            (batch.short(), short_end(&ended).as_str()),
            (outcomes.iter().map(|o| (*o).to_owned()).collect(), end),
            "{name}: {ended:?}"
        );
        drop(batch);
        tokio::time::timeout(Duration::from_secs(15), playing).await.expect("the server ends").unwrap();
    }
}

#[tokio::test]
async fn the_next_envelope_rides_behind_the_content() {
    let script = [HELLO, ENVELOPE, "C: .\nC: DATA\nS: 250 taken\nS: 250 ok\nS: 250 ok\nS: 354 go\n", TAKEN, BYE].concat();
    let (plan, playing) = server(vec![script]).await;
    let mut batch = Batch::letters(2);
    deliver(plan, &mut batch).await;
    let heard = playing.await.unwrap().remove(0);
    let dot = heard.iter().position(|line| line == ".").unwrap();
    assert_eq!(heard[dot + 1..dot + 4], ["MAIL FROM:<house@example.org>", "RCPT TO:<reader2@example.org>", "DATA"]);
}

#[tokio::test]
async fn a_relay_that_broke_the_protocol_is_spoken_to_step_by_step_afterwards() {
    let broken = [HELLO, "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nSTAY"].concat();
    // Answering only after each command, although PIPELINING is announced: a client that sends ahead would be seen in `heard`.
    let careful = [HELLO, STEPS, TAKEN, STEPS, TAKEN, BYE].concat();
    let (plan, playing) = server(vec![broken, careful]).await;
    let courier = SmtpCourier::new(plan, Limits::default(), short_timeouts());
    run(&courier, &mut Batch::letters(1)).await;
    let mut batch = Batch::letters(2);
    let end = run(&courier, &mut batch).await;
    assert_eq!((batch.short().join(" ").as_str(), short_end(&end).as_str()), ("sent sent", "done"));
    let heard = playing.await.unwrap().remove(1);
    let dot = heard.iter().position(|line| line == ".").unwrap();
    assert!(heard[dot + 1].starts_with("MAIL"), "{heard:?}");
}

#[tokio::test]
async fn clear_text_behind_the_answer_to_starttls_is_an_attack() {
    let script = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go ahead\nS: 250 AUTH PLAIN\nSTAY";
    let (plan, _playing) = server(vec![script.to_owned()]).await;
    let mut batch = Batch::letters(1);
    let end = deliver(SmtpPlan { tls: TlsMode::StartTls, ..plan }, &mut batch).await;
    assert_eq!(short_end(&end), "protocol tls");
    assert_eq!(batch.loads.len(), 1, "the letter was not even taken");
}

#[tokio::test]
async fn a_relay_that_says_nothing_is_given_up_at_each_stage() {
    let timeouts = Timeouts { connect: Duration::from_secs(5), command: Duration::from_secs(1), final_dot: Duration::from_secs(1) };
    for (script, outcomes, end) in [
        ("STAY".to_owned(), "", "unreachable greeting"),
        ("S: 220 hello\nSTAY".to_owned(), "", "unreachable ehlo"),
        ([HELLO, "STAY"].concat(), "returned", "unreachable mail"),
        // A byte now and then does not prolong the deadline of a stage.
        ([HELLO, "C: DATA\nS: 250 ok\nS: 250 ok\nS! 35\nSTAY"].concat(), "returned", "unreachable data"),
        ([HELLO, ENVELOPE, "STAY"].concat(), "unknown", "unreachable content"),
    ] {
        let (plan, _playing) = server(vec![script]).await;
        let mut batch = Batch::letters(1);
        let ended = run_timed(plan, timeouts, &mut batch).await;
        assert_eq!((batch.short().join(" ").as_str(), short_end(&ended).as_str()), (outcomes, end));
    }
}

/// Says `script` once the client has spoken, then one byte of `drip` every few milliseconds, for ever.
async fn dripping(script: &'static str, drip: &'static [u8]) -> SmtpPlan {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = plan(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for step in script.split('|') {
            stream.write_all(step.as_bytes()).await.unwrap();
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
        }
        for byte in drip.iter().cycle() {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    plan
}

#[tokio::test]
async fn a_relay_that_drips_is_given_up_at_the_end_of_the_stage() {
    let timeouts = Timeouts { connect: Duration::from_secs(5), command: Duration::from_secs(1), final_dot: Duration::from_secs(1) };
    for (script, drip, end) in [
        ("", b"220-hello hello hello hello\r\n".as_slice(), "unreachable greeting"),
        ("220 hello\r\n", b"250-relay relay relay\r\n", "unreachable ehlo"),
        ("220 hello\r\n|250-relay\r\n250 PIPELINING\r\n", b"250-yes yes yes\r\n", "unreachable mail"),
    ] {
        let mut batch = Batch::letters(1);
        let begun = std::time::Instant::now();
        let ended = run_timed(dripping(script, drip).await, timeouts, &mut batch).await;
        assert_eq!(short_end(&ended), end);
        assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_relay_that_speaks_without_end_is_cut_off() {
    for script in [format!("S! 220-{}\nSTAY", "x".repeat(5000)), format!("{}STAY", "S: 220-more\n".repeat(200))] {
        let (plan, _playing) = server(vec![script]).await;
        let mut batch = Batch::letters(1);
        let ended = run_timed(plan, short_timeouts(), &mut batch).await;
        assert_eq!((short_end(&ended).as_str(), batch.loads.len()), ("protocol greeting", 1), "{ended:?}");
    }
}

async fn run_timed(plan: SmtpPlan, timeouts: Timeouts, batch: &mut Batch) -> tidings_delivery::courier::SessionEnd {
    use tidings_delivery::courier::Courier as _;
    let courier = SmtpCourier::new(plan, Limits::default(), timeouts);
    tokio::time::timeout(Duration::from_secs(10), courier.session(batch)).await.expect("a deadline strikes")
}

#[tokio::test]
async fn what_the_relay_does_not_offer_is_refused_here_and_clearly() {
    let small = "S: 220 hello\nC: EHLO\nS: 250-relay\nS: 250 SIZE 100\nC: QUIT\nS: 221 bye\n".to_owned();
    let (plan, _playing) = server(vec![small, [PLAIN_HELLO, BYE].concat(), [PLAIN_HELLO, BYE].concat()]).await;
    for (letter, words) in [
        (load(1, "ada@example.org", &"x".repeat(200)), "at most 100"),
        (load(2, "jörg@example.org", "x"), "SMTPUTF8"),
        (load(3, "ada@example.org", "grün"), "8BITMIME"),
    ] {
        let mut batch = Batch::of([letter]);
        deliver(plan.clone(), &mut batch).await;
        assert_eq!(batch.short(), ["permanent mail"]);
        assert!(format!("{:?}", batch.outcomes).contains(words), "{:?}", batch.outcomes);
    }
}

#[tokio::test]
async fn a_session_ends_at_its_limit_of_letters() {
    let script = [HELLO, ENVELOPE, "C: .\nC: DATA\nS: 250 taken\nS: 250 ok\nS: 250 ok\nS: 354 go\n", TAKEN, BYE].concat();
    let (plan, playing) = server(vec![script]).await;
    let courier = SmtpCourier::new(plan, Limits { messages_per_session: 2, ..Limits::default() }, short_timeouts());
    let mut batch = Batch::letters(5);
    assert_eq!(short_end(&run(&courier, &mut batch).await), "limit");
    assert_eq!((batch.short().join(" ").as_str(), batch.loads.len()), ("sent sent", 3));
    assert_eq!(playing.await.unwrap()[0].last().map(String::as_str), Some("QUIT"));
}
