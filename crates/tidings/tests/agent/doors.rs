//! Who may post, which files are taken, and what is said of the others.

use std::fs;

use serde_json::{Value, json};
use tidings_testkit::certs::{CertFiles, TestCa, Validity};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::house::events::test_letter;
use crate::house::mail::Mail;
use crate::house::{STRUCTURED, tidings};
use crate::small_house::{Agent, PAGE};

/// Status and body of a request over TLS; nothing if the connection came to none.
fn ask(ca: &TestCa, identity: Option<&CertFiles>, method: &str, url: &str, token: Option<&str>, body: &Value) -> Option<(u16, String)> {
    let pem = |path: &std::path::Path| fs::read(path).expect("our own file");
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem(ca.pem_path())).expect("a certificate")]);
    let identity = identity.map(|files| {
        let chain = [Certificate::from_pem(&pem(&files.cert_pem)).expect("a certificate").to_owned()];
        ClientCert::new_with_certs(&chain, PrivateKey::from_pem(&pem(&files.key_pem)).expect("a key"))
    });
    let tls = TlsConfig::builder().root_certs(roots).client_cert(identity).build();
    let config = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(crate::house::PATIENCE)).http_status_as_error(false);
    let agent: ureq::Agent = config.proxy(None).build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url).header("Content-Type", STRUCTURED);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut reply = agent.run(request.body(body.to_string()).expect("a request")).ok()?;
    Some((reply.status().as_u16(), reply.body_mut().read_to_string().expect("a text")))
}

#[test]
fn with_mutual_tls_only_the_servers_certificate_posts_and_readers_need_none() {
    let (mail, ca, strangers) = (Mail::open(), TestCa::new(), TestCa::new());
    let certificate = ca.issue("localhost", Validity::Good);
    let mut agent = Agent::furnish(mail.addr().port(), |settings| {
        let ours = &mut settings["Tidings"];
        ours["TlsCertFile"] = json!(certificate.cert_pem);
        ours["TlsKeyFile"] = json!(certificate.key_pem);
        ours["ClientCaFile"] = json!(ca.pem_path());
        ours["ClientNames"] = json!(["idm.nordwind.example"]);
    });
    let token = agent.create_token("admin");
    let url = agent.url.replace("http://127.0.0.1", "https://localhost");
    agent.serve_tls(|| ask(&ca, None, "GET", &format!("{url}/readyz"), None, &json!({})).is_some_and(|(status, _)| status == 200));
    let (server, other) = (ca.issue_client("idm.nordwind.example", Validity::Good), ca.issue_client("other.example", Validity::Good));
    let expired = ca.issue_client("idm.nordwind.example", Validity::Expired);
    let forged = strangers.issue_client("idm.nordwind.example", Validity::Good);
    let post = |id: &str, identity: Option<&CertFiles>, token: Option<&str>| {
        ask(&ca, identity, "POST", &format!("{url}/v1/events"), token, &test_letter(id, "ada@example.org")).map(|(status, _)| status)
    };
    assert_eq!(post("1", Some(&server), None), Some(202));
    assert_eq!(post("2", None, Some(&token)), Some(403), "a token alone is not enough");
    assert_eq!(post("3", Some(&other), None), Some(403));
    assert_eq!(post("4", Some(&forged), None), None);
    assert_eq!(post("5", Some(&expired), None), None);
    let page = ask(&ca, None, "GET", &format!("{url}{PAGE}"), None, &json!({}));
    assert_eq!(page.map(|(status, text)| (status, text.contains("<h1>This link is not valid</h1>"))), Some((400, true)));
    mail.letter_to("ada@example.org");
    assert_eq!(agent.json(&["outbox", "list"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn whoever_has_no_token_or_one_of_another_scope_posts_nothing() {
    let mut agent = Agent::start(9, |_| {});
    let event = test_letter("1", "ada@example.org");
    agent.token = agent.create_token("outbox:read");
    assert_eq!(agent.post(&event).status, 403);
    agent.token = "tid_".to_owned() + &"0".repeat(64);
    assert_eq!(agent.post(&event).status, 401);
}

#[test]
fn an_agent_that_others_reach_and_nobody_may_post_to_does_not_start() {
    let agent = Agent::furnish(9, |settings| settings["Tidings"]["Listen"] = json!("0.0.0.0:0"));
    let refused = agent.command(&["agent"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(refused.stderr.contains("nobody is known who may post events: set ClientCaFile, or make a token"), "{}", refused.stderr);
}

#[test]
fn every_problem_of_the_file_is_told_at_once_and_each_command_knows_its_file() {
    let agent = Agent::furnish(9, |settings| {
        settings["PasswordResetSettings"]["TokenBuildingSettings"] = json!({"ValidFor": "soon"});
        settings["Tidings"]["Lisen"] = json!("127.0.0.1:1");
    });
    for arguments in [["check"].as_slice(), &["agent"], &["outbox", "list"]] {
        let refused = agent.command(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        for said in [".ValidFor: `soon` is not of the form HH:mm:ss", "Tidings.Lisen: there is no such key; did you mean `Listen`?"] {
            assert!(refused.stderr.lines().any(|line| line.contains("appsettings.json:") && line.contains(said)), "{}", refused.stderr);
        }
    }
    let sound = Agent::furnish(9, |_| {});
    let checked = sound.command(&["check"]);
    assert!(checked.status.success() && checked.stdout.contains("no problem"), "{} {}", checked.stdout, checked.stderr);
    let served = sound.run(tidings().args(["serve".into(), "-c".into(), sound.path("appsettings.json")]));
    assert_eq!(served.status.code(), Some(2));
    assert!(served.stderr.contains("tidings agent --appsettings"), "{}", served.stderr);
    fs::write(sound.path("tidings.toml"), "[[relay]]\nname = \"a\"\nhost = \"h\"\nfrom = \"a@example.org\"\n").expect("our own folder");
    let agent = sound.run(tidings().args(["agent".into(), "--appsettings".into(), sound.path("tidings.toml")]));
    assert_eq!(agent.status.code(), Some(2));
    assert!(agent.stderr.contains("its name ends in .json"), "{}", agent.stderr);
}
