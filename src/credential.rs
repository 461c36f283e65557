//! Which credential a request carries, read from nginx's header list.

use authgear_core::credential::{bearer, classify, cookie, CookieNames, Form};
use authgear_core::Reason;

use crate::nginx::{header_parts, Request};

/// The credential that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'r> {
    /// There is none that this module looks at.
    None,
    /// A JWT, to be verified.
    Jwt(&'r [u8]),
    /// One that is refused as it stands.
    Refused(Reason),
    /// More than one `Authorization` header (RFC 6750, section 3.1: `invalid_request`).
    Ambiguous,
}

impl<'r> Credential<'r> {
    /// Finds it in Authgear's order: the `Authorization` header first, then the cookies. Of the
    /// cookies only a JWT in `app_access_token` can be judged without the resolver.
    pub fn find(r: &'r Request, cookies: &CookieNames) -> Self {
        let mut authorization = None;
        let mut access_token = None;
        for header in r.headers() {
            match header_parts(header) {
                (b"authorization", _) if authorization.is_some() => return Self::Ambiguous,
                (b"authorization", value) => authorization = Some(value),
                (b"cookie", value) if access_token.is_none() => {
                    access_token = cookie(value, &cookies.app_access_token);
                }
                _ => {}
            }
        }
        if let Some(token) = authorization.and_then(bearer) {
            return match classify(token) {
                Ok(Form::Jwt) => Self::Jwt(token),
                Ok(Form::Opaque) => Self::Refused(Reason::Unsupported),
                Err(reason) => Self::Refused(reason),
            };
        }
        match access_token.map(|token| (token, classify(token))) {
            Some((token, Ok(Form::Jwt))) => Self::Jwt(token),
            _ => Self::None,
        }
    }
}
