//! Authgear's resolver, asked by a subrequest.
//!
//! The subrequest goes to an internal location that proxies to the resolver; it shares the
//! client's headers, so it carries the client's `Authorization` and `Cookie`.

use core::ffi::c_void;
use core::ptr::NonNull;
use std::rc::Rc;

use authgear_core::credential::{bearer, cookie};
use authgear_core::session::{Field, Session};
use authgear_core::token::{UnverifiedToken, VerifiedToken};
use authgear_core::Reason;
use nginx_sys::{
    ngx_http_post_subrequest_t, ngx_http_request_body_t, ngx_http_request_t, ngx_http_subrequest,
    ngx_int_t, ngx_uint_t, NGX_HTTP_OK, NGX_HTTP_SUBREQUEST_BACKGROUND, NGX_HTTP_SUBREQUEST_WAITED,
    NGX_LOG_ERR, NGX_LOG_NOTICE, NGX_OK,
};
use ngx::ngx_log_error;

use crate::access::Step;
use crate::conf::{Project, Recheck};
use crate::context::{Context, From, Outcome, Stage};
use crate::credential::configured_token;
use crate::nginx::{borrowed_str, bytes, guard, header_parts, Failed, Request};
use crate::verdicts::{Digest, Table, Verdict};
use crate::worker;

/// Seconds after which another try at a resolver that failed is worth while.
const RETRY_AFTER: u64 = 1;
/// How long the right to ask lasts, in milliseconds, if whoever has it is killed.
const LEASE: u64 = 10_000;
/// The longest that a no is kept, in milliseconds.
const KEEP_NO: u64 = 1_000;
/// The least time between two questions about one token while the resolver fails, in
/// milliseconds.
const FAILED_PAUSE: u64 = 1_000;

/// The subrequest that a request waits for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    subrequest: NonNull<ngx_http_request_t>,
    done: bool,
}

/// A question in the background, in the pool of its request.
struct Background {
    digest: Digest,
    subject: *const str,
    project: usize,
    done: bool,
}

/// Finds what the resolver says of the request's credentials: it was said to another request with
/// the same ones, or is being said, or is to be asked.
pub fn resolve(r: &Request, context: &Context, project: &Project) -> Step {
    let Some(keep) = project.resolve_cache else {
        return Step::AskResolver;
    };
    let Some(digest) = credentials_digest(r, project) else {
        return Step::Done(unavailable());
    };
    let waiting_since = context.waiting_since.get();
    let step = worker::with_verdicts(|table, now| {
        let known = table.look_up(&digest, now);
        match known.verdict {
            Some((Verdict::Yes(session), at)) if now.saturating_sub(at) < keep => {
                return Step::Done(Outcome::Resolved(session, From::Cache));
            }
            // Nobody's answer is of use to others: all ask at the same time, not in turn.
            Some((Verdict::TooLarge, at)) if now.saturating_sub(at) < keep => {
                return Step::AskResolver;
            }
            Some((Verdict::No, at)) if now.saturating_sub(at) < keep.min(KEEP_NO) => {
                return Step::Done(Outcome::Refused(Reason::SessionInvalid));
            }
            Some((Verdict::Failed, at)) if waiting_since.is_some_and(|since| since <= at) => {
                return Step::Done(unavailable());
            }
            _ => {}
        }
        lease(table, context, digest, now, Step::AskResolver)
    });
    step.unwrap_or(Step::Done(unavailable()))
}

/// Takes the right to ask and does `then`, or waits for whoever has it.
fn lease(table: &mut Table, context: &Context, digest: Digest, now: u64, then: Step) -> Step {
    if table.try_lease(&digest, now + LEASE, now) {
        context.lease.set(Some(digest));
        then
    } else {
        Step::WaitForVerdict(digest)
    }
}

