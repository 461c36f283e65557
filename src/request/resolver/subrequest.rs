//! The subrequest to the resolver's location: sent, held to its location, and read when it ends.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::time::Instant;

use authgear_core::session::Fields;
use nginx_sys::{
    ngx_http_post_subrequest_t, ngx_http_request_t, ngx_http_subrequest, ngx_int_t, ngx_str_t,
    ngx_uint_t, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_OK, NGX_HTTP_SUBREQUEST_BACKGROUND, NGX_HTTP_SUBREQUEST_WAITED,
    NGX_HTTP_TOO_MANY_REQUESTS, NGX_OK,
};

use crate::conf::Project;
use crate::nginx::{borrowed_str, bytes, guard, now, Failed, Request};
use crate::request::context::{ClientRequest, Context, Stage};
use crate::request::counting::count_reply;
use crate::request::outcome::Resolved;
use crate::request::question::{Ask, Asked, Delivery, Failure, Reply};

/// Asks; the handler is run again when there is an answer.
pub fn ask(
    r: &Request,
    (client, context): (&ClientRequest, &Context),
    project: &Project,
    ask: Ask<'_>,
) -> Result<(), Failed> {
    let delivery = if r.is_main() {
        Delivery::ByNginx
    } else {
        Delivery::ByModule
    };
    let asked = send(r, project, ask, delivery)?;
    client.add_pending(asked);
    context.stage.set(Stage::Asking(asked));
    Ok(())
}

/// Asks while the request goes on.
pub fn ask_in_background(r: &Request, project: &Project, ask: Ask<'_>) -> Result<(), Failed> {
    send(r, project, ask, Delivery::InBackground).map(drop)
}

/// Starts the subrequest.
fn send(
    r: &Request,
    project: &Project,
    ask: Ask<'_>,
    delivery: Delivery,
) -> Result<NonNull<Asked>, Failed> {
    let uri = project.resolve_request.as_deref().ok_or(Failed)?;
    let (pool, question) = (r.pool(), &ask.question);
    let (token, authorization) = match question.token {
        b"" => (ngx_str_t::empty(), ngx_str_t::empty()),
        token => {
            let whole = pool.copy(&[b"Bearer ", token].concat())?;
            (pool.copy(token)?, whole)
        }
    };
    let asked = Asked {
        parent: r.as_non_null(),
        subrequest: Cell::new(ptr::null_mut()),
        uri: borrowed_str(uri),
        tenant: ask.tenant,
        asked_at: now(),
        project: ask.project,
        token,
        authorization,
        cookie: pool.copy(&question.cookie)?,
        lifetime: question.lifetime(r),
        purpose: RefCell::new(Some(ask.purpose)),
        delivery,
        began: Instant::now(),
        is_done: Cell::new(false),
        // Until the subrequest has headers and variables of its own.
        is_misplaced: Cell::new(true),
    };
    // SAFETY: `drop_asked` takes a question, to which nothing refers that outlives the pool.
    let asked = unsafe { pool.alloc_with_cleanup(asked, drop_asked)? };
    // SAFETY: it was allocated just now, in the pool of the request.
    let asked_ref = unsafe { asked.as_ref() };
    // A lease is given back at once where there is no subrequest.
    let subrequest =
        start(r, uri, asked, delivery).inspect_err(|Failed| drop(asked_ref.purpose.take()))?;
    asked_ref.subrequest.set(subrequest.raw());
    subrequest.own_variables(r.main_conf().request_variables(r))?;
    // SAFETY: both texts lie in the pool that the subrequest shares.
    unsafe { subrequest.carry_only(asked_ref.authorization, asked_ref.cookie)? };
    subrequest.send_headers_alone();
    subrequest.forbid_error_pages();
    asked_ref.is_misplaced.set(false);
    Ok(asked)
}

