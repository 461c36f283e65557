//! Counters of requests.

use authgear_core::policy::Requirement;
use authgear_core::status::{Answer, Count, Duration, Mode, Received, Source, UnmetKind};
use authgear_core::Reason;

use crate::conf::Project;
use crate::nginx::{now, Request};
use crate::request::context::Context;
use crate::request::outcome::Unmet;
use crate::request::question::{Asked, Reply};
use crate::worker;

/// Counts the verdict on a request, once: a further pass through the phases, after an internal redirect,
/// counts only if its verdict is another.
pub fn count_verdict(context: &Context, project: &Project, mode: Mode) {
    let Some(reason) = context.reason() else {
        return;
    };
    let source = context.outcome.borrow().source().unwrap_or(Source::None);
    let counted = Some((project.index, mode, source, reason));
    if context.counted.replace(counted) == counted {
        return;
    }
    let Some(counters) = worker::counters(project) else {
        return;
    };
    counters.count(Count::Request(mode, source, reason));
    if let (Reason::Policy, Some(unmet)) = (reason, context.unmet.get()) {
        counters.count(Count::Unmet(match unmet {
            Unmet::Value(_) => UnmetKind::Require,
            Unmet::Session(Requirement::Role) => UnmetKind::Role,
            Unmet::Session(Requirement::Scope) => UnmetKind::Scope,
            Unmet::Session(Requirement::AuthAge) => UnmetKind::AuthAge,
        }));
    }
}

/// Counts a webhook that was refused for its length, by nginx before any handler or by this module.
pub fn count_lost_webhook(r: &Request) {
    const TOO_LARGE: usize = nginx_sys::NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as usize;
    if let (Some(index), TOO_LARGE) = (r.location().webhook(), r.status()) {
        let project = &r.main_conf().projects[index];
        worker::count(project, Count::Webhook(Received::TooLarge));
    }
}

/// Counts a question to the resolver, which has just been answered.
pub fn count_reply(r: &Request, asked: &Asked, reply: &Reply) {
    let Some(counters) = worker::counters(asked.project(r)) else {
        return;
    };
    counters.count(Count::Question(match reply {
        Ok(Some(_)) => Answer::Yes,
        Ok(None) => Answer::No,
        Err(_) => Answer::Error,
    }));
    counters.measure(Duration::Question, asked.began.elapsed());
    match reply {
        Ok(_) => counters.note_resolver(true, now()),
        Err(failure) if failure.is_outage() => counters.note_resolver(false, now()),
        // A client may have caused it.
        Err(_) => {}
    }
}
