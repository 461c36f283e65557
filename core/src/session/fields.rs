//! The resolver's eight values of a caller, and the headers that carry them.

use std::fmt;

use crate::text::{is_control, trim_blanks};

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

    /// The field of a header's name, compared without case.
    pub(super) fn of_header(name: &[u8]) -> Option<Field> {
        let is = |field: &Field| name.eq_ignore_ascii_case(field.lowcase_header().as_bytes());
        Field::ALL.into_iter().find(is)
    }
}

/// Tells whether a request header is stripped, where this module may set headers of its own.
///
/// That is every `X-Authgear-*` after folding case and turning every character that is no letter or
/// digit into `-`: backends that turn names into variables (CGI, WSGI, PHP) cannot tell those
/// spellings apart. The signature of Authgear's webhooks is no identity and stays.
pub fn stripped_header(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"x-authgear-";
    let folded = name.iter().map(|byte| match byte.to_ascii_lowercase() {
        byte if byte.is_ascii_alphanumeric() => byte,
        _ => b'-',
    });
    let is_ours = folded.take(PREFIX.len()).eq(PREFIX.iter().copied());
    is_ours && !name.eq_ignore_ascii_case(b"X-Authgear-Body-Signature")
}

/// Bytes of the ends in a record.
const ENDS: usize = 16;

/// The resolver's eight values of a caller, one behind the other in the order of [`Field::ALL`]. Each
/// is UTF-8 without control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    text: &'a [u8],
    ends: [u32; 8],
}

impl<'a> Fields<'a> {
    /// The inverse of [`Fields::text`] and [`Fields::ends`].
    pub fn new(text: &'a [u8], ends: [u32; 8]) -> Self {
        Fields { text, ends }
    }

    /// The values as bytes that [`Fields::from_record`] reads; `None` when they are too long for it, over
    /// 64 KiB.
    pub fn record(&self) -> Option<Vec<u8>> {
        let mut record = Vec::with_capacity(ENDS + self.text.len());
        for end in self.ends {
            record.extend_from_slice(&u16::try_from(end).ok()?.to_le_bytes());
        }
        record.extend_from_slice(self.text);
        Some(record)
    }

    /// The inverse of [`Fields::record`]; `None` when there is no user id in it.
    pub fn from_record(record: &'a [u8]) -> Option<Self> {
        let (own, text) = record.split_first_chunk::<ENDS>()?;
        let mut ends = [0; 8];
        for (end, bytes) in ends.iter_mut().zip(own.chunks_exact(2)) {
            *end = u16::from_le_bytes([bytes[0], bytes[1]]).into();
        }
        let fields = Fields { text, ends };
        fields.get(Field::UserId).map(|_| fields)
    }

    /// All values one behind the other; one that is unknown is empty.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// The end of each value in the text.
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
        str::from_utf8(text).ok()
    }

    /// Reads the headers of the resolver's answer, whose status was 200. The values are put into `room`,
    /// whose old content is dropped.
    ///
    /// `Ok(None)` is the resolver's no: `X-Authgear-Session-Valid` is `false` or absent. Names are
    /// compared without case; other headers are ignored.
    ///
    /// # Errors
    ///
    /// [`ResolverError`] when the answer is neither a yes nor a no that can be used, which is a
    /// failure of the resolver and never a verdict.
    pub fn from_resolver<'h>(
        headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
        room: &'a mut Vec<u8>,
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
        let mut ends = [0; 8];
        for field in Field::ALL {
            let value = values[field.index()].unwrap_or_default();
            if !is_text(value) {
                return Err(ResolverError::NotText(field));
            }
            room.extend_from_slice(value);
            ends[field.index()] = room.len() as u32;
        }
        match values[Field::UserId.index()] {
            None | Some([]) => Err(ResolverError::NoUserId),
            Some(_) => Ok(Some(Fields { text: room, ends })),
        }
    }
}

/// An answer of the resolver with status 200 that is no verdict, and the reason.
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
    str::from_utf8(text).is_ok() && !text.iter().copied().any(is_control)
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header())
    }
}
