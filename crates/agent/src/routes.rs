//! What the agent shows on HTTP beside the event API: the confirmation page for readers, the redeeming of codes and the public keys for the application.

use crate::{
    confirm::{Confirmations, Confirmed, LinkFault, Outcome},
    guesses::Guesses,
    page::{Pages, Say},
};
use axum::{
    Json, Router,
    extract::{ConnectInfo, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidings_core::Clock;
use tidings_store::StoreError;
use tidings_web::{Problem, Scope, TokenGate, limits::body_limit};

/// A form of ours has no fields, and a code has some hundred bytes.
const MAX_BODY_BYTES: usize = 8 * 1024;

/// After how long the application may ask again.
const RETRY_SOON: Duration = Duration::from_secs(5);

struct Desk {
    confirmations: Arc<Confirmations>,
    pages: Pages,
    guesses: Guesses,
    clock: Arc<dyn Clock>,
}

/// The routes: the page at its configured path, open to everybody; `POST /v1/confirmations` behind the gate; `GET /.well-known/jwks.json`.
pub fn routes(confirmations: Arc<Confirmations>, pages: Pages, gate: &TokenGate, clock: Arc<dyn Clock>) -> Router {
    let path = confirmations.plan().path.clone();
    let redeem = post(confirmation_redeem).layer(body_limit(MAX_BODY_BYTES)).layer(gate.require(Scope::EventsWrite));
    Router::new()
        .route(&path, get(link_show).post(link_confirm).layer(body_limit(MAX_BODY_BYTES)))
        .route("/v1/confirmations", redeem)
        .route("/.well-known/jwks.json", get(keys_show))
        .with_state(Arc::new(Desk { confirmations, pages, guesses: Guesses::default(), clock }))
}

/// Who asks, and with what.
struct Asked {
    token: Option<String>,
    from: SocketAddr,
    language: Option<String>,
}

impl Desk {
    fn asked(&self, query: Option<&str>, from: SocketAddr, headers: &HeaderMap) -> Asked {
        let name = &self.confirmations.plan().parameter;
        let value = |pair: &str| pair.split_once('=').filter(|(key, _)| key == name).map(|(_, value)| value.to_owned());
        let mut tokens = query.unwrap_or_default().split('&').filter_map(value);
        // Given twice it is nobody's link.
        let token = tokens.next().filter(|_| tokens.next().is_none());
        let language = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Asked { token, from, language }
    }

    fn page(&self, say: Say, asked: &Asked) -> Response {
        let letter = asked.token.as_deref().and_then(|token| self.confirmations.language(token));
        self.pages.show(say, letter.as_deref(), asked.language.as_deref())
    }

    /// The page for a link that leads nowhere; too many of them from one address are not even told why.
    fn refused(&self, fault: LinkFault, asked: &Asked) -> Response {
        if fault == LinkFault::Invalid && self.guesses.too_many(asked.from.ip(), self.clock.now().as_second()) {
            return self.page(Say::Busy, asked);
        }
        self.page(Say::Fault(fault), asked)
    }

    fn unavailable(&self, error: &StoreError, asked: &Asked) -> Response {
        tracing::error!(%error, "a link could not be checked; its reader is asked to come again");
        self.page(Say::Unavailable, asked)
    }
}

async fn link_show(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = desk.asked(query.as_deref(), from, &headers);
    let outcome = match &asked.token {
        Some(token) => desk.confirmations.look(token).await,
        None => Ok(Err(LinkFault::Invalid)),
    };
    match outcome {
        Ok(Ok(())) => desk.page(Say::Ask, &asked),
        Ok(Err(fault)) => desk.refused(fault, &asked),
        Err(error) => desk.unavailable(&error, &asked),
    }
}

async fn link_confirm(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = desk.asked(query.as_deref(), from, &headers);
    let outcome: Outcome<Confirmed> = match &asked.token {
        Some(token) => desk.confirmations.confirm(token).await,
        None => Ok(Err(LinkFault::Invalid)),
    };
    match outcome {
        Ok(Ok(confirmed)) => {
            tracing::info!("a link was confirmed, and its reader handed over");
            let mut target =
                HeaderValue::from_str(&confirmed.hand_over).expect("the settings' address and a code hold no control characters");
            target.set_sensitive(true);
            (StatusCode::SEE_OTHER, [(header::LOCATION, target)]).into_response()
        }
        Ok(Err(fault)) => desk.refused(fault, &asked),
        Err(error) => desk.unavailable(&error, &asked),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Redeem {
    code: String,
}

async fn confirmation_redeem(State(desk): State<Arc<Desk>>, body: axum::body::Bytes) -> Response {
    let Ok(Redeem { code }) = serde_json::from_slice(&body) else {
        return Problem::bad_request("expected {\"code\": \"…\"}, the code that the reader came with").into_response();
    };
    let refused = |status, slug, title: &'static str| Problem::typed(status, slug, title).into_response();
    match desk.confirmations.redeem(&code).await {
        Ok(Ok(redeemed)) => Json(redeemed).into_response(),
        Ok(Err(LinkFault::Invalid)) => refused(StatusCode::BAD_REQUEST, "code-invalid", "The code is none of this agent's"),
        Ok(Err(LinkFault::Expired)) => refused(StatusCode::GONE, "code-expired", "The code has expired"),
        Ok(Err(LinkFault::Used)) => refused(StatusCode::GONE, "code-redeemed", "The code was redeemed before"),
        Err(error) => {
            tracing::error!(%error, "a code could not be redeemed");
            Problem::unavailable("the database cannot be written now; the code was not redeemed", RETRY_SOON).into_response()
        }
    }
}

async fn keys_show(State(desk): State<Arc<Desk>>) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(desk.confirmations.keyring().public_keys())).into_response()
}
