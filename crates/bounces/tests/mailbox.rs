//! The mailbox of reports, on a real Dovecot: every report is kept once and put away, whatever breaks, and everything else is left alone.

#![allow(clippy::disallowed_methods, reason = "tests run by the machine's clock")]
#![allow(clippy::unwrap_used, reason = "a test that meets what cannot be must fail")]

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tidings_bounces::{
    Reports, Terms,
    mailbox::{After, Mailbox, MailboxPlan, MailboxStatus},
};
use tidings_core::{Clock, Timestamp};
use tidings_delivery::{
    Secret,
    imap::ImapPlan,
    oauth::{ClientProof, TokenPlan},
    plan::{AuthPlan, Timeouts, TlsMode},
};
use tidings_store::{Database, HealthTerms, OpenOptions, ReportFilter, SealKey};
use tidings_testkit::{
    certs::{TestCa, Validity},
    issuer::{Behaviour, Issuer},
    mailbox::Mailbox as Dovecot,
    proxy::{Mischief, Proxy},
};

const USER: &str = "reports@example.org";
const PASSWORD: &str = "pass word";

struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A database, and reports taken into it.
struct House {
    store: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.path().to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock: Arc::clone(&clock),
            min_free_bytes: 0,
        };
        Self { store: tidings_store::open(options).await.unwrap(), clock, _folder: folder }
    }

    fn mailbox(&self, plan: MailboxPlan) -> Arc<Mailbox> {
        let day = Duration::from_hours(24);
        let health = HealthTerms { after: 2, within: day, rest: None, keep: day };
        let reports = Arc::new(Reports::new(Arc::clone(&self.store), Terms { health, complaints_count: false }));
        Arc::new(Mailbox::new(plan, reports, Arc::clone(&self.store), Arc::clone(&self.clock)))
    }

    /// The addresses that the reports kept so far name, in order.
    async fn kept(&self) -> Vec<String> {
        let (mut kept, mut before) = (Vec::new(), None);
        loop {
            let page = self.store.reports(ReportFilter::default(), before, 500).await.unwrap();
            kept.extend(page.items.into_iter().filter_map(|row| row.recipient));
            before = page.next;
            if before.is_none() {
                kept.sort();
                return kept;
            }
        }
    }

    /// Waits until so many reports are kept, and nothing is left of them in the inbox.
    async fn until_read(&self, dovecot: &Dovecot, reports: usize, left: usize) {
        let until = Instant::now() + Duration::from_secs(240);
        loop {
            let (kept, there) = (self.kept().await.len(), dovecot.mails("INBOX").len());
            if kept >= reports && there == left {
                return;
            }
            assert!(Instant::now() < until, "{kept} of {reports} reports are kept, {there} mails are left: {}", dovecot.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// A mailbox at work. Dropped, it is cut off.
struct Reading(tokio::task::JoinHandle<()>, Arc<Mailbox>);

impl Reading {
    fn begin(mailbox: &Arc<Mailbox>) -> Self {
        let at_work = Arc::clone(mailbox);
        Self(tokio::spawn(async move { at_work.run().await }), Arc::clone(mailbox))
    }

    async fn until(&self, what: &str, holds: impl Fn(&MailboxStatus) -> bool) -> MailboxStatus {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.1.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not within 60 s: {what}; {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn report(number: usize) -> Vec<u8> {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nTo: {USER}\r\nSubject: Undelivered Mail {number}\r\nMessage-ID: <r{number}@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; reader{number:04}@example.net\r\n\
         Action: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--b--\r\n"
    )
    .into_bytes()
}

fn other(number: usize) -> Vec<u8> {
    format!("From: bob@example.org\r\nTo: {USER}\r\nSubject: lunch {number}\r\nMessage-ID: <o{number}@example.org>\r\n\r\nAt noon?\r\n")
        .into_bytes()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("reader{number:04}@example.net")).collect()
}

fn plan_at(port: u16, tls: TlsMode, auth: impl FnOnce(u16, TlsMode) -> AuthPlan) -> MailboxPlan {
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { connect: seconds(5), command: seconds(5), final_dot: seconds(5) };
    let imap = ImapPlan { host: "localhost".to_owned(), port, tls, ca_pem: None, auth: auth(port, tls), timeouts };
    let (folder, after) = ("INBOX".to_owned(), After::Move("Tidings done".to_owned()));
    MailboxPlan { imap, user: USER.to_owned(), folder, after, every: Duration::from_millis(200) }
}

fn by_password(port: u16, tls: TlsMode) -> AuthPlan {
    AuthPlan::new(USER, Secret::new(PASSWORD), "localhost", port, tls).allow_cleartext(true)
}

/// Makes credentials for a port and an encryption.
type Auth<'a> = &'a dyn Fn(u16, TlsMode) -> AuthPlan;

fn plain(port: u16) -> MailboxPlan {
    plan_at(port, TlsMode::None, by_password)
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_kept_and_moved_and_everything_else_is_left_alone_and_read_once() {
    let (dovecot, house) = (Dovecot::of(USER, PASSWORD).start(), House::build().await);
    for number in 0..500 {
        dovecot.deliver(&report(number));
        if number % 50 == 0 {
            dovecot.deliver(&other(number));
        }
    }
    let proxy = Proxy::to(([127, 0, 0, 1], dovecot.port()).into());
    let reading = Reading::begin(&house.mailbox(plain(proxy.port())));
    house.until_read(&dovecot, 500, 10).await;
    reading.until("everything to be read", |status| status.condition == "waiting").await;
    assert_eq!(house.kept().await, names(500));
    assert_eq!(dovecot.mails("Tidings done").len(), 500);
    assert!(
        dovecot.mails("INBOX").iter().all(|(mail, flags)| flags.is_empty() && mail.starts_with(b"From: bob@")),
        "untouched, not even seen"
    );

    // What comes is told by the server (IDLE), and only that is read.
    let before = Instant::now();
    dovecot.deliver(&report(500));
    house.until_read(&dovecot, 501, 10).await;
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    drop(reading);
    let reading = Reading::begin(&house.mailbox(plain(proxy.port())));
    reading.until("the mailbox to be read again", |status| status.condition == "waiting").await;
    let said = String::from_utf8_lossy(&proxy.transcript().to_server).into_owned();
    assert!(said.contains("SELECT \"INBOX\"") && !said.contains("FETCH"), "the ten others are not read again: {said}");
    assert_eq!(house.kept().await.len(), 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_anywhere_loses_nothing_and_keeps_nothing_twice() {
    let (dovecot, house) = (Dovecot::of(USER, PASSWORD).start(), House::build().await);
    for number in 0..6 {
        dovecot.deliver(&report(number));
    }
    dovecot.deliver(&other(1));
    let proxy = Proxy::to(([127, 0, 0, 1], dovecot.port()).into());
    // Each visit gets a little farther than the one before; a mailbox anew each time has no delays to wait for.
    let mut cuts = 0;
    for step in 1.. {
        let cut = if step % 2 == 0 { Mischief::CutToServer(step * 23) } else { Mischief::CutToClient(step * 97) };
        proxy.next(cut);
        let struck = proxy.struck();
        let reading = Reading::begin(&house.mailbox(plain(proxy.port())));
        reading.until("a cut, or the end", |status| proxy.struck() > struck || status.condition == "waiting").await;
        if proxy.struck() == struck {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 10, "{cuts} cuts");
    house.until_read(&dovecot, 6, 1).await;
    assert_eq!(house.kept().await, names(6));
    let done: HashSet<Vec<u8>> = dovecot.mails("Tidings done").into_iter().map(|(mail, _)| mail).collect();
    assert_eq!(done, (0..6).map(report).collect(), "put away, each of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back_is_read_on() {
    let (mut dovecot, house) = (Dovecot::of(USER, PASSWORD).start(), House::build().await);
    (0..100).for_each(|number| dovecot.deliver(&report(number)));
    let reading = Reading::begin(&house.mailbox(plain(dovecot.port())));
    let until = Instant::now() + Duration::from_secs(30);
    while house.kept().await.len() < 10 {
        assert!(Instant::now() < until, "nothing is read");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    dovecot.kill();
    (100..120).for_each(|number| dovecot.deliver(&report(number)));
    reading.until("the mailbox to be held", |status| status.condition == "held").await;
    dovecot.start();
    house.until_read(&dovecot, 120, 0).await;
    let status = reading.until("the mailbox to be read again", |status| status.condition == "waiting").await;
    assert_eq!((house.kept().await, status.reason), (names(120), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_made_anew_is_read_from_its_beginning_and_known_reports_stay_single() {
    let (mut dovecot, house) = (Dovecot::of(USER, PASSWORD).start(), House::build().await);
    let plan = |port| MailboxPlan { after: After::Flag, ..plain(port) };
    (0..5).for_each(|number| dovecot.deliver(&report(number)));
    let reading = Reading::begin(&house.mailbox(plan(dovecot.port())));
    house.until_read(&dovecot, 5, 5).await;
    reading.until("everything to be read", |status| status.condition == "waiting").await;
    assert!(dovecot.mails("INBOX").iter().all(|(_, flags)| flags == "S"), "they stay, and are seen");
    drop(reading);
    dovecot.kill();
    dovecot.forget_numbers();
    dovecot.start();
    dovecot.deliver(&report(5));
    let reading = Reading::begin(&house.mailbox(plan(dovecot.port())));
    house.until_read(&dovecot, 6, 6).await;
    reading.until("everything to be read", |status| status.condition == "waiting").await;
    assert_eq!(house.kept().await, names(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_do_little_is_served_all_the_same() {
    // Without MOVE, UIDPLUS and IDLE: copied and marked as deleted, and looked at now and then.
    let (dovecot, house) = (Dovecot::of(USER, PASSWORD).capability("IMAP4rev1").start(), House::build().await);
    (0..3).for_each(|number| dovecot.deliver(&report(number)));
    let reading = Reading::begin(&house.mailbox(plain(dovecot.port())));
    reading.until("everything to be read", |status| status.condition == "waiting").await;
    dovecot.deliver(&report(3));
    house.until_read(&dovecot, 4, 4).await;
    let until = Instant::now() + Duration::from_secs(30);
    while dovecot.mails("Tidings done").len() < 4 {
        assert!(Instant::now() < until, "{:?}", dovecot.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let marked = || dovecot.mails("INBOX").iter().filter(|(_, flags)| flags.contains('T')).count();
    while marked() < 4 {
        assert!(Instant::now() < until, "{} are marked", marked());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(house.kept().await, names(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_tokens_sign_in_encrypted_and_wrong_ones_are_told() {
    let ca = TestCa::new();
    let issuer = Issuer::builder().client("tidings", "secret").user(USER).scope("mail").start();
    let dovecot =
        Dovecot::of(USER, PASSWORD).certificate(&ca.issue("localhost", Validity::Good)).introspection(&issuer.introspection_url()).start();
    let house = House::build().await;
    let trusted = |path: &Path| Some(std::fs::read(path).unwrap());
    let tokens = |port, tls| {
        let proof = ClientProof::SecretInBody(Secret::new("secret"));
        AuthPlan::with_tokens(USER, TokenPlan::new(issuer.token_url(), "tidings", proof).scope("mail"), "localhost", port, tls)
    };
    let xoauth2 = |port, tls| tokens(port, tls).mechanism(tidings_delivery::plan::AuthMechanism::XOAuth2);
    let password = |port, tls| AuthPlan::new(USER, Secret::new(PASSWORD), "localhost", port, tls);
    let ways: [(u16, TlsMode, Auth<'_>, &str); 4] = [
        (dovecot.port(), TlsMode::StartTls, &password, "method=PLAIN"),
        (dovecot.tls_port(), TlsMode::Implicit, &password, "method=PLAIN"),
        (dovecot.tls_port(), TlsMode::Implicit, &tokens, "method=OAUTHBEARER"),
        (dovecot.port(), TlsMode::StartTls, &xoauth2, "method=XOAUTH2"),
    ];
    let plan = |port, tls, auth: Auth<'_>| {
        let mut plan = plan_at(port, tls, auth);
        plan.imap.ca_pem = trusted(ca.pem_path());
        plan
    };
    for (number, (port, tls, auth, method)) in ways.into_iter().enumerate() {
        dovecot.deliver(&report(number));
        let before = dovecot.log().matches(method).count();
        let reading = Reading::begin(&house.mailbox(plan(port, tls, auth)));
        reading.until("the report to be read", |status| status.condition == "waiting").await;
        assert_eq!(house.kept().await.len(), number + 1);
        // Its log is written by another process than its answers.
        let until = Instant::now() + Duration::from_secs(60);
        while dovecot.log().matches(method).count() == before {
            assert!(Instant::now() < until, "{method}: {}", dovecot.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    // A token that has ended is replaced; one that never was good, a wrong password and a stranger's certificate are told.
    issuer.behave(Behaviour::Stale);
    let asked = issuer.count();
    for (auth, words) in [(&tokens as Auth<'_>, "OAUTHBEARER is answered NO"), (&xoauth2, "XOAUTH2 is answered NO")] {
        let reading = Reading::begin(&house.mailbox(plan(dovecot.tls_port(), TlsMode::Implicit, auth)));
        let status = reading.until("the refusal", |status| status.condition == "held").await;
        let reason = status.reason.unwrap();
        assert!(reason.contains(words) && !reason.contains("token-"), "{reason}");
    }
    assert_eq!(issuer.count() - asked, 4, "one other token each");
    let wrong = |port, tls| AuthPlan::new(USER, Secret::new("not it"), "localhost", port, tls);
    let reading = Reading::begin(&house.mailbox(plan(dovecot.tls_port(), TlsMode::Implicit, &wrong)));
    let status = reading.until("the refusal", |status| status.condition == "held").await;
    assert!(status.reason.is_some_and(|reason| reason.contains("PLAIN is answered NO") && reason.contains("check user name")), "told");
    let mut stranger = plan(dovecot.port(), TlsMode::StartTls, &password);
    stranger.imap.ca_pem = trusted(TestCa::new().pem_path());
    let reading = Reading::begin(&house.mailbox(stranger));
    let status = reading.until("the refusal", |status| status.condition == "held").await;
    assert!(status.reason.is_some_and(|reason| reason.contains("not trusted")), "told");
    let mut readable = plain(dovecot.port());
    readable.imap.auth = password(dovecot.port(), TlsMode::None);
    let reading = Reading::begin(&house.mailbox(readable));
    let status = reading.until("the refusal", |status| status.condition == "held").await;
    assert!(status.reason.is_some_and(|reason| reason.contains("would travel readable")), "told");
    let mut nowhere = plan(dovecot.tls_port(), TlsMode::Implicit, &password);
    nowhere.folder = "No such folder".to_owned();
    let reading = Reading::begin(&house.mailbox(nowhere));
    let status = reading.until("the refusal", |status| status.condition == "held").await;
    assert!(status.reason.is_some_and(|reason| reason.contains("check bounces.mailbox.folder")), "told");
}