/// What the resolver is known to have said of the request's credentials.
pub fn cached(r: &Request, project: &Project) -> Option<Rc<Session>> {
    let keep = project.resolve_cache?;
    let digest = credentials_digest(r, project)?;
    worker::with_verdicts(|table, now| match table.look_up(&digest, now).verdict {
        Some((Verdict::Yes(session), at)) if now.saturating_sub(at) < keep => Some(session),
        _ => None,
    })?
}

/// Whether the resolver has said no to a token that verifies.
pub fn denied(r: &Request, project: &Project, token: &VerifiedToken) -> bool {
    let denied = project.recheck.and_then(|_| {
        let digest = token_digest(r, project, token)?;
        worker::with_verdicts(|table, now| {
            matches!(table.look_up(&digest, now).verdict, Some((Verdict::No, _)))
        })
    });
    denied.unwrap_or(false)
}

/// Lets a verified token stand, has it confirmed, or refuses it, by what the resolver said last.
pub fn confirm(
    r: &Request,
    context: &Context,
    project: &Project,
    recheck: Recheck,
    token: Rc<VerifiedToken>,
    from: From,
) -> Step {
    let stands = |token| Step::Done(Outcome::Verified(token, from));
    let Some(digest) = token_digest(r, project, &token) else {
        return stands(token);
    };
    enum Next {
        Stands,
        Refused,
        /// And whether the resolver has failed of late.
        Background(bool),
        Wait(Step),
    }
    let next = worker::with_verdicts(|table, now| {
        let known = table.look_up(&digest, now);
        let age = |at| now.saturating_sub(at);
        match known.verdict {
            Some((Verdict::Confirmed, at)) if age(at) < recheck.interval => Next::Stands,
            Some((Verdict::No, at)) if age(at) < recheck.interval => Next::Refused,
            // It was refused: it does not stand again before the resolver says so.
            Some((Verdict::No, _)) if known.is_asked => Next::Refused,
            Some((Verdict::No, _)) => {
                Next::Wait(lease(table, context, digest, now, Step::AskResolver))
            }
            Some((Verdict::Failed, at)) if age(at) < FAILED_PAUSE => Next::Stands,
            // A token that is new, or comes back after a pause, has to wait for the answer.
            verdict
                if recheck.strict
                    && verdict
                        .as_ref()
                        .is_none_or(|(_, at)| age(*at) / 2 >= recheck.interval) =>
            {
                Next::Wait(lease(table, context, digest, now, Step::AskResolver))
            }
            _ if !known.is_asked && table.try_lease(&digest, now + LEASE, now) => {
                Next::Background(table.is_failing(project.index))
            }
            _ => Next::Stands,
        }
    });
    match next {
        None | Some(Next::Stands) => stands(token),
        Some(Next::Refused) => Step::Done(Outcome::Refused(Reason::SessionInvalid)),
        Some(Next::Wait(step)) => {
            if let Step::AskResolver = step {
                *context.unconfirmed.borrow_mut() = Some((token, from));
            }
            step
        }
        Some(Next::Background(is_failing)) => {
            if ask_in_background(r, project, digest, &token).is_err() {
                give_up(&digest);
            }
            if is_failing {
                // In HTTP/1.1 nginx takes the connection's next request when the subrequest has
                // ended: the client is told to send it on another connection.
                // SAFETY: the request is live, and nginx sets the flag before the phases run.
                unsafe { (*r.raw()).set_keepalive(0) };
            }
            stands(token)
        }
    }
}

/// Gives the right to ask back: whoever had it has left.
pub fn give_up(digest: &Digest) {
    worker::with_verdicts(|table, _| table.release(digest));
}

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

