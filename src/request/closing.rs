//! Responses that end when their token expires or their user is revoked (`authgear_close_expired`).
//!
//! Each request that is admitted has a timer of its own for the token's end, or for a planned disabling. While
//! there is such a request, the worker looks four times a second whether any user was revoked; only then does it
//! look at its requests.

use core::cell::{Cell, RefCell};
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::rc::Rc;

use authgear_core::session::Field;
use authgear_core::status::Cause;
use authgear_core::token::VerifiedToken;
use nginx_sys::{ngx_http_request_t, NGX_LOG_INFO};
use ngx::ngx_log_error;

use crate::nginx::{now, Failed, PoolTimer, Request, Timer};
use crate::request::outcome::Outcome;
use crate::request::revoked;
use crate::shm::Id;
use crate::worker;

/// How often a worker looks whether any user was revoked, in milliseconds.
const POLL: usize = 250;
/// The longest time of a timer, in seconds: after it a request is looked at again.
const LONGEST: f64 = 86_400.0;

/// A request that ends with its credential.
struct Watched {
    id: u64,
    request: NonNull<ngx_http_request_t>,
    /// Replaced by an internal redirect.
    credential: RefCell<Option<Credential>>,
}

/// The credential that admitted a request.
struct Credential {
    names: Rc<[Id]>,
    holder: Holder,
}

enum Holder {
    /// A token, and the time from which it is not accepted, in Unix seconds.
    Token(Rc<VerifiedToken>, f64),
    /// A session, when it was looked at, in milliseconds of the workers' clock, and the time from which the JWT
    /// that it stands for is not accepted.
    Session(revoked::Login, u64, Option<f64>),
}

/// The next step for a request.
enum Next {
    Close(Cause),
    /// To look again at this time, in Unix seconds.
    Again(f64),
    /// To look again when a user is revoked.
    Never,
}

struct Watch {
    last_id: Cell<u64>,
    all: RefCell<BTreeMap<u64, PoolTimer<Watched>>>,
    seen: Cell<Option<u64>>,
    timer: Cell<Option<Timer>>,
}

thread_local! {
    // Only the event loop's thread uses it. It is never dropped, since pools are still destroyed when
    // the process exits.
    static WATCH: ManuallyDrop<Watch> = const {
        ManuallyDrop::new(Watch {
            last_id: Cell::new(0),
            all: RefCell::new(BTreeMap::new()),
            seen: Cell::new(None),
            timer: Cell::new(None),
        })
    };
}

/// Has a client's request end with what it was admitted by.
pub fn watch(r: &Request, names: &Rc<[Id]>, outcome: &Outcome, leeway: f64) -> Result<(), Failed> {
    let holder = match outcome {
        Outcome::Verified(verified, _) => {
            let token = Rc::clone(&verified.token);
            let expiry = token.exp() + leeway;
            Holder::Token(token, expiry)
        }
        Outcome::Resolved(resolved, _) => {
            let session = resolved.session();
            let user = session.get(Field::UserId).unwrap_or_default().into();
            let login = session.get(Field::SessionAuthenticatedAt);
            let at = login.and_then(|login| login.parse().ok());
            let expiry = resolved.expiry.map(|expiry| expiry + leeway);
            Holder::Session(revoked::Login { user, at }, now(), expiry)
        }
        _ => return Ok(()),
    };
    let credential = Some(Credential {
        names: Rc::clone(names),
        holder,
    });
    let timer = match find(r) {
        Some(timer) => timer,
        None => begin(r)?,
    };
    // SAFETY: the request's pool lives.
    unsafe { timer.value() }.credential.replace(credential);
    // Once more, since the user may have been revoked after the judgement.
    look(timer, |timer, _| {
        // SAFETY: the request's pool lives. A handler of a phase cannot end its request.
        unsafe { timer.set(Some(1)) };
    });
    Ok(())
}

/// Lets a request go on that an internal redirect took elsewhere.
pub fn unwatch(r: &Request) {
    if let Some(timer) = find(r) {
        // SAFETY: the request's pool lives.
        unsafe {
            timer.value().credential.replace(None);
            timer.set(None);
        }
    }
}

/// The timer of a request.
fn find(r: &Request) -> Option<PoolTimer<Watched>> {
    WATCH.with(|watch| {
        let all = watch.all.borrow();
        if all.is_empty() {
            return None;
        }
        let timer = PoolTimer::find(r.pool())?;
        Some(timer)
    })
}

