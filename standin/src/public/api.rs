//! The Admin API and the token endpoint, as far as `tools/conformance.py` needs them.
//!
//! After `pkg/admin/graphql`, `pkg/lib/admin/authz` and `pkg/lib/oauth/handler/handler_token.go` of
//! Authgear's server. GraphQL is not parsed: a request names one mutation, and its answer holds
//! every field, asked for or not.

use std::collections::HashMap;

use aws_lc_rs::signature::{UnparsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use hyper::header::{HeaderMap, AUTHORIZATION};
use hyper::{Response, StatusCode};
use serde_json::{json, Value};
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;

use super::reply::{headers, json_text, refuse};
use super::Body;
use crate::control::webhooks::{change_user, delete_user, disable_user, Disable};
use crate::mint::{mint, TokenKind, TokenRequest};
use crate::project::{NewUser, Refresh, UserRef};
use crate::standin::{Met, Standin};
use crate::util::{base64url, from_base64url, now};
use crate::webhook::{self, APP_ID};

/// The client whose access tokens are opaque; those of any other are JWTs.
const OPAQUE_CLIENT: &str = "standin-opaque";
/// The machine-to-machine client, its secret and its resource.
const MACHINE: [&str; 3] = ["standin-m2m", "standin-secret", "https://api.example.com"];

/// The answer to a POST of one of these paths; `None` for any other.
pub(super) fn answer(
    standin: &Standin,
    met: &Met,
    path: &str,
    sent: &HeaderMap,
    body: &[u8],
) -> Option<Response<Body>> {
    match path {
        "/_api/admin/graphql" if !is_admin(standin, sent) => Some(refuse(StatusCode::FORBIDDEN)),
        "/_api/admin/graphql" => Some(graphql(met, body)),
        "/oauth2/token" => Some(token(met, &form(body))),
        "/oauth2/revoke" => {
            let revoked = met.lock().revoke_refresh(&field(&form(body), "token"));
            Some(if revoked {
                headers(StatusCode::OK, [])
            } else {
                oauth_error("invalid_grant")
            })
        }
        _ => None,
    }
}

/// Tells whether the request carries a token of the admin key: RS256, with its `kid`, for this
/// project, in time.
fn is_admin(standin: &Standin, headers: &HeaderMap) -> bool {
    let token = headers.get(AUTHORIZATION).and_then(|value| {
        let value = value.to_str().ok()?;
        value.strip_prefix("Bearer ")?.rsplit_once('.')
    });
    let (Some((signed, signature)), Ok(key)) = (token, standin.admin_key()) else {
        return false;
    };
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
    let signature = from_base64url(signature).unwrap_or_default();
    if public.verify(signed.as_bytes(), &signature).is_err() {
        return false;
    }
    let mut parts = signed.split('.').map(|part| {
        let bytes = from_base64url(part).unwrap_or_default();
        serde_json::from_slice::<Value>(&bytes).unwrap_or_default()
    });
    let (header, claims) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let in_time = claims["exp"].as_i64().is_some_and(|exp| now() < exp);
    let ours = claims["aud"] == json!([APP_ID]) || claims["aud"] == APP_ID;
    header["kid"] == key.kid.as_str() && in_time && ours
}

// --- the Admin API

fn graphql(met: &Met, body: &[u8]) -> Response<Body> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let query = request["query"].as_str().unwrap_or_default();
    let name = query
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('('))
        .map_or("", |(name, _)| name.trim());
    let answer = match mutate(met, name, &request["variables"]["input"]) {
        Ok(payload) => {
            let mut data = json!({});
            data[name] = payload;
            json!({ "data": data })
        }
        Err(message) => json!({ "data": null, "errors": [{ "message": message }] }),
    };
    json_text(answer.to_string().into())
}

/// Mutations that end or restore a user, and the change of the control API that does the same.
const CHANGES: [(&str, &str); 5] = [
    ("scheduleAccountDeletion", "schedule_deletion"),
    ("unscheduleAccountDeletion", "unschedule_deletion"),
    ("scheduleAccountAnonymization", "schedule_anonymization"),
    ("unscheduleAccountAnonymization", "unschedule_anonymization"),
    ("anonymizeUser", "anonymize"),
];

