//! What these tests stand on: a database in a folder of its own, an intake with one rule that reports everything, and the service behind its gate.

use crate::desk::desk;
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tidings_core::{
    Clock,
    policy::{Audience, Rule, TypePattern},
    testing::FixedClock,
};
use tidings_intake::{Feed, Intake};
use tidings_sources::scim::{Scim, ScimDirectory};
use tidings_store::{Database, Filter, OpenOptions, SealKey};
use tidings_web::{GateLimits, Grant, KeeperError, RequestIds, Scope, Surface, TokenDigest, TokenGate, TokenKeeper, mint};
use tower::ServiceExt;

/// Everything that is told goes here.
const WATCH: &str = "watch@example.org";

/// The longest body taken.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

pub(crate) struct House {
    pub(crate) store: Arc<dyn Database>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) scim: Arc<Scim>,
    router: Router,
    token: String,
    /// A token that may not write here.
    pub(crate) stranger: String,
    _folder: TempDir,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// Demands a status.
    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self
    }

    /// The resource's id.
    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.body)).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

struct Keeper(HashMap<TokenDigest, Grant>);

#[async_trait]
impl TokenKeeper for Keeper {
    async fn find(&self, digest: &TokenDigest) -> Result<Option<Grant>, KeeperError> {
        Ok(self.0.get(digest).cloned())
    }
}

fn grant(name: &str, scope: Scope) -> Grant {
    Grant { name: name.to_owned(), scopes: [scope].into_iter().collect(), expires: None }
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::with(&[("hr", false)], "https://tidings.example.org").await
    }

    pub(crate) async fn with(directories: &[(&str, bool)], public_url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Arc::new(FixedClock::at("2026-11-22T05:00:00Z"));
        let options = OpenOptions {
            url: "sqlite:tidings.db".to_owned(),
            data_dir: folder.path().to_owned(),
            key: SealKey::from_bytes([7; 32]),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            min_free_bytes: 0,
        };
        let store = tidings_store::open(options).await.unwrap();
        let to = vec![Audience::parse(WATCH).unwrap()];
        let on = ["object.*", "membership.*", "management.*"].map(|on| TypePattern::parse(on).unwrap()).to_vec();
        let desk = desk(Rule::simple("watch", on, to), clock);
        let intake = Arc::new(Intake::open(store.clone(), desk).await.unwrap());
        let feed = Arc::new(Feed::new(intake, store.clone()));
        let ((token, digest), (stranger, other)) = (mint([1; 32]), mint([2; 32]));
        let keeper = Keeper(HashMap::from([(digest, grant("entra", Scope::ScimWrite)), (other, grant("poster", Scope::EventsWrite))]));
        let gate = TokenGate::new(Arc::new(keeper), || SystemTime::UNIX_EPOCH, GateLimits::default());
        let scim = Arc::new(Scim::new(Arc::clone(&feed), public_url, MAX_BODY));
        scim.open(directories.iter().map(|(name, silent)| ScimDirectory { name: (*name).to_owned(), silent_at_first: *silent }).collect());
        let surface = Surface { request_timeout: Duration::from_secs(120), ..Surface::new(RequestIds::seeded(1)) };
        let router = surface.over(scim.routes(&gate));
        Self { store, feed, scim, router, token, stranger, _folder: folder }
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A request with any headers and body.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path.replace(' ', "%20").replace('"', "%22"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            assert_eq!(headers[header::CONTENT_TYPE], "application/scim+json", "{}", String::from_utf8_lossy(&bytes));
            serde_json::from_slice(&bytes).unwrap()
        };
        Answer { status, headers, body }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, more: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/scim+json")];
        headers.extend(more);
        self.send(method, path, &headers, body.map(|body| body.to_string().into_bytes()).unwrap_or_default()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, &format!("/scim/v2{path}"), &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, &format!("/scim/v2{path}"), &[], Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, &format!("/scim/v2{path}"), &[], Some(body)).await
    }

    /// A PATCH with these operations.
    pub(crate) async fn patch(&self, path: &str, operations: Value) -> Answer {
        let body = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.ask(Method::PATCH, &format!("/scim/v2{path}"), &[], Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, &format!("/scim/v2{path}"), &[], None).await
    }

    /// Makes a user who has nothing but a name; gives the id.
    pub(crate) async fn user(&self, name: &str) -> String {
        self.post("/Users", &user(name)).await.is(201).id()
    }

    /// Makes a group of these members; gives the id.
    pub(crate) async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let body = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members});
        self.post("/Groups", &body).await.is(201).id()
    }

    /// All events so far, oldest first: kind and data.
    pub(crate) async fn events(&self) -> Vec<(String, Value)> {
        let mut ids = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.items(Filter { to: Some(WATCH.to_owned()), ..Filter::default() }, before, 500).await.unwrap();
            let Some(last) = page.items.last() else { break };
            before = Some(last.id);
            ids.extend(page.items.iter().map(|item| item.event));
        }
        ids.sort_unstable();
        ids.dedup();
        let mut events = Vec::new();
        for id in ids {
            let event = self.store.event(id).await.unwrap().unwrap();
            events.push((event.kind, serde_json::from_slice(&event.data).unwrap()));
        }
        events
    }

    /// The kinds of the events that come after the first `known`.
    pub(crate) async fn kinds_after(&self, known: usize) -> Vec<String> {
        self.events().await.into_iter().skip(known).map(|(kind, _)| kind).collect()
    }
}

/// The least that a user can be.
pub(crate) fn user(name: &str) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": name,
        "emails": [{"value": format!("{name}@example.org"), "type": "work", "primary": true}],
    })
}
