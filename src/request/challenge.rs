//! Response headers for a refused client: the challenge of a 401 or 403, and when to try again.

use core::cell::Cell;
use core::fmt::Write;
use core::ptr::NonNull;

use authgear_core::Reason;
use nginx_sys::{ngx_int_t, ngx_table_elt_t, NGX_HTTP_SERVICE_UNAVAILABLE};

use crate::conf::Project;
use crate::nginx::{Failed, Request};
use crate::request::context::Context;

/// The error of a credential that was sent.
#[derive(Debug, Clone, Copy)]
pub enum Error<'a> {
    /// It is not valid (RFC 6750, section 3.1).
    Token(Reason),
    /// It is valid, but `authgear_require` wants another.
    Requirement,
    /// It is valid, but all of these scopes are needed (RFC 6750, section 3.1).
    Scope(&'a [Box<str>]),
    /// It is valid, but the log-in may be so many seconds old at the most (RFC 9470, section 3).
    AuthAge(u64),
}

impl Error<'_> {
    fn code(self) -> &'static str {
        match self {
            Error::Token(_) | Error::Requirement => "invalid_token",
            Error::Scope(_) => "insufficient_scope",
            Error::AuthAge(_) => "insufficient_user_authentication",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Error::Token(reason) => reason.description(),
            Error::Requirement => Reason::Policy.description(),
            Error::Scope(_) => "the access token lacks a scope that is needed",
            Error::AuthAge(_) => "a more recent log-in is required",
        }
    }
}

/// Sets `WWW-Authenticate` (RFC 6750, section 3): the realm, the error if a credential was sent, and
/// where the resource's metadata is (RFC 9728, section 5.1). One that an earlier pass set is replaced.
pub fn set(
    r: &Request,
    context: &Context,
    project: &Project,
    error: Option<Error>,
) -> Result<(), Failed> {
    let location = r.location();
    let realm = location.realm().unwrap_or(&project.name);
    let mut value = format!("Bearer realm=\"{}\"", quoted(realm));
    if let Some(error) = error {
        let (code, description) = (error.code(), error.description());
        let _ = write!(
            value,
            ", error=\"{code}\", error_description=\"{description}\""
        );
        match error {
            Error::Scope(scopes) => {
                let _ = write!(value, ", scope=\"{}\"", scopes.join(" "));
            }
            Error::AuthAge(seconds) => {
                let _ = write!(value, ", max_age=\"{seconds}\"");
            }
            Error::Token(_) | Error::Requirement => {}
        }
    }
    if let Some(url) = location.resource_metadata() {
        let _ = write!(value, ", resource_metadata=\"{}\"", quoted(url));
    }
    if let Some(header) = set_header(r, "WWW-Authenticate", &value, &context.challenge)? {
        // SAFETY: the request is live. nginx takes the challenge back through this pointer when
        // another module grants access (`satisfy any`).
        unsafe {
            let headers = &mut (*r.raw()).headers_out;
            #[cfg(nginx_1_23)]
            {
                (*header.as_ptr()).next = headers.www_authenticate;
            }
            headers.www_authenticate = header.as_ptr();
        }
    }
    Ok(())
}

/// 503 with the seconds after which another try is worth while.
pub fn unavailable(r: &Request, context: &Context, seconds: u64) -> Result<ngx_int_t, Failed> {
    let seconds = seconds.to_string();
    set_header(r, "Retry-After", &seconds, &context.retry_after)?;
    Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t)
}

/// Sets a response header of this module's: gives `own`, which an earlier pass added, the new value,
/// or adds it. Returns the header where it was added.
fn set_header(
    r: &Request,
    name: &'static str,
    value: &str,
    own: &Cell<Option<NonNull<ngx_table_elt_t>>>,
) -> Result<Option<NonNull<ngx_table_elt_t>>, Failed> {
    if let Some(header) = own.get() {
        if r.replace_response_header(header, value.as_bytes())? {
            return Ok(None);
        }
    }
    let header = r.add_response_header(name, value.as_bytes())?;
    own.set(Some(header));
    Ok(Some(header))
}

/// The inside of a quoted-string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
