//! Each neighbour once, for real: they need postfix, dovecot-core, slapd, ldap-utils, chromium and python3 installed, and root for Postfix.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::Duration;

use tidings_testkit::browser::{Scheme, dump_dom, screenshot};
use tidings_testkit::certs::{TestCa, Validity};
use tidings_testkit::folder::Folder;
use tidings_testkit::judge::judge_bytes;
use tidings_testkit::pickup_watch::PickupWatch;
use tidings_testkit::ports::free_port;
use tidings_testkit::postfix::Postfix;
use tidings_testkit::process::{Program, installed};
use tidings_testkit::slapd::{self, Slapd};
use tidings_testkit::smtp_sink::{SmtpSink, smtp_source};
use tidings_testkit::{http, wait};

const PATIENCE: Duration = Duration::from_mins(1);

/// Speaks these lines to a plain port, each after the reply to the one before; the replies.
fn speak(port: u16, lines: &[&str]) -> Vec<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut reply = || {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(reader.read_line(&mut line).expect("a reply comes"), 0, "hung up after {whole:?}");
            whole.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return whole;
            }
        }
    };
    let mut replies = vec![reply()];
    for line in lines {
        stream.write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
        replies.push(reply());
    }
    replies
}

#[test]
fn slapd_takes_changes_and_is_set_back_to_a_copy() {
    let mut slapd = Slapd::builder().content(&slapd::person("ada")).start();
    let copy = slapd.backup();
    let title = "dn: cn=ada,ou=people,dc=example,dc=org\nchangetype: modify\nadd: title\ntitle: Countess";
    slapd.modify_as("cn=ada,ou=people,dc=example,dc=org", slapd::PASSWORD, title);
    let found = slapd.search("(title=Countess)");
    assert!(found.contains("\nmodifiersName: cn=ada,ou=people,dc=example,dc=org\n"), "{found}");
    assert!(!slapd.try_modify_as("cn=ada,ou=people,dc=example,dc=org", "guess", title).status.success());
    slapd.kill9();
    slapd.start();
    assert!(slapd.search("(title=Countess)").contains("uid: ada"));
    slapd.restore(&copy);
    assert_eq!(slapd.search("(title=Countess)"), "");
}

const LETTER: &str = "From: News <news@example.org>\r\nTo: ada@example.org\r\nSubject: Hello\r\nDate: Sat, 21 Nov 2026 09:00:00 +0000\r\n\
                      Message-ID: <1@example.org>\r\n\r\nHello.\r\n";

/// A conversation by Python's own mail client, which knows TLS and sign-in: what was printed.
fn python(script: &str, arguments: &[String]) -> String {
    let folder = Folder::new("python");
    let ended = Program::new(installed("python3", "python3")).args(["-c", script]).args(arguments).run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout.trim().to_owned()
}

#[test]
fn postfix_starts_again_after_it_was_stopped_in_the_middle_of_a_letter() {
    let mut postfix = Postfix::builder().start();
    postfix.stop();
    // What such a stop leaves behind: a letter that is not whole and not yet named by its own number.
    let left = postfix.folder().join("spool/incoming/910271.8601");
    fs::write(&left, "half a letter").expect("the queue is there");
    chown(&left, Some(fs::metadata(postfix.folder().join("lib")).expect("it is there").uid()), None).expect("root may give files away");
    postfix.start();
}

#[test]
fn postfix_delivers_into_its_maildir_and_comes_back_after_an_outage() {
    let mut postfix = Postfix::builder().start();
    let send = |postfix: &Postfix| {
        let lines = ["EHLO c", "MAIL FROM:<news@example.org>", "RCPT TO:<ada@anywhere.example>", "DATA", &format!("{LETTER}."), "QUIT"];
        let replies = speak(postfix.plain_port(), &lines);
        assert!(replies[5].starts_with("250 "), "{replies:?}");
        assert!(!replies[1].contains("STARTTLS"));
    };
    send(&postfix);
    postfix.wait_for_letters(1, PATIENCE);
    postfix.stop();
    assert!(TcpStream::connect(("127.0.0.1", postfix.plain_port())).is_err());
    postfix.start();
    send(&postfix);
    let letters = postfix.wait_for_letters(2, PATIENCE);
    for letter in &letters {
        assert_eq!((letter.to.as_str(), letter.from.as_str()), ("ada@anywhere.example", "news@example.org"));
        assert!(String::from_utf8_lossy(&letter.bytes).ends_with("\n\nHello.\n"));
    }
    // Its log is written by another process than its mail.
    wait::until("the log", PATIENCE, || postfix.log().contains("status=sent").then_some(()));
}