fn mutate(met: &Met, name: &str, input: &Value) -> Result<Value, String> {
    let text = |name: &str| input[name].as_str().map(str::to_owned);
    match name {
        "createUser" => {
            let user = met.lock().put_user(NewUser::default());
            webhook::tell(met, "user.created", &user, Value::Null);
            return Ok(user_node(&user.id));
        }
        "createRole" => {
            let key = text("key").ok_or("no key")?;
            return Ok(json!({ "role": { "id": node("Role", &key) } }));
        }
        "deleteRole" => return Ok(json!({ "ok": true })),
        _ => {}
    }

    let node = text("userID").unwrap_or_default();
    let id = user_id(&node).ok_or("invalid user ID")?;
    if met.lock().user(&id).is_none() {
        return Err("user not found".to_owned());
    }
    if let Some((_, change)) = CHANGES.iter().find(|(known, _)| *known == name) {
        change_user(met, &id, change).map_err(|_| "no such change")?;
        let mut payload = user_node(&id);
        payload["anonymizedUserID"] = json!(node);
        return Ok(payload);
    }
    match name {
        "createSession" => return create_session(met, &id, &text("clientID").unwrap_or_default()),
        "addUserToRoles" => {
            let roles = input["roleKeys"].as_array().map(Vec::as_slice);
            let roles = roles.unwrap_or_default().iter();
            let roles = roles.filter_map(|role| Some(role.as_str()?.to_owned()));
            let roles = Some(roles.collect());
            let id = Some(id.clone());
            met.lock().put_user(NewUser {
                id,
                roles,
                ..NewUser::default()
            });
        }
        "setDisabledStatus" if input["isDisabled"] == true => {
            let change = Disable {
                from: seconds(&input["temporarilyDisabledFrom"])?,
                until: seconds(&input["temporarilyDisabledUntil"])?,
                ..Disable::default()
            };
            disable_user(met, &id, &change).map_err(|_| "cannot disable")?;
        }
        "setDisabledStatus" => {
            change_user(met, &id, "enable").map_err(|_| "cannot enable")?;
        }
        // No event tells of it, and the sessions stay.
        "setAccountValidUntil" => {
            let until = seconds(&input["accountValidUntil"])?;
            if let Some(user) = met.lock().user_mut(&id) {
                user.disabled_from = until;
            }
        }
        "revokeAllSessions" => met.lock().end_sessions(&id),
        "resetPassword" => {}
        "deleteUser" => {
            delete_user(met, &id).map_err(|_| "cannot delete")?;
            return Ok(json!({ "deletedUserID": node }));
        }
        _ => return Err(format!("Cannot query field {name:?} on type \"Mutation\".")),
    }
    Ok(user_node(&id))
}

/// A Relay id: base64url of the type and the id (`pkg/graphqlgo/relay`).
fn node(kind: &str, id: &str) -> String {
    base64url(format!("{kind}:{id}"))
}

fn user_node(id: &str) -> Value {
    json!({ "user": { "id": node("User", id) } })
}

fn user_id(node: &str) -> Option<String> {
    let text = String::from_utf8(from_base64url(node)?).ok()?;
    Some(text.strip_prefix("User:")?.to_owned())
}

fn seconds(value: &Value) -> Result<Option<i64>, String> {
    let parse = |text| OffsetDateTime::parse(text, &Rfc3339).map_err(|error| error.to_string());
    let time = value.as_str().map(parse).transpose()?;
    Ok(time.map(OffsetDateTime::unix_timestamp))
}

fn create_session(met: &Met, user: &str, client: &str) -> Result<Value, String> {
    let refresh = Refresh {
        user: user.to_owned(),
        client: client.to_owned(),
        auth_time: now(),
    };
    let (access, id) = (
        issue(met, &refresh, false)?,
        met.lock().issue_refresh(refresh),
    );
    Ok(
        json!({ "accessToken": access, "refreshToken": id, "tokenType": "Bearer", "expiresIn": 1800 }),
    )
}

// --- the token endpoint

/// An access token of this grant, or its ID token. It has no amr: an admin made the session.
fn issue(met: &Met, refresh: &Refresh, id_token: bool) -> Result<String, String> {
    let kind = match refresh.client.as_str() {
        _ if id_token => TokenKind::Id,
        OPAQUE_CLIENT => TokenKind::Opaque,
        _ => TokenKind::User,
    };
    let request = TokenRequest {
        kind,
        user: Some(UserRef::Id(refresh.user.clone())),
        client_id: Some(refresh.client.clone()),
        amr: Some(Vec::new()),
        auth_time: Some(Some(refresh.auth_time)),
        ..TokenRequest::default()
    };
    mint(&mut met.lock(), &met.origin, request).map_err(|error| error.to_string())
}

fn token(met: &Met, form: &HashMap<String, String>) -> Response<Body> {
    let client = field(form, "client_id");
    let made = match field(form, "grant_type").as_str() {
        "client_credentials" => {
            let given = [
                client.clone(),
                field(form, "client_secret"),
                field(form, "resource"),
            ];
            if given != MACHINE {
                return oauth_error("invalid_client");
            }
            let request = TokenRequest {
                kind: TokenKind::M2m,
                client_id: Some(client),
                ..TokenRequest::default()
            };
            let token = mint(&mut met.lock(), &met.origin, request);
            token.map(|token| json!({ "access_token": token })).ok()
        }
        "refresh_token" => {
            let token = field(form, "refresh_token");
            let refresh = met.lock().refresh(&token).cloned();
            let Some(refresh) = refresh.filter(|refresh| refresh.client == client) else {
                return oauth_error("invalid_grant");
            };
            let tokens = issue(met, &refresh, false).and_then(|access| {
                let id = issue(met, &refresh, true)?;
                Ok(json!({ "access_token": access, "id_token": id, "refresh_token": token }))
            });
            tokens.ok()
        }
        _ => return oauth_error("unsupported_grant_type"),
    };
    let Some(mut tokens) = made else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR);
    };
    tokens["token_type"] = json!("Bearer");
    tokens["expires_in"] = json!(1800);
    json_text(tokens.to_string().into())
}

fn oauth_error(error: &str) -> Response<Body> {
    let mut response = json_text(json!({ "error": error }).to_string().into());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn field(form: &HashMap<String, String>, name: &str) -> String {
    form.get(name).cloned().unwrap_or_default()
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}
