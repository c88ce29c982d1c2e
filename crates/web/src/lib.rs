//! The floor every HTTP surface of the house stands on: the listener and its TLS, bearer tokens, request ids, limits, problem replies
//! (RFC 9457), health and safe default headers.
//!
//! No business lives here, and this room imports no other. What it must know from above (which tokens exist, whether the house is ready)
//! it asks through the small traits [`TokenKeeper`] and [`Readiness`], and the binary plugs them in. A surface is built in three steps:
//! routes with [`TokenGate::require`] and [`limits`] where they are needed, [`Surface::over`] around them, [`Listener::serve`] below.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking"))]

mod cache;
mod error;
mod gate;
pub mod headers;
mod health;
pub mod limits;
mod problem;
mod request_id;
mod serve;
mod surface;
mod tls;
mod token;
mod wire;

pub use error::{BindError, KeeperError, ScopeError, TlsError};
pub use gate::{GateLimits, Guarded, RequireScope, TokenGate};
pub use health::{NotReady, Readiness, health_routes};
pub use problem::{FieldError, PROBLEM_JSON, Problem};
pub use request_id::{RequestId, RequestIds, X_REQUEST_ID};
pub use serve::{ConnectionLimits, Farewell, Listener};
pub use surface::Surface;
pub use tls::{ClientCertificate, ClientCheck, TlsFiles};
pub use token::{Grant, Scope, ScopeSet, TOKEN_PREFIX, TokenDigest, TokenKeeper, mint};
