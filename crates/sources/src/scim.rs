//! SCIM 2.0 (RFC 7643, 7644): identity providers write users and groups here, and every change becomes an event.
//!
//! A resource is an entry of a directory: the mirror keeps it, the feed tells what is different. Who writes is an account named like the token. What deliberately does not live
//! here: how entries are kept (`store`), and what is told of a change (`intake`).

mod bulk;
mod desk;
mod discovery;
mod entry;
mod error;
mod membership;
mod patch;
mod query;
mod resource;
mod schema;
mod view;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{self, DefaultBodyLimit, FromRequest, Path, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{ALLOW, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
    routing::any,
};
use desk::{Desk, Reply, Request};
use error::{SCIM_JSON, ScimError};
use query::Query;
use schema::Kind;
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, RwLock},
};
use tidings_intake::Feed;
use tidings_web::{Scope, TokenGate};

/// Where the service stands.
const MOUNT: &str = "/scim/v2";

/// A directory that is written by SCIM.
#[derive(Debug, Clone)]
pub struct ScimDirectory {
    /// Its name in the configuration.
    pub name: String,
    /// Whether nothing is told of it until somebody says that it is loaded (the mirror's `end_refresh`): an identity provider does not say when its first cycle is over.
    pub silent_at_first: bool,
}

/// The service. Its directories may be exchanged while it is open.
pub struct Scim {
    feed: Arc<Feed>,
    public_url: String,
    max_body: usize,
    desks: RwLock<Vec<Arc<Desk>>>,
}

/// The service behind its gate.
struct Service {
    scim: Arc<Scim>,
    gate: TokenGate,
}

impl Scim {
    /// A service without directories.
    ///
    /// `public_url` is the server's address as clients know it, `https://tidings.example.org`: resources say where they live. `max_body` is the longest accepted request in bytes.
    pub fn new(feed: Arc<Feed>, public_url: &str, max_body: usize) -> Self {
        Self { feed, public_url: public_url.trim_end_matches('/').to_owned(), max_body, desks: RwLock::default() }
    }

    /// From now on these directories are served: one at `/scim/v2` and at `/scim/v2/{name}`, several at `/scim/v2/{name}` only.
    pub fn open(&self, directories: Vec<ScimDirectory>) {
        let several = directories.len() > 1;
        let mut desks = self.desks.write().expect("nobody panics with the lock");
        let opened = directories.into_iter().map(|directory| {
            let base =
                if several { format!("{}{MOUNT}/{}", self.public_url, directory.name) } else { format!("{}{MOUNT}", self.public_url) };
            // What is under way keeps its locks, and shares them with what comes.
            let locks = desks.iter().find(|desk| desk.directory == directory.name).map(|desk| desk.locks()).unwrap_or_default();
            Arc::new(Desk::new(Arc::clone(&self.feed), directory.name, directory.silent_at_first, base, locks))
        });
        *desks = opened.collect();
    }

    /// The routes. Everything but `/ServiceProviderConfig` needs a token with the scope `scim:write`.
    pub fn routes(self: &Arc<Self>, gate: &TokenGate) -> Router {
        let service = Arc::new(Service { scim: Arc::clone(self), gate: gate.clone() });
        Router::new()
            .route(MOUNT, any(serve))
            .route(&format!("{MOUNT}/"), any(serve))
            .route(&format!("{MOUNT}/{{*rest}}"), any(serve))
            .with_state(service)
    }

    /// Which directory a path is about, and what is left of it.
    ///
    /// # Errors
    /// 404 if it does not say.
    fn desk<'a>(&self, rest: &'a str) -> Result<(Arc<Desk>, &'a str), ScimError> {
        let desks = self.desks.read().expect("nobody panics with the lock");
        let rest = rest.trim_matches('/');
        let (first, more) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(desk) = desks.iter().find(|desk| desk.directory == first) {
            return Ok((Arc::clone(desk), more));
        }
        if let [desk] = desks.as_slice() {
            return Ok((Arc::clone(desk), rest));
        }
        let names: Vec<&str> = desks.iter().map(|desk| desk.directory.as_str()).collect();
        let detail = if names.is_empty() {
            "no directory of the configuration has the source scim".to_owned()
        } else {
            format!("say which directory is meant, {MOUNT}/NAME: {}", names.join(", "))
        };
        Err(ScimError::plain(StatusCode::NOT_FOUND, detail))
    }
}

async fn serve(State(service): State<Arc<Service>>, Path(path): Path<HashMap<String, String>>, request: extract::Request) -> Response {
    let rest = path.get("rest").map(String::as_str).unwrap_or_default();
    match service.answer(rest, request).await {
        Ok(reply) => told(reply),
        Err(error) => error.into_response(),
    }
}

