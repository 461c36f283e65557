//! The subrequest to the resolver's location: sent, and read when it ends.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_core::session::{Fields, Joined};
use authgear_core::token::VerifiedToken;
use nginx_sys::{
    ngx_http_post_subrequest_t, ngx_http_request_body_t, ngx_http_request_t, ngx_http_subrequest,
    ngx_int_t, ngx_uint_t, NGX_HTTP_OK, NGX_HTTP_SUBREQUEST_BACKGROUND, NGX_HTTP_SUBREQUEST_WAITED,
    NGX_OK,
};

use super::{give_up, keep_confirmation, Question};
use crate::conf::Project;
use crate::context::{Context, Resolved, Stage};
use crate::nginx::{borrowed_str, guard, header_parts, Failed, Request};

/// The subrequest that a request waits for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    subrequest: NonNull<ngx_http_request_t>,
    done: bool,
}

/// A question in the background, in the pool of its request.
struct Background {
    question: Question,
    subject: *const str,
    done: bool,
}

/// What a subrequest brought: a session, a no, or why it is neither.
pub type Answer = Result<Option<Resolved>, String>;

/// Sends the request's credentials to the resolver; the access handler is called again when it
/// has answered.
pub fn ask(r: &Request, context: &Context, project: &Project) -> Result<(), Failed> {
    let data = core::ptr::from_ref(context).cast_mut().cast();
    let subrequest = send(r, project, NGX_HTTP_SUBREQUEST_WAITED, on_end, data)?;
    context.asked.set(Some(Asked {
        subrequest,
        done: false,
    }));
    context.stage.set(Stage::WaitingForResolver);
    Ok(())
}

pub fn ask_in_background(
    r: &Request,
    project: &Project,
    question: Question,
    token: &Rc<VerifiedToken>,
) -> Result<(), Failed> {
    // The token lives as long as the request's pool, and the subrequest not longer.
    let token = r.pool().keep(Rc::clone(token), drop_token)?;
    // SAFETY: the pool keeps the token until the request is gone.
    let subject: *const str = unsafe { token.as_ref() }.claims().sub();
    let question = Background {
        question,
        subject,
        done: false,
    };
    let question = r.pool().keep(question, drop_question)?;
    let data = question.as_ptr().cast();
    send(
        r,
        project,
        NGX_HTTP_SUBREQUEST_BACKGROUND,
        on_background_end,
        data,
    )
    .map(drop)
}

unsafe extern "C" fn drop_token(data: *mut c_void) {
    // SAFETY: nginx calls this once, with the token that was kept.
    guard((), || unsafe {
        data.cast::<Rc<VerifiedToken>>().drop_in_place()
    });
}

/// The request is gone: whether or not the resolver has answered, nobody is asking any more.
unsafe extern "C" fn drop_question(data: *mut c_void) {
    guard((), || {
        // SAFETY: nginx calls this once, with the question that was kept.
        let question = unsafe { &*data.cast::<Background>() };
        if let (false, Some(lease)) = (question.done, question.question.lease) {
            give_up(&question.question.key, lease);
        }
    });
}

type OnEnd = unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, ngx_int_t) -> ngx_int_t;