/// Has nginx make the subrequest.
fn start(
    r: &Request,
    uri: &[u8],
    asked: NonNull<Asked>,
    delivery: Delivery,
) -> Result<Request, Failed> {
    let flags = match delivery {
        Delivery::ByNginx => NGX_HTTP_SUBREQUEST_WAITED,
        Delivery::ByModule | Delivery::InBackground => NGX_HTTP_SUBREQUEST_BACKGROUND,
    };
    let post: NonNull<ngx_http_post_subrequest_t> = r.pool().zeroed()?;
    let mut uri = borrowed_str(uri);
    let mut subrequest = ptr::null_mut();
    // SAFETY: the request is live. nginx copies the URI's pointer and length; the text lives as
    // long as the configuration, which outlives its requests. The question lives in the request's
    // pool, as the subrequest does.
    unsafe {
        (*post.as_ptr()).handler = Some(on_end);
        (*post.as_ptr()).data = asked.as_ptr().cast();
        let status = ngx_http_subrequest(
            r.raw(),
            &mut uri,
            ptr::null_mut(),
            &mut subrequest,
            post.as_ptr(),
            flags as ngx_uint_t,
        );
        if status != NGX_OK as ngx_int_t || subrequest.is_null() {
            return Err(Failed);
        }
        Ok(Request::from_raw(subrequest))
    }
}

/// Runs when the client request is over, answered or not. A lease that is still held is given back.
unsafe extern "C" fn drop_asked(data: *mut c_void) {
    // SAFETY: nginx calls this once, with the question that `send` allocated.
    guard((), || unsafe { data.cast::<Asked>().drop_in_place() });
}

/// The question that a subrequest asks, if it is one of this module's.
pub fn own_question(r: &Request) -> Option<&Asked> {
    // SAFETY: the request is live, and so is what was handed to `ngx_http_subrequest` for it. The
    // handler tells that the data is a question.
    unsafe {
        let post = (*r.raw()).post_subrequest.as_ref()?;
        let is_own = post
            .handler
            .is_some_and(|handler| ptr::fn_addr_eq(handler, on_end as OnEnd));
        is_own.then(|| &*post.data.cast::<Asked>())
    }
}

impl Asked {
    /// Ends the subrequest where it is about to enter another place than the internal location that
    /// the unchanged URI of `resolve_request` selects. Says whether it did.
    pub fn end_if_misplaced(&self, subrequest: &Request) -> bool {
        // SAFETY: the URI is the configuration's, which outlives its requests.
        let wanted = unsafe { bytes(&self.uri) };
        let is_in_place = subrequest.uri() == wanted && subrequest.is_in_internal_location();
        if is_in_place && !self.is_misplaced.get() {
            return false;
        }
        self.is_misplaced.set(true);
        subrequest.finalize(NGX_OK as ngx_int_t);
        true
    }
}

type OnEnd = unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, ngx_int_t) -> ngx_int_t;

/// nginx calls this when the subrequest ends; for an error it does so twice, first without a
/// response.
unsafe extern "C" fn on_end(
    subrequest: *mut ngx_http_request_t,
    asked: *mut c_void,
    status: ngx_int_t,
) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx hands a live subrequest over, and the question lives in its pool.
        let (subrequest, asked) =
            unsafe { (Request::from_raw(subrequest), &*asked.cast::<Asked>()) };
        if asked.subrequest.get() != subrequest.raw() {
            return;
        }
        match asked.delivery {
            Delivery::ByNginx => asked.is_done.set(true),
            // Once: the parent may have ended before nginx calls again. A response in place of an error
            // is made before the parent runs.
            Delivery::ByModule => {
                if !asked.is_done.replace(true) {
                    // SAFETY: the parent lives as long as the client request.
                    unsafe { Request::from_raw(asked.parent.as_ptr()) }.post();
                }
            }
            Delivery::InBackground => {
                let is_over = subrequest.status() != 0 || asked.is_misplaced.get();
                if is_over && !asked.is_done.replace(true) {
                    let reply = read(&subrequest, asked, |_| {});
                    if let Some(purpose) = asked.purpose.take() {
                        count_reply(&subrequest, asked, &reply);
                        purpose.settle(&subrequest, asked, &reply);
                    }
                }
            }
        }
    });
    status
}

