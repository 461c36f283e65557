//! The phase handlers: one request's way through post-read, rewrite, preaccess and access.

use core::fmt::Write;
use core::ptr::NonNull;

use authgear_core::login::Prompt;
use authgear_core::reason::{Level, Reason};
use authgear_core::status::Mode;
use nginx_sys::{
    ngx_int_t, NGX_AGAIN, NGX_DECLINED, NGX_DONE, NGX_ERROR, NGX_HTTP_BAD_REQUEST,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_SPECIAL_RESPONSE,
    NGX_HTTP_UNAUTHORIZED, NGX_LOG_ERR, NGX_LOG_INFO, NGX_OK,
};
use ngx::ngx_log_error;

use crate::conf::Project;
use crate::log::log_limited;
use crate::nginx::{Failed, Request};
use crate::request::attempt::{project, Attempt, Reach};
use crate::request::challenge::{self, Error};
use crate::request::context::{ClientRequest, Context, Stage};
use crate::request::outcome::{Outcome, Unmet};
use crate::request::requirements;
use crate::request::step::Step;
use crate::request::suspend::{self, Progress};
use crate::request::{closing, counting, early, headers, login, resolver};
use crate::worker;

const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;

/// Post-read: removes the client's own `X-Authgear-*` before anything can read them, in a server in
/// which a location verifies.
pub fn post_read(r: &Request) -> ngx_int_t {
    declined_after(headers::strip(r))
}

fn declined_after(done: Result<(), Failed>) -> ngx_int_t {
    done.map_or(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, |()| DECLINED)
}

/// Server rewrite: strips a request that nginx refused before post-read, and that has an error page.
pub fn server_rewrite(r: &Request) -> ngx_int_t {
    if r.is_internal() {
        declined_after(strip_unknown(r))
    } else {
        DECLINED
    }
}

/// Before a response's header: strips a request that nginx refused before post-read, takes back a challenge where
/// access was granted, and sends a browser that would get a 401 to the login. Returns a body in place of the
/// response's.
pub fn before_header(r: &Request) -> Result<Option<String>, Failed> {
    strip_unknown(r)?;
    #[cfg(not(nginx_1_23))]
    if let Some(context) = Context::find(r) {
        challenge::follow_grant(r, context);
    }
    login::before_header(r)
}

/// Log: strips a request that nginx refused before post-read, and that has no response.
pub fn log(r: &Request) -> ngx_int_t {
    counting::count_lost_webhook(r);
    strip_unknown(r).map_or(NGX_ERROR as ngx_int_t, |()| NGX_OK as ngx_int_t)
}

/// Strips a client's request that this module has no state of. One that it has was stripped when the
/// state was made, and may have headers of ours.
fn strip_unknown(r: &Request) -> Result<(), Failed> {
    if r.is_main() && Context::find(r).is_none() {
        headers::strip(r)
    } else {
        Ok(())
    }
}

/// Rewrite: ends a resolver subrequest that left its location.
pub fn rewrite(r: &Request) -> ngx_int_t {
    match resolver::own_question(r) {
        Some(asked) if asked.end_if_misplaced(r) => NGX_DONE as ngx_int_t,
        _ => DECLINED,
    }
}

/// Preaccess: identifies the caller before the limits, where `authgear_early` says so. nginx runs no access
/// handlers in subrequests, so those are judged here.
pub fn preaccess(r: &Request) -> ngx_int_t {
    if r.is_main() {
        let gate = r.location().gate().filter(|_| r.location().early());
        if let Some(context) = Context::find(r) {
            if gate.is_none() || !context.is_identifying.get() {
                context.restart();
            }
        }
        return gate.map_or(DECLINED, |(gate, _)| early::identify(r, gate));
    }
    if let Some(asked) = resolver::own_question(r) {
        return if early::is_asked_early(asked) {
            // The limits are the client request's, which has yet to meet them: no other handler of this
            // phase runs.
            NGX_OK as ngx_int_t
        } else {
            DECLINED
        };
    }
    match judge(r) {
        // A pass lets the other handlers of this phase run.
        status if status == NGX_OK as ngx_int_t => DECLINED,
        status if status >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t => {
            // An error page could turn the refusal into a 200, which `auth_request` takes for a yes.
            r.forbid_error_pages();
            status
        }
        status => status,
    }
}

