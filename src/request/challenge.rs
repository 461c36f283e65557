//! Response headers for a refused client: the challenge of a 401 or 403, and when to try again.

use core::fmt::Write;
use core::ptr;
#[cfg(not(nginx_1_23))]
use core::ptr::NonNull;

use authgear_core::Reason;
use nginx_sys::{ngx_int_t, NGX_HTTP_SERVICE_UNAVAILABLE};

use crate::conf::Project;
use crate::nginx::{Failed, Request};
use crate::request::context::Context;

pub static CHALLENGE: &str = "WWW-Authenticate";
static RETRY_AFTER: &str = "Retry-After";

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
/// where the resource's metadata is (RFC 9728, section 5.1).
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
    let header = r.add_response_header(CHALLENGE, value.as_bytes())?;
    context.challenge.set(Some(header));
    // SAFETY: the request is live. nginx takes the challenge back through this pointer when
    // another module grants access (`satisfy any`).
    unsafe {
        let headers = &mut (*r.raw()).headers_out;
        #[cfg(nginx_1_23)]
        {
            (*header.as_ptr()).next = headers.www_authenticate;
        }
        #[cfg(not(nginx_1_23))]
        context
            .hidden_challenge
            .set(NonNull::new(headers.www_authenticate));
        headers.www_authenticate = header.as_ptr();
    }
    Ok(())
}

/// 503 with the seconds after which another try is worth while.
pub fn unavailable(r: &Request, context: &Context, seconds: u64) -> Result<ngx_int_t, Failed> {
    let header = r.add_response_header(RETRY_AFTER, seconds.to_string().as_bytes())?;
    context.retry_after.set(Some(header));
    Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t)
}

/// Takes back the headers that an earlier pass set, before this one refuses the request. Where a later pass
/// admits it, as an error page, they stay: the response is the refusal's.
pub fn take_back(r: &Request, context: &Context) {
    #[cfg(not(nginx_1_23))]
    follow_grant(r, context);
    if let Some(header) = context.retry_after.take() {
        r.remove_response_header(RETRY_AFTER, header);
    }
    let Some(header) = context.challenge.take() else {
        return;
    };
    if r.remove_response_header(CHALLENGE, header) {
        // SAFETY: the request is live, and the header is in its list.
        unsafe {
            let headers = &mut (*r.raw()).headers_out;
            if ptr::eq(headers.www_authenticate, header.as_ptr()) {
                #[cfg(nginx_1_23)]
                let former = (*header.as_ptr()).next;
                #[cfg(not(nginx_1_23))]
                let former = context
                    .hidden_challenge
                    .take()
                    .map_or(ptr::null_mut(), NonNull::as_ptr);
                headers.www_authenticate = former;
            }
        }
    }
}

/// Before nginx 1.23: where another module grants access (`satisfy any`), nginx takes back the last challenge
/// alone. Takes back the one that this module's hides from it.
#[cfg(not(nginx_1_23))]
pub fn follow_grant(r: &Request, context: &Context) {
    let (Some(header), Some(hidden)) = (context.challenge.get(), context.hidden_challenge.get())
    else {
        return;
    };
    if r.has_response_header(CHALLENGE, header) && !r.shows_response_header(CHALLENGE, header) {
        context.hidden_challenge.set(None);
        // SAFETY: both headers are in the live request's list.
        unsafe { (*hidden.as_ptr()).hash = 0 };
    }
}

/// The inside of a quoted-string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