/// Takes in the resolver's answer to a question that a request waits for, once; returns whether it is
/// there. Cookies that clear a dead session are handed on to the client.
pub fn take_answer(r: &Request, client: &ClientRequest, question: NonNull<Asked>) -> bool {
    // SAFETY: the question lives in the pool of the client request.
    let asked = unsafe { question.as_ref() };
    if !asked.is_done.get() {
        return false;
    }
    // SAFETY: the subrequest lives in the pool of the live client request.
    let subrequest = unsafe { Request::from_raw(asked.subrequest.get()) };
    let mut has_cookies = false;
    let reply = read(&subrequest, asked, |name| {
        has_cookies |= name == b"set-cookie"
    });
    let reply = match reply {
        Ok(session) if has_cookies => relay_cookies(&r.main(), &subrequest)
            .map(|()| session)
            .map_err(no_memory),
        reply => reply,
    };
    if let Some(purpose) = asked.purpose.take() {
        count_reply(r, asked, &reply);
        let verdict = purpose.settle(r, asked, &reply);
        client.add_answer(asked.tenant.id, asked.token, asked.cookie, verdict);
    }
    client.end_pending(question);
    true
}

/// Reads a subrequest's reply; `each` gets the names of its headers.
fn read(subrequest: &Request, asked: &Asked, mut each: impl FnMut(&[u8])) -> Reply {
    let unclear = |why: String| Err(Failure::Unclear(why));
    // SAFETY: the URI is the configuration's, which outlives its requests.
    let uri = String::from_utf8_lossy(unsafe { bytes(&asked.uri) });
    if asked.is_misplaced.get() {
        return unclear(format!(
            "the subrequest to the resolver did not reach location \"{uri}\"; make it \"internal\" and \
             do not rewrite its URI"
        ));
    }
    let (status, upstream) = subrequest.answered();
    let Some((upstream_status, headers)) = upstream else {
        return unclear(format!(
            "location \"{uri}\" answered {status} by itself instead of asking the resolver; it needs \
             \"proxy_pass\""
        ));
    };
    if subrequest.is_from_cache() {
        return unclear(format!(
            "the answer in location \"{uri}\" came from nginx's cache and is ignored; add \
             \"proxy_cache off;\""
        ));
    }
    let ok = NGX_HTTP_OK as ngx_uint_t;
    if status != ok || upstream_status != ok {
        return Err(failure(&uri, status, upstream_status));
    }
    let headers = headers.inspect(|(name, _)| each(name));
    let mut room = Vec::new();
    let fields = Fields::from_resolver(headers, &mut room);
    let fields = fields.map_err(|error| Failure::Unclear(error.to_string()))?;
    let session = fields.map(|fields| Resolved::copy_to(subrequest.pool(), &fields));
    session.transpose().map_err(no_memory)
}

/// The failure of a resolver that answered with `upstream_status`, or 0 where it gave no response, to the
/// question in location `uri`; `status` is nginx's own.
fn failure(uri: &str, status: ngx_uint_t, upstream_status: ngx_uint_t) -> Failure {
    let is_server_error = |status| status >= NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_uint_t;
    let without_response = [NGX_HTTP_BAD_GATEWAY, NGX_HTTP_GATEWAY_TIME_OUT];
    let not_200 = |answered| {
        format!("the resolver answered with status {answered}, not 200, in location \"{uri}\"")
    };
    match upstream_status {
        0 if without_response.contains(&(status as u32)) => Failure::Outage(format!(
            "the resolver gave no response (status {status}) in location \"{uri}\""
        )),
        0 => Failure::Unclear(format!(
            "the resolver was not asked (status {status}) in location \"{uri}\""
        )),
        answered if is_server_error(answered) || answered == TOO_MANY => {
            Failure::Outage(not_200(answered))
        }
        answered if answered == status => Failure::Unclear(not_200(answered)),
        answered => Failure::Unclear(format!(
            "the resolver's answer, status {answered}, cannot be used (status {status}) in location \
             \"{uri}\""
        )),
    }
}

const TOO_MANY: ngx_uint_t = NGX_HTTP_TOO_MANY_REQUESTS as ngx_uint_t;

fn no_memory(_: Failed) -> Failure {
    Failure::Unclear("no memory".to_string())
}

/// Hands what clears a dead session's cookie on to the client, unless the response has begun.
fn relay_cookies(main: &Request, subrequest: &Request) -> Result<(), Failed> {
    if main.has_sent_header() {
        return Ok(());
    }
    let headers = subrequest.answered().1.map(|(_, headers)| headers);
    for (name, value) in headers.into_iter().flatten() {
        if name == b"set-cookie" {
            main.add_response_header("Set-Cookie", value)?;
        }
    }
    Ok(())
}