const SUBMIT: &str = r#"
import smtplib, ssl, sys
mode, port, ca, password, mechanism = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
context = ssl.create_default_context(cafile=ca)
try:
    if mode == "implicit":
        client = smtplib.SMTP_SSL("localhost", port, context=context, timeout=30)
    else:
        client = smtplib.SMTP("localhost", port, timeout=30)
        if mode == "starttls":
            client.starttls(context=context)
    client.ehlo()
    if password:
        client.user, client.password = "ada", password
        client.auth(mechanism, getattr(client, "auth_" + mechanism.lower().replace("-", "_")))
    client.sendmail("news@example.org", ["bob@example.org"], "Subject: hi\r\n\r\nhi\r\n")
    print("sent", client.esmtp_features.get("auth", "").strip())
except ssl.SSLCertVerificationError as error:
    print(error.verify_message)
except smtplib.SMTPAuthenticationError as error:
    print(error.smtp_code)
except smtplib.SMTPSenderRefused as error:
    print(error.smtp_code)
except smtplib.SMTPRecipientsRefused as error:
    print(list(error.recipients.values())[0][0])
"#;

#[test]
fn postfix_takes_submissions_over_tls_from_those_who_sign_in() {
    let ca = TestCa::new();
    let postfix = Postfix::builder().certificate(&ca.issue("localhost", Validity::Good)).user("ada", "se cret").start();
    let submit = |mode: &str, port: u16, password: &str, mechanism: &str| {
        let arguments = [mode, &port.to_string(), &ca.pem_path().display().to_string(), password, mechanism].map(str::to_owned);
        python(SUBMIT, &arguments)
    };
    let (starttls, implicit) = (postfix.submission_port(), postfix.implicit_tls_port());
    assert_eq!(submit("starttls", starttls, "se cret", "PLAIN"), "sent PLAIN LOGIN");
    assert_eq!(submit("implicit", implicit, "se cret", "LOGIN"), "sent PLAIN LOGIN");
    assert_eq!(submit("starttls", starttls, "wrong", "PLAIN"), "535");
    assert_eq!(submit("implicit", implicit, "", ""), "554");
    assert_eq!(submit("plain", starttls, "", ""), "530");
    assert_eq!(postfix.wait_for_letters(2, PATIENCE).len(), 2);
}

#[test]
fn other_mechanisms_can_be_offered_and_mail_can_go_on_to_a_sink() {
    let ca = TestCa::new();
    let sink = SmtpSink::start(&[]);
    let certificate = ca.issue("localhost", Validity::Good);
    let postfix = Postfix::builder().certificate(&certificate).user("ada", "x").mechanisms(&["cram-md5", "scram-sha-256"]);
    let postfix = postfix.relay_to(sink.port()).start();
    let arguments = ["starttls", &postfix.submission_port().to_string(), &ca.pem_path().display().to_string(), "x", "CRAM-MD5"];
    assert_eq!(python(SUBMIT, &arguments.map(str::to_owned)), "sent CRAM-MD5 SCRAM-SHA-256");
    wait::until("the letter at the sink", PATIENCE, || (sink.count() == 1).then_some(()));
}

#[test]
fn bad_certificates_are_refused_for_the_right_reason() {
    let ca = TestCa::new();
    for (host, validity, reason) in [
        ("localhost", Validity::Expired, "certificate has expired"),
        ("localhost", Validity::NotYet, "certificate is not yet valid"),
        ("other.example.org", Validity::Good, "Hostname mismatch, certificate is not valid for 'localhost'."),
    ] {
        let postfix = Postfix::builder().certificate(&ca.issue(host, validity)).start();
        let port = postfix.implicit_tls_port().to_string();
        let arguments = ["implicit".to_owned(), port, ca.pem_path().display().to_string(), String::new(), String::new()];
        assert_eq!(python(SUBMIT, &arguments), reason);
    }
}

