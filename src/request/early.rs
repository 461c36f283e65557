//! The outcome before the access phase: that of `authgear_early`, or what is at hand when a variable is read.

use core::ptr::{self, NonNull};

use nginx_sys::{ngx_int_t, NGX_AGAIN, NGX_DECLINED, NGX_ERROR};

use crate::conf::{Gate, LocationConf};
use crate::nginx::{Failed, Request};
use crate::request::attempt::{project, Attempt, Reach};
use crate::request::context::{ClientRequest, Context};
use crate::request::outcome::Outcome;
use crate::request::question::{Asked, Delivery};
use crate::request::requirements;
use crate::request::resolver;
use crate::request::step::Step;
use crate::request::suspend::{self, Progress};
use crate::worker;

const DECLINED: ngx_int_t = NGX_DECLINED as ngx_int_t;

/// The context whose outcome the variables of `r` show. A subrequest that is not judged itself shows
/// what its parent does.
pub fn settled(r: &Request) -> Option<&Context> {
    let is_judged = r.location().gate().is_some() && resolver::own_question(r).is_none();
    if is_judged {
        return settled_early(r);
    }
    match (Context::find(r), r.parent()) {
        (Some(context), _) if has_outcome(context) => {
            // An early outcome is that of the location that it was found for.
            forget_elsewhere(r, context);
            Some(context)
        }
        // SAFETY: a parent lives as long as the client request, as `r` does.
        (_, Some(parent)) => settled(&parent).map(|found| unsafe { &*ptr::from_ref(found) }),
        (context, None) => context,
    }
}

fn has_outcome(context: &Context) -> bool {
    !matches!(*context.outcome.borrow(), Outcome::Unknown)
}

/// Forgets an early outcome that was found for another location.
fn forget_elsewhere(r: &Request, context: &Context) {
    let is_elsewhere = context.settled_for.get() != Some(NonNull::from(r.location()));
    if context.is_early.get() && is_elsewhere {
        context.settle(Outcome::Unknown);
    }
}

/// The context of a request in a location that verifies. Where nothing is known for it yet, an early
/// outcome is found first, once for each location. An empty result is kept too.
fn settled_early(r: &Request) -> Option<&Context> {
    let found = Context::find_or_create(r).ok()?;
    let (_, context) = found;
    let here = Some(NonNull::from(r.location()));
    if context.settled_for.get() == here {
        return Some(context);
    }
    if let Some(_asking) = context.ask() {
        let attempt = at_hand(r, found);
        // After an internal redirect, the outcome of the location before counts here if it is the
        // same judgement.
        let is_known = has_outcome(context) && !context.is_early.get();
        if !is_known || !attempt.as_ref().is_some_and(is_same_judgement) {
            context.settle(attempt.as_ref().map_or(Outcome::Unknown, preview));
            context.is_early.set(true);
        }
        context.settled_for.set(here);
    }
    Some(context)
}

/// The attempt of a variable that is read before the access phase.
fn at_hand<'r>(r: &'r Request, found: (&'r ClientRequest, &'r Context)) -> Option<Attempt<'r>> {
    let (gate, _) = r.location().gate()?;
    let project = project(r, gate).ok()??;
    Some(Attempt::new(r, found, project, Reach::AtHand))
}

/// Finds out who the caller of a client request is before `limit_req` and `limit_conn`, waiting for keys and the
/// resolver where it has to. Refusals, challenges and requirements are left to the access phase, which uses
/// what was found here.
pub fn identify(r: &Request, gate: Gate) -> ngx_int_t {
    let Ok(found) = Context::find_or_create(r) else {
        return NGX_ERROR as ngx_int_t;
    };
    let context = found.1;
    if !suspend::resume(r, found) {
        return NGX_AGAIN as ngx_int_t;
    }
    let project = match project(r, gate) {
        Ok(Some(project)) if !requirements::is_let_through(r) => project,
        // The access phase reports errors.
        _ => return DECLINED,
    };
    let step = Attempt::new(r, found, project, Reach::Early).decide();
    if !matches!(step, Step::Ask(_)) {
        if let Some(slip) = context.slip.take() {
            worker::give_back_early_question(slip);
        }
    }
    let progress = suspend::proceed(r, found, project, step);
    context
        .is_identifying
        .set(matches!(progress, Ok(Progress::Suspended(_))));
    match progress {
        Ok(Progress::Done(outcome)) => {
            context.settle(shown(outcome));
            context.is_early.set(true);
            context.settled_for.set(Some(NonNull::from(r.location())));
            DECLINED
        }
        Ok(Progress::Suspended(status)) => status,
        Err(Failed) => NGX_ERROR as ngx_int_t,
    }
}

/// True for a question of a client request that is being identified.
pub fn is_asked_early(asked: &Asked) -> bool {
    // SAFETY: the request that asks lives as long as the client request.
    let parent = unsafe { Request::from_raw(asked.parent.as_ptr()) };
    asked.delivery == Delivery::ByNginx
        && Context::find(&parent).is_some_and(|context| context.is_identifying.get())
}

/// An early outcome from what is at hand, or none. A location's requirements are not evaluated.
fn preview(attempt: &Attempt<'_>) -> Outcome {
    let r = attempt.r;
    if requirements::is_let_through(r) {
        return Outcome::Unknown;
    }
    match attempt.decide() {
        Step::Done(outcome) => shown(outcome),
        _ => Outcome::Unknown,
    }
}

/// The part of an outcome that is shown before the access phase: a caller who is known.
fn shown(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Verified(..) | Outcome::Resolved(..) => outcome,
        _ => Outcome::Unknown,
    }
}

/// Tells whether the outcome of another location is one for this location as well: the project, the
/// tenant, the bearer token and the audience are the same, and with the request so are its cookies.
fn is_same_judgement(attempt: &Attempt<'_>) -> bool {
    let there = attempt.context.settled_for.get();
    // SAFETY: locations live as long as the configuration, which outlives its requests.
    let there = there.map(|there| unsafe { there.as_ref() });
    let is_same_audience =
        |there: &LocationConf| there.audience() == attempt.r.location().audience();
    let here = attempt.subject();
    there.is_some_and(is_same_audience) && here.is_some() && here == attempt.context.subject.get()
}
