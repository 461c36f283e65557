//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

use crate::json::{self, Value};
use crate::reason::Reason;
use crate::span::{self, Span};
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
const MAX_TIME_DIGITS: usize = MAX_TIME.ilog10() as usize + 1;

/// The claims, their texts as places among others.
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
    /// Reads the payload of the texts, whose signature was checked.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one JSON object with all names different, at most 64
    /// deep; [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has
    /// the wrong type (`null` is one), when a time is out of range, and when a claim with a
    /// variable of its own holds a control character.
    #[inline(never)]
    pub(crate) fn parse(texts: &mut span::Texts<&str>) -> Result<Claimed, Reason> {
        let mut raw = Raw::parse(texts)?;
        let sub = raw.text(Known::Sub)?.filter(|sub| !sub.is_empty());
        let sub = sub.ok_or(Reason::BadClaim)?;
        let claimed = Claimed {
            iss: raw.text(Known::Iss)?,
            exp: raw.time(Known::Exp)?.ok_or(Reason::BadClaim)?,
            nbf: raw.seconds(Known::Nbf)?,
            iat: raw.seconds(Known::Iat)?,
            sub,
            client_id: raw.text(Known::ClientId)?,
            scope: raw.text(Known::Scope)?,
            jti: raw.text(Known::Jti)?,
            auth_time: raw.time(Known::AuthTime)?,
            is_anonymous: raw.flag(Known::IsAnonymous)?,
            is_verified: raw.flag(Known::IsVerified)?,
            can_reauthenticate: raw.flag(Known::CanReauthenticate)?,
            is_client: raw.texts.get(sub).starts_with("client_id_"),
            is_compact: raw.is_compact,
            lists: Lists::new(),
            amr_from: 0,
            roles_from: 0,
        };
        raw.lists(claimed)
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

/// A claim of [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Iss,
    Aud,
    Exp,
    Nbf,
    Iat,
    Sub,
    ClientId,
    Scope,
    Jti,
    AuthTime,
    Amr,
    IsAnonymous,
    IsVerified,
    CanReauthenticate,
    Roles,
}

/// In the order of [`Known`].
const NAMES: [&str; 15] = [
    "iss",
    "aud",
    "exp",
    "nbf",
    "iat",
    "sub",
    "client_id",
    "scope",
    "jti",
    "auth_time",
    "amr",
    "https://authgear.com/claims/user/is_anonymous",
    "https://authgear.com/claims/user/is_verified",
    "https://authgear.com/claims/user/can_reauthenticate",
    "https://authgear.com/claims/user/roles",
];

/// Those of [`NAMES`].
const KEYS: [u64; NAMES.len()] = {
    let (mut keys, mut at) = ([0; NAMES.len()], 0);
    while at < keys.len() {
        keys[at] = json::key(NAMES[at].as_bytes());
        at += 1;
    }
    keys
};

/// Where a name stands in [`NAMES`].
fn place(name: &[u8]) -> Option<usize> {
    let key = json::key(name);
    let place = KEYS.iter().position(|known| *known == key)?;
    let known = NAMES[place].as_bytes();
    // The key of a short name is all of it.
    let is_it = name.len() == known.len() && (name.len() < 8 || name == known);
    is_it.then_some(place)
}

impl Known {
    /// What every request asks for is copied, so that it lies side by side. It has no variable of
    /// its own and may hold any character.
    fn is_copied(self) -> bool {
        matches!(self, Known::Iss | Known::Aud)
    }
}

