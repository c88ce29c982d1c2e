//! What is read out of samples in the published forms; all names in them are made up.

use crate::sample;
use tidings_bounces::{Form, Ignored, Reading, Report, read};
use tidings_core::bounce::Class;

const LETTER: &str = "06n8k3m2x4p01.ab12cd34ef@example.org";

fn report(name: &str) -> Report {
    match read(&sample(name, "06n8k3m2x4p01", LETTER, "06n8k3m2x4p00")) {
        Reading::Report(report) => report,
        Reading::Ignored(why) => panic!("{name} is ignored: {why}"),
    }
}

fn only(name: &str, form: Form, class: Class, address: &str, status: Option<&str>) -> Report {
    let report = report(name);
    assert_eq!(report.form, form, "{name}");
    let [one] = report.recipients.as_slice() else { panic!("{name}: one recipient, not {:?}", report.recipients) };
    assert_eq!((one.class, one.status.as_deref()), (class, status), "{name}: {}", one.diagnostic);
    assert_eq!(one.names.first().map(String::as_str), Some(address), "{name}");
    report
}

#[test]
fn exchange_online_and_on_premises() {
    let online = only("exchange-online", Form::Dsn, Class::Hard, "ada@contoso.example", Some("5.1.10"));
    assert_eq!(online.message_ids, [LETTER]);
    assert_eq!(online.events, ["06n8k3m2x4p00"]);
    assert_eq!(online.reporter.as_deref(), Some("AM0PR01MB0001.eurprd01.prod.exchangelabs.com"));
    assert!(online.recipients[0].diagnostic.starts_with("550 5.1.10 RESOLVER.ADR.RecipientNotFound"));
    let premises = only("exchange-on-premises", Form::Dsn, Class::Hard, "ada@contoso.example", Some("5.1.1"));
    assert_eq!(premises.message_ids, [LETTER]);
    for (name, reporter) in [("exchange-text", "EX01.corp.contoso.example"), ("exchange-2003", "ex03.contoso.example")] {
        let text = only(name, Form::Exchange, Class::Hard, "ada@contoso.example", Some("5.1.1"));
        assert_eq!((text.message_ids, text.reporter.as_deref()), (vec![LETTER.to_owned()], Some(reporter)), "{name}");
    }
}

#[test]
fn gmail_and_amazon() {
    let gmail = only("gmail", Form::Dsn, Class::Hard, "ada@mail.example", Some("5.1.1"));
    assert_eq!(gmail.message_ids, [LETTER]);
    assert!(gmail.returned_to.contains(&"bounces@example.org".to_owned()));
    let ses = only("amazon-ses", Form::Dsn, Class::Hard, "ada@mail.example", Some("5.1.1"));
    assert_eq!(ses.events, ["06n8k3m2x4p00"], "Amazon gives Message-IDs of its own");
    assert_eq!(ses.reporter.as_deref(), Some("a8-50.smtp-out.amazonses.com"));
}

#[test]
fn qmail_and_an_exim_without_a_part_for_programs() {
    let qmail = report("qmail");
    assert_eq!((qmail.form, qmail.reporter.as_deref()), (Form::Qmail, Some("mx.mail.example")));
    let said: Vec<_> = qmail.recipients.iter().map(|one| (one.names[0].as_str(), one.class, one.status.as_deref())).collect();
    assert_eq!(said, [("ada@mail.example", Class::Hard, Some("5.1.1")), ("full@mail.example", Class::Soft, Some("5.2.2"))]);
    assert_eq!(qmail.message_ids, [LETTER]);
    let exim = only("exim-old", Form::Exim, Class::Hard, "ada@mail.example", Some("5.1.1"));
    assert_eq!(exim.message_ids, [LETTER]);
    assert!(exim.returned_to.contains(&"bounces@example.org".to_owned()));
}

#[test]
fn what_is_late_is_no_bounce_and_names_its_envelope() {
    let late = only("postfix-delayed", Form::Dsn, Class::Delayed, "ada@mail.example", Some("4.4.1"));
    assert_eq!(late.envelopes, ["06n8k3m2x4p01"]);
}

#[test]
fn addresses_beyond_ascii_are_read() {
    let report = report("utf8");
    let said: Vec<_> = report.recipients.iter().map(|one| (one.names.clone(), one.class)).collect();
    let jörg = vec!["j\\x{F6}rg@mail.example".to_owned(), "jörg@mail.example".to_owned()];
    assert_eq!(said, [(jörg, Class::Hard), (vec!["grace@mail.example".to_owned()], Class::Delayed)]);
}

