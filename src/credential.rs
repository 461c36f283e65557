//! Which credential a request carries, read from nginx's header list.

use authgear_core::credential::{bearer, classify, CookieNames, Cookies, Form};
use authgear_core::Reason;

use crate::nginx::{header_parts, Failed, Request};

/// What is to be done about a request's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'r> {
    /// There is none that this module looks at.
    None,
    /// A JWT is verified here.
    Jwt {
        /// The token.
        token: &'r [u8],
        /// Whether another credential stands behind it that the resolver can judge.
        others: bool,
    },
    /// Only the resolver can judge what there is.
    Resolver,
    /// It is refused as it stands.
    Refused(Reason),
    /// nginx could not evaluate where it stands; it has logged why.
    Unknown,
}

/// What the headers hold.
#[derive(Default)]
pub struct Sent<'r> {
    /// The value of `Authorization`.
    pub authorization: Option<&'r [u8]>,
    /// Authgear's cookies.
    pub cookies: Cookies<'r>,
}

/// More than one `Authorization` header (RFC 6750, section 3.1: `invalid_request`).
#[derive(Debug)]
pub struct Ambiguous;

/// The token that `authgear_token` finds, which stands in for the `Authorization` header: the first
/// value that is not empty. A value may carry the scheme `Bearer`; one of another scheme counts as
/// empty. `None` without the directive.
pub fn configured_token(r: &Request) -> Option<Result<Option<&[u8]>, Failed>> {
    let tokens = r.location().tokens();
    if tokens.is_empty() {
        return None;
    }
    let found = tokens.iter().find_map(|value| match value.evaluate(r) {
        Err(Failed) => Some(Err(Failed)),
        Ok(value) if value.contains(&b' ') || value.eq_ignore_ascii_case(b"bearer") => {
            bearer(value).map(Ok)
        }
        Ok(b"") => None,
        Ok(value) => Some(Ok(value)),
    });
    Some(found.transpose())
}

impl<'r> Sent<'r> {
    /// Reads a request's headers, once.
    pub fn read(&mut self, r: &'r Request, names: &CookieNames) -> Result<(), Ambiguous> {
        for header in r.headers() {
            match header_parts(header) {
                (b"authorization", _) if self.authorization.is_some() => return Err(Ambiguous),
                (b"authorization", value) => self.authorization = Some(value),
                (b"cookie", value) => self.cookies.read(value, names),
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds the credential in Authgear's order: the `Authorization` header, then the cookies
    /// `app_session`, `app_access_token` and `session` (`pkg/lib/session/middleware.go`).
    /// `authgear_token` may put something else in the header's place.
    ///
    /// Without a resolver only JWTs can be judged, and the cookies of opaque sessions are not
    /// looked at: they may belong to another application.
    ///
    /// A bearer token that `is_known` is a JWT that was verified before, and not looked at again.
    pub fn credential(
        &self,
        r: &'r Request,
        has_resolver: bool,
        is_known: impl FnOnce(&[u8]) -> bool,
    ) -> Credential<'r> {
        let token = match configured_token(r) {
            Some(Ok(token)) => token,
            Some(Err(Failed)) => return Credential::Unknown,
            None => self.authorization.and_then(bearer),
        };
        match token {
            Some(token) => self.of_bearer(token, has_resolver, is_known(token)),
            None => self.of_cookies(has_resolver),
        }
    }

    fn of_bearer(&self, token: &'r [u8], has_resolver: bool, is_known: bool) -> Credential<'r> {
        let cookies = &self.cookies;
        let any_cookie = cookies
            .app_session()
            .or(cookies.app_access_token())
            .or(cookies.session());
        let others = has_resolver && any_cookie.is_some();
        let form = match is_known {
            true => Ok(Form::Jwt),
            false => classify(token),
        };
        match form {
            Ok(Form::Jwt) => Credential::Jwt { token, others },
            Ok(Form::Opaque) if has_resolver => Credential::Resolver,
            Ok(Form::Opaque) => Credential::Refused(Reason::Unsupported),
            Err(_) if others => Credential::Resolver,
            Err(reason) => Credential::Refused(reason),
        }
    }

    fn of_cookies(&self, has_resolver: bool) -> Credential<'r> {
        let cookies = &self.cookies;
        let token = cookies.app_access_token();
        let for_resolver = |cookie: Option<&[u8]>| has_resolver && cookie.is_some();
        if for_resolver(cookies.app_session()) {
            return Credential::Resolver;
        }
        match token.map(|token| (token, classify(token))) {
            Some((token, Ok(Form::Jwt))) => Credential::Jwt {
                token,
                others: for_resolver(cookies.session()),
            },
            _ if for_resolver(token.or(cookies.session())) => Credential::Resolver,
            _ => Credential::None,
        }
    }
}
