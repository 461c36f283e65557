//! Authgear's resolver, asked by a subrequest.
//!
//! The subrequest goes to an internal location that proxies to the resolver; it shares the
//! client's headers, so it carries the client's `Authorization` and `Cookie`.

use std::rc::Rc;

use authgear_core::credential::bearer;
use authgear_core::recheck::{Next, Recheck, Said, FAILED_PAUSE};
use authgear_core::session::Field;
use authgear_core::token::VerifiedToken;
use authgear_core::Reason;
use nginx_sys::{NGX_LOG_ERR, NGX_LOG_NOTICE};
use ngx::ngx_log_error;
use smallvec::SmallVec;

use crate::access::Step;
use crate::conf::Project;
use crate::context::{Context, From, Outcome, Resolved};
use crate::credential::{configured_token, Ambiguous, Sent};
use crate::nginx::{Failed, Request};
use crate::verdicts::{Digest, Table, Verdict};
use crate::worker;

mod subrequest;

pub use subrequest::{ask, Asked};
use subrequest::{ask_in_background, Answer};

/// Seconds after which another try at a resolver that failed is worth while.
const RETRY_AFTER: u64 = 1;
/// How long the right to ask lasts, in milliseconds, if whoever has it is killed.
const LEASE: u64 = 10_000;
/// The longest that a no is kept, in milliseconds.
const KEEP_NO: u64 = 1_000;