fn told(reply: Reply) -> Response {
    let mut response = match &reply.body {
        Some(body) => Response::new(Body::from(body.to_string())),
        None => Response::new(Body::empty()),
    };
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if reply.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(SCIM_JSON));
    }
    let mut say = |name: HeaderName, value: Option<String>| {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    };
    say(ETAG, reply.version);
    say(LOCATION, reply.location);
    response
}

/// What is asked for, by path and method.
enum Wanted {
    /// A query by URL.
    List(&'static [Kind]),
    /// A query by body.
    Search(&'static [Kind]),
    Create(Kind),
    Get(Kind, String),
    Replace(Kind, String),
    Patch(Kind, String),
    Delete(Kind, String),
    Bulk,
    /// Something that discovery shows.
    Shown(Shown),
}

enum Shown {
    Config,
    ResourceTypes(Option<String>),
    Schemas(Option<String>),
}

impl Service {
    async fn answer(&self, rest: &str, request: extract::Request) -> Result<Reply, ScimError> {
        let aimed = self.scim.desk(rest).and_then(|(desk, rest)| Ok((desk, wanted(request.method(), rest)?)));
        let actor = match (&aimed, self.admit(request.headers()).await) {
            // Open to everybody, as RFC 7643 §5 advises.
            (Ok((_, Wanted::Shown(Shown::Config))), _) => Value::Null,
            (_, Ok(name)) => json!({"type": "account", "name": name}),
            (_, Err(error)) => return Err(error),
        };
        let (desk, wanted) = aimed?;
        let parameters = parameters(request.uri())?;
        let headers = request.headers();
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let parameter = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let asked = Request {
            actor,
            projection: query::projection(parameter("attributes"), parameter("excludedAttributes"))?,
            if_match: header(IF_MATCH),
            if_none_match: header(IF_NONE_MATCH),
        };
        let nobody = BTreeSet::new();
        match wanted {
            Wanted::List(kinds) => desk.list(kinds, &Query::read(&parameters)?).await,
            Wanted::Search(kinds) => desk.list(kinds, &Query::read_search(&self.body(request).await?)?).await,
            Wanted::Create(kind) => desk.create(kind, self.body(request).await?, &asked, None, &nobody).await,
            Wanted::Get(kind, id) => desk.get(kind, &id, &asked).await,
            Wanted::Replace(kind, id) => desk.replace(kind, &id, self.body(request).await?, &asked, &nobody).await,
            Wanted::Patch(kind, id) => desk.patch(kind, &id, self.body(request).await?, &asked, &nobody).await,
            Wanted::Delete(kind, id) => desk.delete(kind, &id, &asked).await,
            Wanted::Bulk => desk.bulk(self.body(request).await?, &asked).await,
            Wanted::Shown(shown) => self.show(&desk.base, &shown, parameter("filter").is_some()),
        }
    }

    /// The name of the token that the request carries.
    async fn admit(&self, headers: &HeaderMap) -> Result<String, ScimError> {
        let refused = |problem: tidings_web::Problem, detail: &str| {
            let response = problem.into_response();
            let mut error = ScimError::plain(response.status(), detail);
            for name in [WWW_AUTHENTICATE, RETRY_AFTER] {
                if let Some(value) = response.headers().get(&name) {
                    error = error.header(name, value.clone());
                }
            }
            error
        };
        let grant = self.gate.grant_of(headers).await.map_err(|problem| {
            let detail = match problem.status() {
                StatusCode::UNAUTHORIZED => "a valid token is needed: Authorization: Bearer tid_…",
                StatusCode::BAD_REQUEST => "more than one Authorization header",
                _ => "tokens cannot be checked at the moment",
            };
            refused(problem, detail)
        })?;
        if !grant.scopes.allows(Scope::ScimWrite) {
            return Err(refused(tidings_web::Problem::forbidden(Scope::ScimWrite), "this needs the scope scim:write"));
        }
        Ok(grant.name.clone())
    }

    async fn body(&self, mut request: extract::Request) -> Result<Value, ScimError> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(SCIM_JSON);
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if ![SCIM_JSON, "application/json"].iter().any(|taken| essence.eq_ignore_ascii_case(taken)) {
            return Err(ScimError::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send {SCIM_JSON} or application/json")));
        }
        DefaultBodyLimit::max(self.scim.max_body).apply(&mut request);
        let bytes = Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ScimError::too_large(self.scim.max_body),
            _ => ScimError::syntax("the body did not arrive whole"),
        })?;
        serde_json::from_slice(&bytes).map_err(|error| ScimError::syntax(format!("the body is not JSON: {error}")))
    }

