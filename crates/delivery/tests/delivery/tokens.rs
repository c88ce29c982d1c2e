//! Access tokens against the test issuer: who asks, how often, and what a relay's sessions make of an endpoint that is wrong, slow or gone.

use crate::{
    house::WallClock,
    sessions::{Batch, plan, short_end, short_timeouts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{path::Path, sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_delivery::{
    Secret,
    courier::{RelayTrouble, SessionEnd, TroubleKind},
    oauth::{ClientKey, ClientProof, Grant, KeyAlgorithm, TokenPlan},
    plan::{AuthPlan, Limits, RelayPlan, SmtpPlan, Way},
    probe,
    smtp::SmtpCourier,
};
use tidings_testkit::{
    certs::{TestCa, Validity},
    folder::Folder,
    issuer::{Behaviour, Issuer},
    process::{Program, installed},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

const SECRET: &str = "client s&cret+";

/// A relay that knows XOAUTH2 and takes the tokens that `right` takes; the others get Google's refusal.
async fn relay(right: impl Fn(&str) -> bool + Send + Sync + 'static) -> SmtpPlan {
    relay_that_says("535 5.7.3 Authentication unsuccessful", right).await
}

async fn relay_that_says(refusal: &'static str, right: impl Fn(&str) -> bool + Send + Sync + 'static) -> SmtpPlan {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plan = plan(listener.local_addr().unwrap());
    let right = Arc::new(right);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let right = Arc::clone(&right);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut answer = "220 relay\r\n".to_owned();
                let mut awaits = "";
                while stream.write_all(answer.as_bytes()).await.is_ok() {
                    let mut line = String::new();
                    if !matches!(stream.read_line(&mut line).await, Ok(n) if n > 0) {
                        return;
                    }
                    let line = line.trim_end();
                    let said = |line: &str| {
                        let opening = STANDARD.decode(line).unwrap_or_default();
                        let opening = String::from_utf8(opening).unwrap_or_default();
                        let token = opening.strip_prefix("user=post\x01auth=Bearer ").and_then(|rest| rest.strip_suffix("\x01\x01"));
                        token.is_some_and(|token| right(token))
                    };
                    answer = match (std::mem::take(&mut awaits), line) {
                        ("token", line) if said(line) => "235 2.7.0 ok\r\n".to_owned(),
                        ("token", _) => {
                            awaits = "empty";
                            // {"status":"401","schemes":"bearer"}
                            "334 eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIn0=\r\n".to_owned()
                        }
                        ("empty", "") => format!("{refusal}\r\n"),
                        ("empty", _) => "501 5.5.2 that is not an empty line\r\n".to_owned(),
                        (_, line) if line.starts_with("EHLO") => "250-relay\r\n250 AUTH XOAUTH2\r\n".to_owned(),
                        (_, "AUTH XOAUTH2") => {
                            awaits = "token";
                            "334 \r\n".to_owned()
                        }
                        (_, "DATA") => {
                            awaits = "dot";
                            "354 go\r\n".to_owned()
                        }
                        ("dot", ".") => "250 2.0.0 taken\r\n".to_owned(),
                        ("dot", _) => {
                            awaits = "dot";
                            String::new()
                        }
                        _ => "250 ok\r\n".to_owned(),
                    };
                }
            });
        }
    });
    plan
}

fn by_secret(issuer: &Issuer, secret: &str) -> TokenPlan {
    TokenPlan::new(issuer.token_url(), "tidings", ClientProof::SecretInBody(Secret::new(secret)))
}

fn with(plan: &SmtpPlan, tokens: TokenPlan) -> SmtpPlan {
    let auth = AuthPlan::with_tokens("post", tokens, &plan.host, plan.port, plan.tls).allow_cleartext(true);
    SmtpPlan { auth: Some(auth), ..plan.clone() }
}

fn courier(plan: &SmtpPlan, tokens: TokenPlan) -> SmtpCourier {
    let clock: Arc<dyn Clock> = Arc::new(WallClock);
    SmtpCourier::new(with(plan, tokens), Limits::default(), short_timeouts()).with_clock(&clock)
}

async fn send(courier: &SmtpCourier) -> SessionEnd {
    crate::sessions::run(courier, &mut Batch::letters(1)).await
}

async fn trouble(courier: &SmtpCourier) -> RelayTrouble {
    match send(courier).await {
        SessionEnd::Trouble(trouble) => trouble,
        end => panic!("no trouble: {end:?}"),
    }
}