#[test]
fn a_client_certificate_can_be_demanded() {
    let ca = TestCa::new();
    let server = ca.issue("localhost", Validity::Good);
    let postfix = Postfix::builder().certificate(&server).demand_client_certificate(ca.pem_path()).start();
    let script = r#"
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
if len(sys.argv) > 3:
    context.load_cert_chain(sys.argv[3], sys.argv[4])
client = smtplib.SMTP("localhost", int(sys.argv[1]), timeout=30)
client.starttls(context=context)
client.ehlo()
try:
    client.mail("a@example.org")
    print(client.rcpt("b@example.org")[0])
except smtplib.SMTPServerDisconnected:
    print("dropped")
"#;
    let client = ca.issue_client("tidings", Validity::Good);
    let mut arguments = vec![postfix.submission_port().to_string(), ca.pem_path().display().to_string()];
    assert_eq!(python(script, &arguments), "dropped");
    wait::until("the log", PATIENCE, || postfix.log().contains("No client certificate presented").then_some(()));
    arguments.extend([client.cert_pem, client.key_pem].map(|path| path.display().to_string()));
    assert_eq!(python(script, &arguments), "250");
}

#[test]
fn smtp_source_fills_smtp_sink() {
    let (sink, folder) = (SmtpSink::start(&[]), Folder::new("source"));
    let source = Program::new(smtp_source()).args(["-m", "20", "-s", "2", "-f", "a@example.org", "-t", "b@example.org"]);
    let ended = source.args([format!("127.0.0.1:{}", sink.port())]).run(folder.path(), PATIENCE);
    assert!(ended.status.success(), "{}", ended.stderr);
    wait::until("20 letters", PATIENCE, || (sink.count() == 20).then_some(()));
}

#[test]
fn the_browser_paints_light_and_dark_and_dumps_the_document() {
    let folder = Folder::new("pages");
    let page = folder.write(
        "a page.html",
        "<!doctype html><style>:root{color-scheme:light dark}body{margin:0;background:#fafafa}\
         @media (prefers-color-scheme:dark){body{background:#102030}}</style><p id=p></p><script>p.textContent=6*7</script>",
    );
    let page = page.display().to_string();
    // The first pixel of a PNG is its own value whatever the filter, because it has no neighbours.
    let corner = "import sys,zlib,struct\nd=open(sys.argv[1],'rb').read()[8:]\ni=b''\nwhile d:\n n,t=struct.unpack('>I4s',d[:8])\n \
                  i+=d[8:8+n] if t==b'IDAT' else b''\n d=d[12+n:]\nprint(zlib.decompress(i)[1:4].hex())";
    for (scheme, colour) in [(Scheme::Light, "fafafa"), (Scheme::Dark, "102030")] {
        let picture = screenshot(&page, &folder.join(format!("{scheme:?}.png")), (640, 480), scheme);
        assert_eq!((picture.width, picture.height), (640, 480));
        assert_eq!(python(corner, &[picture.path.display().to_string()]), colour);
    }
    assert!(dump_dom(&page).contains("<p id=\"p\">42</p>"));
}

#[test]
fn the_judge_reads_a_good_letter() {
    let letter = "From: =?utf-8?q?J=C3=B6rg?= <j@example.org>\r\nTo: Ada King <ada@example.org>, b@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
                  Date: Sat, 21 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
                  Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
                  Content-Transfer-Encoding: quoted-printable\r\n\r\nH=C3=B6r\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>x\r\n--b--\r\n";
    let verdict = judge_bytes(letter.as_bytes());
    verdict.assert_clean();
    assert_eq!((verdict.from[0].name.as_str(), verdict.to[1].address.as_str()), ("Jörg", "b@example.org"));
    assert_eq!((verdict.subject.as_deref(), verdict.message_id.as_deref()), (Some("Grüße"), Some("<1@example.org>")));
    assert_eq!(verdict.date.as_deref(), Some("2026-11-21T09:00:00+00:00"));
    assert_eq!(verdict.text.as_deref().map(str::trim_end), Some("Hör"));
    assert_eq!(verdict.html.as_deref().map(str::trim_end), Some("<p>x"));
    let kinds: Vec<_> = verdict.parts.iter().map(|part| part.content_type.as_str()).collect();
    assert_eq!(kinds, ["multipart/alternative", "text/plain", "text/html"]);
    assert_eq!(verdict.header("TO"), Some("Ada King <ada@example.org>, b@example.org"));
}

