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
use crate::verdicts::{self, Key, Lease, Table, Verdict};
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

/// A question about a token.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    key: Key,
    lease: Option<u64>,
    project: usize,
    /// When the token is refused for its age, in the table's clock.
    expires_at: u64,
    /// How long an answer counts, in milliseconds.
    interval: u64,
}

/// Finds what the resolver says of the request's credentials: it was said to another request with
/// the same ones, or is being said, or is to be asked.
pub fn resolve(r: &Request, context: &Context, project: &Project, sent: &Sent<'_>) -> Step {
    let Some(keep) = project.resolve_cache else {
        return Step::AskResolver;
    };
    let Some(key) = credentials_key(r, project, sent) else {
        return Step::Done(unavailable());
    };
    let waiting_since = context.waiting_since.get();
    let step = worker::with_verdicts(|table, now| {
        let known = table.look_up(&key, now);
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
        lease(table, context, key, now)
    });
    step.unwrap_or(Step::Done(unavailable()))
}

/// Takes the right to ask and asks, or waits for whoever has it.
fn lease(table: &mut Table, context: &Context, key: Key, now: u64) -> Step {
    let lease = match table.try_lease(&key, now + LEASE, now) {
        Lease::Taken(number) => Some(number),
        Lease::Unshared => None,
        Lease::Busy => return Step::WaitForVerdict(key),
    };
    context.lease.set(Some((key, lease)));
    Step::AskResolver
}

/// What the resolver is known to have said of the request's credentials.
pub fn cached(r: &Request, project: &Project, sent: &Sent<'_>) -> Option<Resolved> {
    let keep = project.resolve_cache?;
    let key = credentials_key(r, project, sent)?;
    worker::with_verdicts(|table, now| match table.look_up(&key, now).verdict {
        Some((Verdict::Yes(fields), at)) if now.saturating_sub(at) < keep => {
            Resolved::keep(r.pool(), &fields).ok()
        }
        _ => None,
    })?
}

