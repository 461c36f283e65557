//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::Number;

use crate::json::{self, Object};
use crate::reason::Reason;
use crate::text::is_control;

/// The latest time a claim may name: beyond it an `f64` no longer holds every second.
const MAX_TIME: u64 = 1 << 53;

/// The claims of a token that this crate knows by name.
///
/// Absent arrays are empty; everything else that is absent is `None`. Times are Unix seconds from 0
/// to 2^53, fractions allowed. The claims that have a variable of their own hold no control
/// character.
#[derive(Debug, PartialEq)]
pub(crate) struct Claims<'a> {
    /// `iss`
    pub(crate) iss: Option<Cow<'a, str>>,
    /// `aud`, a string or an array of strings.
    pub(crate) aud: Vec<Cow<'a, str>>,
    /// `exp`
    pub(crate) exp: f64,
    /// `nbf`
    pub(crate) nbf: Option<f64>,
    /// `iat`; compared with revocations alone.
    pub(crate) iat: Option<f64>,
    /// `sub`: the user's id, or `client_id_` and the client's; never empty.
    pub(crate) sub: Cow<'a, str>,
    /// `client_id`
    pub(crate) client_id: Option<Cow<'a, str>>,
    /// `scope`, separated by spaces.
    pub(crate) scope: Option<Cow<'a, str>>,
    /// `jti`
    pub(crate) jti: Option<Cow<'a, str>>,
    /// `auth_time`: when the user logged in.
    pub(crate) auth_time: Option<f64>,
    /// `amr`: how the user logged in (RFC 8176).
    pub(crate) amr: Vec<Cow<'a, str>>,
    /// `https://authgear.com/claims/user/is_anonymous`
    pub(crate) is_anonymous: Option<bool>,
    /// `https://authgear.com/claims/user/is_verified`
    pub(crate) is_verified: Option<bool>,
    /// `https://authgear.com/claims/user/can_reauthenticate`
    pub(crate) can_reauthenticate: Option<bool>,
    /// `https://authgear.com/claims/user/roles`
    pub(crate) roles: Vec<Cow<'a, str>>,
}

impl<'a> Claims<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`Reason::Unsupported`] when `cnf` is there, whatever its value (RFC 7800, section 3.1):
    /// the sender would have to prove possession of a key, and nobody asks for that here;
    /// [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has the wrong
    /// type (`null` is one), when a time is out of range, and when a claim with a variable of its own
    /// holds a control character.
    pub(crate) fn read(payload: &Object<'a>) -> Result<Self, Reason> {
        if payload.get("cnf").is_some() {
            return Err(Reason::Unsupported);
        }
        let claims = Claims {
            iss: claim(payload, "iss", json::string)?,
            aud: claim(payload, "aud", audience)?.unwrap_or_default(),
            exp: claim(payload, "exp", time)?.ok_or(Reason::BadClaim)?,
            nbf: claim(payload, "nbf", time)?,
            iat: claim(payload, "iat", time)?,
            sub: claim(payload, "sub", json::string)?.ok_or(Reason::BadClaim)?,
            client_id: claim(payload, "client_id", json::string)?,
            scope: claim(payload, "scope", json::string)?,
            jti: claim(payload, "jti", json::string)?,
            auth_time: claim(payload, "auth_time", time)?,
            amr: claim(payload, "amr", json::strings)?.unwrap_or_default(),
            is_anonymous: claim(
                payload,
                "https://authgear.com/claims/user/is_anonymous",
                json::read,
            )?,
            is_verified: claim(
                payload,
                "https://authgear.com/claims/user/is_verified",
                json::read,
            )?,
            can_reauthenticate: claim(
                payload,
                "https://authgear.com/claims/user/can_reauthenticate",
                json::read,
            )?,
            roles: claim(
                payload,
                "https://authgear.com/claims/user/roles",
                json::strings,
            )?
            .unwrap_or_default(),
        };
        let has_control = |text: &str| text.bytes().any(is_control);
        if claims.sub.is_empty() || claims.texts_with_variables().any(has_control) {
            return Err(Reason::BadClaim);
        }
        Ok(claims)
    }

    /// Tells whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub(crate) fn is_client(&self) -> bool {
        self.sub.starts_with("client_id_")
    }

    /// The texts that a variable or header of their own shows.
    fn texts_with_variables(&self) -> impl Iterator<Item = &str> {
        let alone = [&self.client_id, &self.scope, &self.jti]
            .into_iter()
            .flatten();
        let listed = self.amr.iter().chain(&self.roles);
        alone.chain(listed).chain([&self.sub]).map(|text| &**text)
    }
}

/// Reads one claim; `None` when it is absent.
fn claim<'a, T>(
    payload: &Object<'a>,
    name: &str,
    read: impl FnOnce(&'a RawValue) -> Option<T>,
) -> Result<Option<T>, Reason> {
    let read = |value| read(value).ok_or(Reason::BadClaim);
    payload.get(name).map(read).transpose()
}

/// Reads `aud`: an array of strings, or one string (RFC 7519, section 4.1.3).
fn audience(value: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    json::strings(value).or_else(|| Some(vec![json::string(value)?]))
}

/// Reads a time in seconds.
fn time(value: &RawValue) -> Option<f64> {
    let number: Number = json::read(value)?;
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    if number.as_u64().is_some_and(|seconds| seconds > MAX_TIME) {
        return None;
    }
    number
        .as_f64()
        .filter(|seconds| (0.0..=MAX_TIME as f64).contains(seconds))
}

#[cfg(test)]
mod tests;