/// Access: judges the client's request.
pub fn access(r: &Request) -> ngx_int_t {
    judge(r)
}

/// Judges a request by its location's rules, and turns the outcome into nginx's next step.
fn judge(r: &Request) -> ngx_int_t {
    let Some((gate, mode)) = r.location().gate() else {
        return DECLINED;
    };
    let Ok((client, context)) = Context::find_or_create(r) else {
        return NGX_ERROR as ngx_int_t;
    };
    if !suspend::resume(r, (client, context)) {
        return NGX_AGAIN as ngx_int_t;
    }
    let project = match project(r, gate) {
        Ok(Some(project)) => project,
        // An earlier pass may have set headers.
        Ok(None) => return headers::renew(r).map_or(NGX_ERROR as ngx_int_t, |()| DECLINED),
        Err(status) => {
            challenge::take_back(r, context);
            return status;
        }
    };
    login::forget(r, context);
    let answered = if requirements::is_let_through(r) {
        context.settle(Outcome::Anonymous);
        context.settled_for.set(Some(NonNull::from(r.location())));
        headers::renew(r).map(|()| NGX_OK as ngx_int_t)
    } else {
        let attempt = Attempt::new(r, (client, context), project, Reach::Full);
        let step = attempt.decide();
        context.subject.set(attempt.subject());
        let answered = advance(r, (client, context), project, mode, step);
        answered.and_then(|status| close_later(&attempt, mode, status))
    };
    answered.unwrap_or(NGX_ERROR as ngx_int_t)
}

/// Has the response of an admitted request end with its credential, where `authgear_close_expired` says so.
fn close_later(attempt: &Attempt<'_>, mode: Mode, status: ngx_int_t) -> Result<ngx_int_t, Failed> {
    let r = attempt.r;
    if r.is_main() {
        let is_wanted = r.location().close_expired() && mode != Mode::Observe;
        match &attempt.tenant {
            Ok(tenant) if is_wanted && status == NGX_OK as ngx_int_t => {
                let leeway = attempt.project.rules.leeway;
                closing::watch(r, &tenant.names, &attempt.context.outcome.borrow(), leeway)?;
            }
            _ => closing::unwatch(r),
        }
    }
    Ok(status)
}

/// Takes the next step of a judgement.
fn advance(
    r: &Request,
    (client, context): (&ClientRequest, &Context),
    project: &Project,
    mode: Mode,
    step: Step<'_>,
) -> Result<ngx_int_t, Failed> {
    let outcome = match suspend::proceed(r, (client, context), project, step)? {
        Progress::Done(outcome) => outcome,
        Progress::Suspended(status) => return Ok(status),
    };
    context.stage.set(Stage::Decided);
    context.waiting_since.set(None);
    context.queued_until.set(None);
    context.settle(outcome);
    context.settled_for.set(Some(NonNull::from(r.location())));
    let outcome = context.outcome.borrow();
    let unmet = requirements::unmet(r, &outcome)?;
    context.unmet.set(unmet);
    counting::count_verdict(context, project, mode);
    report(r, project, mode, &outcome, unmet);
    answer(r, context, &outcome, unmet, project, mode)
}

