//! The resolver: whose session does a request carry?
//!
//! After Authgear's `pkg/lib/session/middleware.go` and `pkg/lib/oauth/resolver.go`.

use hyper::header::{HeaderMap, AUTHORIZATION, COOKIE};

use crate::project::{Grant, SessionKind, User};
use crate::standin::{Met, Settings};
use crate::util::now;
use crate::verify;

/// The resolver's verdict.
pub enum Outcome {
    /// The request carries nothing to judge.
    NoCredential,
    /// It does, and none of it is valid.
    Invalid {
        /// Whether a `session` cookie is among it, which is to be cleared.
        session_cookie: bool,
    },
    /// It carries the session of this user.
    Valid(User, Grant),
}

impl Outcome {
    /// The headers that say so; `secure` says whether the browser came by TLS.
    pub fn headers(&self, settings: &Settings, secure: bool) -> Vec<(&'static str, String)> {
        let valid = "x-authgear-session-valid";
        match self {
            Self::NoCredential => Vec::new(),
            Self::Invalid {
                session_cookie: false,
            } => vec![(valid, "false".to_owned())],
            Self::Invalid {
                session_cookie: true,
            } => {
                let clear = clearing_cookie(&settings.cookie_prefix, secure);
                vec![(valid, "false".to_owned()), ("set-cookie", clear)]
            }
            Self::Valid(user, grant) => {
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
                    ("x-authgear-session-amr", grant.amr.join(" ")),
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

fn clearing_cookie(prefix: &str, secure: bool) -> String {
    let secure = if secure { " Secure;" } else { "" };
    format!(
        "{prefix}session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly;{secure} SameSite=Lax"
    )
}

/// Judges the credentials of a request.
pub fn resolve(met: &Met, settings: &Settings, headers: &HeaderMap) -> Outcome {
    let cookie = |name: &str| cookie(headers, &format!("{}{name}", settings.cookie_prefix));
    let (bearer, app_session) = (bearer(headers), cookie("app_session"));
    let (app_token, session) = (cookie("app_access_token"), cookie("session"));
    let mut project = met.lock();
    let mut token = |token: &String| {
        if token.starts_with("eyJ") {
            return verify::access_token(&mut project, &met.origin, token, now());
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
        // The first session found decides: one of a dead user does not fall through.
        Some(grant) => match project.user(&grant.user) {
            Some(user) if !user.disabled => Outcome::Valid(user.clone(), grant),
            _ => invalid,
        },
        None if session_cookie => invalid,
        None if settings.silent_invalid_tokens => Outcome::NoCredential,
        None if bearer.or(app_session).or(app_token).is_some() => invalid,
        None => Outcome::NoCredential,
    }
}

/// The token behind `Bearer` and one space; another space would be the token's.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The first cookie of this name.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    });
    let value = cookies.next()?;
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value).to_owned())
}
