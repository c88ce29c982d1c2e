//! TLS: STARTTLS, implicit, what is forgotten, what is refused.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidings_sink::{Fault, Sink, SinkOptions, Stage, TlsFileError, What, When, server_tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, a_sink};

fn a_certificate() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap();
    (Arc::new(config), made.cert.der().clone())
}

async fn shake_hands(stream: TcpStream, trusted: &CertificateDer<'static>) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    Ok(Client::over(connector.connect("localhost".try_into().unwrap(), stream).await?))
}

#[tokio::test]
async fn starttls_encrypts_and_everything_before_is_forgotten() {
    let (tls, trusted) = a_certificate();
    let users = [("ada".to_owned(), "x".to_owned())].into();
    let options = SinkOptions { tls: Some(tls), require_tls: true, users, auth_needs_tls: true, ..SinkOptions::default() };
    let sink = a_sink(options);
    let mut client = Client::greeted(&sink).await;
    let reply = client.ask("EHLO c", "250-").await;
    assert!(reply.contains("STARTTLS") && !reply.contains("AUTH"));
    client.ask("MAIL FROM:<a@example.org>", "530 5.7.0").await;
    client.ask("AUTH PLAIN AGFkYQB4", "530 5.7.0").await;
    client.ask("STARTTLS", "220 2.0.0").await;
    let mut client = shake_hands(client.stream, &trusted).await.unwrap();
    client.ask("MAIL FROM:<a@example.org>", "503 5.5.1").await;
    let reply = client.ask("EHLO c2", "250-").await;
    assert!(!reply.contains("STARTTLS") && reply.contains("AUTH PLAIN LOGIN"));
    client.ask("STARTTLS", "503 ").await;
    client.ask("AUTH PLAIN AGFkYQB4", "235 ").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    let letter = &sink.letters()[0];
    assert_eq!((letter.tls, letter.helo.as_str(), letter.user.as_deref(), letter.client_certificate), (true, "c2", Some("ada"), false));
}

#[tokio::test]
async fn commands_sent_behind_starttls_are_thrown_away_with_the_session() {
    let (tls, _) = a_certificate();
    let sink = a_sink(SinkOptions { tls: Some(tls), ..SinkOptions::default() });
    let mut client = Client::ready(&sink).await;
    client.send("STARTTLS\r\nMAIL FROM:<a@example.org>\r\n").await;
    client.expect("503 5.5.1").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn implicit_tls_speaks_tls_from_the_first_byte() {
    let (tls, trusted) = a_certificate();
    let sink = a_sink(SinkOptions { tls: Some(tls), implicit_tls: true, ..SinkOptions::default() });
    let stream = TcpStream::connect(sink.addr()).await.unwrap();
    let mut client = shake_hands(stream, &trusted).await.unwrap();
    client.expect("220 ").await;
    client.ask("EHLO c", "250-").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    assert_eq!(client.ask("QUIT", "221 ").await.len(), "221 2.0.0 bye\r\n".len());
    assert!(sink.letters()[0].tls);
}

#[tokio::test]
async fn a_failed_handshake_is_counted() {
    let (tls, _) = a_certificate();
    let sink = a_sink(SinkOptions { tls: Some(tls), implicit_tls: true, ..SinkOptions::default() });
    let mut client = Client::connect(&sink).await;
    client.send("EHLO c\r\n").await;
    client.rest().await;
    assert_eq!(sink.statistics().failed_handshakes, 1);
}

#[tokio::test]
async fn replies_injected_before_the_handshake_reach_the_client_in_the_clear() {
    let (tls, trusted) = a_certificate();
    let sink: Sink = a_sink(SinkOptions { tls: Some(tls), ..SinkOptions::default() });
    sink.add_fault(Fault::new(Stage::StartTls, When::Nth(1), What::SurplusReply("250 injected".into())));
    sink.add_fault(Fault::new(Stage::StartTls, When::Nth(2), What::reply("454 4.7.0 no TLS today")));
    let mut client = Client::ready(&sink).await;
    client.ask("STARTTLS", "220 ").await;
    client.expect("250 injected").await;
    assert!(shake_hands(client.stream, &trusted).await.is_ok());
    Client::ready(&sink).await.ask("STARTTLS", "454 4.7.0").await;
}

#[tokio::test]
async fn certificate_files_serve_and_a_client_certificate_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = server_tls(&chain, &key, Some(&chain)).unwrap();
    let sink = a_sink(SinkOptions { tls: Some(tls), implicit_tls: true, ..SinkOptions::default() });

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let own = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = config.with_root_certificates(roots).with_client_auth_cert(vec![made.cert.der().clone()], own.into()).unwrap();
    let stream = TcpStream::connect(sink.addr()).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let mut client = Client::over(stream);
    client.expect("220 ").await;
    client.ask("EHLO c", "250-").await;
    assert!(client.letter("ada@example.org", "1@x").await.starts_with("250 "));
    assert!(sink.letters()[0].client_certificate);

    // In TLS 1.3 a client learns of the refusal with its first read.
    let stream = TcpStream::connect(sink.addr()).await.unwrap();
    let refused = match shake_hands(stream, made.cert.der()).await {
        Ok(mut client) => client.rest().await,
        Err(_) => String::new(),
    };
    assert_eq!((refused.as_str(), sink.statistics().failed_handshakes), ("", 1));
}

#[test]
fn files_that_are_no_certificates_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (absent, empty) = (folder.path().join("absent.pem"), folder.path().join("empty.pem"));
    std::fs::write(&empty, "nothing here").unwrap();
    let error = server_tls(&absent, &empty, None).unwrap_err();
    assert!(matches!(&error, TlsFileError::Pem { path, .. } if *path == absent), "{error:?}");
    let error = server_tls(&empty, &empty, None).unwrap_err();
    assert!(matches!(&error, TlsFileError::Pem { path, .. } if *path == empty), "{error:?}");
}
