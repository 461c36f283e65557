//! What is known of the caller, whichever way the caller was verified.

use std::fmt;
use std::rc::Rc;

use crate::span::{Span, Texts};
use crate::text::{all, is_control, trim_blanks, Joined};
use crate::token::Claimed;

/// One of the headers that Authgear's resolver sets, and the variable of the same name
/// (`pkg/api/model/session_info.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `X-Authgear-Session-Valid`
    SessionValid,
    /// `X-Authgear-User-Id`
    UserId,
    /// `X-Authgear-User-Anonymous`
    UserAnonymous,
    /// `X-Authgear-User-Verified`
    UserVerified,
    /// `X-Authgear-User-Can-Reauthenticate`
    UserCanReauthenticate,
    /// `X-Authgear-User-Roles`
    UserRoles,
    /// `X-Authgear-Session-Amr`
    SessionAmr,
    /// `X-Authgear-Session-Authenticated-At`
    SessionAuthenticatedAt,
}

impl Field {
    /// Every field, in the order of [`Field::index`].
    pub const ALL: [Field; 8] = [
        Field::SessionValid,
        Field::UserId,
        Field::UserAnonymous,
        Field::UserVerified,
        Field::UserCanReauthenticate,
        Field::UserRoles,
        Field::SessionAmr,
        Field::SessionAuthenticatedAt,
    ];

    /// The header's name, as the resolver writes it.
    pub const fn header(self) -> &'static str {
        match self {
            Field::SessionValid => "X-Authgear-Session-Valid",
            Field::UserId => "X-Authgear-User-Id",
            Field::UserAnonymous => "X-Authgear-User-Anonymous",
            Field::UserVerified => "X-Authgear-User-Verified",
            Field::UserCanReauthenticate => "X-Authgear-User-Can-Reauthenticate",
            Field::UserRoles => "X-Authgear-User-Roles",
            Field::SessionAmr => "X-Authgear-Session-Amr",
            Field::SessionAuthenticatedAt => "X-Authgear-Session-Authenticated-At",
        }
    }

    /// The field's place in [`Field::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// [`Field::header`] in lower case, as nginx keeps it beside the name that was sent.
    pub const fn lowcase_header(self) -> &'static str {
        match self {
            Field::SessionValid => "x-authgear-session-valid",
            Field::UserId => "x-authgear-user-id",
            Field::UserAnonymous => "x-authgear-user-anonymous",
            Field::UserVerified => "x-authgear-user-verified",
            Field::UserCanReauthenticate => "x-authgear-user-can-reauthenticate",
            Field::UserRoles => "x-authgear-user-roles",
            Field::SessionAmr => "x-authgear-session-amr",
            Field::SessionAuthenticatedAt => "x-authgear-session-authenticated-at",
        }
    }

    fn of_header(name: &[u8]) -> Option<Field> {
        Field::ALL.into_iter().find(|field| {
            let wanted = field.lowcase_header().as_bytes();
            // Not to be compared letter by letter where it comes from nginx.
            name == wanted || name.eq_ignore_ascii_case(wanted)
        })
    }
}

/// Whether a request header must not reach the backend, where this module may set headers of its
/// own.
///
/// True for every `X-Authgear-*` after folding case and turning `_` and `.` into `-`: backends that
/// turn names into variables (CGI, WSGI, PHP) cannot tell those spellings apart.
pub fn stripped_header(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-authgear-";
    name.len() >= PREFIX.len()
        && name.iter().zip(PREFIX).all(|(&byte, &wanted)| match byte {
            b'_' | b'.' => wanted == b'-',
            _ => byte.to_ascii_lowercase() == wanted,
        })
}

/// A verified caller: the resolver's eight values, and what only a JWT says. No value holds a
/// control character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    texts: Texts,
    /// Where behind the payload the fields begin: they stand one behind the other, in the order of
    /// [`Field::ALL`].
    start: u32,
    /// Where each of them ends, counted from there. What is unknown is empty, here and below.
    ends: [u32; 8],
    client_id: Span,
    scope: Span,
    token_id: Span,
    token_exp: Span,
    token_type: Option<&'static str>,
}

/// Why an answer of the resolver with status 200 is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolverError {
    /// A valid session without a user.
    #[error("the resolver says that the session is valid, but names no user")]
    NoUserId,
    /// `X-Authgear-Session-Valid` is neither `true` nor `false`.
    #[error("the resolver's X-Authgear-Session-Valid is neither true nor false")]
    NeitherYesNorNo,
    /// A header came more than once.
    #[error("the resolver sent {} more than once", .0.header())]
    Repeated(Field),
    /// A value holds a control character or is not UTF-8.
    #[error("the resolver's {} is not printable text", .0.header())]
    NotText(Field),
}

impl Session {
    /// The value of one of the resolver's headers, letter for letter as the resolver writes it;
    /// `None` when it is unknown, never empty text.
    pub fn get(&self, field: Field) -> Option<&str> {
        let start = match field.index() {
            0 => 0,
            index => self.ends[index - 1],
        };
        let place = start as usize..self.ends[field.index()] as usize;
        let text = self.fields().0.get(place);
        text.filter(|text| !text.is_empty())
    }

    /// All fields one behind the other, in the order of [`Field::ALL`], and where each of them ends;
    /// one that is unknown is empty.
    pub fn fields(&self) -> (&str, &[u32; 8]) {
        let text = self.texts.more().get(self.start as usize..);
        (text.unwrap_or_default(), &self.ends)
    }

