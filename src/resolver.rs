//! Authgear's resolver, asked by a subrequest.
//!
//! The subrequest goes to an internal location that proxies to the resolver; it shares the
//! client's headers, so it carries the client's `Authorization` and `Cookie`.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_core::session::Session;
use authgear_core::Reason;
use nginx_sys::{
    ngx_http_post_subrequest_t, ngx_http_request_body_t, ngx_http_request_t, ngx_http_subrequest,
    ngx_int_t, ngx_uint_t, NGX_HTTP_OK, NGX_HTTP_SUBREQUEST_WAITED, NGX_LOG_ERR, NGX_OK,
};
use ngx::ngx_log_error;

use crate::access::Step;
use crate::conf::Project;
use crate::context::{Context, Outcome, Stage};
use crate::nginx::{borrowed_str, bytes, guard, header_parts, Failed, Headers, Request};

/// Seconds after which another try at a resolver that failed is worth while.
const RETRY_AFTER: u64 = 1;

/// A subrequest to the resolver.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    subrequest: NonNull<ngx_http_request_t>,
    done: bool,
}

/// Sends the request's credentials to the resolver; the access handler is called again when it
/// has answered.
pub fn ask(r: &Request, context: &Context, project: &Project) -> Result<(), Failed> {
    let uri = project.resolve_request.as_deref().ok_or(Failed)?;
    let post: NonNull<ngx_http_post_subrequest_t> = r.pool().zeroed()?;
    let body: NonNull<ngx_http_request_body_t> = r.pool().zeroed()?;
    let mut subrequest = core::ptr::null_mut();
    // SAFETY: the request is live. nginx copies the URI's pointer and length; the text lives as
    // long as the configuration, which outlives its requests. The context lives in the
    // request's pool, as the subrequest does.
    unsafe {
        (*post.as_ptr()).handler = Some(on_end);
        (*post.as_ptr()).data = core::ptr::from_ref(context).cast_mut().cast();
        let mut uri = borrowed_str(uri);
        let status = ngx_http_subrequest(
            r.raw(),
            &mut uri,
            core::ptr::null_mut(),
            &mut subrequest,
            post.as_ptr(),
            NGX_HTTP_SUBREQUEST_WAITED as ngx_uint_t,
        );
        let subrequest = NonNull::new(subrequest).filter(|_| status == NGX_OK as ngx_int_t);
        let subrequest = subrequest.ok_or(Failed)?;
        // The client's body is not for the resolver, and must not be read or closed by its
        // upstream.
        (*subrequest.as_ptr()).request_body = body.as_ptr();
        (*subrequest.as_ptr()).set_header_only(1);
        context.resolver.set(Some(Asked {
            subrequest,
            done: false,
        }));
    }
    context.stage.set(Stage::WaitingForResolver);
    Ok(())
}

/// nginx calls this when the subrequest ends; for an error it does so twice.
unsafe extern "C" fn on_end(
    _: *mut ngx_http_request_t,
    context: *mut c_void,
    status: ngx_int_t,
) -> ngx_int_t {
    guard((), || {
        // SAFETY: it is the context that `ask` handed over, in the pool of the subrequest.
        let context = unsafe { &*context.cast::<Context>() };
        if let Some(asked) = context.resolver.get() {
            context.resolver.set(Some(Asked {
                done: true,
                ..asked
            }));
        }
    });
    status
}

/// What the resolver said, if it has answered.
pub fn answer(r: &Request, context: &Context) -> Step {
    let subrequest = match context.resolver.get() {
        Some(Asked {
            subrequest,
            done: true,
        }) => subrequest,
        _ => return Step::StillAsking,
    };
    context.resolver.set(None);
    // SAFETY: the subrequest and its upstream live in the pool of the live main request.
    let (status, answered, headers) = unsafe {
        let request = subrequest.as_ref();
        match request.upstream.as_ref() {
            None => (request.headers_out.status, 0, None),
            Some(upstream) => (
                request.headers_out.status,
                upstream.headers_in.status_n,
                Some(Headers::of(&upstream.headers_in.headers)),
            ),
        }
    };
    let ok = NGX_HTTP_OK as ngx_uint_t;
    let headers = match headers {
        Some(headers) if status == ok && answered == ok => headers,
        _ => {
            ngx_log_error!(
                NGX_LOG_ERR,
                r.log(),
                "authgear: the resolver answered with status {status}, not 200"
            );
            return Step::Done(unavailable());
        }
    };
    if relay_cookies(r, headers.clone()).is_err() {
        return Step::Done(unavailable());
    }
    match Session::from_resolver(headers.map(header_parts)) {
        Ok(Some(session)) => Step::Done(Outcome::Resolved(Rc::new(session))),
        Ok(None) => Step::Done(Outcome::Refused(Reason::SessionInvalid)),
        Err(error) => {
            ngx_log_error!(NGX_LOG_ERR, r.log(), "authgear: {error}");
            Step::Done(unavailable())
        }
    }
}

fn unavailable() -> Outcome {
    Outcome::Unavailable(Reason::ResolverUnavailable, RETRY_AFTER)
}

/// Hands on what clears a dead session's cookie.
fn relay_cookies(r: &Request, headers: Headers<'_>) -> Result<(), Failed> {
    for header in headers {
        // SAFETY: the header lives in the request's pool.
        let (key, value) = unsafe { (bytes(&header.key), bytes(&header.value)) };
        if key.eq_ignore_ascii_case(b"set-cookie") {
            r.add_response_header("Set-Cookie", r.pool().copy(value)?)?;
        }
    }
    Ok(())
}
