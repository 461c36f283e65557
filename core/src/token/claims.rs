//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::Number;

use crate::json::{self, Object};
use crate::reason::Reason;
use crate::text::has_control;

/// The latest time a claim may name: beyond it an `f64` no longer holds every second.
const MAX_TIME: u64 = 1 << 53;

/// The claims of a token that this crate knows by name.
///
/// Absent arrays are empty; everything else that is absent is `None`. Times are Unix seconds from 0
/// to 2^53, fractions allowed. The claims that have a variable of their own hold no control
/// character.
#[derive(Debug, Default, PartialEq)]
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
        let (mut claims, mut exp) = (Claims::default(), None);
        for (name, value) in payload.iter() {
            claims.take(name, value, &mut exp).ok_or(Reason::BadClaim)?;
        }
        claims.exp = exp.ok_or(Reason::BadClaim)?;
        // One that is absent is empty.
        if claims.sub.is_empty() || claims.texts_with_variables().any(has_control) {
            return Err(Reason::BadClaim);
        }
        Ok(claims)
    }

    /// Reads the claim of that name, if it is one of ours; `None` when its value is none that it may have.
    fn take(&mut self, name: &[u8], value: &'a RawValue, exp: &mut Option<f64>) -> Option<()> {
        match name {
            b"iss" => self.iss = Some(json::string(value)?),
            b"aud" => self.aud = audience(value)?,
            b"exp" => *exp = Some(time(value)?),
            b"nbf" => self.nbf = Some(time(value)?),
            b"iat" => self.iat = Some(time(value)?),
            b"sub" => self.sub = json::string(value)?,
            b"client_id" => self.client_id = Some(json::string(value)?),
            b"scope" => self.scope = Some(json::string(value)?),
            b"jti" => self.jti = Some(json::string(value)?),
            b"auth_time" => self.auth_time = Some(time(value)?),
            b"amr" => self.amr = json::strings(value)?,
            b"https://authgear.com/claims/user/is_anonymous" => {
                self.is_anonymous = Some(flag(value)?)
            }
            b"https://authgear.com/claims/user/is_verified" => {
                self.is_verified = Some(flag(value)?)
            }
            b"https://authgear.com/claims/user/can_reauthenticate" => {
                self.can_reauthenticate = Some(flag(value)?)
            }
            b"https://authgear.com/claims/user/roles" => self.roles = json::strings(value)?,
            _ => {}
        }
        Some(())
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

/// Reads `aud`: an array of strings, or one string (RFC 7519, section 4.1.3).
fn audience(value: &RawValue) -> Option<Vec<Cow<'_, str>>> {
    if value.get().starts_with('[') {
        json::strings(value)
    } else {
        Some(vec![json::string(value)?])
    }
}

/// Reads `true` or `false`.
fn flag(value: &RawValue) -> Option<bool> {
    value.get().parse().ok()
}

/// Reads a time in seconds.
fn time(value: &RawValue) -> Option<f64> {
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    if let Ok(seconds) = value.get().parse::<u64>() {
        return (seconds <= MAX_TIME).then_some(seconds as f64);
    }
    let number: Number = json::read(value)?;
    number
        .as_f64()
        .filter(|seconds| (0.0..=MAX_TIME as f64).contains(seconds))
}

#[cfg(test)]
mod tests;
