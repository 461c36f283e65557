//! Authgear's claims, typed (`pkg/lib/oauth/token_encoding.go`, `pkg/api/model/claims.go`; RFC
//! 7519, RFC 9068).

use std::fmt;

use smallvec::SmallVec;

use crate::reason::Reason;
use crate::span::{self, Span};
use raw::{Known, Raw};

#[cfg(test)]
pub(crate) use raw::KNOWN;

mod raw;

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
    lists: Lists,
}

/// The texts of `aud`, `amr` and `roles`, one list behind the other.
#[derive(Debug, Default)]
struct Lists {
    /// Has room for one audience, a few methods and a few roles.
    texts: SmallVec<[Span; 8]>,
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
    /// Reads the payload of the texts, whose signature was checked.
    ///
    /// # Errors
    ///
    /// [`Reason::Malformed`] when it is not one JSON object with all names different, at most 64
    /// deep; [`Reason::Unsupported`] when `cnf` is there, whatever its value (RFC 7800, section 3.1):
    /// who sends the token would have to prove that a key is at hand, and nobody asks for that
    /// here; [`Reason::BadClaim`] when `exp` or `sub` is absent or `sub` empty, when a claim has
    /// the wrong type (`null` is one), when a time is out of range, and when a claim with a
    /// variable of its own holds a control character.
    #[inline(never)]
    pub(crate) fn parse(texts: &mut span::Texts<&str>) -> Result<Claimed, Reason> {
        let mut raw = Raw::parse(texts)?;
        if raw.is_present(Known::Cnf) {
            return Err(Reason::Unsupported);
        }
        let sub = raw.text(Known::Sub)?.filter(|sub| !sub.is_empty());
        let sub = sub.ok_or(Reason::BadClaim)?;
        Ok(Claimed {
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
            is_client: raw.text_of(sub).starts_with("client_id_"),
            is_compact: raw.is_compact(),
            // Last, since they alone would have to be dropped where another claim is bad.
            lists: raw.lists()?,
        })
    }

    fn aud(&self) -> &[Span] {
        &self.lists.texts[..self.lists.amr_from as usize]
    }

    pub(crate) fn amr(&self) -> &[Span] {
        &self.lists.texts[self.lists.amr_from as usize..self.lists.roles_from as usize]
    }

    pub(crate) fn roles(&self) -> &[Span] {
        &self.lists.texts[self.lists.roles_from as usize..]
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
        match self.lists.texts.spilled() {
            true => self.lists.texts.capacity() * size_of::<Span>(),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests;
