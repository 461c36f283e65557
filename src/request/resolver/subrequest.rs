//! The subrequest to the resolver's location: sent, held to its location, and read when it ends. The
//! suspension of a resolver that gives no response, and the probes that end it.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::Instant;

use authgear_core::recheck::Unasked;
use authgear_core::share::Subject;
use authgear_tables::breaker::Silence;
use nginx_sys::{
    ngx_http_post_subrequest_t, ngx_http_request_t, ngx_http_subrequest, ngx_int_t, ngx_str_t,
    ngx_uint_t, NGX_HTTP_SUBREQUEST_BACKGROUND, NGX_HTTP_SUBREQUEST_WAITED, NGX_LOG_ERR,
    NGX_LOG_NOTICE, NGX_OK,
};

use crate::conf::Project;
use crate::keys::Tenant;
use crate::log::log_limited;
use crate::nginx::{borrowed_str, bytes, guard, now, Failed, OwnRequest, Request};
use crate::request::attempt::{Judge, Reach};
use crate::request::context::{ClientRequest, Context, Stage};
use crate::request::counting::count_reply;
use crate::request::question::{Ask, Asked, Delivery, FailureKind, Purpose, Question, Reply};
use crate::request::resolver::reply::{no_memory, read, relay_cookies};
use crate::request::waiting;
use crate::worker::{self, Place};

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
        place: RefCell::new(ask.place),
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
    let subrequest = start(r, uri, asked, delivery).inspect_err(|Failed| asked_ref.give_up())?;
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
    /// Gives back what is held for an answer.
    fn give_up(&self) {
        drop(self.purpose.take());
        drop(self.place.take());
    }

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
        drop(asked.place.take());
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
                        let is_probe = matches!(purpose, Purpose::Probe(_));
                        count_reply(&subrequest, asked, &reply);
                        note_reply(&subrequest, asked, &reply, is_probe);
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
        note_reply(r, asked, &reply, false);
        let verdict = purpose.settle(r, asked, &reply);
        client.add_answer(asked.tenant.id, asked.token, asked.cookie, verdict);
    }
    client.end_pending(question);
    true
}

/// The milliseconds after which a probe is given up, whatever the location's own limits are.
const PROBE_LIMIT: usize = 10_000;
/// The cookie of a probe, a session that nobody has.
const PROBE: &[u8] = b"probe.00000000000000000000000000000000";
const USER_AGENT: &str = concat!("ngx_http_authgear_module/", env!("CARGO_PKG_VERSION"));

/// Takes a place for a question about a credential, which the resolver has accepted before if it `had_yes`.
///
/// # Errors
///
/// The reason why it is not to be asked.
pub fn admit(judge: &Judge<'_, '_>, had_yes: bool) -> Result<Place, Unasked> {
    let (project, tenant) = (judge.project, judge.tenant);
    if is_suspended(judge) {
        return Err(Unasked::Suspended);
    }
    let subject = if had_yes {
        Subject::Known
    } else {
        Subject::Stranger
    };
    worker::enter(project, &tenant.id, subject).ok_or_else(|| {
        log_limited(
            judge.r,
            NGX_LOG_ERR,
            (project.index, "questions"),
            format_args!(
                "project \"{}\": too many questions to the resolver are under way, another is not asked; it \
                 is slow, or \"worker_connections\" are too few",
                project.name
            ),
        );
        Unasked::Full
    })
}

/// True while nobody waits for the resolver. Sends a probe if it is time for one.
pub fn is_suspended(judge: &Judge<'_, '_>) -> bool {
    let is_suspended = worker::is_suspended(judge.project, &judge.tenant.id);
    if is_suspended && judge.reach != Reach::AtHand {
        probe(judge.r, judge.project, judge.tenant);
    }
    is_suspended
}

/// Notes that the resolver responded to a question, or that it did not.
fn note_reply(r: &Request, asked: &Asked, reply: &Reply, is_probe: bool) {
    let (project, tenant) = (asked.project(r), &asked.tenant);
    let name = &project.name;
    match reply {
        Err(failure) if failure.kind == FailureKind::NotAsked => {
            if is_probe {
                end_unprobed(r, project, tenant, &failure.why);
            }
        }
        Err(failure) if failure.kind == FailureKind::Silence => {
            let noted = worker::note_silence(project, &tenant.id, asked.asked_at, is_probe);
            if noted == Silence::Suspended {
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (project.index, "suspended"),
                    format_args!(
                        "project \"{name}\": the resolver is suspended, nobody waits for it until it responds \
                         to a probe: {}",
                        failure.why
                    ),
                );
                waiting::wake_waiters();
            }
            if noted != Silence::Counted {
                probe(r, project, tenant);
            }
        }
        Ok(_) | Err(_) => {
            if let Some(milliseconds) = worker::note_response(project, &tenant.id) {
                let seconds = milliseconds / 1000;
                log_limited(
                    r,
                    NGX_LOG_NOTICE,
                    (project.index, "responds"),
                    format_args!(
                        "project \"{name}\": the resolver responds again after {seconds} s"
                    ),
                );
            }
        }
    }
}

/// Asks a tenant's resolver about a made-up session, if it is time for that, in a request of this module's own:
/// no client has a part in it.
fn probe(r: &Request, project: &Project, tenant: &Rc<Tenant>) {
    // Probes are bounded: a later request sends one where there is no place now.
    let Some(place) = worker::enter(project, &tenant.id, Subject::Probe) else {
        return;
    };
    if !worker::take_probe(project, &tenant.id) {
        return;
    }
    let Ok(own) = OwnRequest::start(r, USER_AGENT, PROBE_LIMIT) else {
        end_unprobed(r, project, tenant, "no memory");
        return;
    };
    let cookie = [&*project.cookies.session, b"=", PROBE].concat();
    let ask = Ask {
        tenant: Rc::clone(tenant),
        project: project.index,
        question: Question::about_session(None, cookie.into()),
        purpose: Purpose::Probe(own),
        place: Some(place),
    };
    // SAFETY: it was made just now, and is freed from the event loop.
    let sent = send(
        &unsafe { own.request() },
        project,
        ask,
        Delivery::InBackground,
    );
    if sent.is_err() {
        // SAFETY: as above. Nothing refers to it any more.
        unsafe { own.end() };
        end_unprobed(r, project, tenant, "no memory");
    }
}

/// Ends a suspension that no probe can end, since probes do not reach the resolver: clients' questions do.
fn end_unprobed(r: &Request, project: &Project, tenant: &Tenant, why: &str) {
    if worker::note_response(project, &tenant.id).is_some() {
        log_limited(
            r,
            NGX_LOG_ERR,
            (project.index, "unprobed"),
            format_args!(
                "project \"{}\": the resolver is not suspended, since no probe reaches it: {why}",
                project.name
            ),
        );
    }
}
