//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use crate::json::{self, Object, Value};
use crate::reason::Reason;
use crate::span::{self, Buffer, Span};
use crate::text::{all, is_control};

/// What a verified token claims, as far as this crate knows the names; each is read when asked for.
///
/// Absent arrays are empty; everything else that is absent is `None`. Times are Unix seconds from 0
/// to 2^53, fractions allowed. The claims that have a variable of their own hold no control
/// character.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    claimed: &'a Claimed,
    from: &'a span::Texts,
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
        self.from.get(self.claimed.sub)
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
        span.map(|span| self.from.get(span))
    }

    fn texts(self, spans: &'a [Span]) -> Texts<'a> {
        Texts {
            from: self.from,
            spans,
        }
    }
}

/// The strings of one claim.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    from: &'a span::Texts,
    spans: &'a [Span],
}

impl<'a> Texts<'a> {
    /// Each of them, in the order of the token.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.spans.iter().map(move |&span| self.from.get(span))
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
    /// Whether the payload is compact JSON already.
    pub(crate) is_compact: bool,
    /// Those of `aud`, `amr` and `roles`, in this order.
    lists: Lists,
    amr_from: u32,
    roles_from: u32,
}

/// Has room for one audience, a few methods and a few roles.
type Lists = SmallVec<[Span; 8]>;

/// A time, and in whole seconds as Go's `time.Time.Unix` writes them: the fraction cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) seconds: f64,
    pub(crate) text: Span,
}

