//! What is known of the caller, whichever way the caller was verified.

use std::fmt;

use crate::span::{Span, Texts};
use crate::text::{all, is_control, is_printable_ascii, trim_blanks};
use crate::token::Claimed;

pub use crate::text::Joined;

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

    /// The field of a header's name. Its length tells all but two of them apart, and is known in
    /// each comparison.
    fn of_header(name: &[u8]) -> Option<Field> {
        let is = |field: Field| {
            let wanted = field.lowcase_header().as_bytes();
            // Not to be compared letter by letter where it comes from nginx.
            (name == wanted || is_same_name(name, wanted)).then_some(field)
        };
        match name.len() {
            18 => is(Field::UserId),
            21 => is(Field::UserRoles),
            22 => is(Field::SessionAmr),
            24 if name[11].eq_ignore_ascii_case(&b'u') => is(Field::UserVerified),
            24 => is(Field::SessionValid),
            25 => is(Field::UserAnonymous),
            34 => is(Field::UserCanReauthenticate),
            35 => is(Field::SessionAuthenticatedAt),
            _ => None,
        }
    }
}

#[cold]
fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether a request header must not reach the backend, where this module may set headers of its
/// own.
///
/// True for every `X-Authgear-*` after folding case and turning every character that is no letter or
/// digit into `-`: backends that turn names into variables (CGI, WSGI, PHP) cannot tell those
/// spellings apart. The signature of Authgear's webhooks is no identity and stays.
pub fn stripped_header(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-authgear-";
    let is_ours = name.len() >= PREFIX.len()
        && name
            .iter()
            .zip(PREFIX)
            .all(|(&byte, &wanted)| match byte.is_ascii_alphanumeric() {
                true => byte.to_ascii_lowercase() == wanted,
                false => wanted == b'-',
            });
    is_ours && !name.eq_ignore_ascii_case(b"X-Authgear-Body-Signature")
}

/// The resolver's eight values of a caller, one behind the other in the order of [`Field::ALL`]. Each
/// is UTF-8 without control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    text: &'a [u8],
    ends: [u32; 8],
}

impl<'a> Fields<'a> {
    /// What [`Fields::text`] and [`Fields::ends`] said.
    pub fn new(text: &'a [u8], ends: [u32; 8]) -> Self {
        Fields { text, ends }
    }

    /// All values one behind the other; one that is unknown is empty.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Where each value ends in the text.
    pub fn ends(&self) -> &[u32; 8] {
        &self.ends
    }

    /// One value, letter for letter as the resolver writes it; `None` when it is unknown, never
    /// empty text.
    pub fn get(&self, field: Field) -> Option<&'a str> {
        let start = match field.index() {
            0 => 0,
            index => self.ends[index - 1],
        };
        let place = start as usize..self.ends[field.index()] as usize;
        let text = self.text.get(place).filter(|text| !text.is_empty())?;
        std::str::from_utf8(text).ok()
    }

    /// Reads the headers of the resolver's answer, whose status was 200, into `room`, whatever that
    /// holds.
    ///
    /// `Ok(None)` is the resolver's no: `X-Authgear-Session-Valid` is `false` or absent. Names are
    /// compared without case; other headers are passed over.
    ///
    /// # Errors
    ///
    /// [`ResolverError`] when the answer is neither a yes nor a no that can be used, which is a
    /// failure of the resolver and never a verdict.
    pub fn from_resolver<'h>(
        headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
        room: &'a mut Joined,
    ) -> Result<Option<Self>, ResolverError> {
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
        room.clear();
        let (mut ends, mut end) = ([0; 8], 0);
        for (value, place) in values.iter().zip(&mut ends) {
            if let Some(value) = value {
                room.push(value);
                end += value.len() as u32;
            }
            *place = end;
        }
        let text = room.bytes();
        // Mostly read in one go. Two halves of a character are none, though side by side they seem
        // to be.
        if !all(text, is_printable_ascii) {
            let is_bad = |field: &Field| values[field.index()].is_some_and(|value| !is_text(value));
            if let Some(field) = Field::ALL.into_iter().find(is_bad) {
                return Err(ResolverError::NotText(field));
            }
        }
        match values[Field::UserId.index()] {
            None | Some([]) => Err(ResolverError::NoUserId),
            Some(_) => Ok(Some(Fields { text, ends })),
        }
    }
}