#[test]
fn the_judge_names_each_fault() {
    assert!(judge_bytes(LETTER.as_bytes()).is_clean());
    let long_word = format!("Subject: =?utf-8?q?{}?=", "x".repeat(70));
    for (letter, fault) in [
        (LETTER.replace("\r\n", "\n"), "an LF stands alone"),
        (LETTER.replace("Hello.\r\n", "Hel\rlo.\r\n"), "a CR stands alone"),
        (LETTER.replace("Hello.\r\n", "Hello."), "the last line has no CRLF"),
        (LETTER.replace("Hello.", &"x".repeat(999)), "line 7 is longer than 998 octets"),
        (LETTER.replace("Subject: Hello", "Subject: Grüße"), "the headers are not plain ASCII"),
        (LETTER.replace("Subject: Hello", &long_word), "an encoded word of 82 characters"),
        (LETTER.replace("Subject: Hello", "Subject: a\r\nSubject: b"), "more than one subject header"),
        (LETTER.replace("Date:", "X-Date:"), "no date header"),
    ] {
        let verdict = judge_bytes(letter.as_bytes());
        assert!(verdict.complaints.iter().any(|complaint| complaint.starts_with(fault)), "{fault}: {:?}", verdict.complaints);
    }
    let broken = LETTER.replace("Message-ID", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\nMessage-ID");
    assert!(!judge_bytes(broken.as_bytes()).defects.is_empty());
}

#[test]
fn the_watcher_tells_whole_files_from_half_ones() {
    let folder = Folder::new("pickup");
    let watch = PickupWatch::start(folder.path());
    for number in 0..20 {
        let part = folder.write(format!("{number}.part"), LETTER);
        std::fs::rename(part, folder.join(format!("{number}.eml"))).expect("a rename within a folder");
    }
    wait::until("20 sightings", PATIENCE, || (watch.seen() == 20).then_some(()));
    assert_eq!(watch.finish().assert_whole().files.len(), 20);

    let watch = PickupWatch::start(folder.path());
    let half = folder.write("half.eml", &LETTER[..40]);
    wait::until("the half file", PATIENCE, || (watch.seen() == 21).then_some(()));
    std::fs::write(half, LETTER).expect("our own file");
    let faults = watch.finish().faults;
    assert!(faults.iter().all(|fault| fault.starts_with("half.eml")) && faults.len() == 2, "{faults:?}");
}

#[test]
fn a_program_is_started_watched_and_ended() {
    let folder = Folder::new("process");
    let port = free_port();
    let python = installed("python3", "python3");
    let server = || Program::new(&python).args(["-u", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).start(folder.path());
    folder.write("hello.txt", "hello");
    let url = format!("http://127.0.0.1:{port}/hello.txt");

    let mut running = server();
    running.wait_ready(&url, PATIENCE);
    assert_eq!(http::get(&url).expect("it is ready").text(), "hello");
    assert_eq!(http::post(&url, Some("t"), "text/plain", b"x").expect("it answers").status, 501);
    running.kill9();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&running.status().expect("it is dead")), Some(9));

    let mut running = server();
    running.wait_ready(&url, PATIENCE);
    running.terminate();
    assert!(running.wait(PATIENCE).is_some());
    assert!(running.stdout().contains("Serving HTTP") && running.stderr().contains("GET /hello.txt"));

    let shell = Program::new("/bin/sh").args(["-c", "read x; echo \"$x$Y\"; exit 3"]).env("Y", "!").input("hi\n");
    let ended = shell.run(folder.path(), PATIENCE);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(3), "hi!\n"));
}

#[test]
fn ports_are_not_given_twice() {
    let mut ports: Vec<_> = (0..50).map(|_| free_port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 50);
}
