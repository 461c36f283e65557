//! One request's way through the access phase.

use core::fmt::Write;

use authgear_core::policy::{judge_session, TokenKind};
use authgear_core::Reason;
use nginx_sys::{
    ngx_int_t, NGX_AGAIN, NGX_DECLINED, NGX_ERROR, NGX_HTTP_BAD_REQUEST,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SERVICE_UNAVAILABLE, NGX_HTTP_UNAUTHORIZED,
    NGX_LOG_ERR, NGX_LOG_INFO, NGX_OK,
};
use ngx::ngx_log_error;

use crate::challenge::{self, Error};
use crate::conf::{Gate, Mode, Project};
use crate::context::{Context, From, Outcome, Stage};
use crate::credential::{Ambiguous, Credential, Sent};
use crate::jwt::{self, find, verdict};
use crate::keystore::Id;
use crate::nginx::{Failed, Request};
use crate::policy::{self, Unmet};
use crate::verdicts::Key;
use crate::{resolver, upstream, worker};

/// Before the access phase: whoever will grant access, the client's own `X-Authgear-*` are gone.
pub fn prepare(r: &Request) -> ngx_int_t {
    let declined = NGX_DECLINED as ngx_int_t;
    if r.location().gate().is_none() {
        if r.is_main() {
            if let Some(context) = Context::find(r) {
                context.restart();
            }
        }
        return declined;
    }
    jwt::expect(r);
    let Ok(context) = Context::find_or_create(r) else {
        return NGX_ERROR as ngx_int_t;
    };
    if r.is_main() {
        context.restart();
    } else if context.stripped.get() {
        // What a subrequest finds in the list of its parent is what this module set.
        return declined;
    }
    if upstream::strip(r).is_err() {
        return NGX_ERROR as ngx_int_t;
    }
    context.stripped.set(r.is_main());
    declined
}

/// The access handler.
pub fn handle(r: &Request) -> ngx_int_t {
    let Some((gate, mode)) = r.location().gate() else {
        return NGX_DECLINED as ngx_int_t;
    };
    let Ok(context) = Context::find_or_create(r) else {
        return NGX_ERROR as ngx_int_t;
    };
    let project = match project(r, gate) {
        Ok(Some(project)) => project,
        Ok(None) => return NGX_DECLINED as ngx_int_t,
        Err(status) => return status,
    };
    if r.location().bypass_preflight() && policy::is_preflight(r) {
        context.settle(Outcome::Anonymous);
        return NGX_OK as ngx_int_t;
    }
    let step = match context.stage.get() {
        Stage::Waiting(_) => return NGX_AGAIN as ngx_int_t,
        Stage::WaitingForResolver => resolver::answer(r, context, project),
        Stage::New | Stage::Decided => weigh(r, context, project),
    };
    advance(r, context, project, mode, step).unwrap_or(NGX_ERROR as ngx_int_t)
}

/// Takes the step that follows from what is known.
fn advance(
    r: &Request,
    context: &Context,
    project: &Project,
    mode: Mode,
    step: Step,
) -> Result<ngx_int_t, Failed> {
    match step {
        Step::WaitForKeys(source) => Ok(worker::wait_for_keys(r, context, source)),
        Step::WaitForVerdict(key) => Ok(worker::wait_for_verdict(r, context, key)),
        Step::AskResolver => {
            resolver::ask(r, context, project)?;
            Ok(NGX_AGAIN as ngx_int_t)
        }
        Step::StillAsking => Ok(NGX_AGAIN as ngx_int_t),
        Step::Done(outcome) => {
            context.stage.set(Stage::Decided);
            context.settle(outcome);
            let outcome = context.outcome.borrow();
            let unmet = policy::unmet(r, &outcome)?;
            context.unmet.set(unmet);
            log(r, project, mode, &outcome, unmet);
            answer(r, &outcome, unmet, project, mode)
        }
    }
}