/// Finds what the resolver says of the request's credentials: it was said to another request with
/// the same ones, or is being said, or is to be asked.
pub fn resolve(r: &Request, context: &Context, project: &Project, sent: &Sent<'_>) -> Step {
    let Some(keep) = project.resolve_cache else {
        return Step::AskResolver;
    };
    let Some(digest) = credentials_digest(r, project, sent) else {
        return Step::Done(unavailable());
    };
    let waiting_since = context.waiting_since.get();
    let step = worker::with_verdicts(|table, now| {
        let known = table.look_up(&digest, now);
        match known.verdict {
            Some((Verdict::Yes(fields), at)) if now.saturating_sub(at) < keep => {
                return Step::Done(match Resolved::keep(r.pool(), &fields) {
                    Ok(session) => Outcome::Resolved(session, From::Cache),
                    Err(Failed) => unavailable(),
                });
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
        lease(table, context, digest, now)
    });
    step.unwrap_or(Step::Done(unavailable()))
}

/// Takes the right to ask and asks, or waits for whoever has it.
fn lease(table: &mut Table, context: &Context, digest: Digest, now: u64) -> Step {
    if table.try_lease(&digest, now + LEASE, now) {
        context.lease.set(Some(digest));
        Step::AskResolver
    } else {
        Step::WaitForVerdict(digest)
    }
}

/// What the resolver is known to have said of the request's credentials.
pub fn cached(r: &Request, project: &Project, sent: &Sent<'_>) -> Option<Resolved> {
    let keep = project.resolve_cache?;
    let digest = credentials_digest(r, project, sent)?;
    worker::with_verdicts(|table, now| match table.look_up(&digest, now).verdict {
        Some((Verdict::Yes(fields), at)) if now.saturating_sub(at) < keep => {
            Resolved::keep(r.pool(), &fields).ok()
        }
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
    // Set when the resolver is to be asked meanwhile: whether it has failed of late.
    let mut in_background = None;
    let next = worker::with_verdicts(|table, now| {
        let known = table.look_up(&digest, now);
        let last = known.verdict.and_then(|(verdict, at)| {
            let said = match verdict {
                Verdict::Confirmed => Said::Yes,
                Verdict::No => Said::No,
                Verdict::Failed => Said::Nothing,
                Verdict::Yes(_) | Verdict::TooLarge => return None,
            };
            Some((said, now.saturating_sub(at)))
        });
        match recheck.next(last, known.is_asked) {
            Next::Stands => stands(Rc::clone(&token)),
            Next::Refused => Step::Done(Outcome::Refused(Reason::SessionInvalid)),
            Next::Ask => lease(table, context, digest, now),
            Next::AskInBackground => {
                if table.try_lease(&digest, now + LEASE, now) {
                    in_background = Some(table.is_failing(project.index));
                }
                stands(Rc::clone(&token))
            }
        }
    });
    let step = next.unwrap_or_else(|| stands(Rc::clone(&token)));
    if let Step::AskResolver = step {
        *context.unconfirmed.borrow_mut() = Some((token, from));
    } else if let Some(is_failing) = in_background {
        if ask_in_background(r, project, digest, &token).is_err() {
            give_up(&digest);
        }
        if is_failing {
            // In HTTP/1.1 nginx takes the connection's next request when the subrequest has
            // ended: the client is told to send it on another connection.
            r.close_connection();
        }
    }
    step
}

/// Gives the right to ask back: whoever had it has left.
pub fn give_up(digest: &Digest) {
    worker::with_verdicts(|table, _| table.release(digest));
}

/// What the resolver said, if it has answered.
pub fn answer(r: &Request, context: &Context, project: &Project) -> Step {
    let Some(answer) = subrequest::answer(r, context) else {
        return Step::StillAsking;
    };
    if let Some((token, from)) = context.unconfirmed.take() {
        return confirmed(r, context, project, token, from, answer);
    }
    if let Some(digest) = context.lease.take() {
        let verdict = match &answer {
            Ok(Some(session)) => Verdict::Yes(*session.session().fields()),
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
    answer: Answer,
) -> Step {
    let stands = match context.lease.take() {
        Some(digest) => keep_confirmation(r, project.index, &digest, token.claims().sub(), &answer),
        None => !matches!(answer, Ok(None)),
    };
    worker::announce();
    Step::Done(match answer {
        _ if stands => Outcome::Verified(token, from),
        // The resolver fell through to another credential, which is valid.
        Ok(Some(session)) => Outcome::Resolved(session, From::Request),
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
            Ok(Some(session)) if session.session().get(Field::UserId) == Some(subject) => {
                Verdict::Confirmed
            }
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

fn unavailable() -> Outcome {
    Outcome::Unavailable(Reason::ResolverUnavailable, RETRY_AFTER)
}

/// A digest of everything that the resolver looks at in the request, and of where it is.
fn credentials_digest(r: &Request, project: &Project, sent: &Sent<'_>) -> Option<Digest> {
    let tenant = project.tenant(r).ok()?;
    let mut parts: SmallVec<[&[u8]; 16]> = SmallVec::new();
    parts.push(b"credentials");
    if let Some(value) = sent.authorization {
        parts.extend([&b"authorization"[..], value]);
    }
    for pair in sent.cookies.pairs() {
        parts.extend([&b"cookie"[..], pair]);
    }
    // The resolver sees it if its location hands it on.
    if let Some(token) = configured_token(r) {
        parts.extend([&b"token"[..], token.ok()?.unwrap_or_default()]);
    }
    worker::digest(&tenant.id, &parts)
}

fn token_digest(r: &Request, project: &Project, token: &VerifiedToken) -> Option<Digest> {
    // A token is remembered for one tenant of one project alone, so this is always the same.
    token.mark(|token| {
        let tenant = project.tenant(r).ok()?;
        worker::digest(
            &tenant.id,
            &[
                b"token",
                token.signed_by().key_id().as_bytes(),
                token.claims_json().as_bytes(),
            ],
        )
    })
}

/// How many milliseconds the JWTs among the credentials have left; `None` when there is none
/// that limits a verdict.
fn lifetime(r: &Request, project: &Project) -> Option<u64> {
    let mut sent = Sent::default();
    if let Err(Ambiguous) = sent.read(r, &project.cookies) {
        // Refused long before.
        return Some(0);
    }
    let now = r.now();
    let configured = configured_token(r).and_then(Result::ok).flatten();
    let bearer = sent.authorization.and_then(bearer).into_iter();
    bearer
        .chain(sent.cookies.app_access_token())
        .chain(configured)
        .filter_map(|token| worker::take_apart(token).ok()?.claimed_expiry())
        // One that has expired is not what the resolver said yes to.
        .filter(|expiry| *expiry > now)
        .map(|expiry| ((expiry - now) * 1000.0) as u64)
        .min()
}