    /// `client_id`; only a JWT says it.
    pub fn client_id(&self) -> Option<&str> {
        self.known(self.client_id)
    }

    /// `scope`, separated by spaces; only a JWT says it.
    pub fn scope(&self) -> Option<&str> {
        self.known(self.scope)
    }

    /// `jti`; only a JWT says it.
    pub fn token_id(&self) -> Option<&str> {
        self.known(self.token_id)
    }

    /// `exp` in whole Unix seconds, any fraction cut off; only a JWT says it.
    pub fn token_exp(&self) -> Option<&str> {
        self.known(self.token_exp)
    }

    /// `user` or `client`; only a JWT says it.
    pub fn token_type(&self) -> Option<&'static str> {
        self.token_type
    }

    fn known(&self, text: Span) -> Option<&str> {
        Some(self.texts.get(text)).filter(|text| !text.is_empty())
    }

    /// All texts, and whatever else they were made with.
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Renders a token's claims as the resolver would. A client has no user and no login, so its
    /// token fills none of those fields, whatever else it claims.
    pub(crate) fn of_claims(claims: &Claimed, mut texts: Texts) -> Session {
        let is_client = claims.is_client;
        let flag = |flag: Option<bool>| match flag {
            Some(true) => "true",
            Some(false) => "false",
            None => "",
        };
        let start = texts.more().len();
        let ends = Field::ALL.map(|field| {
            match field {
                Field::SessionValid => drop(texts.push("true")),
                _ if is_client => {}
                Field::UserId => texts.join(&[claims.sub], ""),
                Field::UserAnonymous => drop(texts.push(flag(claims.is_anonymous))),
                Field::UserVerified => drop(texts.push(flag(claims.is_verified))),
                Field::UserCanReauthenticate => drop(texts.push(flag(claims.can_reauthenticate))),
                Field::UserRoles => texts.join(claims.roles(), ","),
                Field::SessionAmr => texts.join(claims.amr(), " "),
                Field::SessionAuthenticatedAt => {
                    texts.join(claims.auth_time.map(|time| time.text).as_slice(), "")
                }
            }
            (texts.more().len() - start) as u32
        });
        Session {
            texts,
            start: start as u32,
            ends,
            client_id: claims.client_id.unwrap_or_default(),
            scope: claims.scope.unwrap_or_default(),
            token_id: claims.jti.unwrap_or_default(),
            token_exp: claims.exp.text,
            token_type: Some(if is_client { "client" } else { "user" }),
        }
    }

    /// Reads the headers of the resolver's answer, whose status was 200.
    ///
    /// `Ok(None)` is the resolver's no: `X-Authgear-Session-Valid` is `false` or absent. Names are
    /// compared without case; other headers are passed over.
    ///
    /// # Errors
    ///
    /// [`ResolverError`] when the answer is neither a yes nor a no that can be used, which is a
    /// failure of the resolver and never a verdict.
    pub fn from_resolver<'a>(
        headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Option<Rc<Session>>, ResolverError> {
        let mut values: [Option<&[u8]>; 8] = [None; 8];
        for (name, value) in headers {
            let Some(field) = Field::of_header(name) else {
                continue;
            };
            if values[field.index()].replace(trim_blanks(value)).is_some() {
                return Err(ResolverError::Repeated(field));
            }
        }
        match values[Field::SessionValid.index()] {
            None | Some(b"false") => return Ok(None),
            Some(b"true") => {}
            Some(_) => return Err(ResolverError::NeitherYesNorNo),
        }
        let texts = values.map(Option::unwrap_or_default);
        let (mut ends, mut end) = ([0; 8], 0);
        for (text, place) in texts.iter().zip(&mut ends) {
            end += text.len() as u32;
            *place = end;
        }
        let mut joined = Joined::default();
        texts.iter().for_each(|text| joined.push(text));
        // Read in one go. Two halves of a character are none, though side by side they seem to be.
        let fields = plain_text(joined.bytes()).filter(|fields| {
            let mut ends = ends.iter().map(|end| *end as usize);
            ends.all(|end| fields.is_char_boundary(end))
        });
        let Some(fields) = fields else {
            let mut fields = Field::ALL.into_iter();
            let bad = fields.find(|field| {
                let value = values[field.index()];
                value.is_some_and(|value| plain_text(value).is_none())
            });
            return Err(ResolverError::NotText(bad.unwrap_or(Field::SessionValid)));
        };
        let session = Session::from_fields(fields, ends);
        session.map(Some).ok_or(ResolverError::NoUserId)
    }

    /// The session of which [`Session::fields`] said this; `None` without a user.
    pub fn from_fields(fields: &str, ends: [u32; 8]) -> Option<Rc<Session>> {
        // Filled where it lies: it is too large to be moved about.
        let mut session = Rc::new(Session::default());
        let filled = Rc::get_mut(&mut session)?;
        filled.texts.push(fields);
        filled.ends = ends;
        filled.get(Field::UserId)?;
        Some(session)
    }
}

/// UTF-8 without control characters.
fn plain_text(text: &[u8]) -> Option<&str> {
    let is_printable = all(text, |b| !is_control(b));
    std::str::from_utf8(text).ok().filter(|_| is_printable)
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}

#[cfg(test)]
mod tests;
