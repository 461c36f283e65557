//! The credentials that a request presents, read once from nginx's header list.

use authgear_core::credential::{bearer, classify, trim, CookieNames, Cookies, Form};
use authgear_core::Reason;

use crate::nginx::{Failed, Request};

/// The bearer token of a request, by its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer<'r> {
    /// There is none.
    None,
    /// A JWT, verified here.
    Jwt(&'r [u8]),
    /// Any other token: only the resolver can judge it.
    Opaque(&'r [u8]),
    /// No token that anybody could accept.
    Bad(Reason),
}

/// The credentials of a request.
#[derive(Debug)]
pub struct Presented<'r> {
    /// The bearer token as it was sent, or as `authgear_token` finds it.
    pub token: Option<&'r [u8]>,
    /// Authgear's cookies.
    pub cookies: Cookies<'r>,
}

/// The reason for which the credentials cannot be read.
#[derive(Debug, Clone, Copy)]
pub enum Unreadable {
    /// More than one `Authorization` header (RFC 6750, section 3.1: `invalid_request`).
    Ambiguous,
    /// nginx could not evaluate a variable of `authgear_token`; it has logged why.
    Evaluation,
}

impl<'r> Presented<'r> {
    /// Reads a request's headers and, where `authgear_token` is set, its variables.
    pub fn read(r: &'r Request, names: &CookieNames) -> Result<Self, Unreadable> {
        let (mut authorization, mut cookies) = (None, Cookies::default());
        for header in r.headers() {
            match header {
                (b"authorization", _) if authorization.is_some() => {
                    return Err(Unreadable::Ambiguous)
                }
                (b"authorization", value) => authorization = Some(trim(value)),
                (b"cookie", value) => cookies.read(value, names),
                _ => {}
            }
        }
        let token = match configured_token(r) {
            None => authorization.and_then(bearer),
            Some(configured) => configured.map_err(|Failed| Unreadable::Evaluation)?,
        };
        Ok(Self { token, cookies })
    }
}

impl<'r> Bearer<'r> {
    /// The form of a token. One that `is_known` was verified before and is a JWT.
    pub fn of(token: Option<&'r [u8]>, is_known: impl FnOnce(&[u8]) -> bool) -> Self {
        let Some(token) = token else {
            return Self::None;
        };
        if is_known(token) {
            return Self::Jwt(token);
        }
        match classify(token) {
            Ok(Form::Jwt) => Self::Jwt(token),
            Ok(Form::Opaque) => Self::Opaque(token),
            Err(reason) => Self::Bad(reason),
        }
    }
}

/// The token that `authgear_token` finds, in place of the `Authorization` header: the first value
/// that is not empty. A value may carry the scheme `Bearer`; one of another scheme counts as empty.
/// `None` without the directive.
fn configured_token(r: &Request) -> Option<Result<Option<&[u8]>, Failed>> {
    let tokens = r.location().tokens();
    if tokens.is_empty() {
        return None;
    }
    let found = tokens.iter().find_map(|value| {
        let value = value.evaluate(r);
        value.map(token_in).transpose()
    });
    Some(found.transpose())
}

/// The token in one of the values of `authgear_token`.
pub fn token_in(value: &[u8]) -> Option<&[u8]> {
    match trim(value) {
        b"" => None,
        value if value.contains(&b' ') || value.eq_ignore_ascii_case(b"bearer") => bearer(value),
        value => Some(value),
    }
}
