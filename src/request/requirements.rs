//! A location's requirements for a caller who is known.

use authgear_core::credential::trim;
use authgear_core::login::Prompt;
use authgear_core::policy::Requirement;
use authgear_core::session::Session;
use nginx_sys::{ngx_int_t, NGX_HTTP_FORBIDDEN, NGX_HTTP_OPTIONS, NGX_HTTP_UNAUTHORIZED};

use crate::conf::Project;
use crate::nginx::{Failed, Request};
use crate::request::challenge::{self, Error};
use crate::request::context::Context;
use crate::request::login;
use crate::request::outcome::{Outcome, Unmet};

/// The first requirement of the request's location that is not met. A caller who is refused anyway, or
/// is not known yet, meets all.
pub fn unmet(r: &Request, outcome: &Outcome) -> Result<Option<Unmet>, Failed> {
    let location = r.location();
    if location.asks_nothing() {
        return Ok(None);
    }
    let session = outcome.session();
    if session.is_none() && !matches!(outcome, Outcome::Anonymous) {
        return Ok(None);
    }
    for require in location.requires() {
        for value in &require.values {
            if matches!(value.evaluate(r)?, b"" | b"0") {
                return Ok(Some(Unmet::Value(require.status)));
            }
        }
    }
    let requirements = location.requirements();
    let checked = match session {
        Some(session) => requirements.check(&session, r.now()),
        None if requirements.is_empty() => Ok(()),
        None => Err(Requirement::Role),
    };
    Ok(checked.err().map(Unmet::Session))
}

/// The answer for a known caller who does not meet a requirement: the status, and the error of the
/// challenge, if there is one.
pub fn status_of<'r>(r: &'r Request, unmet: Unmet) -> (u32, Option<Error<'r>>) {
    let requirements = r.location().requirements();
    match unmet {
        Unmet::Value(401) => (NGX_HTTP_UNAUTHORIZED, Some(Error::Requirement)),
        Unmet::Value(_) | Unmet::Session(Requirement::Role) => (NGX_HTTP_FORBIDDEN, None),
        Unmet::Session(Requirement::Scope) => {
            (NGX_HTTP_FORBIDDEN, Some(Error::Scope(requirements.scopes)))
        }
        Unmet::Session(Requirement::AuthAge) => (
            NGX_HTTP_UNAUTHORIZED,
            Some(Error::AuthAge(requirements.auth_age.unwrap_or_default())),
        ),
    }
}

/// Refuses a known caller.
pub fn refuse(
    r: &Request,
    context: &Context,
    project: &Project,
    unmet: Unmet,
) -> Result<ngx_int_t, Failed> {
    let (status, error) = status_of(r, unmet);
    if status == NGX_HTTP_FORBIDDEN {
        login::known(r, context, project);
    }
    if let Some(error) = error {
        challenge::set(r, context, project, Some(error))?;
        if status == NGX_HTTP_UNAUTHORIZED {
            let prompt = match error {
                Error::AuthAge(_) => Prompt::Again,
                _ => Prompt::Usual,
            };
            login::note(r, context, project, prompt);
        }
    }
    Ok(status as ngx_int_t)
}

/// Names the requirement, and why the caller does not meet it; no claim is repeated.
pub fn explain(r: &Request, session: &Session<'_>, unmet: Unmet) -> String {
    let requirements = r.location().requirements();
    let listed = |names: &[Box<str>]| {
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        quoted.join(", ")
    };
    // The resolver says nothing that only a token has.
    let is_resolved = session.token_type().is_none();
    match unmet {
        Unmet::Value(_) => "\"authgear_require\" is not met".to_string(),
        Unmet::Session(Requirement::Role) => {
            format!("needs a role of {}", listed(requirements.roles))
        }
        Unmet::Session(Requirement::Scope) if is_resolved => {
            let scopes = listed(requirements.scopes);
            format!("needs the scope {scopes}, and a session from the resolver has no scope")
        }
        Unmet::Session(Requirement::Scope) => {
            format!("needs the scope {}", listed(requirements.scopes))
        }
        Unmet::Session(Requirement::AuthAge) => {
            let age = requirements.auth_age.unwrap_or_default();
            format!("needs a log-in within {age} s")
        }
    }
}

/// Tells whether this is a CORS preflight that needs no credential here.
pub fn is_let_through(r: &Request) -> bool {
    r.location().bypass_preflight() && is_preflight(r)
}

/// Tells whether this is a CORS preflight, which a browser sends by itself and without credentials (Fetch standard,
/// section 4.8).
fn is_preflight(r: &Request) -> bool {
    let sent = |name: &[u8]| r.values_of(name).any(|value| !trim(value).is_empty());
    // SAFETY: the request is live.
    let method = unsafe { (*r.raw()).method };
    method as u32 == NGX_HTTP_OPTIONS && sent(b"origin") && sent(b"access-control-request-method")
}
