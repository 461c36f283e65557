//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;
use std::fmt;

use crate::json;
use crate::reason::Reason;
use crate::span::{Buffer, Span};
use crate::text::{all, is_control};

/// What a verified token claims, as far as this crate knows the names; each is read when asked for.
///
/// Absent arrays are empty; everything else that is absent is `None`. Times are Unix seconds from 0
/// to 2^53, fractions allowed. The claims that have a variable of their own hold no control
/// character.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    claimed: &'a Claimed,
    buffer: &'a str,
}

impl<'a> Claims<'a> {
    /// `iss`
    pub fn iss(self) -> Option<&'a str> {
        self.text(self.claimed.iss)
    }

    /// `aud`, a string or an array of strings.
    pub fn aud(self) -> Texts<'a> {
        self.texts(self.claimed.aud())
    }

    /// `exp`
    pub fn exp(self) -> f64 {
        self.claimed.exp.seconds
    }

    /// `nbf`
    pub fn nbf(self) -> Option<f64> {
        self.claimed.nbf
    }

    /// `iat`; not compared with anything.
    pub fn iat(self) -> Option<f64> {
        self.claimed.iat
    }

    /// `sub`: the user's id, or `client_id_` and the client's; never empty.
    pub fn sub(self) -> &'a str {
        self.claimed.sub.of(self.buffer)
    }

    /// `client_id`
    pub fn client_id(self) -> Option<&'a str> {
        self.text(self.claimed.client_id)
    }

    /// `scope`, separated by spaces.
    pub fn scope(self) -> Option<&'a str> {
        self.text(self.claimed.scope)
    }

    /// `jti`
    pub fn jti(self) -> Option<&'a str> {
        self.text(self.claimed.jti)
    }

    /// `auth_time`: when the user logged in.
    pub fn auth_time(self) -> Option<f64> {
        self.claimed.auth_time.map(|time| time.seconds)
    }

    /// `amr`: how the user logged in (RFC 8176).
    pub fn amr(self) -> Texts<'a> {
        self.texts(self.claimed.amr())
    }

    /// `https://authgear.com/claims/user/is_anonymous`
    pub fn is_anonymous(self) -> Option<bool> {
        self.claimed.is_anonymous
    }

    /// `https://authgear.com/claims/user/is_verified`
    pub fn is_verified(self) -> Option<bool> {
        self.claimed.is_verified
    }

    /// `https://authgear.com/claims/user/can_reauthenticate`
    pub fn can_reauthenticate(self) -> Option<bool> {
        self.claimed.can_reauthenticate
    }

    /// `https://authgear.com/claims/user/roles`
    pub fn roles(self) -> Texts<'a> {
        self.texts(self.claimed.roles())
    }

    /// Whether the token is a client's (machine-to-machine), by the form of its `sub`.
    pub fn is_client(self) -> bool {
        self.claimed.is_client
    }

    fn text(self, span: Option<Span>) -> Option<&'a str> {
        span.map(|span| span.of(self.buffer))
    }

    fn texts(self, spans: &'a [Span]) -> Texts<'a> {
        Texts {
            buffer: self.buffer,
            spans,
        }
    }
}

/// The strings of one claim.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    buffer: &'a str,
    spans: &'a [Span],
}

impl<'a> Texts<'a> {
    /// Each of them, in the order of the token.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.spans.iter().map(move |span| span.of(self.buffer))
    }

    /// Whether that very text is among them.
    pub fn contains(self, text: &str) -> bool {
        self.iter().any(|own| own == text)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }
}

impl PartialEq for Texts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Texts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The latest time a claim may name: beyond it an `f64` no longer holds every second.
const MAX_TIME: u64 = 1 << 53;

/// The claims, their texts as places in a buffer.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) iss: Option<Span>,
    pub(crate) exp: Time,
    pub(crate) nbf: Option<f64>,
    pub(crate) iat: Option<f64>,
    pub(crate) sub: Span,
    pub(crate) client_id: Option<Span>,
    pub(crate) scope: Option<Span>,
    pub(crate) jti: Option<Span>,
    pub(crate) auth_time: Option<Time>,
    pub(crate) is_anonymous: Option<bool>,
    pub(crate) is_verified: Option<bool>,
    pub(crate) can_reauthenticate: Option<bool>,
    pub(crate) is_client: bool,
    /// Those of `aud`, `amr` and `roles`, in this order.
    lists: Vec<Span>,
    amr_from: u32,
    roles_from: u32,
}

/// A time, and in whole seconds as Go's `time.Time.Unix` writes them: the fraction cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) seconds: f64,
    pub(crate) text: Span,
}