    fn show(&self, base: &str, shown: &Shown, filtered: bool) -> Result<Reply, ScimError> {
        // RFC 7644 §4: a filter on these is refused, so that nobody takes them for filtered.
        if filtered {
            return Err(ScimError::plain(StatusCode::FORBIDDEN, "this cannot be filtered"));
        }
        let (all, id, what) = match shown {
            Shown::Config => return Ok(Reply::ok(discovery::service_provider_config(base, self.scim.max_body))),
            Shown::ResourceTypes(id) => (discovery::resource_types(base), id, "resource type"),
            Shown::Schemas(id) => (discovery::schemas(base), id, "schema"),
        };
        match id {
            None => Ok(Reply::ok(query::list_response(all.len() as u64, 1, all))),
            Some(id) => all.into_iter().find(|one| one["id"] == *id).map(Reply::ok).ok_or_else(|| ScimError::not_found(what, id)),
        }
    }
}

fn parameters(uri: &axum::http::Uri) -> Result<Vec<(String, String)>, ScimError> {
    let query = extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|query| query.0).map_err(|error| ScimError::syntax(format!("the URL's parameters: {error}")))
}

/// What a path and a method mean.
///
/// # Errors
/// 404, 405, and 501 for `/Me`: a token is nobody's account.
fn wanted(method: &Method, rest: &str) -> Result<Wanted, ScimError> {
    let parts: Vec<&str> = rest.trim_matches('/').split('/').collect();
    let kind = Kind::ALL.into_iter().find(|kind| kind.endpoint() == parts[0]);
    let (kinds, choices): (&'static [Kind], Vec<(Method, Wanted)>) = match (parts.as_slice(), kind) {
        ([""], _) => (&Kind::ALL, vec![]),
        ([".search"], _) => return only(method, Method::POST, Wanted::Search(&Kind::ALL)),
        (["Bulk"], _) => return only(method, Method::POST, Wanted::Bulk),
        (["Me", ..], _) => return Err(ScimError::plain(StatusCode::NOT_IMPLEMENTED, "a token is nobody's account: there is no /Me")),
        (["ServiceProviderConfig"], _) => return only(method, Method::GET, Wanted::Shown(Shown::Config)),
        (["ResourceTypes"], _) => return only(method, Method::GET, Wanted::Shown(Shown::ResourceTypes(None))),
        (["ResourceTypes", id], _) => return only(method, Method::GET, Wanted::Shown(Shown::ResourceTypes(Some((*id).to_owned())))),
        (["Schemas"], _) => return only(method, Method::GET, Wanted::Shown(Shown::Schemas(None))),
        (["Schemas", id], _) => return only(method, Method::GET, Wanted::Shown(Shown::Schemas(Some((*id).to_owned())))),
        ([_], Some(kind)) => (kind.alone(), vec![(Method::POST, Wanted::Create(kind))]),
        ([_, ".search"], Some(kind)) => return only(method, Method::POST, Wanted::Search(kind.alone())),
        ([_, id], Some(kind)) => {
            let id = || (*id).to_owned();
            let choices = vec![
                (Method::GET, Wanted::Get(kind, id())),
                (Method::PUT, Wanted::Replace(kind, id())),
                (Method::PATCH, Wanted::Patch(kind, id())),
                (Method::DELETE, Wanted::Delete(kind, id())),
            ];
            return one_of(method, choices);
        }
        _ => return Err(ScimError::not_found("endpoint", rest)),
    };
    one_of(method, std::iter::once((Method::GET, Wanted::List(kinds))).chain(choices).collect())
}

fn only(method: &Method, taken: Method, wanted: Wanted) -> Result<Wanted, ScimError> {
    one_of(method, vec![(taken, wanted)])
}

fn one_of(method: &Method, choices: Vec<(Method, Wanted)>) -> Result<Wanted, ScimError> {
    let taken: Vec<String> = choices.iter().map(|(taken, _)| taken.to_string()).collect();
    let chosen = choices.into_iter().find(|(taken, _)| taken == method).map(|(_, wanted)| wanted);
    chosen.ok_or_else(|| {
        let taken = taken.join(", ");
        let error = ScimError::plain(StatusCode::METHOD_NOT_ALLOWED, format!("taken here: {taken}"));
        error.header(ALLOW, HeaderValue::from_str(&taken).expect("methods are written in ASCII"))
    })
}
