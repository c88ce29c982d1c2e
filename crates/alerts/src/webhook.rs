//! The webhook: news posted as JSON with the signature of Standard Webhooks (specification 1.0.0, "Signature scheme"), tried again with growing delays.

use crate::{alert::Alert, error::WebhookError};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};
use tidings_core::Clock;
use tokio::{sync::mpsc, time::Instant};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use zeroize::Zeroizing;

/// Between attempts; after the last one the message is given up. In all a day and a half.
const DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(20),
];
/// How long the receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Messages kept while the receiver does not answer; beyond it the oldest is given up.
const MOST_WAITING: usize = 64;

/// Where and how messages are posted.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    key: Zeroizing<Vec<u8>>,
    agent: ureq::Agent,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.host())
    }
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Posted {
    /// The receiver took it (2xx).
    Taken,
    /// The receiver wants no more messages (410).
    Gone,
    /// Not this time.
    Failed(String),
}

impl Webhook {
    /// A webhook; `secret` is `whsec_` and base64, `authorities` PEM certificates to trust in place of the public ones.
    ///
    /// # Errors
    /// If the secret or the certificates cannot be read.
    pub fn new(url: impl Into<String>, secret: &str, authorities: Option<&[u8]>) -> Result<Self, WebhookError> {
        let key = secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).ok_or(WebhookError::Secret)?;
        let mut tls = TlsConfig::builder();
        if let Some(pem) = authorities {
            let found: Vec<Certificate<'static>> = parse_pem(pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if found.is_empty() {
                return Err(WebhookError::Authorities);
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&found));
        }
        // No redirect is followed: the message goes where the administrator said, and nowhere else. No proxy is looked up in the environment.
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .user_agent("tidings")
            .tls_config(tls.build())
            .build()
            .into();
        Ok(Self { url: url.into(), key: Zeroizing::new(key), agent })
    }

    /// The host alone, for logs: a path may hold a token.
    fn host(&self) -> &str {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or_default()
    }

    /// The value of `webhook-signature` for a message: `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64.
    pub fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    /// One attempt. Blocks.
    fn post(&self, message: &Message, timestamp: i64) -> Posted {
        let answer = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", self.signature(&message.id, timestamp, &message.body))
            .send(&*message.body);
        match answer.map(|response| response.status().as_u16()) {
            Ok(200..=299) => Posted::Taken,
            Ok(410) => Posted::Gone,
            Ok(status) => Posted::Failed(format!("it answered {status}")),
            Err(error) => Posted::Failed(error.to_string().replace(&self.url, "the address")),
        }
    }
}

#[derive(Debug, Clone)]
struct Message {
    id: String,
    body: Arc<[u8]>,
    attempts: usize,
    due: Instant,
}

impl Message {
    fn of(alert: &Alert) -> Self {
        Self { id: alert.message_id(), body: alert.message().to_string().into_bytes().into(), attempts: 0, due: Instant::now() }
    }
}

/// Posts what comes until the channel is closed; what waits then is given up.
pub(crate) async fn run(webhook: Webhook, clock: Arc<dyn Clock>, mut alerts: mpsc::Receiver<Alert>) {
    let mut waiting: VecDeque<Message> = VecDeque::new();
    loop {
        let next = waiting.iter().map(|message| message.due).min();
        tokio::select! {
            alert = alerts.recv() => match alert {
                Some(alert) => add(&mut waiting, Message::of(&alert)),
                None => return,
            },
            () = sleep_until(next) => {
                let Some(place) = waiting.iter().position(|message| message.due <= Instant::now()) else { continue };
                let Some(message) = waiting.remove(place) else { continue };
                let (sender, attempt, timestamp) = (webhook.clone(), message.clone(), clock.now().as_second());
                let outcome = tokio::task::spawn_blocking(move || sender.post(&attempt, timestamp)).await;
                match outcome.unwrap_or_else(|error| Posted::Failed(error.to_string())) {
                    Posted::Taken => tracing::info!(webhook.host = webhook.host(), webhook.id = %message.id, "alert posted"),
                    Posted::Gone => {
                        tracing::error!(webhook.host = webhook.host(), "the webhook wants no more alerts (410); none is posted until the next start");
                        return;
                    }
                    Posted::Failed(why) => again(&webhook, &mut waiting, message, &why),
                }
            }
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn add(waiting: &mut VecDeque<Message>, message: Message) {
    if waiting.len() >= MOST_WAITING
        && let Some(oldest) = waiting.pop_front()
    {
        tracing::error!(webhook.id = %oldest.id, "too many alerts wait for the webhook, the oldest is given up");
    }
    waiting.push_back(message);
}

fn again(webhook: &Webhook, waiting: &mut VecDeque<Message>, mut message: Message, why: &str) {
    let Some(delay) = DELAYS.get(message.attempts) else {
        tracing::error!(webhook.host = webhook.host(), webhook.id = %message.id, error = why, "an alert could not be posted and is given up");
        return;
    };
    tracing::warn!(webhook.host = webhook.host(), webhook.id = %message.id, error = why, again_s = delay.as_secs(), "an alert could not be posted");
    message.attempts += 1;
    message.due = Instant::now() + *delay;
    add(waiting, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The value was worked out by other implementations: Python's hmac, and the reference library `standardwebhooks`.
        let webhook = Webhook::new("https://alerts.example.org/x", SECRET, None).unwrap();
        let signature = webhook.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{webhook:?}"), "Webhook(alerts.example.org)");
    }

    #[test]
    fn what_is_no_secret_and_no_certificate_is_refused() {
        let made = |secret: &str, pem: Option<&[u8]>| Webhook::new("https://x", secret, pem).map(|_| ());
        assert_eq!(made("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None), Err(WebhookError::Secret));
        assert_eq!(made("whsec_*", None), Err(WebhookError::Secret));
        assert_eq!(made(SECRET, Some(b"no certificate")), Err(WebhookError::Authorities));
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let mut waiting = VecDeque::new();
        for n in 0..200 {
            add(&mut waiting, Message { id: n.to_string(), body: Arc::from(&b""[..]), attempts: 0, due: Instant::now() });
        }
        assert_eq!((waiting.len(), waiting[0].id.as_str()), (MOST_WAITING, "136"));
    }
}