/// A verified caller: the resolver's eight values, and what only a JWT says. No value holds a
/// control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session<'a> {
    fields: Fields<'a>,
    token: Option<&'a TokenSession>,
    /// The token's roles, one by one.
    roles: &'a [Span],
}

impl<'a> Session<'a> {
    /// What the resolver vouches for.
    pub fn resolved(fields: Fields<'a>) -> Self {
        Session {
            fields,
            token: None,
            roles: &[],
        }
    }

    /// All values that the resolver has too.
    pub fn fields(&self) -> &Fields<'a> {
        &self.fields
    }

    /// One of them; see [`Fields::get`].
    pub fn get(&self, field: Field) -> Option<&'a str> {
        self.fields.get(field)
    }

    /// Whether the user has that role.
    ///
    /// A JWT lists roles one by one, and they are compared so: a role that holds a comma is one
    /// role. The resolver says them in one header, joined by commas, so what stands between two
    /// commas is a role there.
    pub fn has_role(&self, role: &str) -> bool {
        match self.token {
            Some(token) => self.roles.iter().any(|&own| token.texts.get(own) == role),
            None => self
                .get(Field::UserRoles)
                .is_some_and(|roles| roles.split(',').any(|own| own == role)),
        }
    }

    /// `client_id`; only a JWT says it.
    pub fn client_id(&self) -> Option<&'a str> {
        self.of_token(|token| token.client_id)
    }

    /// `scope`, separated by spaces; only a JWT says it.
    pub fn scope(&self) -> Option<&'a str> {
        self.of_token(|token| token.scope)
    }

    /// `jti`; only a JWT says it.
    pub fn token_id(&self) -> Option<&'a str> {
        self.of_token(|token| token.token_id)
    }

    /// `exp` in whole Unix seconds, any fraction cut off; only a JWT says it.
    pub fn token_exp(&self) -> Option<&'a str> {
        self.of_token(|token| token.token_exp)
    }

    /// `user` or `client`; only a JWT says it.
    pub fn token_type(&self) -> Option<&'static str> {
        Some(self.token?.token_type)
    }

    fn of_token(&self, which: impl FnOnce(&TokenSession) -> Span) -> Option<&'a str> {
        let token = self.token?;
        Some(token.texts.get(which(token))).filter(|text| !text.is_empty())
    }
}

/// What a token says of the caller, with all texts of the token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenSession {
    texts: Texts,
    /// Where behind the payload the fields begin.
    start: u32,
    /// Where each of them ends, counted from there. What is unknown is empty, here and below.
    ends: [u32; 8],
    client_id: Span,
    scope: Span,
    token_id: Span,
    token_exp: Span,
    token_type: &'static str,
}

impl TokenSession {
    /// Renders a token's claims as the resolver would. A client has no user and no login, so its
    /// token fills none of those fields, whatever else it claims.
    pub(crate) fn new(claims: &Claimed, mut texts: Texts) -> Self {
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
        TokenSession {
            texts,
            start: start as u32,
            ends,
            client_id: claims.client_id.unwrap_or_default(),
            scope: claims.scope.unwrap_or_default(),
            token_id: claims.jti.unwrap_or_default(),
            token_exp: claims.exp.text,
            token_type: if is_client { "client" } else { "user" },
        }
    }

    /// What is known of the caller, whose token has those claims.
    pub(crate) fn session<'a>(&'a self, claims: &'a Claimed) -> Session<'a> {
        let text = self.texts.more().get(self.start as usize..);
        Session {
            fields: Fields::new(text.unwrap_or_default().as_bytes(), self.ends),
            token: Some(self),
            roles: if claims.is_client {
                &[]
            } else {
                claims.roles()
            },
        }
    }

    /// All texts, and whatever else they were made with.
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }
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

/// UTF-8 without control characters.
fn is_text(text: &[u8]) -> bool {
    all(text, |b| !is_control(b)) && std::str::from_utf8(text).is_ok()
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}

#[cfg(test)]
mod tests;