/// Whether the resolver has said no to a token that verifies.
pub fn denied(r: &Request, project: &Project, token: &VerifiedToken) -> bool {
    let denied = project.recheck.and_then(|_| {
        let key = token_key(r, project, token)?;
        worker::with_verdicts(|table, now| {
            matches!(table.look_up(&key, now).verdict, Some((Verdict::Denied, _)))
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
    let Some(key) = token_key(r, project, &token) else {
        return stands(token);
    };
    // Set when the resolver is to be asked meanwhile: whether it has failed of late.
    let mut in_background = None;
    let next = worker::with_verdicts(|table, now| {
        let known = table.look_up(&key, now);
        let recheck = Recheck {
            strict: recheck.strict || known.is_crowded,
            ..recheck
        };
        let last = known.verdict.and_then(|(verdict, at)| {
            let said = match verdict {
                Verdict::Confirmed => Said::Yes,
                Verdict::Denied => Said::No,
                Verdict::Failed => Said::Nothing,
                Verdict::Yes(_) | Verdict::TooLarge | Verdict::No => return None,
            };
            Some((said, now.saturating_sub(at)))
        });
        match recheck.next(last, known.is_asked) {
            Next::Stands => stands(Rc::clone(&token)),
            Next::Refused => Step::Done(Outcome::Refused(Reason::SessionInvalid)),
            Next::Ask => lease(table, context, key, now),
            Next::AskInBackground => {
                let lease = match table.try_lease(&key, now + LEASE, now) {
                    Lease::Taken(number) => Some(number),
                    Lease::Unshared => None,
                    Lease::Busy => return stands(Rc::clone(&token)),
                };
                in_background = Some((lease, table.is_failing(project.index)));
                stands(Rc::clone(&token))
            }
        }
    });
    let step = next.unwrap_or_else(|| stands(Rc::clone(&token)));
    if let Step::AskResolver = step {
        *context.unconfirmed.borrow_mut() = Some((token, from));
    } else if let Some((lease, is_failing)) = in_background {
        let question = question(r, project, (key, lease), &token);
        if ask_in_background(r, project, question, &token).is_err() {
            if let Some(lease) = lease {
                give_up(&key, lease);
            }
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
pub fn give_up(key: &Key, lease: u64) {
    worker::with_verdicts(|table, _| table.release(key, lease));
}

fn question(
    r: &Request,
    project: &Project,
    (key, lease): (Key, Option<u64>),
    token: &VerifiedToken,
) -> Question {
    let left = (token.claims().exp() + project.rules.leeway - r.now()) * 1000.0;
    Question {
        key,
        lease,
        project: project.index,
        // A second more, since the clocks are read at different times.
        expires_at: worker::now().saturating_add(left.max(0.0) as u64 + 1000),
        interval: project.recheck.map_or(0, |recheck| recheck.interval),
    }
}

/// What the resolver said, if it has answered.
pub fn answer(r: &Request, context: &Context, project: &Project) -> Step {
    let Some(answer) = subrequest::answer(r, context) else {
        return Step::StillAsking;
    };
    if let Some((token, from)) = context.unconfirmed.take() {
        return confirmed(r, context, project, token, from, answer);
    }
    if let Some((key, lease)) = context.lease.take() {
        let verdict = match &answer {
            Ok(Some(session)) => Verdict::Yes(*session.session().fields()),
            Ok(None) => Verdict::No,
            Err(_) => Verdict::Failed,
        };
        let life = lifetime(r, project);
        let keep = project.resolve_cache.unwrap_or(0);
        worker::with_verdicts(|table, now| {
            let live = match verdict {
                Verdict::No => keep.min(KEEP_NO),
                _ => keep,
            };
            let answer = verdicts::Answer {
                verdict,
                not_after: life.map_or(u64::MAX, |life| now.saturating_add(life)),
                live_until: now.saturating_add(live),
            };
            table.store(&key, lease, &answer, now);
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
        Some(asked) => {
            let question = question(r, project, asked, &token);
            keep_confirmation(r, &question, token.claims().sub(), &answer)
        }
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
fn keep_confirmation(r: &Request, question: &Question, subject: &str, answer: &Answer) -> bool {
    let Question {
        key,
        lease,
        project,
        ..
    } = *question;
    let kept = worker::with_verdicts(|table, now| {
        let verdict = match answer {
            // A yes for somebody else is that of another credential.
            Ok(Some(session)) if session.session().get(Field::UserId) == Some(subject) => {
                Verdict::Confirmed
            }
            Ok(_) => Verdict::Denied,
            Err(_) => {
                // A no stays a no; anything else stands while the resolver fails.
                let was_no = matches!(table.look_up(&key, now).verdict, Some((Verdict::Denied, _)));
                match was_no {
                    true => table.postpone(&key, lease, now + FAILED_PAUSE, now),
                    false => {
                        let answer = verdicts::Answer {
                            verdict: Verdict::Failed,
                            not_after: u64::MAX,
                            live_until: now + FAILED_PAUSE,
                        };
                        table.store(&key, lease, &answer, now);
                    }
                }
                return (!was_no, table.set_failing(project, true));
            }
        };
        let answer = verdicts::Answer {
            verdict,
            not_after: question.expires_at,
            live_until: now.saturating_add(question.interval),
        };
        table.store(&key, lease, &answer, now);
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
fn credentials_key(r: &Request, project: &Project, sent: &Sent<'_>) -> Option<Key> {
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
    worker::verdict_key(&tenant.id, &parts)
}

fn token_key(r: &Request, project: &Project, token: &VerifiedToken) -> Option<Key> {
    let tenant = project.tenant(r).ok()?.id;
    // A token is remembered for one tenant of one project alone, so this is always the same.
    let digest = token.mark(|token| {
        let parts: [&[u8]; 3] = [
            b"token",
            token.signed_by().key_id().as_bytes(),
            token.claims_json().as_bytes(),
        ];
        worker::verdict_key(&tenant, &parts).map(|key| key.digest)
    })?;
    Some(Key { tenant, digest })
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
