//! Certificates of clients: who is let in by one, and whose tokens are not enough.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::routing::{get, post};
use axum::{Extension, Router};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd};
use tidings_web::{
    ClientCheck, ConnectionLimits, GateLimits, Grant, KeeperError, Scope, ScopeSet, TlsFiles, TokenDigest, TokenGate, TokenKeeper, mint,
};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::house::{DEADLINE, House, a_surface};

struct OneToken(TokenDigest);

#[async_trait]
impl TokenKeeper for OneToken {
    async fn find(&self, digest: &TokenDigest) -> Result<Option<Grant>, KeeperError> {
        let scopes = ScopeSet::from_iter([Scope::Admin]);
        Ok((*digest == self.0).then(|| Grant { name: "root".to_owned(), scopes, expires: None }))
    }
}

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn found(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    /// A certificate for this name and use, and its key.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose, until: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Status and text of a request; nothing if the connection came to none.
fn ask(
    url: String,
    roots: String,
    identity: Option<(String, String)>,
    method: &'static str,
    token: Option<String>,
) -> Option<(u16, String)> {
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(roots.as_bytes()).unwrap()]);
    let identity = identity.map(|(certificate, key)| {
        let chain = [Certificate::from_pem(certificate.as_bytes()).unwrap().to_owned()];
        ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key.as_bytes()).unwrap())
    });
    let tls = TlsConfig::builder().root_certs(roots).client_cert(identity).build();
    let config = ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(DEADLINE)).http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut reply = agent.run(request.body(()).unwrap()).ok()?;
    Some((reply.status().as_u16(), reply.body_mut().read_to_string().unwrap()))
}

#[tokio::test]
async fn a_certificate_that_counts_opens_the_door_for_events_and_a_token_alone_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::found("ours"), Authority::found("theirs"));
    let (server, server_key) = ours.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, 2099);
    let client = |authority: &Authority, name: &str, until| Some(authority.issue(name, ExtendedKeyUsagePurpose::ClientAuth, until));
    let files = TlsFiles {
        cert: written(folder.path(), "cert.pem", &server),
        key: written(folder.path(), "key.pem", &server_key),
        clients: Some(ClientCheck { ca: written(folder.path(), "ca.pem", &ours.1), names: vec!["idm.example.org".to_owned()] }),
    };
    let (token, digest) = mint([1; 32]);
    let gate = TokenGate::new(Arc::new(OneToken(digest)), SystemTime::now, GateLimits { remember_for: Duration::ZERO, remembered: 0 });
    let gate = gate.with_certificates();
    let router = Router::new()
        .route(
            "/v1/events",
            post(async |Extension(grant): Extension<Arc<Grant>>| grant.name.clone()).layer(gate.require(Scope::EventsWrite)),
        )
        .route("/v1/outbox", get(async || "items").layer(gate.require(Scope::OutboxRead)))
        .route("/page", get(async || "a page"));
    let house = House::open_with(a_surface().over(router), ConnectionLimits::default(), Some(&files)).await;
    let origin = format!("https://localhost:{}", house.addr.port());
    let roots = ours.1.clone();
    let said = async |path: &str, identity: Option<(String, String)>, token: Option<&str>| {
        let (url, roots, token) = (format!("{origin}{path}"), roots.clone(), token.map(str::to_owned));
        let method = if path == "/v1/events" { "POST" } else { "GET" };
        tokio::task::spawn_blocking(move || ask(url, roots, identity, method, token)).await.unwrap()
    };

    let right = || client(&ours, "idm.example.org", 2099);
    assert_eq!(said("/v1/events", right(), None).await, Some((200, "certificate:idm.example.org".to_owned())));
    assert_eq!(said("/v1/events", right(), Some(&token)).await, Some((200, "root".to_owned())));
    let wrong_token = "tid_".to_owned() + &"0".repeat(64);
    assert_eq!(said("/v1/events", right(), Some(&wrong_token)).await.unwrap().0, 401, "a wrong token is not made good by a certificate");
    assert_eq!(said("/v1/outbox", right(), None).await.unwrap().0, 401, "a certificate lets in events and nothing else");
    assert_eq!(said("/v1/outbox", right(), Some(&token)).await, Some((200, "items".to_owned())));

    let (status, text) = said("/v1/events", None, Some(&token)).await.unwrap();
    assert!(status == 403 && text.contains("client-certificate"), "{status} {text}");
    let (status, text) = said("/v1/events", client(&ours, "other.example.org", 2099), Some(&token)).await.unwrap();
    assert!(status == 403 && text.contains("`other.example.org`"), "{status} {text}");
    assert_eq!(said("/v1/events", client(&theirs, "idm.example.org", 2099), Some(&token)).await, None, "nobody vouches for it");
    assert_eq!(said("/v1/events", client(&ours, "idm.example.org", 2021), Some(&token)).await, None, "it has expired");
    let of_a_server = Some(ours.issue("idm.example.org", ExtendedKeyUsagePurpose::ServerAuth, 2099));
    assert_eq!(said("/v1/events", of_a_server, Some(&token)).await, None, "it is for servers");
    assert_eq!(said("/page", None, None).await, Some((200, "a page".to_owned())), "people need none");
}
