//! Posts events from many clients at once, each waiting for its answer before it posts again.

use crate::{events::Story, http::Connection};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How events are posted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Clients at a time.
    pub(crate) clients: u64,
    /// Events a request; 1 posts a single structured event.
    pub(crate) batch: u64,
    /// What has happened.
    pub(crate) story: Story,
}

impl Manner {
    /// One event a request from 64 clients.
    pub(crate) const SINGLE: Self = Self { clients: 64, batch: 1, story: Story::Joined };
    /// Batches of 100 from 8 clients.
    pub(crate) const BATCHES: Self = Self { clients: 8, batch: 100, story: Story::Joined };

    /// The same with events of another kind.
    pub(crate) const fn telling(self, story: Story) -> Self {
        Self { story, ..self }
    }
}

/// Where to post, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// The server's address.
    pub(crate) addr: SocketAddr,
    /// A token with the scope `events:write`.
    pub(crate) token: String,
}

/// What the server says of a request.
#[derive(Debug, Deserialize)]
struct Accepted {
    accepted: u64,
    duplicates: u64,
}

/// Posts the events of these numbers and waits until each is accepted. Returns the time from the first request to the last answer; connections are opened before.
///
/// # Errors
/// If a request is not answered with 202, or not every event is accepted as new.
pub(crate) async fn post(door: &Door, numbers: Range<u64>, manner: Manner) -> Result<Duration> {
    let mut connections = Vec::new();
    for _ in 0..manner.clients {
        connections.push(Connection::open(door.addr).await?);
    }
    let head = Arc::new(head(door, manner.batch));
    let next = Arc::new(AtomicU64::new(numbers.start));
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for connection in connections {
        clients.spawn(client(connection, Arc::clone(&head), Arc::clone(&next), numbers.end, manner));
    }
    let mut accepted = 0;
    while let Some(client) = clients.join_next().await {
        accepted += client.context("a client broke off")??;
    }
    let (taken, posted) = (start.elapsed(), numbers.end - numbers.start);
    ensure!(accepted == posted, "{accepted} of {posted} events accepted as new");
    Ok(taken)
}

/// Everything of a request but the length and the body.
fn head(door: &Door, batch: u64) -> String {
    let media = if batch == 1 { "application/cloudevents+json" } else { "application/cloudevents-batch+json" };
    format!(
        "POST /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: {media}\r\nContent-Length: ",
        door.addr, door.token
    )
}

async fn client(mut connection: Connection, head: Arc<String>, next: Arc<AtomicU64>, end: u64, manner: Manner) -> Result<u64> {
    let (batch, story) = (manner.batch, manner.story);
    let (mut request, mut body) = (String::new(), String::new());
    let mut accepted = 0;
    loop {
        let first = next.fetch_add(batch, Ordering::Relaxed);
        if first >= end {
            return Ok(accepted);
        }
        body.clear();
        if batch == 1 {
            story.write(&mut body, first);
        } else {
            story.write_batch(&mut body, first..(first + batch).min(end));
        }
        request.clear();
        request.push_str(&head);
        request.push_str(&body.len().to_string());
        request.push_str("\r\n\r\n");
        request.push_str(&body);
        accepted += hand_in(&mut connection, &request).await.with_context(|| format!("posting from number {first} on"))?;
    }
}

/// One request, and how many events were accepted as new.
async fn hand_in(connection: &mut Connection, request: &str) -> Result<u64> {
    let answer = connection.exchange(request.as_bytes()).await?;
    ensure!(answer.status == 202, "POST /v1/events: {}: {}", answer.status, String::from_utf8_lossy(answer.body));
    let said: Accepted = serde_json::from_slice(answer.body).context("the answer to an accepted request is not what is promised")?;
    ensure!(said.duplicates == 0, "{} of the events were known before", said.duplicates);
    Ok(said.accepted)
}

/// A client that posts one event now and then, over a kept connection.
#[derive(Debug)]
pub(crate) struct Lone {
    connection: Connection,
    head: String,
}

impl Lone {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn connect(door: &Door) -> Result<Self> {
        Ok(Self { connection: Connection::open(door.addr).await?, head: head(door, 1) })
    }

    /// Posts the event of this number. Returns the moment before its first byte was sent.
    ///
    /// # Errors
    /// If it is not accepted as new.
    pub(crate) async fn post(&mut self, story: Story, number: u64) -> Result<Instant> {
        let mut body = String::new();
        story.write(&mut body, number);
        let request = format!("{}{}\r\n\r\n{body}", self.head, body.len());
        let start = Instant::now();
        let accepted = hand_in(&mut self.connection, &request).await?;
        ensure!(accepted == 1, "{accepted} events accepted, not 1");
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Answers every request with the number of events in it, or with 503 if told so, and keeps the ids.
    async fn a_server(refuses: bool) -> (Door, Arc<Mutex<Vec<u64>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, ids) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let kept = Arc::clone(&ids);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let ids = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while stream.read_buf(&mut request).await.unwrap() > 0 {
                        let text = String::from_utf8(request.clone()).unwrap();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length: usize = head.rsplit_once(": ").unwrap().1.parse().unwrap();
                        if body.len() < length {
                            continue;
                        }
                        assert!(head.contains("Authorization: Bearer tid_x\r\n"));
                        let events: serde_json::Value = serde_json::from_str(body).unwrap();
                        let events = events.as_array().cloned().unwrap_or_else(|| vec![events]);
                        ids.lock().unwrap().extend(events.iter().map(|event| event["id"].as_str().unwrap().parse::<u64>().unwrap()));
                        let said = format!("{{\"accepted\":{},\"duplicates\":0,\"ids\":[]}}", events.len());
                        let status = if refuses { "503 Service Unavailable" } else { "202 Accepted" };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{said}", said.len());
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        request.clear();
                    }
                });
            }
        });
        (Door { addr, token: "tid_x".to_owned() }, ids)
    }

    #[tokio::test]
    async fn every_number_is_posted_once() {
        for manner in [Manner { clients: 3, ..Manner::SINGLE }, Manner { clients: 3, batch: 10, ..Manner::BATCHES }] {
            let (door, ids) = a_server(false).await;
            post(&door, 5..128, manner).await.unwrap();
            let mut ids = ids.lock().unwrap().clone();
            ids.sort_unstable();
            assert_eq!(ids, (5..128).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_refused_request_is_an_error() {
        let (door, _) = a_server(true).await;
        let error = post(&door, 0..10, Manner { clients: 1, ..Manner::SINGLE }).await.unwrap_err();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
        let error = Lone::connect(&door).await.unwrap().post(Story::Joined, 1).await.unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }
}
