//! The claims of a payload as they were written.

use std::borrow::Cow;

use super::{Lists, Time};
use crate::json::{self, Value};
use crate::reason::Reason;
use crate::span::{self, Span};
use crate::text::{all, is_control};

/// The latest time a claim may name: beyond it an `f64` no longer holds every second.
const MAX_TIME: u64 = 1 << 53;
const MAX_TIME_DIGITS: usize = MAX_TIME.ilog10() as usize + 1;

/// A claim that this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
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
    Cnf,
}

/// Each of them, and its name.
pub(crate) const KNOWN: [(Known, &str); 16] = [
    (Known::Iss, "iss"),
    (Known::Aud, "aud"),
    (Known::Exp, "exp"),
    (Known::Nbf, "nbf"),
    (Known::Iat, "iat"),
    (Known::Sub, "sub"),
    (Known::ClientId, "client_id"),
    (Known::Scope, "scope"),
    (Known::Jti, "jti"),
    (Known::AuthTime, "auth_time"),
    (Known::Amr, "amr"),
    (
        Known::IsAnonymous,
        "https://authgear.com/claims/user/is_anonymous",
    ),
    (
        Known::IsVerified,
        "https://authgear.com/claims/user/is_verified",
    ),
    (
        Known::CanReauthenticate,
        "https://authgear.com/claims/user/can_reauthenticate",
    ),
    (Known::Roles, "https://authgear.com/claims/user/roles"),
    (Known::Cnf, "cnf"),
];

/// The keys of the names in [`KNOWN`].
const KEYS: [u64; KNOWN.len()] = {
    let (mut keys, mut at) = ([0; KNOWN.len()], 0);
    while at < keys.len() {
        keys[at] = json::key(KNOWN[at].1.as_bytes());
        at += 1;
    }
    keys
};

impl Known {
    pub(super) fn of_name(name: &[u8]) -> Option<Known> {
        let key = json::key(name);
        let place = KEYS.iter().position(|known| *known == key)?;
        let (known, known_name) = KNOWN[place];
        // The key of a name of less than eight bytes is all of it.
        let is_it =
            name.len() == known_name.len() && (name.len() < 8 || name == known_name.as_bytes());
        is_it.then_some(known)
    }

    /// What every request asks for is copied, so that it lies side by side. It has no variable of
    /// its own and may hold any character.
    fn is_copied(self) -> bool {
        matches!(self, Known::Iss | Known::Aud)
    }
}

/// The known claims as they were written, each checked only after the structure of the whole
/// payload.
pub(super) struct Raw<'t, 'a> {
    /// By [`Known`]; what is absent is empty, as no value is.
    values: [&'a str; KNOWN.len()],
    is_plain: bool,
    is_compact: bool,
    texts: &'t mut span::Texts<&'a str>,
}

// The functions that read a value are not to be inlined: a token that has not been met before finds
// little of this code in the processor's cache.
impl<'t, 'a> Raw<'t, 'a> {
    pub(super) fn parse(texts: &'t mut span::Texts<&'a str>) -> Result<Raw<'t, 'a>, Reason> {
        let payload = Value::new(texts.source());
        let mut values = [""; KNOWN.len()];
        let object = json::strict_object(payload, |name, value| {
            if let Some(known) = Known::of_name(name) {
                values[known as usize] = value.text;
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
    pub(super) fn text(&mut self, claim: Known) -> Result<Option<Span>, Reason> {
        let Some(value) = self.value(claim) else {
            return Ok(None);
        };
        let text = json::string(value).and_then(|text| self.kept(claim, text));
        text.map(Some).ok_or(Reason::BadClaim)
    }

    /// Whether the claim is there, whatever its value.
    pub(super) fn is_present(&self, claim: Known) -> bool {
        !self.values[claim as usize].is_empty()
    }

    pub(super) fn text_of(&self, span: Span) -> &str {
        self.texts.get(span)
    }

    /// Whether the payload is compact JSON already.
    pub(super) fn is_compact(&self) -> bool {
        self.is_compact
    }

    pub(super) fn lists(&mut self) -> Result<Lists, Reason> {
        let mut lists = Lists::default();
        self.list(Known::Aud, &mut lists)?;
        lists.amr_from = lists.texts.len() as u32;
        self.list(Known::Amr, &mut lists)?;
        lists.roles_from = lists.texts.len() as u32;
        self.list(Known::Roles, &mut lists)?;
        Ok(lists)
    }

    /// The strings of an array; of `aud` one may stand alone (RFC 7519, section 4.1.3).
    #[inline(never)]
    fn list(&mut self, claim: Known, lists: &mut Lists) -> Result<(), Reason> {
        let Some(value) = self.value(claim) else {
            return Ok(());
        };
        if claim == Known::Aud && !value.text.starts_with('[') {
            lists.texts.extend(self.text(claim)?);
            return Ok(());
        }
        json::each_string(value, |text| {
            lists.texts.push(self.kept(claim, text)?);
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

    pub(super) fn flag(&self, claim: Known) -> Result<Option<bool>, Reason> {
        match self.values[claim as usize] {
            "" => Ok(None),
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(Reason::BadClaim),
        }
    }

    #[inline(never)]
    pub(super) fn time(&mut self, claim: Known) -> Result<Option<Time>, Reason> {
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

    pub(super) fn seconds(&self, claim: Known) -> Result<Option<f64>, Reason> {
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
