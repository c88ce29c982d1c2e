//! Refusals and hang-ups at every stage, by the mail sink, with pipelining and without.

use crate::sessions::{Batch, deliver, load, plan, short_end};
use tidings_delivery::plan::SmtpPlan;
use tidings_sink::{Extensions, Fault, Sink, SinkOptions, Stage, What, When};

fn sink(extensions: Extensions) -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { extensions, ..SinkOptions::default() }).unwrap()
}

const NO_CHUNKING: Extensions = Extensions { chunking: false, ..Extensions::ALL };
const NO_PIPELINING: Extensions = Extensions { pipelining: false, ..Extensions::ALL };

#[tokio::test]
async fn each_refusal_lands_on_its_letter_or_on_the_relay() {
    // Three letters, the second one meets the fault.
    for (stage, reply, outcomes, end) in [
        (Stage::Mail, "450 4.1.8 later", "sent transient mail sent", "done"),
        (Stage::Mail, "550 5.1.8 never", "sent permanent mail sent", "done"),
        (Stage::Rcpt, "450 4.2.1 later", "sent transient rcpt sent", "done"),
        (Stage::Rcpt, "550 5.1.1 never", "sent permanent rcpt sent", "done"),
        (Stage::Rcpt, "552 5.2.2 full", "sent transient rcpt sent", "done"),
        (Stage::Data, "451 4.3.0 later", "sent transient data sent", "done"),
        (Stage::Data, "554 5.6.0 never", "sent permanent data sent", "done"),
        (Stage::Content, "452 4.3.1 later", "sent transient content sent", "done"),
        (Stage::Content, "554 5.7.1 spam", "sent permanent content sent", "done"),
        (Stage::Mail, "421 4.3.2 closing", "sent returned", "busy mail"),
        (Stage::Rcpt, "530 5.7.0 sign in", "sent returned", "auth rcpt"),
    ] {
        for extensions in [Extensions::ALL, NO_CHUNKING, NO_PIPELINING] {
            if stage == Stage::Data && extensions.chunking && extensions.pipelining {
                continue; // BDAT has no such moment.
            }
            let sink = sink(extensions);
            sink.add_fault(Fault::new(stage, When::Nth(2), What::reply(reply)));
            let mut batch = Batch::letters(3);
            let ended = deliver(plan(sink.addr()), &mut batch).await;
            let short = batch.short().join(" ");
            let sent = short.matches("sent").count() as u64;
            assert_eq!(sink.count(), sent, "{stage:?} {reply}");
            if outcomes == "sent returned" && extensions.chunking && extensions.pipelining {
                // The third letter may be on its way already when the session ends, and is answered for.
                let right = [outcomes, "sent returned returned", "sent returned sent"].contains(&short.as_str());
                assert!(right && short_end(&ended) == end, "{stage:?} {reply} {short} {ended:?}");
                continue;
            }
            assert_eq!((short.as_str(), short_end(&ended).as_str()), (outcomes, end), "{stage:?} {reply} {extensions:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_before_the_first_letter_is_the_relays() {
    for (stage, reply, end) in [
        (Stage::Connect, "554 5.7.1 not you", "configuration greeting"),
        (Stage::Connect, "421 4.3.2 later", "busy greeting"),
        (Stage::Ehlo, "550 5.7.1 not you", "configuration ehlo"),
        (Stage::Ehlo, "450 4.3.2 later", "busy ehlo"),
    ] {
        let sink = sink(Extensions::ALL);
        sink.add_fault(Fault::new(stage, When::Always, What::reply(reply)));
        let mut batch = Batch::letters(1);
        let ended = deliver(plan(sink.addr()), &mut batch).await;
        assert_eq!((batch.outcomes.len(), short_end(&ended).as_str()), (0, end), "{reply}");
    }
}

#[tokio::test]
async fn a_hang_up_makes_unknown_only_what_had_its_final_dot() {
    for (stage, what, second) in [
        (Stage::Mail, What::Hangup, "returned"),
        (Stage::Rcpt, What::Hangup, "returned"),
        (Stage::Data, What::Hangup, "returned"),
        (Stage::Content, What::Hangup, "unknown"),
        (Stage::Content, What::HangupAfterAccept, "unknown"),
        (Stage::Content, What::CutReplyAfter(3), "unknown"),
        (Stage::Content, What::Garbage(b"\xff\xfe nonsense\r\n".to_vec()), "unknown"),
        (Stage::Rcpt, What::SurplusReply("250 once more".into()), "returned"),
    ] {
        let sink = sink(NO_CHUNKING);
        sink.add_fault(Fault::new(stage, When::Nth(2), what.clone()));
        let mut batch = Batch::letters(3);
        let end = deliver(plan(sink.addr()), &mut batch).await;
        let short = batch.short();
        assert_eq!((short[0].as_str(), short[1].as_str()), ("sent", second), "{stage:?} {what:?} {end:?}");
        assert!(short.get(2).is_none_or(|third| third == "returned"), "{stage:?} {what:?} {short:?}");
    }
}

#[tokio::test]
async fn a_reply_in_single_bytes_and_unknown_extensions_do_no_harm() {
    let sink = sink(Extensions::ALL);
    sink.add_fault(Fault::new(Stage::Mail, When::Always, What::ReplyInBytes));
    let mut batch = Batch::letters(10);
    deliver(plan(sink.addr()), &mut batch).await;
    assert_eq!(sink.count(), 10);
    assert!(
        sink.letters().iter().enumerate().all(|(n, letter)| letter.to == [format!("reader{}@example.org", n + 1)]),
        "order or envelope got mixed up"
    );
}

#[tokio::test]
async fn bare_line_ends_and_dots_arrive_as_lines() {
    let sink = sink(Extensions::ALL);
    let evil = "one\n.\nMAIL FROM:<eve@example.org>\r.\r..two\r\n.\r\n.";
    let mut batch = Batch::of([load(1, "ada@example.org", evil), load(2, "bob@example.org", "after")]);
    deliver(SmtpPlan { pipelining: true, ..plan(sink.addr()) }, &mut batch).await;
    assert_eq!(batch.short(), ["sent", "sent"]);
    let letters = sink.letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(String::from_utf8_lossy(letters[0].body()), "one\r\n.\r\nMAIL FROM:<eve@example.org>\r\n.\r\n..two\r\n.\r\n.\r\n");
    let parameters = &letters[0].mail_parameters;
    assert!(parameters.iter().any(|p| format!("{p:?}").contains("SIZE")), "{parameters:?}");
}

#[tokio::test]
async fn eight_bits_and_utf8_addresses_are_declared_when_needed() {
    let sink = sink(Extensions::ALL);
    let mut batch = Batch::of([load(1, "jörg@example.org", "grün"), load(2, "ada@example.org", "green")]);
    deliver(plan(sink.addr()), &mut batch).await;
    let letters = sink.letters();
    let declared = |n: usize| format!("{:?}", letters[n].mail_parameters);
    assert!(declared(0).contains("8BITMIME") && declared(0).contains("SMTPUTF8"), "{}", declared(0));
    assert!(!declared(1).contains("8BITMIME") && !declared(1).contains("SMTPUTF8"), "{}", declared(1));
}
