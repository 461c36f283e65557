//! What a JWT says: it was verified before, or is verified now.

use std::rc::Rc;

use authgear_core::keys::freshness::Need;
use authgear_core::policy::judge;
use authgear_core::token::{verify, TokenDigest, VerifiedToken};
use authgear_core::Reason;
use nginx_sys::NGX_LOG_ERR;
use ngx::ngx_log_error;

use crate::access::Step;
use crate::conf::{Keys, Project, Remote, Tenant};
use crate::context::{Context, From, Outcome};
use crate::credential::{Credential, Sent};
use crate::memory::load_ahead;
use crate::nginx::Request;
use crate::refresh::Answer;
use crate::worker;

/// What a worker knows of a token: what it is found by, and whether it was verified before.
#[derive(Default)]
pub struct Known {
    digest: Option<TokenDigest>,
    token: Option<(Rc<VerifiedToken>, From)>,
}

/// Has the processor fetch where a bearer token is looked up, which happens some time later.
pub fn expect(r: &Request) {
    if let Some(value) = r.authorization() {
        worker::with_tokens(|cache| cache.expect(value, load_ahead));
    }
}

/// The request's credential, and what is known of it if it is a bearer token.
pub fn find<'r>(
    r: &'r Request,
    context: &Context,
    project: &Project,
    sent: &Sent<'r>,
) -> (Credential<'r>, Option<Known>) {
    let mut known = None;
    let has_resolver = project.resolve_request.is_some();
    let credential = sent.credential(r, has_resolver, |token| {
        let tenant = project.tenant(r).ok();
        let found = tenant.map(|tenant| look_up(context, project, &tenant, token));
        known = found;
        matches!(&known, Some(Known { token: Some(_), .. }))
    });
    (credential, known)
}

/// Looks a token up among those that were verified before.
fn look_up(context: &Context, project: &Project, tenant: &Tenant, token: &[u8]) -> Known {
    let found = worker::with_tokens(|cache| cache.look_up(&tenant.id, token, load_ahead));
    let Some((digest, token)) = found.flatten() else {
        return Known::default();
    };
    Known {
        digest: Some(digest),
        token: token.and_then(|token| remembered(context, project, tenant, token)),
    }
}

/// What the JWT itself says.
pub fn verdict(
    r: &Request,
    context: &Context,
    project: &Project,
    token: &[u8],
    known: Option<Known>,
) -> Step {
    let tenant = project.tenant(r);
    let known = match (known, &tenant) {
        (Some(known), _) => known,
        (None, Ok(tenant)) => look_up(context, project, tenant, token),
        (None, Err(_)) => Known::default(),
    };
    let digest = known.digest;
    if let (Ok(tenant), Some((token, from))) = (&tenant, known.token) {
        return Step::Done(outcome(r, project, tenant, Ok(token), from));
    }
    let token = match worker::take_apart(token) {
        Ok(token) => token,
        Err(reason) => return Step::Done(Outcome::Refused(reason)),
    };
    if !project.algorithms.contains(token.algorithm()) {
        return Step::Done(Outcome::Refused(Reason::UnsupportedAlgorithm));
    }
    let tenant = match tenant {
        Ok(tenant) => tenant,
        Err(error) => {
            ngx_log_error!(
                NGX_LOG_ERR,
                r.log(),
                "authgear: project \"{}\": {error}",
                project.name
            );
            return Step::Done(unavailable(1));
        }
    };
    let verified = match &tenant.keys {
        Keys::File(keys) => verify(token, keys, project.algorithms),
        Keys::Remote(remote) => {
            let keys = match worker::ask(remote, Need::Keys) {
                Answer::Keys(keys) => keys,
                Answer::Wait => return Step::WaitForKeys(remote.id),
                Answer::Queue => return queue(context, remote),
                Answer::Unavailable(seconds) => return Step::Done(unavailable(seconds)),
                Answer::Unknown => return Step::Done(Outcome::Refused(Reason::UnknownKey)),
            };
            let has_kid = token.kid().is_some();
            let verified = verify(token, &keys, project.algorithms);
            if matches!(verified, Err(Reason::UnknownKey)) && has_kid {
                // Authgear may have rotated its keys since the last fetch.
                return match worker::ask(remote, Need::NewKey) {
                    Answer::Wait => Step::WaitForKeys(remote.id),
                    Answer::Queue => queue(context, remote),
                    Answer::Unavailable(seconds) => Step::Done(unavailable(seconds)),
                    Answer::Keys(_) | Answer::Unknown => {
                        Step::Done(Outcome::Refused(Reason::UnknownKey))
                    }
                };
            }
            verified
        }
    };
    let verified = verified.inspect(|token| {
        if let Some(digest) = digest {
            worker::with_tokens(|cache| cache.put(digest, Rc::clone(token), r.now()));
        }
        *context.own_token.borrow_mut() = Some(Rc::clone(token));
    });
    Step::Done(outcome(r, project, &tenant, verified, From::Request))
}

/// A token that was verified before, if it was with keys that are still at hand.
fn remembered(
    context: &Context,
    project: &Project,
    tenant: &Tenant,
    token: Rc<VerifiedToken>,
) -> Option<(Rc<VerifiedToken>, From)> {
    let is_backed = match &tenant.keys {
        Keys::File(keys) => token.signed_by().is_backed_by(keys, project.algorithms),
        Keys::Remote(remote) => worker::is_backed(remote, token.signed_by(), project.algorithms)?,
    };
    if !is_backed {
        worker::with_tokens(|cache| cache.forget_key(token.signed_by().key_id()));
        return None;
    }
    if let Some(digest) = project.recheck.and_then(|_| token.known_mark()) {
        worker::expect_verdict(&digest);
    }
    let is_own = |own: &Rc<VerifiedToken>| Rc::ptr_eq(own, &token);
    let from = match context.own_token.borrow().as_ref().is_some_and(is_own) {
        true => From::Request,
        false => From::Cache,
    };
    Some((token, from))
}

/// The keys are to be fetched, but so are those of many others.
fn queue(context: &Context, remote: &Remote) -> Step {
    match worker::may_queue(context, remote) {
        true => Step::WaitForKeys(remote.id),
        false => Step::Done(unavailable(1)),
    }
}

fn unavailable(seconds: u64) -> Outcome {
    Outcome::Unavailable(Reason::KeysUnavailable, seconds)
}

/// Applies the rules to what the signature says.
fn outcome(
    r: &Request,
    project: &Project,
    tenant: &Tenant,
    verified: Result<Rc<VerifiedToken>, Reason>,
    from: From,
) -> Outcome {
    let audience = r.location().audience().unwrap_or(&tenant.audience);
    let judged = verified.and_then(|token| {
        judge(&token, &project.rules, &tenant.issuer, audience, r.now()).map(|()| token)
    });
    match judged {
        Ok(token) => Outcome::Verified(token, from),
        Err(reason) => Outcome::Refused(reason),
    }
}
