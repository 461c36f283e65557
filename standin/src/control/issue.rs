//! Users, tokens and sessions.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::Json;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{read, Refusal, Target};
use crate::mint::{self, default_amr, nullable};
use crate::project::{Grant, SessionKind, User, UserRef};
use crate::util::{from_base64url, now, random_token};

pub(super) async fn put_user(Target(met): Target, body: Bytes) -> Result<Json<User>, Refusal> {
    let new = read(&body)?;
    Ok(Json(met.lock().put_user(new)))
}

pub(super) async fn get_user(
    Target(met): Target,
    Path(id): Path<String>,
) -> Result<Json<User>, Refusal> {
    let project = met.lock();
    project
        .user(&id)
        .cloned()
        .map(Json)
        .ok_or_else(|| Refusal::missing("user"))
}

pub(super) async fn token(Target(met): Target, body: Bytes) -> Result<String, Refusal> {
    let request = read(&body)?;
    Ok(mint::mint(&mut met.lock(), &met.origin, request)?)
}

/// Revokes an opaque token, or a JWT by its `jti`.
pub(super) async fn revoke_token(Target(met): Target, body: String) -> Result<StatusCode, Refusal> {
    let token = body.trim();
    let Some(payload) = token.split('.').nth(1) else {
        return done(met.lock().revoke_opaque(token), "token");
    };
    let claims = from_base64url(payload).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).map_err(Refusal::bad)?;
    let jti = claims["jti"]
        .as_str()
        .ok_or_else(|| Refusal::bad("the token has no jti"))?;
    met.lock().revoke(jti.to_owned());
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSession {
    user: Option<UserRef>,
    #[serde(default)]
    kind: SessionKind,
    #[serde(default = "default_amr")]
    amr: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    auth_time: Option<Option<i64>>,
}

pub(super) async fn session(Target(met): Target, body: Bytes) -> Result<String, Refusal> {
    let NewSession {
        user,
        kind,
        amr,
        auth_time,
    } = read(&body)?;
    let mut project = met.lock();
    let user = project.user_for(user).id;
    let auth_time = auth_time.unwrap_or_else(|| Some(now()));
    let value = match kind {
        SessionKind::Idp => format!("{}.{}", Uuid::new_v4(), random_token()),
        SessionKind::App => random_token(),
    };
    project.open_session(
        kind,
        value.clone(),
        Grant {
            user,
            amr,
            auth_time,
            expires_at: None,
        },
    );
    Ok(value)
}

pub(super) async fn revoke_session(
    Target(met): Target,
    Path(value): Path<String>,
) -> Result<StatusCode, Refusal> {
    done(met.lock().close_session(&value), "session")
}

fn done(done: bool, what: &str) -> Result<StatusCode, Refusal> {
    if done {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refusal::missing(what))
    }
}
