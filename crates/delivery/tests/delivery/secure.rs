//! Encryption and sign-in against the mail sink with certificates made here.

use crate::sessions::{Batch, deliver, plan, short_end};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _},
};
use std::{sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_delivery::{
    Secret,
    courier::SessionEnd,
    plan::{AuthMechanism, AuthPlan, RelayPlan, SmtpPlan, TlsMin, TlsMode, Way},
    probe,
};
use tidings_sink::{Extensions, Mechanism, Sink, SinkOptions};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem().into_bytes();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    /// A server with a certificate for `name`, valid until the end of the year `until`.
    fn server(&self, name: &str, until: i32) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 12, 31);
        self.server_with(params)
    }

    fn server_with(&self, params: CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

fn sink(options: SinkOptions) -> Sink {
    Sink::listen("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

fn secure(sink: &Sink, tls: TlsMode, authority: &Authority) -> SmtpPlan {
    SmtpPlan { host: "localhost".to_owned(), tls, ca_pem: Some(authority.pem.clone()), ..plan(sink.addr()) }
}

fn trouble(end: &SessionEnd) -> String {
    match end {
        SessionEnd::Trouble(trouble) => trouble.sentence(),
        other => panic!("no trouble: {other:?}"),
    }
}

#[tokio::test]
async fn letters_travel_encrypted_in_every_mode_that_asks_for_it() {
    let authority = authority();
    for (mode, implicit) in
        [(TlsMode::StartTls, false), (TlsMode::StartTlsWhenAvailable, false), (TlsMode::Auto, false), (TlsMode::Implicit, true)]
    {
        for min in [TlsMin::V1_2, TlsMin::V1_3] {
            let tls = Some(authority.server("localhost", 4000));
            let sink = sink(SinkOptions { tls, implicit_tls: implicit, ..SinkOptions::default() });
            let mut batch = Batch::letters(20);
            let end = deliver(SmtpPlan { tls_min: min, ..secure(&sink, mode, &authority) }, &mut batch).await;
            assert_eq!(end, SessionEnd::Done, "{mode:?}");
            assert_eq!(sink.count(), 20);
            assert!(sink.letters().iter().all(|letter| letter.tls), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn required_encryption_is_never_given_up() {
    let authority = authority();
    let plain = sink(SinkOptions::default());
    let mut batch = Batch::letters(1);
    let end = deliver(secure(&plain, TlsMode::StartTls, &authority), &mut batch).await;
    assert_eq!(short_end(&end), "tls tls");
    assert!(trouble(&end).contains("offers no STARTTLS"), "{end:?}");
    // Offered and broken is not the same as not offered.
    let wrong = sink(SinkOptions { tls: Some(authority.server("elsewhere.example.org", 4000)), ..SinkOptions::default() });
    let end = deliver(secure(&wrong, TlsMode::StartTlsWhenAvailable, &authority), &mut batch).await;
    assert_eq!(short_end(&end), "tls tls");
    assert_eq!((plain.count(), wrong.count(), batch.loads.len()), (0, 0, 1));
    // Only where it may, a session stays in clear text.
    deliver(secure(&plain, TlsMode::StartTlsWhenAvailable, &authority), &mut batch).await;
    assert_eq!(plain.count(), 1);
}

#[tokio::test]
async fn a_bad_certificate_is_explained_to_an_administrator() {
    let (ours, theirs) = (authority(), authority());
    for (server, words) in [
        (ours.server("localhost", 2001), ["expired on 2001-12-31", "renew"]),
        (ours.server("mail.example.org", 4000), ["made out to", "not to localhost"]),
        (theirs.server("localhost", 4000), ["not trusted here", "ca_file"]),
    ] {
        let sink = sink(SinkOptions { tls: Some(server), implicit_tls: true, ..SinkOptions::default() });
        let mut batch = Batch::letters(1);
        let end = deliver(secure(&sink, TlsMode::Implicit, &ours), &mut batch).await;
        assert_eq!(short_end(&end), "tls tls");
        let sentence = trouble(&end);
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
        assert_eq!((sink.count(), batch.loads.len()), (0, 1));
    }
}

#[tokio::test]
async fn the_name_that_the_certificate_carries_is_told() {
    let ours = authority();
    let sink = sink(SinkOptions { tls: Some(ours.server("mail.example.org", 4000)), implicit_tls: true, ..SinkOptions::default() });
    let sentence = trouble(&deliver(secure(&sink, TlsMode::Implicit, &ours), &mut Batch::letters(1)).await);
    assert!(sentence.contains("mail.example.org"), "{sentence}");
}

/// A certificate that ends so many days from now, and its server.
fn ending_in(authority: &Authority, days: i64) -> (Arc<ServerConfig>, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let until = std::time::SystemTime::now() + Duration::from_secs(u64::try_from(days).unwrap() * 86_400 + 3600);
    params.not_after = until.into();
    let day = tidings_core::Timestamp::try_from(until).unwrap().strftime("%Y-%m-%d").to_string();
    (authority.server_with(params), day)
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_named_in_the_dialogue_with_its_day() {
    let authority = authority();
    for (days, warned) in [(3, true), (13, true), (15, false), (90, false)] {
        let (tls, day) = ending_in(&authority, days);
        let sink = sink(SinkOptions { tls: Some(tls), ..SinkOptions::default() });
        let relay = RelayPlan::new("main", Way::Smtp(secure(&sink, TlsMode::StartTls, &authority)));
        let clock: Arc<dyn Clock> = Arc::new(crate::house::WallClock);
        let dialogue = probe(&relay, &clock).await.expect("a good certificate").to_string();
        let warning = dialogue.lines().find(|line| line.starts_with("* warning: "));
        assert_eq!(warning.is_some(), warned, "{days} days: {dialogue}");
        if let Some(warning) = warning {
            assert!(warning.contains(&format!("ends on {day}")) && warning.contains(&format!("in {days} days")), "{warning}");
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_is_shown_with_subject_issuer_and_dates() {
    let (ours, theirs) = (authority(), authority());
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "mx\u{7}.example.org");
    let sink = sink(SinkOptions { tls: Some(theirs.server_with(params)), implicit_tls: true, ..SinkOptions::default() });
    let sentence = trouble(&deliver(secure(&sink, TlsMode::Implicit, &ours), &mut Batch::letters(1)).await);
    assert!(
        sentence.contains("subject CN=mx?.example.org; issuer ") && sentence.contains("valid from ") && sentence.contains(" to 4096-01-01"),
        "{sentence}"
    );
}

/// The sink of a relay that lets nobody in without a certificate of `clients`.
fn demanding(authority: &Authority, clients: &Authority) -> Sink {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(&clients.pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(vec![certificate.der().clone()], key).unwrap();
    sink(SinkOptions { tls: Some(Arc::new(config)), ..SinkOptions::default() })
}

#[tokio::test]
async fn our_own_certificate_is_shown_to_who_asks_for_it() {
    let (authority, clients, others) = (authority(), authority(), authority());
    let sink = demanding(&authority, &clients);
    let identity = |issuer: &Authority| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["tidings.example.org".to_owned()]).unwrap().signed_by(&key, &issuer.issuer).unwrap();
        Some((certificate.pem().into_bytes(), Secret::new(key.serialize_pem())))
    };
    let plan = |client_identity| SmtpPlan { client_identity, ..secure(&sink, TlsMode::StartTls, &authority) };
    for (client_identity, wanted) in [(identity(&clients), true), (None, false), (identity(&others), false)] {
        let mut batch = Batch::letters(2);
        let end = deliver(plan(client_identity), &mut batch).await;
        assert_eq!(end == SessionEnd::Done, wanted, "{end:?}");
        if !wanted {
            assert_eq!((trouble(&end).contains("client_cert_file"), batch.loads.len()), (true, 2), "{end:?}");
        }
    }
    assert!(sink.count() == 2 && sink.letters().iter().all(|letter| letter.client_certificate));
}

#[tokio::test]
async fn a_relay_below_the_lowest_version_is_not_spoken_to() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let old = builder.with_protocol_versions(&[&rustls::version::TLS12]).unwrap().with_no_client_auth();
    let old = old.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let sink = sink(SinkOptions { tls: Some(Arc::new(old)), ..SinkOptions::default() });
    let mut batch = Batch::letters(1);
    let plan = secure(&sink, TlsMode::StartTls, &authority);
    let end = deliver(SmtpPlan { tls_min: TlsMin::V1_3, ..plan.clone() }, &mut batch).await;
    assert!(trouble(&end).contains("tls_min") && batch.loads.len() == 1, "{end:?}");
    assert_eq!(deliver(plan, &mut batch).await, SessionEnd::Done);
}

#[tokio::test]
async fn tls_towards_a_port_that_speaks_clear_text_is_explained() {
    let ours = authority();
    let sink = sink(SinkOptions::default());
    let end = deliver(secure(&sink, TlsMode::Implicit, &ours), &mut Batch::letters(1)).await;
    assert!(trouble(&end).contains("starttls"), "{end:?}");
}

fn with_users(mechanisms: Vec<Mechanism>, tls: Option<Arc<ServerConfig>>) -> SinkOptions {
    let users = [("ada".to_owned(), "s3cret ü".to_owned())].into();
    SinkOptions { users, mechanisms, tls, require_auth: true, ..SinkOptions::default() }
}

fn signed_in(plan: SmtpPlan, password: &str, change: impl FnOnce(AuthPlan) -> AuthPlan) -> SmtpPlan {
    let auth = AuthPlan::new("ada", Secret::new(password), &plan.host, plan.port, plan.tls);
    SmtpPlan { auth: Some(change(auth)), ..plan }
}

#[tokio::test]
async fn plain_and_login_sign_in_with_what_is_offered() {
    let ours = authority();
    for (offered, wanted) in [
        (vec![Mechanism::Plain, Mechanism::Login], AuthMechanism::Auto),
        (vec![Mechanism::Login], AuthMechanism::Auto),
        (vec![Mechanism::Plain, Mechanism::Login], AuthMechanism::Login),
        (vec![Mechanism::Plain], AuthMechanism::Plain),
    ] {
        let sink = sink(with_users(offered, Some(ours.server("localhost", 4000))));
        let plan = signed_in(secure(&sink, TlsMode::StartTls, &ours), "s3cret ü", |auth| auth.mechanism(wanted));
        let end = deliver(plan, &mut Batch::letters(3)).await;
        assert_eq!(end, SessionEnd::Done);
        assert!(sink.letters().iter().all(|letter| letter.user.as_deref() == Some("ada")));
        assert_eq!(sink.count(), 3);
    }
}

#[tokio::test]
async fn a_long_password_is_sent_in_a_second_step() {
    let long = "p".repeat(600);
    let users = [("ada".to_owned(), long.clone())].into();
    let sink = sink(SinkOptions { users, require_auth: true, ..SinkOptions::default() });
    let plan = signed_in(plan(sink.addr()), &long, |auth| auth.allow_cleartext(true).mechanism(AuthMechanism::Plain));
    deliver(plan, &mut Batch::letters(1)).await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn a_password_is_not_sent_readable_unless_allowed_by_name() {
    let sink = sink(with_users(vec![Mechanism::Plain], None));
    let end = deliver(signed_in(plan(sink.addr()), "s3cret ü", |auth| auth), &mut Batch::letters(1)).await;
    assert_eq!(short_end(&end), "configuration auth");
    assert!(trouble(&end).contains("allow_cleartext"), "{end:?}");
    assert_eq!(sink.statistics().refused_sign_ins, 0, "it was not even tried");
    let end = deliver(signed_in(plan(sink.addr()), "s3cret ü", |auth| auth.allow_cleartext(true)), &mut Batch::letters(1)).await;
    assert_eq!((end, sink.count()), (SessionEnd::Done, 1));
}

#[tokio::test]
async fn a_wrong_password_is_the_relays_trouble_and_stands_in_no_text() {
    let ours = authority();
    let sink = sink(with_users(vec![Mechanism::Plain, Mechanism::Login], Some(ours.server("localhost", 4000))));
    for mechanism in [AuthMechanism::Plain, AuthMechanism::Login] {
        let plan = signed_in(secure(&sink, TlsMode::StartTls, &ours), "hunter2", |auth| auth.mechanism(mechanism));
        assert!(!format!("{plan:?}").contains("hunter2"));
        let relay = RelayPlan::new("main", Way::Smtp(plan.clone()));
        let mut batch = Batch::letters(1);
        let end = deliver(plan, &mut batch).await;
        assert_eq!((short_end(&end).as_str(), batch.loads.len()), ("auth auth", 1));
        let clock: Arc<dyn Clock> = Arc::new(tidings_core::testing::FixedClock::at("2026-11-21T09:00:00Z"));
        let (trouble, dialogue) = probe(&relay, &clock).await.unwrap_err();
        let text = format!("{trouble:?}\n{dialogue}");
        assert!(text.contains("535") && text.contains("password"), "{text}");
        // Neither readable nor in the form it has on the wire.
        for secret in ["hunter2", "aHVudGVyMg", "AGFkYQBodW50ZXIy"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn credentials_do_not_travel_to_another_relay() {
    let sink = sink(with_users(vec![Mechanism::Plain], None));
    let plan = plan(sink.addr());
    let auth = AuthPlan::new("ada", Secret::new("s3cret ü"), "other.example.org", plan.port, plan.tls).allow_cleartext(true);
    let end = deliver(SmtpPlan { auth: Some(auth), ..plan }, &mut Batch::letters(1)).await;
    assert_eq!(short_end(&end), "configuration auth");
    assert_eq!(sink.count(), 0);
}

#[tokio::test]
async fn a_relay_without_sign_in_is_a_matter_of_configuration() {
    let extensions = Extensions { auth: false, ..Extensions::ALL };
    let sink = sink(SinkOptions { extensions, ..SinkOptions::default() });
    let end = deliver(signed_in(plan(sink.addr()), "x", |auth| auth.allow_cleartext(true)), &mut Batch::letters(1)).await;
    assert!(trouble(&end).contains("offers no sign-in"), "{end:?}");
}