/// Starts a subrequest to the resolver's location.
fn send(
    r: &Request,
    project: &Project,
    flags: u32,
    on_end: OnEnd,
    data: *mut c_void,
) -> Result<NonNull<ngx_http_request_t>, Failed> {
    let uri = project.resolve_request.as_deref().ok_or(Failed)?;
    let post: NonNull<ngx_http_post_subrequest_t> = r.pool().zeroed()?;
    let body: NonNull<ngx_http_request_body_t> = r.pool().zeroed()?;
    let mut subrequest = core::ptr::null_mut();
    // SAFETY: the request is live. nginx copies the URI's pointer and length; the text lives as
    // long as the configuration, which outlives its requests. What `data` points to lives in the
    // request's pool, as the subrequest does.
    unsafe {
        (*post.as_ptr()).handler = Some(on_end);
        (*post.as_ptr()).data = data;
        let mut uri = borrowed_str(uri);
        let status = ngx_http_subrequest(
            r.raw(),
            &mut uri,
            core::ptr::null_mut(),
            &mut subrequest,
            post.as_ptr(),
            flags as ngx_uint_t,
        );
        let subrequest = NonNull::new(subrequest).filter(|_| status == NGX_OK as ngx_int_t);
        let subrequest = subrequest.ok_or(Failed)?;
        // The client's body is not for the resolver, and must not be read or closed by its
        // upstream.
        (*subrequest.as_ptr()).request_body = body.as_ptr();
        Request::from_raw(subrequest.as_ptr()).send_headers_alone();
        Ok(subrequest)
    }
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
        if let Some(asked) = context.asked.get() {
            context.asked.set(Some(Asked {
                done: true,
                ..asked
            }));
        }
    });
    status
}

unsafe extern "C" fn on_background_end(
    subrequest: *mut ngx_http_request_t,
    question: *mut c_void,
    status: ngx_int_t,
) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx hands a live subrequest over, and the question and the subject live in
        // its pool.
        let (subrequest, question, subject) = unsafe {
            let question = &mut *question.cast::<Background>();
            let subject: &str = &*question.subject;
            (Request::from_raw(subrequest), question, subject)
        };
        // SAFETY: the subrequest is live.
        let has_status = unsafe { (*subrequest.raw()).headers_out.status != 0 };
        if has_status && !core::mem::replace(&mut question.done, true) {
            let answer = read(&subrequest, |_| {});
            keep_confirmation(&subrequest, &question.question, subject, &answer);
        }
    });
    status
}

/// What the resolver said to the request, once: nothing while it has not answered. What clears a
/// dead session is handed on to the client.
pub fn answer(r: &Request, context: &Context) -> Option<Answer> {
    let asked = context.asked.get().filter(|asked| asked.done)?;
    context.asked.set(None);
    // SAFETY: the subrequest lives in the pool of the live main request.
    let subrequest = unsafe { Request::from_raw(asked.subrequest.as_ptr()) };
    let mut has_cookies = false;
    let answer = read(&subrequest, |name| has_cookies |= name == b"set-cookie");
    Some(match answer {
        Ok(session) if has_cookies => relay_cookies(r, &subrequest)
            .map(|()| session)
            .map_err(no_memory),
        answer => answer,
    })
}

/// Reads a subrequest's answer; `each` is told the names of its headers.
fn read(subrequest: &Request, mut each: impl FnMut(&[u8])) -> Answer {
    let ok = NGX_HTTP_OK as ngx_uint_t;
    let (status, headers) = subrequest.answered();
    match headers {
        Some((upstream_status, headers)) if status == ok && upstream_status == ok => {
            let headers = headers.map(header_parts).inspect(|(name, _)| each(name));
            let mut room = Joined::default();
            let fields = Fields::from_resolver(headers, &mut room);
            let fields = fields.map_err(|error| error.to_string())?;
            let session = fields.map(|fields| Resolved::keep(subrequest.pool(), &fields));
            session.transpose().map_err(no_memory)
        }
        _ => Err(format!(
            "the resolver answered with status {status}, not 200"
        )),
    }
}

fn no_memory(_: Failed) -> String {
    "no memory".to_string()
}

/// Hands on what clears a dead session's cookie.
fn relay_cookies(r: &Request, subrequest: &Request) -> Result<(), Failed> {
    let headers = subrequest.answered().1.map(|(_, headers)| headers);
    for header in headers.into_iter().flatten() {
        let (name, value) = header_parts(header);
        if name == b"set-cookie" {
            r.add_response_header("Set-Cookie", r.pool().copy(value)?)?;
        }
    }
    Ok(())
}