fn ask_in_background(
    r: &Request,
    project: &Project,
    digest: Digest,
    token: &Rc<VerifiedToken>,
) -> Result<(), Failed> {
    // The token lives as long as the request's pool, and the subrequest not longer.
    let token = r.pool().keep(Rc::clone(token), drop_token)?;
    // SAFETY: the pool keeps the token until the request is gone.
    let subject: *const str = unsafe { token.as_ref() }.claims().sub;
    let question = Background {
        digest,
        subject,
        project: project.index,
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
        if !question.done {
            give_up(&question.digest);
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
        (*subrequest.as_ptr()).set_header_only(1);
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
            let answer = read(&subrequest);
            keep_confirmation(
                &subrequest,
                question.project,
                &question.digest,
                subject,
                &answer,
            );
        }
    });
    status
}

/// What a subrequest brought: a session, a no, or why it is neither.
type Answer = Result<Option<Rc<Session>>, String>;

/// What the resolver said, if it has answered.
pub fn answer(r: &Request, context: &Context, project: &Project) -> Step {
    let Some(Asked {
        subrequest,
        done: true,
    }) = context.asked.get()
    else {
        return Step::StillAsking;
    };
    context.asked.set(None);
    // SAFETY: the subrequest lives in the pool of the live main request.
    let subrequest = unsafe { Request::from_raw(subrequest.as_ptr()) };
    let answer = read(&subrequest).and_then(|session| {
        relay_cookies(r, &subrequest).map_err(|Failed| "no memory".to_string())?;
        Ok(session)
    });
    if let Some((token, from)) = context.unconfirmed.take() {
        return confirmed(r, context, project, token, from, &answer);
    }
    if let Some(digest) = context.lease.take() {
        let verdict = match &answer {
            Ok(Some(session)) => Verdict::Yes(Rc::clone(session)),
            Ok(None) => Verdict::No,
            Err(_) => Verdict::Failed,
        };
        let life = lifetime(r, project);
        worker::with_verdicts(|table, now| {
            table.store(
                &digest,
                &verdict,
                life.map_or(u64::MAX, |life| now.saturating_add(life)),
                now,
            );
        });
        worker::announce();
    }
    Step::Done(match answer {
        Ok(Some(session)) => Outcome::Resolved(session, From::Request),
        Ok(None) => Outcome::Refused(Reason::SessionInvalid),
        Err(why) => {
            ngx_log_error!(NGX_LOG_ERR, r.log(), "authgear: {why}");
            unavailable()
        }
    })
}

/// What becomes of a token that waited for the resolver.
fn confirmed(
    r: &Request,
    context: &Context,
    project: &Project,
    token: Rc<VerifiedToken>,
    from: From,
    answer: &Answer,
) -> Step {
    let stands = match context.lease.take() {
        Some(digest) => keep_confirmation(r, project.index, &digest, token.claims().sub, answer),
        None => !matches!(answer, Ok(None)),
    };
    worker::announce();
    Step::Done(match answer {
        _ if stands => Outcome::Verified(token, from),
        // The resolver fell through to another credential, which is valid.
        Ok(Some(session)) => Outcome::Resolved(Rc::clone(session), From::Request),
        _ => Outcome::Refused(Reason::SessionInvalid),
    })
}

/// Keeps what the resolver said of a token; says whether the token stands.
fn keep_confirmation(
    r: &Request,
    project: usize,
    digest: &Digest,
    subject: &str,
    answer: &Answer,
) -> bool {
    let kept = worker::with_verdicts(|table, now| {
        let verdict = match answer {
            // A yes for somebody else is that of another credential.
            Ok(Some(session)) if session.get(Field::UserId) == Some(subject) => Verdict::Confirmed,
            Ok(_) => Verdict::No,
            Err(_) => {
                // A no stays a no; anything else stands while the resolver fails.
                let was_no = matches!(table.look_up(digest, now).verdict, Some((Verdict::No, _)));
                match was_no {
                    true => table.postpone(digest, now + FAILED_PAUSE),
                    false => table.store(digest, &Verdict::Failed, u64::MAX, now),
                }
                return (!was_no, table.set_failing(project, true));
            }
        };
        table.store(digest, &verdict, u64::MAX, now);
        (
            matches!(verdict, Verdict::Confirmed),
            table.set_failing(project, false),
        )
    });
    let (stands, news) = kept.unwrap_or((true, false));
    match answer {
        Err(why) if news => {
            ngx_log_error!(
                NGX_LOG_ERR,
                r.log(),
                "authgear: tokens cannot be confirmed, they stand until they expire: {why}"
            );
        }
        Ok(_) if news => {
            ngx_log_error!(
                NGX_LOG_NOTICE,
                r.log(),
                "authgear: tokens are confirmed again"
            );
        }
        _ => {}
    }
    stands
}