impl Claimed {
    /// Reads the buffer's payload, whose signature was checked.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one JSON object with all names different, at most 64
    /// deep; [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has
    /// the wrong type (`null` is one), when a time is out of range, and when a claim with a
    /// variable of its own holds a control character.
    pub(crate) fn parse<'a>(payload: &'a str, buffer: &mut Buffer<'a>) -> Result<Claimed, Reason> {
        let raw = Raw::parse(payload)?;
        let mut lists = Vec::with_capacity(8);
        if let Some(aud) = raw.aud {
            if aud.starts_with('[') {
                array(aud, &mut lists, |text| Some(buffer.push(&text)))?;
            } else {
                lists.push(copied(aud, buffer)?);
            }
        }
        let amr_from = lists.len() as u32;
        if let Some(amr) = raw.amr {
            array(amr, &mut lists, |text| kept(text, buffer))?;
        }
        let roles_from = lists.len() as u32;
        if let Some(roles) = raw.roles {
            array(roles, &mut lists, |text| kept(text, buffer))?;
        }
        let iss = raw.iss.map(|iss| copied(iss, buffer)).transpose()?;
        let mut printable =
            |raw: Option<&'a str>| raw.map(|value| printable(value, buffer)).transpose();
        let sub = printable(raw.sub)?.filter(|sub| !sub.is_empty());
        let (client_id, scope, jti) = (
            printable(raw.client_id)?,
            printable(raw.scope)?,
            printable(raw.jti)?,
        );
        let mut shown = |raw: Option<&'a str>| -> Result<Option<Time>, Reason> {
            let Some(value) = raw else { return Ok(None) };
            let seconds = time(value)?;
            let text = if is_whole(value) {
                buffer.keep(Cow::Borrowed(value))
            } else {
                // Held to 0..=2^53, so the conversion is exact.
                buffer.push(&(seconds as u64).to_string())
            };
            Ok(Some(Time { seconds, text }))
        };
        let sub = sub.ok_or(Reason::BadClaim)?;
        Ok(Claimed {
            iss,
            exp: shown(raw.exp)?.ok_or(Reason::BadClaim)?,
            nbf: raw.nbf.map(time).transpose()?,
            iat: raw.iat.map(time).transpose()?,
            sub,
            client_id,
            scope,
            jti,
            auth_time: shown(raw.auth_time)?,
            is_anonymous: raw.is_anonymous.map(flag).transpose()?,
            is_verified: raw.is_verified.map(flag).transpose()?,
            can_reauthenticate: raw.can_reauthenticate.map(flag).transpose()?,
            is_client: buffer.text(sub).starts_with("client_id_"),
            lists,
            amr_from,
            roles_from,
        })
    }

    fn aud(&self) -> &[Span] {
        &self.lists[..self.amr_from as usize]
    }

    pub(crate) fn amr(&self) -> &[Span] {
        &self.lists[self.amr_from as usize..self.roles_from as usize]
    }

    pub(crate) fn roles(&self) -> &[Span] {
        &self.lists[self.roles_from as usize..]
    }

    /// The claims with the texts of their buffer.
    pub(crate) fn read<'a>(&'a self, buffer: &'a str) -> Claims<'a> {
        Claims {
            claimed: self,
            buffer,
        }
    }

    /// Bytes on the heap beside the buffer.
    pub(super) fn heap_size(&self) -> usize {
        self.lists.capacity() * size_of::<Span>()
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

/// What every request asks for is copied, so that it lies side by side.
fn copied<'a>(value: &'a str, buffer: &mut Buffer<'a>) -> Result<Span, Reason> {
    let text = json::string(value).ok_or(Reason::BadClaim)?;
    Ok(buffer.push(&text))
}

fn printable<'a>(value: &'a str, buffer: &mut Buffer<'a>) -> Result<Span, Reason> {
    let text = json::string(value).ok_or(Reason::BadClaim)?;
    kept(text, buffer).ok_or(Reason::BadClaim)
}

fn kept<'a>(text: Cow<'a, str>, buffer: &mut Buffer<'a>) -> Option<Span> {
    is_printable(&text).then(|| buffer.keep(text))
}

fn array<'a>(
    value: &'a str,
    list: &mut Vec<Span>,
    mut keep: impl FnMut(Cow<'a, str>) -> Option<Span>,
) -> Result<(), Reason> {
    json::each_string(value, |text| keep(text).map(|span| list.push(span))).ok_or(Reason::BadClaim)
}

fn is_printable(text: &str) -> bool {
    all(text.as_bytes(), |b| !is_control(b))
}

fn flag(value: &str) -> Result<bool, Reason> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Reason::BadClaim),
    }
}

fn is_whole(value: &str) -> bool {
    value.bytes().all(|b| b.is_ascii_digit())
}

fn time(value: &str) -> Result<f64, Reason> {
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    if is_whole(value) {
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
