//! DSN (RFC 3461): which reports are asked for, and by what a report is known again.

use crate::sessions::{Batch, deliver, load, plan};
use tidings_core::Id;
use tidings_delivery::plan::{Reports, SmtpPlan};
use tidings_sink::{Extensions, Parameter, Received, Sink, SinkOptions};

fn value<'a>(parameters: &'a [Parameter], keyword: &str) -> Option<&'a str> {
    parameters.iter().find(|parameter| parameter.keyword == keyword).and_then(|parameter| parameter.value.as_deref())
}

async fn received(extensions: Extensions, reports: Reports) -> Vec<Received> {
    let sink = Sink::listen("127.0.0.1:0".parse().unwrap(), SinkOptions { extensions, ..SinkOptions::default() }).unwrap();
    let mut batch = Batch::of([load(4711, "ada+x=y@example.org", "hello"), load(4712, "jörg@example.org", "hello")]);
    deliver(SmtpPlan { reports, ..plan(sink.addr()) }, &mut batch).await;
    assert_eq!(batch.short(), ["sent", "sent"], "the sink takes no parameter that is not as it must be");
    sink.letters().iter().map(|letter| Received::clone(letter)).collect()
}

#[tokio::test]
async fn reports_are_asked_for_as_configured_and_carry_the_item() {
    for extensions in
        [Extensions::ALL, Extensions { chunking: false, ..Extensions::ALL }, Extensions { pipelining: false, ..Extensions::ALL }]
    {
        let letters = received(extensions, Reports::default()).await;
        for (letter, (number, original)) in
            letters.iter().zip([(4711, "rfc822;ada+2Bx+3Dy@example.org"), (4712, "utf-8;j\\x{F6}rg@example.org")])
        {
            let id = Id::from_number(number).to_string();
            assert_eq!(value(&letter.mail_parameters, "ENVID"), Some(id.as_str()));
            assert_eq!(value(&letter.mail_parameters, "RET"), Some("HDRS"), "a report never brings the letter back");
            assert_eq!(value(&letter.rcpt_parameters[0], "NOTIFY"), Some("FAILURE,DELAY"));
            assert_eq!(value(&letter.rcpt_parameters[0], "ORCPT"), Some(original));
        }
    }
}

#[tokio::test]
async fn nothing_is_said_of_reports_where_they_are_not_offered_or_not_wanted() {
    for (dsn, reports) in [(false, Reports::default()), (true, Reports::Unasked)] {
        for letter in received(Extensions { dsn, ..Extensions::ALL }, reports).await {
            let said: Vec<_> = letter.mail_parameters.iter().chain(&letter.rcpt_parameters[0]).map(|p| p.keyword.as_str()).collect();
            assert!(said.iter().all(|keyword| !["RET", "ENVID", "NOTIFY", "ORCPT"].contains(keyword)), "{said:?}");
        }
    }
    let never = received(Extensions::ALL, Reports::Never).await;
    assert!(never.iter().all(|letter| value(&letter.rcpt_parameters[0], "NOTIFY") == Some("NEVER")));
}