fn issuer() -> Issuer {
    Issuer::builder().client("tidings", SECRET).start()
}

#[tokio::test]
async fn all_sessions_share_one_token_and_one_flight() {
    let issuer = Arc::new(issuer());
    issuer.behave(Behaviour::Slow(Duration::from_millis(300)));
    let known = Arc::clone(&issuer);
    let relay = relay(move |token| known.tokens().iter().any(|issued| issued == token)).await;
    let courier = Arc::new(courier(&relay, by_secret(&issuer, SECRET).scope("mail")));
    let sessions = (0..8).map(|_| {
        let courier = Arc::clone(&courier);
        tokio::spawn(async move { send(&courier).await })
    });
    for session in sessions.collect::<Vec<_>>() {
        assert_eq!(session.await.unwrap(), SessionEnd::Done);
    }
    assert_eq!(send(&courier).await, SessionEnd::Done);
    let requests = issuer.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].form["client_secret"].as_str(), requests[0].form["scope"].as_str()), (SECRET, "mail"));
}

#[tokio::test]
async fn a_client_proves_itself_by_basic_too() {
    let issuer = issuer();
    let tokens = TokenPlan::new(issuer.token_url(), "tidings", ClientProof::SecretByBasic(Secret::new(SECRET)));
    assert_eq!(send(&courier(&relay(|_| true).await, tokens)).await, SessionEnd::Done);
    let request = &issuer.requests()[0];
    assert!(request.authorization.is_some() && !request.form.contains_key("client_secret") && !request.form.contains_key("client_id"));
}

fn rsa_key(folder: &Folder) -> std::path::PathBuf {
    let path = folder.join("rsa.pem");
    let arguments = ["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "rsa.pem"];
    let ended = Program::new(installed("openssl", "openssl")).args(arguments).run(folder.path(), Duration::from_secs(60));
    assert!(ended.status.success(), "{}", ended.stderr);
    path
}

fn key(pem: &Path, certificate: Option<&Path>, algorithm: KeyAlgorithm) -> ClientProof {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let certificate_pem = certificate.map(|path| read(path).into_bytes());
    ClientProof::Key(Box::new(ClientKey { pem: Secret::new(read(pem)), certificate_pem, id: None, algorithm }))
}

#[tokio::test]
async fn a_client_proves_itself_by_signed_assertions_of_every_kind() {
    let (ca, folder) = (TestCa::new(), Folder::new("keys"));
    let p256 = ca.issue_client("tidings", Validity::Good);
    let rsa = rsa_key(&folder);
    let issuer = Issuer::builder()
        .key_client("curve", &p256.key_pem, Some(&p256.cert_pem))
        .key_client("rsa", &rsa, None)
        .key_client("with-certificate", &rsa, Some(&p256.cert_pem))
        .scope("https://mail.google.com/")
        .start();
    let relay = relay(|_| true).await;
    for (client, algorithm, certificate, grant, written, thumbprint) in [
        ("curve", KeyAlgorithm::ByKey, true, Grant::ClientCredentials, "ES256", "x5t#S256"),
        ("rsa", KeyAlgorithm::ByKey, false, Grant::ClientCredentials, "RS256", ""),
        ("rsa", KeyAlgorithm::Ps256, false, Grant::JwtBearer, "PS256", ""),
        ("with-certificate", KeyAlgorithm::Rs256, true, Grant::JwtBearer, "RS256", "x5t"),
    ] {
        let pem = if client == "curve" { &p256.key_pem } else { &rsa };
        let proof = key(pem, certificate.then_some(p256.cert_pem.as_path()), algorithm);
        let tokens = TokenPlan::new(issuer.token_url(), client, proof).grant(grant).scope("https://mail.google.com/");
        assert_eq!(send(&courier(&relay, tokens)).await, SessionEnd::Done, "{client} {written}");
        let request = issuer.requests().pop().unwrap();
        let (header, claims) = request.assertion.unwrap();
        assert_eq!(header["alg"], written);
        assert_eq!(header.as_object().unwrap().keys().find(|name| name.starts_with("x5t")).map_or("", |name| name), thumbprint);
        assert_eq!(claims["sub"], if grant == Grant::JwtBearer { "post" } else { client });
    }
    // The issuer knows another key for this one.
    let stranger =
        TokenPlan::new(issuer.token_url(), "rsa", key(&p256.key_pem, None, KeyAlgorithm::ByKey)).scope("https://mail.google.com/");
    let trouble = trouble(&courier(&relay, stranger)).await;
    assert_eq!(trouble.kind, TroubleKind::Configuration);
    assert!(trouble.what.contains("invalid_client") && trouble.hint.unwrap().contains("certificate may not be registered"));
}

#[tokio::test]
async fn the_endpoint_is_trusted_by_its_own_authority_only() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let issuer = Issuer::builder().certificate(&ca.issue("localhost", Validity::Good)).client("tidings", SECRET).start();
    let relay = relay(|_| true).await;
    let pem = |ca: &TestCa| std::fs::read(ca.pem_path()).unwrap();
    assert_eq!(send(&courier(&relay, by_secret(&issuer, SECRET).ca_pem(pem(&ca)))).await, SessionEnd::Done);
    for tokens in [by_secret(&issuer, SECRET).ca_pem(pem(&other)), by_secret(&issuer, SECRET)] {
        let trouble = trouble(&courier(&relay, tokens)).await;
        assert_eq!(trouble.kind, TroubleKind::Tls, "{trouble}");
        assert!(trouble.sentence().contains("auth.oauth2.ca_file"), "{}", trouble.sentence());
    }
    assert_eq!(issuer.count(), 1, "nothing was sent to who could not be trusted");
    let rubbish = trouble(&courier(&relay, by_secret(&issuer, SECRET).ca_pem(b"rubbish".to_vec()))).await;
    assert_eq!(rubbish.kind, TroubleKind::Configuration);
}

