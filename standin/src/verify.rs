//! The resolver's check that a JWT is an access token of the project.

use aws_lc_rs::signature::{UnparsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use serde_json::Value;

use crate::keys::{Key, KeyType};
use crate::origin::Origin;
use crate::project::{Grant, Project};
use crate::util::from_base64url;

/// The grant behind a JWT that a published key signed, that has not expired, that is for this
/// project and whose `jti` names a grant that is alive. `typ` and `iss` are not looked at, as the
/// server looks at neither (`DecodeAccessToken`). With `foreign`, a token whose `jti` names no grant
/// is taken at its word.
pub fn access_token(
    project: &mut Project,
    origin: &Origin,
    token: &str,
    foreign: bool,
    now: i64,
) -> Option<Grant> {
    let keys = project.keys.published().ok()?;
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let header = part(header)?;
    let key = keys.iter().find(|key| header["kid"] == key.kid.as_str())?;
    if header["alg"] != "RS256" || !verify(key, signed, signature) {
        return None;
    }

    let claims = part(payload)?;
    let origin = origin.to_string();
    let audience = match &claims["aud"] {
        Value::Array(audiences) => audiences
            .iter()
            .any(|audience| *audience == origin.as_str()),
        audience => *audience == origin.as_str(),
    };
    let in_time = claims["exp"].as_f64().is_some_and(|exp| (now as f64) < exp);
    let jti = claims["jti"].as_str()?;
    if !audience || !in_time || project.is_revoked(jti) {
        return None;
    }
    let grant = project.issued(jti).cloned();
    grant.or_else(|| foreign.then(|| taken_at_its_word(&claims)).flatten())
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(text)?).ok()
}

fn verify(key: &Key, signed: &str, signature: &str) -> bool {
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
    let signature = from_base64url(signature).unwrap_or_default();
    matches!(key.kind, KeyType::Rsa(_)) && public.verify(signed.as_bytes(), &signature).is_ok()
}

fn taken_at_its_word(claims: &Value) -> Option<Grant> {
    let amr = claims["amr"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    Some(Grant {
        user: claims["sub"].as_str()?.to_owned(),
        amr: amr
            .iter()
            .filter_map(|method| Some(method.as_str()?.to_owned()))
            .collect(),
        auth_time: claims["auth_time"].as_i64(),
        expires_at: None,
    })
}