/// Turns an outcome into headers and nginx's next step.
fn answer(
    r: &Request,
    context: &Context,
    outcome: &Outcome,
    unmet: Option<Unmet>,
    project: &Project,
    mode: Mode,
) -> Result<ngx_int_t, Failed> {
    let observed = mode == Mode::Observe;
    let unmet = unmet.filter(|_| !observed);
    headers::renew(r)?;
    if unmet.is_none() && r.location().pass_headers() {
        match outcome {
            Outcome::Refused(_) | Outcome::BadRequest if observed => headers::set_invalid(r)?,
            outcome => headers::set(r, outcome)?,
        }
    }
    match (outcome, unmet) {
        _ if observed => Ok(DECLINED),
        (Outcome::Verified(..) | Outcome::Resolved(..), None) => {
            login::known(r, context, project);
            Ok(NGX_OK as ngx_int_t)
        }
        // The caller is not known, so other modules may still refuse the request.
        (Outcome::Anonymous, None) if mode == Mode::Optional => Ok(DECLINED),
        _ => refuse(r, context, outcome, unmet, project),
    }
}

/// Refuses a request, with the headers of this refusal alone.
fn refuse(
    r: &Request,
    context: &Context,
    outcome: &Outcome,
    unmet: Option<Unmet>,
    project: &Project,
) -> Result<ngx_int_t, Failed> {
    challenge::take_back(r, context);
    let error = match (outcome, unmet) {
        (Outcome::Verified(..) | Outcome::Resolved(..), Some(unmet)) => {
            return requirements::refuse(r, context, project, unmet);
        }
        (Outcome::Unavailable(_, seconds), _) => {
            return challenge::unavailable(r, context, *seconds);
        }
        (Outcome::BadRequest, _) => return Ok(NGX_HTTP_BAD_REQUEST as ngx_int_t),
        (Outcome::Anonymous, _) => None,
        (Outcome::Refused(reason), _) => Some(Error::Token(*reason)),
        (Outcome::Unknown | Outcome::Verified(..) | Outcome::Resolved(..), _) => {
            return Ok(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t);
        }
    };
    challenge::set(r, context, project, error)?;
    login::note(r, context, project, Prompt::Usual);
    Ok(NGX_HTTP_UNAUTHORIZED as ngx_int_t)
}

/// Logs a request that is refused, or would be were it not only observed; never its token or
/// claims.
fn report(r: &Request, project: &Project, mode: Mode, outcome: &Outcome, unmet: Option<Unmet>) {
    let (reason, status) = match (outcome, unmet) {
        (Outcome::Verified(..) | Outcome::Resolved(..), Some(unmet)) => {
            (Reason::Policy, requirements::status_of(r, unmet).0)
        }
        (Outcome::Refused(reason), _) => (*reason, NGX_HTTP_UNAUTHORIZED),
        (Outcome::Unavailable(reason, _), _) => (*reason, NGX_HTTP_SERVICE_UNAVAILABLE),
        (Outcome::BadRequest, _) => (Reason::Malformed, NGX_HTTP_BAD_REQUEST),
        (Outcome::Anonymous, _) if mode == Mode::Observe => {
            (Reason::NoCredential, NGX_HTTP_UNAUTHORIZED)
        }
        _ => return,
    };
    let mut line = format!("{reason}, project \"{}\"", project.name);
    if matches!(outcome, Outcome::BadRequest) {
        line.push_str(", more than one Authorization header");
    }
    if let (Some(session), Some(unmet)) = (outcome.session(), unmet) {
        line.push_str(", ");
        line.push_str(&requirements::explain(r, &session, unmet));
    }
    if mode == Mode::Observe {
        let _ = write!(line, ", would be {status}");
        if let Some(counters) = worker::counters(project) {
            let count = counters.count_observed(reason);
            let _ = write!(line, ", {count} of these so far");
        }
    }
    if reason.level() == Level::Info || matches!(outcome, Outcome::BadRequest) {
        ngx_log_error!(NGX_LOG_INFO, r.log(), "authgear: {line}");
    } else {
        let topic = (project.index, reason.as_str());
        log_limited(r, NGX_LOG_ERR, topic, format_args!("{line}"));
    }
}