#[tokio::test]
async fn what_is_wrong_with_the_endpoint_is_told_apart() {
    let issuer = issuer();
    let relay = relay(|_| true).await;
    let says = |status, headers: &[&str], body: &str| Behaviour::Says {
        status,
        headers: headers.iter().map(|header| (*header).to_owned()).collect(),
        body: body.to_owned(),
    };
    let elsewhere = format!("Location: {}", issuer.introspection_url());
    for (behaviour, wanted, words) in [
        (says(500, &[], "oops"), "unreachable auth", "HTTP 500"),
        (says(503, &["Retry-After: 3"], "{}"), "unreachable auth", "HTTP 503"),
        (says(200, &[], "<html>hotspot</html>"), "unreachable auth", "not JSON"),
        (says(200, &[], "{}"), "configuration auth", "without an access_token"),
        (says(200, &[], r#"{"access_token":"a","token_type":"mac"}"#), "configuration auth", "not Bearer"),
        (says(200, &[], &"x".repeat(1_000_000)), "configuration auth", "far more than a token"),
        (says(307, &[&elsewhere], ""), "configuration auth", "redirects"),
        (says(404, &[], "<html>"), "configuration auth", "no token endpoint"),
        (Behaviour::HangsUp, "unreachable auth", "token endpoint localhost"),
    ] {
        issuer.behave(behaviour);
        let end = send(&courier(&relay, by_secret(&issuer, SECRET))).await;
        assert_eq!(short_end(&end), wanted, "{end:?}");
        assert!(format!("{end:?}").contains(words), "{end:?} does not say {words}");
    }
    assert_eq!(issuer.introspections(), 0, "a redirect is not followed");
    issuer.behave(Behaviour::Good);
    let wrong = trouble(&courier(&relay, by_secret(&issuer, "wrong"))).await;
    assert_eq!(wrong.kind, TroubleKind::Configuration);
    assert!(wrong.what.contains("invalid_client") && wrong.hint.unwrap().contains("the secret may have expired"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = TokenPlan::new(format!("http://{nobody}/token"), "tidings", ClientProof::SecretInBody(Secret::new(SECRET)));
    assert_eq!(trouble(&courier(&relay, gone)).await.kind, TroubleKind::Unreachable);
    let unsafe_url = TokenPlan::new("http://login.example.org/token", "tidings", ClientProof::SecretInBody(Secret::new(SECRET)));
    assert!(trouble(&courier(&relay, unsafe_url)).await.what.contains("not https"));
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_it() {
    let issuer = issuer();
    let courier = courier(&relay(|_| true).await, by_secret(&issuer, SECRET));
    issuer.behave(Behaviour::Says { status: 429, headers: vec!["Retry-After: 600".to_owned()], body: String::new() });
    let first = trouble(&courier).await;
    issuer.behave(Behaviour::Good);
    assert_eq!((trouble(&courier).await, issuer.count()), (first, 1));
}

#[tokio::test]
async fn a_slow_endpoint_meets_its_deadline_and_all_waiting_sessions_hear_of_it() {
    let issuer = issuer();
    issuer.behave(Behaviour::Slow(Duration::from_secs(60)));
    let mut timeouts = short_timeouts();
    timeouts.command = Duration::from_secs(2);
    let relay = relay(|_| true).await;
    let courier = Arc::new(SmtpCourier::new(with(&relay, by_secret(&issuer, SECRET)), Limits::default(), timeouts));
    let begun = std::time::Instant::now();
    let sessions: Vec<_> = (0..4)
        .map(|_| {
            let courier = Arc::clone(&courier);
            tokio::spawn(async move { trouble(&courier).await })
        })
        .collect();
    for session in sessions {
        let trouble = session.await.unwrap();
        assert!(trouble.kind == TroubleKind::Unreachable && trouble.what.contains("does not answer in time"), "{trouble}");
    }
    assert!(begun.elapsed() < Duration::from_secs(40) && issuer.count() < 4, "{:?}, {} requests", begun.elapsed(), issuer.count());
}

#[tokio::test]
async fn a_token_that_the_relay_no_longer_takes_is_renewed_once_on_the_spot() {
    let issuer = Arc::new(issuer());
    let alive = Arc::clone(&issuer);
    // Takes the newest token only, as if the others had been revoked.
    let relay = relay(move |token| alive.tokens().last().is_some_and(|last| last == token)).await;
    let one = courier(&relay, by_secret(&issuer, SECRET));
    let other = courier(&relay, by_secret(&issuer, SECRET));
    assert_eq!(send(&one).await, SessionEnd::Done);
    assert_eq!(send(&other).await, SessionEnd::Done, "its token ends the first one's");
    assert_eq!(issuer.count(), 2);
    assert_eq!(send(&one).await, SessionEnd::Done);
    assert_eq!(issuer.count(), 3);
    assert_eq!(send(&one).await, SessionEnd::Done);
    assert_eq!(issuer.count(), 3, "the new one is kept");
}

#[tokio::test]
async fn a_relay_that_refuses_fresh_tokens_is_held_and_not_hammered() {
    let issuer = issuer();
    let courier = courier(&relay(|_| false).await, by_secret(&issuer, SECRET));
    let first = trouble(&courier).await;
    assert_eq!((first.kind, first.stage.to_string().as_str()), (TroubleKind::Auth, "auth"));
    assert!(first.what.contains("535 5.7.3") && first.what.contains("status 401, schemes bearer"), "{first}");
    assert_eq!(issuer.count(), 2, "one refresh");
    trouble(&courier).await;
    assert_eq!(issuer.count(), 3, "a probe asks for one token, not two");
}

#[tokio::test]
async fn where_signing_in_is_switched_off_no_other_token_is_tried() {
    let issuer = issuer();
    let refusal = "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant";
    let courier = courier(&relay_that_says(refusal, |_| false).await, by_secret(&issuer, SECRET));
    assert_eq!(trouble(&courier).await.kind, TroubleKind::Auth);
    assert_eq!(issuer.count(), 1);
}

#[tokio::test]
async fn neither_secret_nor_token_stands_in_what_is_shown() {
    let issuer = issuer();
    for taken in [true, false] {
        let relay = relay(move |_| taken).await;
        let plan = RelayPlan::new("main", Way::Smtp(with(&relay, by_secret(&issuer, SECRET))));
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let shown = match probe(&plan, &clock).await {
            Ok(dialogue) => format!("{dialogue}{plan:?}"),
            Err((trouble, dialogue)) => format!("{trouble:?}\n{dialogue}{plan:?}"),
        };
        assert!(shown.contains("* access token from localhost:") && shown.contains("> AUTH XOAUTH2\n< 334"), "{shown}");
        assert!(taken || shown.contains("> (an empty line)"), "{shown}");
        for token in issuer.tokens() {
            let opening = STANDARD.encode(format!("user=post\x01auth=Bearer {token}"));
            assert!(!shown.contains(&token[..20]) && !shown.contains(&opening[..40]), "{shown}");
        }
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
