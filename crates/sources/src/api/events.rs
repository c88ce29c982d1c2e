//! `POST /v1/events`: 202 once every event of the request is on disk, with everything it causes; otherwise none of them is.

use super::{Door, ScreenError, media};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use std::time::Duration;
use tidings_core::event::Fault;
use tidings_intake::IntakeError;
use tidings_web::{FieldError, Problem};

/// How many faults a reply lists; the rest is counted.
const FAULTS_SHOWN: usize = 50;

/// After how long a client may try again when the database is busy or out of reach, and when the disk is full.
const RETRY_SOON: Duration = Duration::from_secs(5);
const RETRY_LATER: Duration = Duration::from_secs(30);

pub(super) async fn events_post(State(door): State<Door>, headers: HeaderMap, body: Bytes) -> Response {
    let posted = match media::read(&headers, &body) {
        Ok(posted) => posted,
        Err(problem) => return problem.into_response(),
    };
    drop(body);
    let passed = match &door.screen {
        Some(screen) => screen.pass(posted.events, posted.batch),
        None => Ok(posted.events),
    };
    let events = match passed {
        Ok(events) => events,
        Err(ScreenError::Faulty(faults)) => return faulty(&faults).into_response(),
        Err(ScreenError::Unavailable(why)) => {
            tracing::error!(reason = why, "posted events cannot be let through");
            return Problem::unavailable("the events cannot be taken now; nothing was accepted", RETRY_SOON).into_response();
        }
    };
    match door.intake.accept(events, posted.batch).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(receipt)).into_response(),
        Err(error) => problem(error).into_response(),
    }
}

/// What a failed verb of the intake is to a client.
pub(super) fn problem(error: IntakeError) -> Problem {
    match error {
        IntakeError::Faulty(faults) => faulty(&faults),
        IntakeError::Store(tidings_intake::StoreError::Full { .. }) => {
            Problem::unavailable("the disk is nearly full; nothing was accepted", RETRY_LATER)
        }
        IntakeError::Store(error) => {
            tracing::error!(error = %error, "events could not be recorded");
            Problem::unavailable("the database cannot be written now; nothing was accepted", RETRY_SOON)
        }
        // Nobody but a directory's source asks a registry.
        IntakeError::NoRelay { .. } | IntakeError::Registry(_) => {
            tracing::error!(error = %error, "a rule cannot be followed");
            Problem::unavailable("the rules cannot be followed; see the log", RETRY_LATER)
        }
    }
}

fn faulty(faults: &[Fault]) -> Problem {
    let more = faults.len().saturating_sub(FAULTS_SHOWN);
    let detail = match faults {
        [one] => one.to_string(),
        _ if more == 0 => format!("{} values cannot be accepted; nothing was", faults.len()),
        _ => format!("{} values cannot be accepted, of which {FAULTS_SHOWN} are listed; nothing was", faults.len()),
    };
    let errors = faults.iter().take(FAULTS_SHOWN).map(|fault| FieldError { pointer: fault.pointer.clone(), detail: fault.detail.clone() });
    let first = faults.first().map(|fault| fault.pointer.clone()).unwrap_or_default();
    Problem::unprocessable(detail).pointer(first).errors(errors)
}