impl Claimed {
    /// Reads a payload, whose signature was checked and which the buffer was made with.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one JSON object with all names different, at most 64
    /// deep; [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has
    /// the wrong type (`null` is one), when a time is out of range, and when a claim with a
    /// variable of its own holds a control character.
    pub(crate) fn parse<'a>(payload: &'a str, buffer: &mut Buffer<'a>) -> Result<Claimed, Reason> {
        let (raw, object) = Raw::parse(Value::new(payload))?;
        let mut lists = Lists::new();
        if let Some(aud) = raw.aud {
            if aud.text.starts_with('[') {
                array(aud, &mut lists, |text| Some(buffer.push(&text)))?;
            } else {
                lists.push(copied(aud, buffer)?);
            }
        }
        let amr_from = lists.len() as u32;
        if let Some(amr) = raw.amr {
            array(amr, &mut lists, |text| kept(text, amr.is_plain, buffer))?;
        }
        let roles_from = lists.len() as u32;
        if let Some(roles) = raw.roles {
            array(roles, &mut lists, |text| kept(text, roles.is_plain, buffer))?;
        }
        let iss = raw.iss.map(|iss| copied(iss, buffer)).transpose()?;
        let sub = printable(raw.sub, buffer)?.filter(|sub| !sub.is_empty());
        let (client_id, scope, jti) = (
            printable(raw.client_id, buffer)?,
            printable(raw.scope, buffer)?,
            printable(raw.jti, buffer)?,
        );
        let sub = sub.ok_or(Reason::BadClaim)?;
        Ok(Claimed {
            iss,
            exp: time(raw.exp, buffer)?.ok_or(Reason::BadClaim)?,
            nbf: seconds(raw.nbf)?,
            iat: seconds(raw.iat)?,
            sub,
            client_id,
            scope,
            jti,
            auth_time: time(raw.auth_time, buffer)?,
            is_anonymous: raw.is_anonymous.map(flag).transpose()?,
            is_verified: raw.is_verified.map(flag).transpose()?,
            can_reauthenticate: raw.can_reauthenticate.map(flag).transpose()?,
            is_client: buffer.text(sub).starts_with("client_id_"),
            is_compact: object.is_compact,
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

    /// The claims with their texts.
    pub(crate) fn read<'a>(&'a self, from: &'a span::Texts) -> Claims<'a> {
        Claims {
            claimed: self,
            from,
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_size(&self) -> usize {
        match self.lists.spilled() {
            true => self.lists.capacity() * size_of::<Span>(),
            false => 0,
        }
    }
}

/// The known claims as they were written, each checked only after the structure of the whole
/// payload.
#[derive(Default)]
struct Raw<'a> {
    iss: Option<Value<'a>>,
    aud: Option<Value<'a>>,
    exp: Option<Value<'a>>,
    nbf: Option<Value<'a>>,
    iat: Option<Value<'a>>,
    sub: Option<Value<'a>>,
    client_id: Option<Value<'a>>,
    scope: Option<Value<'a>>,
    jti: Option<Value<'a>>,
    auth_time: Option<Value<'a>>,
    amr: Option<Value<'a>>,
    is_anonymous: Option<Value<'a>>,
    is_verified: Option<Value<'a>>,
    can_reauthenticate: Option<Value<'a>>,
    roles: Option<Value<'a>>,
}

impl<'a> Raw<'a> {
    fn parse(payload: Value<'a>) -> Result<(Raw<'a>, Object), Reason> {
        let mut raw = Raw::default();
        let object = json::strict_object(payload, |name, value| {
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
        Ok((raw, object))
    }
}

/// What every request asks for is copied, so that it lies side by side.
fn copied(value: Value<'_>, buffer: &mut Buffer<'_>) -> Result<Span, Reason> {
    let text = json::string(value).ok_or(Reason::BadClaim)?;
    Ok(buffer.push(&text))
}

fn printable<'a>(
    claim: Option<Value<'a>>,
    buffer: &mut Buffer<'a>,
) -> Result<Option<Span>, Reason> {
    let Some(value) = claim else {
        return Ok(None);
    };
    let text = json::string(value).ok_or(Reason::BadClaim)?;
    kept(text, value.is_plain, buffer)
        .map(Some)
        .ok_or(Reason::BadClaim)
}

/// A text, unless it holds a control character, which one that `is_plain` does not.
fn kept<'a>(text: Cow<'a, str>, is_plain: bool, buffer: &mut Buffer<'a>) -> Option<Span> {
    let is_printable = is_plain || all(text.as_bytes(), |b| !is_control(b));
    is_printable.then(|| buffer.keep(text))
}

fn array<'a>(
    value: Value<'a>,
    list: &mut Lists,
    mut keep: impl FnMut(Cow<'a, str>) -> Option<Span>,
) -> Result<(), Reason> {
    json::each_string(value, |text| keep(text).map(|span| list.push(span))).ok_or(Reason::BadClaim)
}

fn flag(value: Value<'_>) -> Result<bool, Reason> {
    match value.text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Reason::BadClaim),
    }
}

fn time<'a>(claim: Option<Value<'a>>, buffer: &mut Buffer<'a>) -> Result<Option<Time>, Reason> {
    let Some(value) = claim else {
        return Ok(None);
    };
    let (seconds, is_whole) = read_time(value.text)?;
    let text = if is_whole {
        buffer.keep(Cow::Borrowed(value.text))
    } else {
        // Held to 0..=2^53, so the conversion is exact.
        buffer.push(&(seconds as u64).to_string())
    };
    Ok(Some(Time { seconds, text }))
}

fn seconds(claim: Option<Value<'_>>) -> Result<Option<f64>, Reason> {
    claim.map(|value| Ok(read_time(value.text)?.0)).transpose()
}

/// A time in seconds, and whether it was written in digits alone.
fn read_time(value: &str) -> Result<(f64, bool), Reason> {
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    if value.bytes().all(|b| b.is_ascii_digit()) {
        return match value.parse::<u64>() {
            Ok(seconds) if seconds <= MAX_TIME => Ok((seconds as f64, true)),
            _ => Err(Reason::BadClaim),
        };
    }
    // The text is valid JSON, so what begins like a number is one; `parse` alone would also take
    // "inf".
    if !value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return Err(Reason::BadClaim);
    }
    match value.parse::<f64>() {
        Ok(seconds) if (0.0..=MAX_TIME as f64).contains(&seconds) => Ok((seconds, false)),
        _ => Err(Reason::BadClaim),
    }
}

#[cfg(test)]
mod tests;
