//! The resolver: whose session does a request carry?
//!
//! After Authgear's `pkg/lib/session/middleware.go` and `pkg/lib/oauth/resolver.go`.

use hyper::header::{HeaderMap, AUTHORIZATION, COOKIE};

use crate::project::{Grant, SessionKind, User};
use crate::standin::{Behaviour, Met};
use crate::util::now;
use crate::verify;

/// The resolver's verdict.
pub enum Outcome {
    /// The request carries nothing to judge, or nothing of which a word is said.
    NoCredential,
    /// It carries a bad `session` cookie, or a session of a user who may not use it.
    Invalid {
        /// True if a `session` cookie is among it, which is to be cleared.
        session_cookie: bool,
    },
    /// It carries the session of this user.
    Valid(User, Grant),
}

impl Outcome {
    /// The headers that say so; `secure` says whether the browser came by TLS.
    pub fn headers(
        &self,
        cookie_prefix: &str,
        behaviour: Behaviour,
        secure: bool,
        cookie_domain: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let valid = "x-authgear-session-valid";
        match self {
            Self::NoCredential => Vec::new(),
            Self::Invalid {
                session_cookie: false,
            } => vec![(valid, "false".to_owned())],
            Self::Invalid {
                session_cookie: true,
            } => {
                let clear = clearing_cookie(cookie_prefix, secure, cookie_domain);
                vec![(valid, "false".to_owned()), ("set-cookie", clear)]
            }
            Self::Valid(user, grant) => {
                let amr = if behaviour.amr { &*grant.amr } else { &[] };
                let mut headers = vec![
                    (valid, "true".to_owned()),
                    ("x-authgear-user-id", user.id.clone()),
                    ("x-authgear-user-anonymous", user.anonymous.to_string()),
                    ("x-authgear-user-verified", user.verified.to_string()),
                    (
                        "x-authgear-user-can-reauthenticate",
                        user.can_reauthenticate.to_string(),
                    ),
                    // Sent even when there is none, as the server does.
                    ("x-authgear-session-amr", amr.join(" ")),
                ];
                if !user.roles.is_empty() {
                    headers.push(("x-authgear-user-roles", user.roles.join(",")));
                }
                if let Some(time) = grant.auth_time {
                    headers.push(("x-authgear-session-authenticated-at", time.to_string()));
                }
                headers
            }
        }
    }
}

/// The attributes of the session's cookie.
pub(crate) fn cookie_attributes(secure: bool, domain: Option<&str>) -> String {
    let secure = if secure { " Secure;" } else { "" };
    let domain = domain.map_or(String::new(), |domain| format!(" Domain={domain};"));
    format!("Path=/;{domain} HttpOnly;{secure} SameSite=Lax")
}

/// The cookie that ends a browser's session.
pub(crate) fn clearing_cookie(prefix: &str, secure: bool, domain: Option<&str>) -> String {
    let attributes = cookie_attributes(secure, domain);
    let (path, rest) = attributes.split_at("Path=/;".len());
    format!("{prefix}session=; {path} Expires=Thu, 01 Jan 1970 00:00:00 GMT;{rest}")
}

/// Judges the credentials of a request.
pub fn resolve(
    met: &Met,
    cookie_prefix: &str,
    behaviour: Behaviour,
    headers: &HeaderMap,
) -> Outcome {
    let cookie = |name: &str| cookie(headers, &format!("{cookie_prefix}{name}"));
    let (bearer, app_session) = (bearer(headers), cookie("app_session"));
    let (app_token, session) = (cookie("app_access_token"), cookie("session"));
    let mut project = met.lock();
    let mut token = |token: &String| {
        if token.starts_with("eyJ") {
            let foreign = behaviour.foreign_tokens;
            return verify::access_token(&mut project, &met.origin, token, foreign, now());
        }
        project.opaque(token).cloned()
    };

    let by_bearer = bearer.as_ref().and_then(&mut token);
    let by_app_token = app_token.as_ref().and_then(&mut token);
    let find = |kind, value: &Option<String>| project.session(kind, value.as_deref()?).cloned();
    let grant = by_bearer
        .or_else(|| find(SessionKind::App, &app_session))
        .or(by_app_token)
        .or_else(|| find(SessionKind::Idp, &session));

    let session_cookie = session.is_some();
    let invalid = Outcome::Invalid { session_cookie };
    match grant {
        // The first session found decides: one of a disabled user does not fall through.
        Some(grant) => match project.user(&grant.user) {
            Some(user) if !user.is_disabled() => Outcome::Valid(user.clone(), grant),
            _ => invalid,
        },
        None if session_cookie => invalid,
        // Of a token or an app's session with nothing behind it the server says nothing.
        None => Outcome::NoCredential,
    }
}

/// The token behind `Bearer` and one space; another space would be the token's.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The first cookie of this name, as Go's `net/http` reads it (`readCookies`): blanks around a pair
/// and a name are dropped, those around a value are part of it, one pair of quotes is dropped, and
/// a cookie with a byte that no value may hold is passed over.
pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let blank = |letter: char| matches!(letter, ' ' | '\t');
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut values = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let pair = pair.trim_matches(blank);
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        let quoted = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'));
        let value = quoted.unwrap_or(value);
        let fits = |byte: u8| matches!(byte, 0x20..0x7f) && !matches!(byte, b'"' | b'\\');
        (found.trim_matches(blank) == name && value.bytes().all(fits)).then_some(value)
    });
    values.next().map(str::to_owned)
}
