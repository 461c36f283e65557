//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;

use crate::json;
use crate::reason::Reason;
use crate::text::is_control;

/// What a verified token claims, as far as this crate knows the names.
///
/// Absent arrays are empty; everything else that is absent is `None`. Times are Unix seconds from 0
/// to 2^53, fractions allowed. The claims that have a variable of their own hold no control
/// character.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
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

/// The latest time a claim may name: beyond it an `f64` no longer holds every second.
const MAX_TIME: u64 = 1 << 53;

impl Claims {
    /// Whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub fn is_client(&self) -> bool {
        self.sub.starts_with("client_id_")
    }

    /// Reads a payload whose signature was checked.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one JSON object with all names different, at most 64
    /// deep; [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has
    /// the wrong type (`null` is one), when a time is out of range, and when a claim with a
    /// variable of its own holds a control character.
    pub(crate) fn parse(payload: &str) -> Result<Claims, Reason> {
        let raw = Raw::parse(payload)?;
        Ok(Claims {
            iss: raw.iss.map(plain).transpose()?,
            aud: raw.aud.map(one_or_many).transpose()?.unwrap_or_default(),
            exp: raw.exp.map(time).transpose()?.ok_or(Reason::BadClaim)?,
            nbf: raw.nbf.map(time).transpose()?,
            iat: raw.iat.map(time).transpose()?,
            sub: raw
                .sub
                .map(printable)
                .transpose()?
                .filter(|sub| !sub.is_empty())
                .ok_or(Reason::BadClaim)?,
            client_id: raw.client_id.map(printable).transpose()?,
            scope: raw.scope.map(printable).transpose()?,
            jti: raw.jti.map(printable).transpose()?,
            auth_time: raw.auth_time.map(time).transpose()?,
            amr: raw.amr.map(printables).transpose()?.unwrap_or_default(),
            is_anonymous: raw.is_anonymous.map(flag).transpose()?,
            is_verified: raw.is_verified.map(flag).transpose()?,
            can_reauthenticate: raw.can_reauthenticate.map(flag).transpose()?,
            roles: raw.roles.map(printables).transpose()?.unwrap_or_default(),
        })
    }

    /// Bytes on the heap, about.
    pub(super) fn heap_size(&self) -> usize {
        let one = [&self.iss, &self.client_id, &self.scope, &self.jti];
        let many = [&self.aud, &self.amr, &self.roles];
        self.sub.len()
            + one
                .into_iter()
                .flatten()
                .map(|text| text.len())
                .sum::<usize>()
            + many
                .into_iter()
                .flatten()
                .map(|text| text.len() + size_of::<Box<str>>())
                .sum::<usize>()
    }
}

/// The known claims as they were written, each checked only after the structure of the whole
/// payload.
#[derive(Default)]
struct Raw<'a> {
    iss: Option<&'a str>,
    aud: Option<&'a str>,
    exp: Option<&'a str>,
    nbf: Option<&'a str>,
    iat: Option<&'a str>,
    sub: Option<&'a str>,
    client_id: Option<&'a str>,
    scope: Option<&'a str>,
    jti: Option<&'a str>,
    auth_time: Option<&'a str>,
    amr: Option<&'a str>,
    is_anonymous: Option<&'a str>,
    is_verified: Option<&'a str>,
    can_reauthenticate: Option<&'a str>,
    roles: Option<&'a str>,
}

impl<'a> Raw<'a> {
    fn parse(payload: &'a str) -> Result<Raw<'a>, Reason> {
        let mut raw = Raw::default();
        json::strict_object(payload, |name, value| {
            let claim = match name {
                b"iss" => &mut raw.iss,
                b"aud" => &mut raw.aud,
                b"exp" => &mut raw.exp,
                b"nbf" => &mut raw.nbf,
                b"iat" => &mut raw.iat,
                b"sub" => &mut raw.sub,
                b"client_id" => &mut raw.client_id,
                b"scope" => &mut raw.scope,
                b"jti" => &mut raw.jti,
                b"auth_time" => &mut raw.auth_time,
                b"amr" => &mut raw.amr,
                b"https://authgear.com/claims/user/is_anonymous" => &mut raw.is_anonymous,
                b"https://authgear.com/claims/user/is_verified" => &mut raw.is_verified,
                b"https://authgear.com/claims/user/can_reauthenticate" => {
                    &mut raw.can_reauthenticate
                }
                b"https://authgear.com/claims/user/roles" => &mut raw.roles,
                _ => return,
            };
            *claim = Some(value);
        })
        .map_err(|json::Malformed| Reason::Malformed)?;
        Ok(raw)
    }
}

fn plain(value: &str) -> Result<Box<str>, Reason> {
    json::string(value).map(Into::into).ok_or(Reason::BadClaim)
}

fn printable(value: &str) -> Result<Box<str>, Reason> {
    json::string(value)
        .ok_or(Reason::BadClaim)
        .and_then(without_controls)
}

fn printables(value: &str) -> Result<Vec<Box<str>>, Reason> {
    json::strings(value)
        .ok_or(Reason::BadClaim)?
        .into_iter()
        .map(without_controls)
        .collect()
}

fn without_controls(text: Cow<'_, str>) -> Result<Box<str>, Reason> {
    if text.bytes().any(is_control) {
        return Err(Reason::BadClaim);
    }
    Ok(text.into())
}

fn one_or_many(value: &str) -> Result<Vec<Box<str>>, Reason> {
    if value.starts_with('[') {
        let strings = json::strings(value).ok_or(Reason::BadClaim)?;
        Ok(strings.into_iter().map(Into::into).collect())
    } else {
        Ok(vec![plain(value)?])
    }
}

fn flag(value: &str) -> Result<bool, Reason> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Reason::BadClaim),
    }
}

fn time(value: &str) -> Result<f64, Reason> {
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    if value.bytes().all(|b| b.is_ascii_digit()) {
        return match value.parse::<u64>() {
            Ok(seconds) if seconds <= MAX_TIME => Ok(seconds as f64),
            _ => Err(Reason::BadClaim),
        };
    }
    // The text is valid JSON, so what begins like a number is one; `parse` alone would also take
    // "inf".
    if !value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(Reason::BadClaim);
    }
    match value.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_TIME as f64).contains(&seconds) => Ok(seconds),
        _ => Err(Reason::BadClaim),
    }
}

#[cfg(test)]
mod tests;