/// An early verdict for whoever asks before the access phase: from what is at hand, or none.
pub fn preview(r: &Request, context: &Context) -> Outcome {
    let Some((gate, _)) = r.location().gate() else {
        return Outcome::Unknown;
    };
    let Ok(Some(project)) = project(r, gate) else {
        return Outcome::Unknown;
    };
    if r.location().bypass_preflight() && policy::is_preflight(r) {
        return Outcome::Unknown;
    }
    let mut sent = Sent::default();
    if let Err(Ambiguous) = sent.read(r, &project.cookies) {
        return Outcome::Unknown;
    }
    match find(r, context, project, &sent) {
        (Credential::Jwt { token, .. }, known) => {
            match verdict(r, context, project, token, known) {
                Step::Done(Outcome::Verified(token, from))
                    if !resolver::denied(r, project, &token) =>
                {
                    Outcome::Verified(token, from)
                }
                _ => Outcome::Unknown,
            }
        }
        (Credential::Resolver, _) if sessions(r, project).is_ok() => {
            match resolver::cached(r, project, &sent) {
                Some(session) => Outcome::Resolved(session, From::Cache),
                None => Outcome::Unknown,
            }
        }
        _ => Outcome::Unknown,
    }
}

/// The project that guards the request; `None` when a variable switches it off.
fn project(r: &Request, gate: Gate) -> Result<Option<&Project>, ngx_int_t> {
    let projects = &r.main_conf().projects;
    match gate {
        Gate::Project(index) => Ok(Some(&projects[index])),
        Gate::Variable(value) => {
            let name = value.evaluate(r).map_err(|_| NGX_ERROR as ngx_int_t)?;
            if name.is_empty() || name == b"off" {
                return Ok(None);
            }
            let found = projects
                .iter()
                .find(|project| project.name.as_bytes() == name);
            if found.is_none() {
                let name: String = name.escape_ascii().take(128).map(char::from).collect();
                ngx_log_error!(
                    NGX_LOG_ERR,
                    r.log(),
                    "authgear: \"authgear_verify\" evaluates to \"{name}\", which is no project"
                );
                return Err(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t);
            }
            Ok(found)
        }
    }
}

/// What is to be done about a request.
pub enum Step {
    /// Nothing more: this is known.
    Done(Outcome),
    /// The verdict needs keys of that source, which are being fetched.
    WaitForKeys(Id),
    /// Another request is asking the resolver the same.
    WaitForVerdict(Key),
    /// Only the resolver can say.
    AskResolver,
    /// It has been asked and has not answered.
    StillAsking,
}

fn weigh(r: &Request, context: &Context, project: &Project) -> Step {
    context.unconfirmed.take();
    let has_resolver = project.resolve_request.is_some();
    let mut sent = Sent::default();
    if let Err(Ambiguous) = sent.read(r, &project.cookies) {
        return Step::Done(Outcome::BadRequest);
    }
    let (credential, known) = find(r, context, project, &sent);
    let (token, others) = match credential {
        Credential::Jwt { token, others } => (token, others),
        Credential::Resolver => {
            return match sessions(r, project) {
                Ok(()) => resolver::resolve(r, context, project, &sent),
                Err(reason) => Step::Done(Outcome::Refused(reason)),
            }
        }
        Credential::None => return Step::Done(Outcome::Anonymous),
        Credential::Refused(reason) => return Step::Done(Outcome::Refused(reason)),
        Credential::Unknown => return Step::Done(Outcome::Unknown),
    };
    let step = match (verdict(r, context, project, token, known), project.recheck) {
        (Step::Done(Outcome::Verified(token, from)), Some(recheck))
            if !token.claims().is_client() =>
        {
            resolver::confirm(r, context, project, recheck, token, from)
        }
        (step, _) => step,
    };
    match step {
        // Authgear's server falls through to the next credential.
        Step::Done(Outcome::Refused(_)) if others && sessions(r, project).is_ok() => {
            resolver::resolve(r, context, project, &sent)
        }
        Step::Done(Outcome::Unavailable(..))
            if has_resolver
                && project.rules.token_type == TokenKind::User
                && sessions(r, project).is_ok() =>
        {
            resolver::resolve(r, context, project, &sent)
        }
        step => step,
    }
}