#[test]
fn a_complaint_is_told_from_a_bounce() {
    let complaint = only("complaint", Form::Feedback, Class::Complaint, "ada@provider.example", None);
    assert_eq!(complaint.message_ids, [LETTER]);
    let text = String::from_utf8(sample("complaint", "", LETTER, "")).unwrap();
    let statistics = text.replace("Feedback-Type: abuse", "Feedback-Type: auth-failure");
    assert_eq!(read(statistics.as_bytes()), Reading::Ignored(Ignored::Statistics));
}

#[test]
fn vacations_challenges_receipts_and_people_are_no_reports() {
    for (name, why) in [
        ("out-of-office", Ignored::Vacation),
        ("challenge", Ignored::Challenge),
        ("receipt", Ignored::Receipt),
        ("person", Ignored::NotAReport),
    ] {
        assert_eq!(read(&sample(name, "", LETTER, "")), Reading::Ignored(why), "{name}");
    }
    for subject in ["Abwesenheitsnotiz: x", "Re: Out of Office", "=?utf-8?Q?R=C3=A9ponse_automatique?= : x"] {
        let mail = format!("From: ada@example.org\nSubject: {subject}\n\nback on Monday\n");
        assert_eq!(read(mail.as_bytes()), Reading::Ignored(Ignored::Vacation), "{subject}");
    }
    for field in ["Precedence: bulk", "X-Autoreply: yes", "Auto-Submitted: auto-replied; owner-email=x"] {
        let mail = format!("From: ada@example.org\nSubject: thanks\n{field}\n\nback on Monday\n");
        assert_eq!(read(mail.as_bytes()), Reading::Ignored(Ignored::Vacation), "{field}");
    }
}

#[test]
fn a_report_of_several_recipients_in_one_block_each() {
    let status = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a@x.example\nAction: relayed\nStatus: 2.1.5\n\n\
                  Final-Recipient: rfc822; b@x.example\nAction: delivered\nStatus: 2.0.0\n\nFinal-Recipient: rfc822;c@x.example\nAction: failed\nStatus: 5.0.0\n\
                  Diagnostic-Code: smtp; 550 sorry, no such user\n";
    let mail = format!(
        "Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/plain\n\nx\n--b\nContent-Type: message/delivery-status\n\n{status}--b--\n"
    );
    let Reading::Report(report) = read(mail.as_bytes()) else { panic!("it is one") };
    let classes: Vec<_> = report.recipients.iter().map(|one| one.class).collect();
    assert_eq!(classes, [Class::Relayed, Class::Delivered, Class::Hard]);
}

#[test]
fn a_reason_that_is_only_told_to_people_is_read_as_well() {
    let mail = "From: Mail Delivery System <Mailer-Daemon@exim.example>\nSubject: Mail delivery failed: returning message to sender\n\
                Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\n\
                This message was created automatically by mail delivery software.\n\n\
                A message that you sent could not be delivered. The following address(es) failed:\n\n  ada@mail.example\n    550 5.1.1 no such user\n\n\
                --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; exim.example\n\nAction: failed\nFinal-Recipient: rfc822;ada@mail.example\nStatus: 5.0.0\n\n--b--\n";
    let Reading::Report(report) = read(mail.as_bytes()) else { panic!("it is one") };
    let one = &report.recipients[0];
    assert_eq!(
        (report.form, one.class, one.status.as_deref(), one.diagnostic.as_str()),
        (Form::Dsn, Class::Hard, Some("5.1.1"), "550 5.1.1 no such user")
    );
}

#[test]
fn line_ends_and_a_line_of_an_mbox_make_no_difference() {
    let crlf = sample("gmail", "", LETTER, "");
    let mut lf = b"From MAILER-DAEMON Sun Nov 22 09:00:00 2026\n".to_vec();
    lf.extend(crlf.iter().filter(|byte| **byte != b'\r'));
    assert_eq!(read(&lf), read(&crlf));
}

#[test]
fn a_report_of_another_server_is_found_by_its_words() {
    let mail = "From: Mail Delivery Subsystem <MAILER-DAEMON@mx.example>\nSubject: Returned mail: see transcript for details\n\n\
                   ----- The following addresses had permanent fatal errors -----\n<ada@mail.example>\n    (reason: 550 5.1.1 <ada@mail.example>... User unknown)\n\n\
                   ----- Transcript of session follows -----\nMessage-ID: <06n8k3m2x4p01.ab12cd34ef@example.org>\n";
    let Reading::Report(report) = read(mail.as_bytes()) else { panic!("it is one") };
    assert_eq!((report.form, report.recipients.len()), (Form::Text, 1));
    assert_eq!((report.recipients[0].class, report.recipients[0].names[0].as_str()), (Class::Hard, "ada@mail.example"));
    assert_eq!(report.message_ids, [LETTER]);
}