/// Reads a subrequest's answer.
fn read(subrequest: &Request) -> Answer {
    let ok = NGX_HTTP_OK as ngx_uint_t;
    let (status, headers) = subrequest.answered();
    match headers {
        Some((upstream_status, headers)) if status == ok && upstream_status == ok => {
            Session::from_resolver(headers.map(header_parts))
                .map(|session| session.map(Rc::new))
                .map_err(|error| error.to_string())
        }
        _ => Err(format!(
            "the resolver answered with status {status}, not 200"
        )),
    }
}

fn unavailable() -> Outcome {
    Outcome::Unavailable(Reason::ResolverUnavailable, RETRY_AFTER)
}

/// Hands on what clears a dead session's cookie.
fn relay_cookies(r: &Request, subrequest: &Request) -> Result<(), Failed> {
    let headers = subrequest.answered().1.map(|(_, headers)| headers);
    for header in headers.into_iter().flatten() {
        // SAFETY: the header lives in the request's pool.
        let (key, value) = unsafe { (bytes(&header.key), bytes(&header.value)) };
        if key.eq_ignore_ascii_case(b"set-cookie") {
            r.add_response_header("Set-Cookie", r.pool().copy(value)?)?;
        }
    }
    Ok(())
}

/// A digest of everything that the resolver looks at in the request, and of where it is.
fn credentials_digest(r: &Request, project: &Project) -> Option<Digest> {
    let tenant = project.tenant(r).ok()?;
    let mut parts: Vec<&[u8]> = Vec::with_capacity(16);
    parts.extend([
        b"credentials",
        project.name.as_bytes(),
        tenant.origin.as_bytes(),
    ]);
    for value in r.values_of(b"authorization") {
        parts.extend([&b"authorization"[..], value]);
    }
    for pair in project.cookies.pairs(r.values_of(b"cookie")) {
        parts.extend([&b"cookie"[..], pair]);
    }
    // The resolver sees it if its location hands it on.
    if let Some(token) = configured_token(r) {
        parts.extend([&b"token"[..], token.ok()?.unwrap_or_default()]);
    }
    worker::digest(&parts)
}

fn token_digest(r: &Request, project: &Project, token: &VerifiedToken) -> Option<Digest> {
    // A token is remembered for one tenant of one project alone, so this is always the same.
    token.mark(|token| {
        let tenant = project.tenant(r).ok()?;
        worker::digest(&[
            b"token",
            project.name.as_bytes(),
            tenant.origin.as_bytes(),
            token.key_id().as_bytes(),
            token.claims_json().as_bytes(),
        ])
    })
}

/// How many milliseconds the JWTs among the credentials have left; `None` when there is none
/// that limits a verdict.
fn lifetime(r: &Request, project: &Project) -> Option<u64> {
    let tokens = r.headers().filter_map(|header| match header_parts(header) {
        (b"authorization", value) => bearer(value),
        (b"cookie", value) => cookie(value, &project.cookies.app_access_token),
        _ => None,
    });
    let now = r.now();
    let configured = configured_token(r).and_then(Result::ok).flatten();
    tokens
        .chain(configured)
        .filter_map(|token| UnverifiedToken::parse(token).ok()?.claimed_expiry())
        // One that has expired is not what the resolver said yes to.
        .filter(|expiry| *expiry > now)
        .map(|expiry| ((expiry - now) * 1000.0) as u64)
        .min()
}