/// Whether a session that the resolver vouches for can be let in here at all.
fn sessions(r: &Request, project: &Project) -> Result<(), Reason> {
    // An endpoint that cannot be had is told of when the resolver is asked.
    let Ok(tenant) = project.tenant(r) else {
        return Ok(());
    };
    let judge =
        |audience| judge_session(&project.rules, [&tenant.origin, &tenant.issuer], audience);
    match r.location().audience() {
        Some(audience) => judge(audience),
        None => *tenant.sessions.get_or_init(|| judge(&tenant.audience)),
    }
}

/// Turns what is known into what nginx does.
fn answer(
    r: &Request,
    outcome: &Outcome,
    unmet: Option<Unmet>,
    project: &Project,
    mode: Mode,
) -> Result<ngx_int_t, Failed> {
    let observed = mode == Mode::Observe;
    let unmet = unmet.filter(|_| !observed);
    if unmet.is_none() && r.location().pass_headers() {
        match outcome {
            Outcome::Refused(_) | Outcome::BadRequest if observed => upstream::hand_over_no(r)?,
            outcome => upstream::hand_over(r, outcome)?,
        }
    }
    let unauthorized = NGX_HTTP_UNAUTHORIZED as ngx_int_t;
    match (outcome, unmet) {
        _ if observed => Ok(NGX_DECLINED as ngx_int_t),
        (Outcome::Verified(..) | Outcome::Resolved(..), None) => Ok(NGX_OK as ngx_int_t),
        (Outcome::Verified(..) | Outcome::Resolved(..), Some(unmet)) => {
            policy::refuse(r, project, unmet)
        }
        // It has not been said who this is, so others may still refuse the request.
        (Outcome::Anonymous, None) if mode == Mode::Optional => Ok(NGX_DECLINED as ngx_int_t),
        (Outcome::Anonymous, _) => challenge::add(r, project, None).map(|()| unauthorized),
        (Outcome::Refused(reason), _) => {
            challenge::add(r, project, Some(Error::Token(*reason))).map(|()| unauthorized)
        }
        (Outcome::Unavailable(_, seconds), _) => challenge::unavailable(r, *seconds),
        (Outcome::BadRequest, _) => Ok(NGX_HTTP_BAD_REQUEST as ngx_int_t),
        (Outcome::Unknown, _) => Ok(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t),
    }
}

/// One line for a request that is refused, or would be were it not only observed; never its token
/// or claims.
fn log(r: &Request, project: &Project, mode: Mode, outcome: &Outcome, unmet: Option<Unmet>) {
    let (reason, status) = match (outcome, unmet) {
        (Outcome::Verified(..) | Outcome::Resolved(..), Some(unmet)) => {
            (Reason::Policy, policy::verdict(r, unmet).0)
        }
        (Outcome::Refused(reason), _) => (*reason, NGX_HTTP_UNAUTHORIZED),
        (Outcome::Unavailable(reason, _), _) => (*reason, NGX_HTTP_SERVICE_UNAVAILABLE),
        (Outcome::BadRequest, _) => (Reason::Malformed, NGX_HTTP_BAD_REQUEST),
        (Outcome::Anonymous, _) if mode == Mode::Observe => {
            (Reason::NoCredential, NGX_HTTP_UNAUTHORIZED)
        }
        _ => return,
    };
    let mut line = format!("authgear: {reason}, project \"{}\"", project.name);
    if matches!(outcome, Outcome::BadRequest) {
        line.push_str(", more than one Authorization header");
    }
    if let (Some(session), Some(unmet)) = (outcome.session(), unmet) {
        line.push_str(", ");
        line.push_str(&policy::explain(r, &session, unmet));
    }
    if mode == Mode::Observe {
        let _ = write!(line, ", would be {status}");
        if let Some(count) = worker::count(&project.name, reason) {
            let _ = write!(line, ", {count} of these so far");
        }
    }
    // Everyday events: a browser that has not logged in yet, a token to be refreshed.
    let is_everyday = matches!(reason, Reason::Expired | Reason::NoCredential);
    let level = match is_everyday || matches!(outcome, Outcome::BadRequest) {
        true => NGX_LOG_INFO,
        false => NGX_LOG_ERR,
    };
    ngx_log_error!(level, r.log(), "{line}");
}
