//! The control API, by which a test arranges what the stand-in does. README.md describes it.

mod issue;
mod keys;
mod state;
pub(crate) mod webhooks;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::Router;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::Deserialize;

use crate::standin::{Met, Standin};

/// Key sets larger than any limit must fit.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The API's routes.
pub fn router(standin: Arc<Standin>) -> Router {
    Router::new()
        .route("/-/users", post(issue::put_user))
        .route("/-/users/{id}", get(issue::get_user))
        .route("/-/users/{id}/disable", post(webhooks::disable))
        .route("/-/users/{id}/delete", post(webhooks::delete))
        .route("/-/users/{id}/{change}", post(webhooks::other))
        .route("/-/login", put(state::set_login))
        .route("/-/webhooks", get(webhooks::get).put(webhooks::set))
        .route("/-/webhooks/release", post(webhooks::release))
        .route("/-/token", post(issue::token))
        .route("/-/token/revoke", post(issue::revoke_token))
        .route("/-/session", post(issue::session))
        .route("/-/session/{value}/revoke", post(issue::revoke_session))
        .route("/-/keys", get(keys::list))
        .route("/-/keys/rotate", post(keys::rotate))
        .route("/-/keys/drop", post(keys::withdraw))
        .route("/-/keys/add", post(keys::add))
        .route("/-/keys/raw", put(keys::set_raw).delete(keys::clear_raw))
        .route("/-/keys/pem", get(keys::pem))
        .route("/-/admin", get(keys::admin))
        .route("/-/fault/{endpoint}", put(state::set_fault))
        .route("/-/fault", axum::routing::delete(state::clear_faults))
        .route(
            "/-/resolver",
            put(state::set_resolver).delete(state::reset_resolver),
        )
        .route("/-/counts", get(state::counts))
        .route("/-/counts/reset", post(state::reset_counts))
        .route("/-/gone", post(state::gone))
        .route("/-/back", post(state::back))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(standin)
}

/// A refusal: its status and what is wrong.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    fn bad(error: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }

    fn missing(what: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("no such {what}"))
    }
}

impl From<crate::keys::Error> for Refusal {
    fn from(error: crate::keys::Error) -> Self {
        Self::bad(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

#[derive(Deserialize)]
struct ProjectQuery {
    project: Option<String>,
}

/// The project that `?project=` means.
struct Target(Met);

impl FromRequestParts<Arc<Standin>> for Target {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        standin: &Arc<Standin>,
    ) -> Result<Self, Refusal> {
        let query = Query::<ProjectQuery>::try_from_uri(&parts.uri).map_err(Refusal::bad)?;
        let met = standin.by_name(query.project.as_deref());
        met.map(Self).ok_or_else(|| Refusal::missing("project"))
    }
}

/// Reads a JSON body, whatever its declared type; an empty one is an empty object.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    let text: &[u8] = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    serde_json::from_slice(text).map_err(Refusal::bad)
}
