//! The key set and the keys behind it.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::Json;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{json, Value};

use super::{read, Refusal, Target};
use crate::keys::{Alg, Key, KeyType, Which};
use crate::standin::Standin;
use crate::webhook::APP_ID;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(default = "yes")]
    keep_old: bool,
}

fn yes() -> bool {
    true
}

pub(super) async fn list(Target(met): Target) -> Result<Json<Value>, Refusal> {
    let keys = met.lock().keys.published()?;
    let kids: Vec<&str> = keys.iter().map(|key| key.kid.as_str()).collect();
    Ok(Json(json!({ "kids": kids })))
}

pub(super) async fn rotate(Target(met): Target, body: Bytes) -> Result<String, Refusal> {
    let Rotate { keep_old } = read(&body)?;
    Ok(met.lock().keys.rotate(keep_old)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    kid: String,
}

pub(super) async fn withdraw(Target(met): Target, body: Bytes) -> Result<StatusCode, Refusal> {
    let Named { kid } = read(&body)?;
    met.lock().keys.withdraw(&kid)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    kty: String,
    crv: Option<String>,
    bits: Option<u32>,
    /// `null` leaves the member out of the JWK.
    #[serde(default = "unsaid")]
    alg: Value,
}

fn unsaid() -> Value {
    Value::Bool(true)
}

pub(super) async fn add(Target(met): Target, body: Bytes) -> Result<String, Refusal> {
    let Add {
        kty,
        crv,
        bits,
        alg,
    } = read(&body)?;
    let kind = KeyType::parse(&kty, crv.as_deref(), bits)?;
    // Large RSA keys take their time; others may go on meanwhile.
    let made = tokio::task::spawn_blocking(move || Key::generate(kind)).await;
    let mut key = made.map_err(Refusal::bad)??;
    match alg {
        Value::Null => key.alg = None,
        Value::String(alg) => key.alg = Some(alg),
        _ => {}
    }
    Ok(met.lock().keys.add(key)?)
}

pub(super) async fn set_raw(Target(met): Target, body: Bytes) -> StatusCode {
    met.lock().raw_jwks = Some(body);
    StatusCode::NO_CONTENT
}

pub(super) async fn clear_raw(Target(met): Target) -> StatusCode {
    met.lock().raw_jwks = None;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
pub(super) struct WhichKey {
    kid: Option<String>,
}

/// The project's id and the Admin API's key, as the portal hands them out.
pub(super) async fn admin(State(standin): State<Arc<Standin>>) -> Result<Json<Value>, Refusal> {
    let key = standin.admin_key()?;
    let pem = key.private_pem()?;
    Ok(Json(
        json!({ "app_id": APP_ID, "key_id": key.kid, "key": pem }),
    ))
}

/// The private key that signs now, or the one named, as PKCS#8 PEM.
pub(super) async fn pem(
    Target(met): Target,
    Query(WhichKey { kid }): Query<WhichKey>,
) -> Result<String, Refusal> {
    let which = Which::from(kid.as_deref().unwrap_or("current"));
    let (key, _) = met.lock().keys.find(&which, Alg::Rs256)?;
    Ok(key.private_pem()?)
}
