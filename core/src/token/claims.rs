//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use serde::de::DeserializeOwned;
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
pub struct Claims {
    /// `iss`
    pub iss: Option<Box<str>>,
    /// `aud`, a string or an array of strings.
    pub aud: Vec<Box<str>>,
    /// `exp`
    pub exp: f64,
    /// `nbf`
    pub nbf: Option<f64>,
    /// `iat`; not compared with anything.
    pub iat: Option<f64>,
    /// `sub`: the user's id, or `client_id_` and the client's; never empty.
    pub sub: Box<str>,
    /// `client_id`
    pub client_id: Option<Box<str>>,
    /// `scope`, separated by spaces.
    pub scope: Option<Box<str>>,
    /// `jti`
    pub jti: Option<Box<str>>,
    /// `auth_time`: when the user logged in.
    pub auth_time: Option<f64>,
    /// `amr`: how the user logged in (RFC 8176).
    pub amr: Vec<Box<str>>,
    /// `https://authgear.com/claims/user/is_anonymous`
    pub is_anonymous: Option<bool>,
    /// `https://authgear.com/claims/user/is_verified`
    pub is_verified: Option<bool>,
    /// `https://authgear.com/claims/user/can_reauthenticate`
    pub can_reauthenticate: Option<bool>,
    /// `https://authgear.com/claims/user/roles`
    pub roles: Vec<Box<str>>,
}

impl Claims {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// [`Reason::Unsupported`] when `cnf` is there, whatever its value (RFC 7800, section 3.1):
    /// the sender would have to prove possession of a key, and nobody asks for that here;
    /// [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has the wrong
    /// type (`null` is one), when a time is out of range, and when a claim with a variable of its own
    /// holds a control character.
    pub(crate) fn read(payload: &Object<'_>) -> Result<Claims, Reason> {
        if payload.get("cnf").is_some() {
            return Err(Reason::Unsupported);
        }
        let claims = Claims {
            iss: read(payload.get("iss"))?,
            aud: payload.get("aud").map_or(Ok(Vec::new()), audience)?,
            exp: time(payload.get("exp"))?.ok_or(Reason::BadClaim)?,
            nbf: time(payload.get("nbf"))?,
            iat: time(payload.get("iat"))?,
            sub: read(payload.get("sub"))?.ok_or(Reason::BadClaim)?,
            client_id: read(payload.get("client_id"))?,
            scope: read(payload.get("scope"))?,
            jti: read(payload.get("jti"))?,
            auth_time: time(payload.get("auth_time"))?,
            amr: read(payload.get("amr"))?.unwrap_or_default(),
            is_anonymous: read(payload.get("https://authgear.com/claims/user/is_anonymous"))?,
            is_verified: read(payload.get("https://authgear.com/claims/user/is_verified"))?,
            can_reauthenticate: read(
                payload.get("https://authgear.com/claims/user/can_reauthenticate"),
            )?,
            roles: read(payload.get("https://authgear.com/claims/user/roles"))?.unwrap_or_default(),
        };
        let has_control = |text: &str| text.bytes().any(is_control);
        if claims.sub.is_empty() || claims.texts_with_variables().any(has_control) {
            return Err(Reason::BadClaim);
        }
        Ok(claims)
    }

    /// Tells whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub fn is_client(&self) -> bool {
        self.sub.starts_with("client_id_")
    }

    /// Tells whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.aud.iter().any(|own| **own == *audience)
    }

    /// The texts that a variable or header of their own shows.
    fn texts_with_variables(&self) -> impl Iterator<Item = &str> {
        let alone = [&self.client_id, &self.scope, &self.jti]
            .into_iter()
            .flatten();
        let listed = self.amr.iter().chain(&self.roles);
        alone.chain(listed).chain([&self.sub]).map(|text| &**text)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        let texts = self
            .iss
            .as_deref()
            .into_iter()
            .chain(self.texts_with_variables());
        let lists = self.aud.len() + self.amr.len() + self.roles.len();
        texts
            .chain(self.aud.iter().map(|text| &**text))
            .map(str::len)
            .sum::<usize>()
            + lists * size_of::<Box<str>>()
    }
}

fn read<T: DeserializeOwned>(claim: Option<&RawValue>) -> Result<Option<T>, Reason> {
    let read = |value| json::read(value).ok_or(Reason::BadClaim);
    claim.map(read).transpose()
}

/// Reads `aud`: an array of strings, or one string (RFC 7519, section 4.1.3).
fn audience(value: &RawValue) -> Result<Vec<Box<str>>, Reason> {
    let one = || json::read(value).map(|one| vec![one]);
    json::read(value).or_else(one).ok_or(Reason::BadClaim)
}

/// Reads a time in seconds.
fn time(claim: Option<&RawValue>) -> Result<Option<f64>, Reason> {
    let Some(number) = read::<Number>(claim)? else {
        return Ok(None);
    };
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    let is_in_range = match number.as_u64() {
        Some(seconds) => seconds <= MAX_TIME,
        None => number
            .as_f64()
            .is_some_and(|seconds| (0.0..=MAX_TIME as f64).contains(&seconds)),
    };
    let seconds = number.as_f64().filter(|_| is_in_range);
    seconds.map(Some).ok_or(Reason::BadClaim)
}

#[cfg(test)]
mod tests;