/// The known claims as they were written, each checked only after the structure of the whole
/// payload.
struct Raw<'t, 'a> {
    /// By [`Known`]; what is absent is empty, as no value is.
    values: [&'a str; NAMES.len()],
    is_plain: bool,
    is_compact: bool,
    texts: &'t mut span::Texts<&'a str>,
}

// The functions that read a value are not to be inlined: a token that has not been met before finds
// little of this code in the processor's cache.
impl<'t, 'a> Raw<'t, 'a> {
    fn parse(texts: &'t mut span::Texts<&'a str>) -> Result<Raw<'t, 'a>, Reason> {
        let payload = Value::new(texts.source());
        let mut values = [""; _];
        let object = json::strict_object(payload, |name, value| {
            if let Some(place) = place(name) {
                values[place] = value.text;
            }
        })
        .map_err(|json::Malformed| Reason::Malformed)?;
        Ok(Raw {
            values,
            is_plain: payload.is_plain,
            is_compact: object.is_compact,
            texts,
        })
    }

    fn value(&self, claim: Known) -> Option<Value<'a>> {
        let text = self.values[claim as usize];
        (!text.is_empty()).then_some(Value {
            text,
            is_plain: self.is_plain,
        })
    }

    #[inline(never)]
    fn text(&mut self, claim: Known) -> Result<Option<Span>, Reason> {
        let Some(value) = self.value(claim) else {
            return Ok(None);
        };
        let text = json::string(value).and_then(|text| self.kept(claim, text));
        text.map(Some).ok_or(Reason::BadClaim)
    }

    fn lists(&mut self, mut claimed: Claimed) -> Result<Claimed, Reason> {
        self.list(Known::Aud, &mut claimed.lists)?;
        claimed.amr_from = claimed.lists.len() as u32;
        self.list(Known::Amr, &mut claimed.lists)?;
        claimed.roles_from = claimed.lists.len() as u32;
        self.list(Known::Roles, &mut claimed.lists)?;
        Ok(claimed)
    }

    /// The strings of an array; of `aud` one may stand alone (RFC 7519, section 4.1.3).
    #[inline(never)]
    fn list(&mut self, claim: Known, list: &mut Lists) -> Result<(), Reason> {
        let Some(value) = self.value(claim) else {
            return Ok(());
        };
        if claim == Known::Aud && !value.text.starts_with('[') {
            list.extend(self.text(claim)?);
            return Ok(());
        }
        json::each_string(value, |text| {
            list.push(self.kept(claim, text)?);
            Some(())
        })
        .ok_or(Reason::BadClaim)
    }

    fn kept(&mut self, claim: Known, text: Cow<'a, str>) -> Option<Span> {
        if claim.is_copied() {
            return Some(self.texts.push(&text));
        }
        let is_printable = self.is_plain || all(text.as_bytes(), |b| !is_control(b));
        is_printable.then(|| self.texts.keep(text))
    }

    fn flag(&self, claim: Known) -> Result<Option<bool>, Reason> {
        match self.values[claim as usize] {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(Reason::BadClaim),
        }
    }

    #[inline(never)]
    fn time(&mut self, claim: Known) -> Result<Option<Time>, Reason> {
        let Some(value) = self.value(claim) else {
            return Ok(None);
        };
        let (seconds, is_whole) = read_time(value.text)?;
        let text = if is_whole {
            self.texts.keep(Cow::Borrowed(value.text))
        } else {
            // Held to 0..=2^53, so the conversion is exact.
            self.texts.push(&(seconds as u64).to_string())
        };
        Ok(Some(Time { seconds, text }))
    }

    fn seconds(&self, claim: Known) -> Result<Option<f64>, Reason> {
        let value = self.value(claim);
        value.map(|value| Ok(read_time(value.text)?.0)).transpose()
    }
}

/// A time in seconds, and whether it was written in digits alone.
#[inline(never)]
fn read_time(value: &str) -> Result<(f64, bool), Reason> {
    // Whole seconds are compared as integers: as an f64, 2^53 + 1 would pass for 2^53.
    let whole = value.bytes().try_fold(0u64, |seconds, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| seconds.wrapping_mul(10).wrapping_add(digit.into()))
    });
    if let Some(seconds) = whole {
        // JSON has no zeros in front, so that what is longer is also more.
        return match value.len() <= MAX_TIME_DIGITS && seconds <= MAX_TIME {
            true => Ok((seconds as f64, true)),
            false => Err(Reason::BadClaim),
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