fn begin(r: &Request) -> Result<PoolTimer<Watched>, Failed> {
    WATCH.with(|watch| {
        let id = watch.last_id.get() + 1;
        let watched = Watched {
            id,
            request: r.as_non_null(),
            credential: RefCell::new(None),
        };
        let timer = PoolTimer::new(r.pool(), watched, on_timer)?;
        watch.last_id.set(id);
        if watch.all.borrow().is_empty() {
            // A caller who is admitted now was judged by all revocations so far.
            watch.seen.set(worker::revocation_changes());
        }
        watch.all.borrow_mut().insert(id, timer);
        let poll = watch.timer.get();
        let poll = poll.unwrap_or_else(|| Timer::new(poll_revocations).cancelable());
        watch.timer.set(Some(poll));
        poll.set(POLL);
        Ok(timer)
    })
}

impl Drop for Watched {
    fn drop(&mut self) {
        WATCH.with(|watch| watch.all.borrow_mut().remove(&self.id));
    }
}

/// The handler of a request's timer.
fn on_timer(timer: PoolTimer<Watched>) {
    look(timer, close);
}

/// Looks at all requests after any user was revoked. The handler of the worker's timer.
fn poll_revocations() {
    WATCH.with(|watch| {
        let changes = worker::revocation_changes();
        if changes != watch.seen.replace(changes) {
            let ids: Vec<u64> = watch.all.borrow().keys().copied().collect();
            for id in ids {
                // Closing one may end others: each is looked for again.
                let timer = watch.all.borrow().get(&id).copied();
                if let Some(timer) = timer {
                    look(timer, close);
                }
            }
        }
        if let Some(poll) = watch.timer.get().filter(|_| !watch.all.borrow().is_empty()) {
            poll.set(POLL);
        }
    });
}

/// Looks at a request, and sets its timer or has it closed.
fn look(timer: PoolTimer<Watched>, close: impl FnOnce(PoolTimer<Watched>, Cause)) {
    // SAFETY: a request that goes away drops its timer, so this one's pool lives.
    let watched = unsafe { timer.value() };
    // SAFETY: as the timer's.
    let r = unsafe { Request::from_raw(watched.request.as_ptr()) };
    let next = match &*watched.credential.borrow() {
        Some(credential) => next(&r, credential),
        None => Next::Never,
    };
    let wait = match next {
        Next::Close(cause) => return close(timer, cause),
        Next::Again(at) => {
            let seconds = (at - r.now()).clamp(0.0, LONGEST);
            Some((seconds * 1000.0) as usize + 1)
        }
        Next::Never => None,
    };
    // SAFETY: the request's pool lives.
    unsafe { timer.set(wait) };
}

fn next(r: &Request, credential: &Credential) -> Next {
    let now = r.now();
    let (user, end) = match &credential.holder {
        Holder::Token(_, end) if now >= *end => return Next::Close(Cause::Expired),
        Holder::Token(token, end) if token.is_client() => (None, Some(*end)),
        Holder::Token(token, end) => (Some(token.sub()), Some(*end)),
        Holder::Session(_, _, Some(end)) if now >= *end => return Next::Close(Cause::Expired),
        Holder::Session(login, _, end) => (Some(&*login.user), *end),
    };
    let revocation = user.and_then(|user| worker::revocation(&credential.names, user, now as u64));
    let plan = match revocation {
        Some(revocation) => {
            let is_revoked = match &credential.holder {
                Holder::Token(token, _) => revoked::is_token_revoked(&revocation, token, now),
                Holder::Session(login, since, _) => login.is_revoked(&revocation, *since, now),
            };
            if is_revoked {
                return Next::Close(Cause::Revoked);
            }
            revocation.state.next_plan(now).map(|plan| plan as f64)
        }
        None => None,
    };
    match (plan, end) {
        (Some(plan), Some(end)) => Next::Again(plan.min(end)),
        (Some(at), None) | (None, Some(at)) => Next::Again(at),
        (None, None) => Next::Never,
    }
}

fn close(timer: PoolTimer<Watched>, cause: Cause) {
    // SAFETY: as in `look`.
    let r = unsafe { Request::from_raw(timer.value().request.as_ptr()) };
    worker::count_closed(cause);
    let why = match cause {
        Cause::Expired => "its token expired",
        Cause::Revoked => "its user was revoked",
    };
    ngx_log_error!(
        NGX_LOG_INFO,
        r.log(),
        "authgear: the response was cut off, {why}"
    );
    r.reset();
}
