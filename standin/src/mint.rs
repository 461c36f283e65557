//! Tokens to order: right ones by default, wrong ones on request.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer};
use serde_json::value::{to_raw_value, RawValue};
use serde_json::{json, Value};

use crate::keys::{self, Alg, Which};
use crate::origin::Origin;
use crate::project::{Grant, Project, User, UserRef};
use crate::util::{base64url, hex, now, random, random_token};

const CLAIM_PREFIX: &str = "https://authgear.com/claims/user/";
const LIFETIME: i64 = 1800;

/// The use of a token.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A user's access token, a JWT.
    #[default]
    User,
    /// A machine-to-machine client's access token, a JWT.
    M2m,
    /// An ID token.
    Id,
    /// A user's access token that only the resolver can judge.
    Opaque,
}

type Members = BTreeMap<String, Box<RawValue>>;

/// The body of `POST /-/token`. What is given in `claims` and `header` goes into the token
/// digit for digit.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TokenRequest {
    pub kind: TokenKind,
    pub user: Option<UserRef>,
    pub client_id: Option<String>,
    pub scope: Option<String>,
    pub amr: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    pub auth_time: Option<Option<i64>>,
    pub expires_in: Option<i64>,
    pub audience: Option<Vec<String>>,
    pub claims: HashMap<String, Box<RawValue>>,
    pub remove: Vec<String>,
    pub header: HashMap<String, Box<RawValue>>,
    pub header_remove: Vec<String>,
    pub key: Option<String>,
    pub alg: Option<String>,
    pub raw_header: Option<String>,
    pub raw_payload: Option<String>,
}

/// Tells `null` (leave out) from a missing member (the default).
pub(crate) fn nullable<'de, D>(deserializer: D) -> Result<Option<Option<i64>>, D::Error>
where
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// The default `amr` of a session.
pub(crate) fn default_amr() -> Vec<String> {
    vec!["pwd".to_owned()]
}

/// Makes the token, and remembers it so that the resolver knows it.
///
/// # Errors
///
/// [`keys::Error`] when there is no such key or algorithm.
pub fn mint(
    project: &mut Project,
    origin: &Origin,
    request: TokenRequest,
) -> Result<String, keys::Error> {
    let alg: Alg = request.alg.as_deref().unwrap_or("RS256").parse()?;
    let now = now();
    let expires_at = now.saturating_add(request.expires_in.unwrap_or(LIFETIME));
    let amr = request.amr.clone().unwrap_or_else(default_amr);
    let auth_time = request.auth_time.unwrap_or(Some(now));

    let user = (request.kind != TokenKind::M2m).then(|| project.user_for(request.user.clone()));
    let grant = user.as_ref().map(|user| Grant {
        user: user.id.clone(),
        amr,
        auth_time,
        expires_at: Some(expires_at),
    });
    if let (TokenKind::Opaque, Some(grant)) = (request.kind, &grant) {
        let token = random_token();
        project.issue_opaque(token.clone(), grant.clone());
        return Ok(token);
    }

    let which = Which::from(request.key.as_deref().unwrap_or("current"));
    let (key, kid) = project.keys.find(&which, alg)?;
    let typ = if request.kind == TokenKind::Id {
        "JWT"
    } else {
        "at+jwt"
    };
    let header = json!({ "alg": alg.name(), "kid": kid, "typ": typ });
    let iat = now.min(expires_at.saturating_sub(LIFETIME).max(0));
    let iat = if expires_at > now { now } else { iat };
    let claims = claims(
        origin,
        &request,
        user.as_ref().zip(grant.as_ref()),
        iat,
        expires_at,
    );

    let TokenRequest {
        raw_header,
        raw_payload,
        header: over,
        header_remove,
        ..
    } = request;
    let header = raw_header.unwrap_or_else(|| merge(header, over, &header_remove));
    let payload = raw_payload.unwrap_or_else(|| merge(claims, request.claims, &request.remove));
    let jti = serde_json::from_str::<Value>(&payload).ok();
    let jti = jti.and_then(|claims| Some(claims.get("jti")?.as_str()?.to_owned()));
    if let (Some(jti), Some(grant)) = (jti, grant) {
        project.issue(jti, grant);
    }

    let signed = format!("{}.{}", base64url(header), base64url(payload));
    let signature = alg.sign(&key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", base64url(signature)))
}

/// The claims of authgear-server's `token_encoding.go` and `id_token.go`.
fn claims(
    origin: &Origin,
    request: &TokenRequest,
    user: Option<(&User, &Grant)>,
    iat: i64,
    exp: i64,
) -> Value {
    let client_id = request.client_id.as_deref().unwrap_or("standin-client");
    let audience = match request.kind {
        TokenKind::M2m => "https://api.example.com".to_owned(),
        TokenKind::Id => client_id.to_owned(),
        TokenKind::User | TokenKind::Opaque => origin.to_string(),
    };
    let audience = request.audience.clone().unwrap_or_else(|| vec![audience]);
    let mut claims = json!({ "iss": origin.to_string(), "aud": audience, "iat": iat, "exp": exp });
    if request.kind != TokenKind::Id {
        let scope = if user.is_some() {
            "openid offline_access"
        } else {
            "read:items"
        };
        claims["client_id"] = json!(client_id);
        claims["scope"] = json!(request.scope.as_deref().unwrap_or(scope));
        claims["jti"] = json!(hex(&random::<32>()));
        claims["sub"] = json!(format!("client_id_{client_id}"));
    }
    if let Some((user, grant)) = user {
        claims["sub"] = json!(user.id);
        if let Some(time) = grant.auth_time {
            claims["auth_time"] = json!(time);
        }
        if !grant.amr.is_empty() {
            claims["amr"] = json!(grant.amr);
        }
        let mut about = |name: &str, value| claims[format!("{CLAIM_PREFIX}{name}")] = value;
        about("is_anonymous", json!(user.anonymous));
        about("is_verified", json!(user.verified));
        about("can_reauthenticate", json!(user.can_reauthenticate));
        about("roles", json!(user.roles));
    }
    claims
}

/// The object's text after replacing some members and taking others away.
fn merge(base: Value, over: HashMap<String, Box<RawValue>>, remove: &[String]) -> String {
    let base = base.as_object().cloned().unwrap_or_default();
    let raw = base
        .into_iter()
        .map(|(name, value)| Some((name, to_raw_value(&value).ok()?)));
    let mut members: Members = raw.flatten().collect();
    members.extend(over);
    members.retain(|name, _| !remove.contains(name));
    serde_json::to_string(&members).unwrap_or_default()
}
