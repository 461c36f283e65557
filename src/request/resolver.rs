//! Questions to Authgear's resolver: what is left to judge, and what is known of it already.
//!
//! A question goes to an internal location, which proxies to the resolver. It carries what is left to
//! judge and nothing else of the client's credentials, and its answer is filed under exactly that.

use authgear_core::credential::Line;
use authgear_core::Reason;
use nginx_sys::NGX_LOG_ERR;

use crate::conf::Project;
use crate::log::log_limited;
use crate::nginx::{Failed, Request};
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance, Resolved, Step};
use crate::request::recheck::Confirmation;
use crate::request::waiting;
use crate::shm::Id;
use crate::worker;
use authgear_tables::resolver_cache::{self, Key, Table};

mod subrequest;

pub use subrequest::{ask, ask_in_background, own_question, take_answer, Asked};

/// The lifetime of the right to ask, in milliseconds, should its holder be killed.
const LEASE: u64 = 10_000;
/// The longest time for which a no is kept, in milliseconds.
const KEEP_NO: u64 = 1_000;

/// The credentials that are left for the resolver to judge.
#[derive(Debug)]
pub struct Question<'a> {
    /// The bearer token; empty for none.
    token: &'a [u8],
    /// The `Cookie` header; empty for none.
    cookie: Line,
    /// `exp` of a token that says so, in Unix seconds: no answer is used after it.
    expiry: Option<f64>,
}

/// The resolver's answer to a question of this client request.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// The session, or nothing where the token that was asked about says it all.
    Yes(Option<Resolved>, Provenance),
    /// There is no valid session.
    No,
    /// There is no verdict.
    Failed,
}

/// The resolver's answer as it came: a session, a no, or why it is neither.
pub type Answer = Result<Option<Resolved>, Failure>;

/// Why an answer is no verdict.
#[derive(Debug)]
pub enum Failure {
    /// The resolver cannot answer: refused, closed, time-out, 5xx or 429.
    Outage(String),
    /// Anything else, which the client may have caused.
    Unclear(String),
}

/// A question that is to be asked, with the right to do so.
#[derive(Debug)]
pub struct Ask<'a> {
    tenant: Id,
    project: usize,
    question: Question<'a>,
    purpose: Purpose,
}

/// The use of an answer.
#[derive(Debug)]
enum Purpose {
    /// It is the judgement, and is kept under a key if answers are kept.
    Judgement(Option<(Key, Option<Lease>)>),
    /// It confirms a token.
    Confirmation(Confirmation),
}

/// The right to ask a question that others wait for. It is given back when it is dropped.
#[derive(Debug)]
pub struct Lease {
    key: Key,
    number: u64,
}

/// The turn to ask.
#[derive(Debug)]
pub enum Turn {
    /// This request's; without a lease where the table has no room for one.
    Mine(Option<Lease>),
    /// Another request's.
    Busy,
}

impl Lease {
    /// Takes the right to ask, unless another request has it.
    pub fn take(table: &mut Table, key: Key, now: u64) -> Turn {
        match table.try_lease(&key, now + LEASE, now) {
            resolver_cache::TryLease::Taken(number) => Turn::Mine(Some(Lease { key, number })),
            resolver_cache::TryLease::Unshared => Turn::Mine(None),
            resolver_cache::TryLease::Busy => Turn::Busy,
        }
    }

    /// The lease's number, for the answer that ends it.
    pub fn into_number(self) -> u64 {
        let number = self.number;
        core::mem::forget(self);
        number
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        worker::with_resolver_cache(|table, _| table.release(&self.key, self.number));
        waiting::wake_waiters();
    }
}

impl Verdict {
    /// A yes that says no more than the token itself.
    pub fn yes() -> Self {
        Self::Yes(None, Provenance::Request)
    }
}

impl<'a> Question<'a> {
    /// The question about an opaque token and cookies.
    pub fn about_session(token: Option<&'a [u8]>, cookie: Line) -> Self {
        Self {
            token: token.unwrap_or_default(),
            cookie,
            expiry: None,
        }
    }

    /// The question about a JWT alone, whose `exp` is `expiry`.
    pub fn about_token(token: &'a [u8], expiry: f64) -> Self {
        Self {
            token,
            cookie: Line::new(),
            expiry: Some(expiry),
        }
    }

    /// The key under which the answer is kept: endpoint, project, and exactly what is asked.
    fn key(&self, tenant: &Id) -> Option<Key> {
        worker::question_key(tenant, &[self.token, &self.cookie])
    }

    /// How many milliseconds an answer may be used at most.
    fn lifetime(&self, r: &Request) -> u64 {
        let left = self.expiry.map(|expiry| (expiry - r.now()).max(0.0));
        left.map_or(u64::MAX, |left| (left * 1000.0) as u64)
    }
}

impl<'a> Ask<'a> {
    /// A question whose answer confirms a token.
    pub fn confirmation(
        judge: &Judge<'_, '_>,
        question: Question<'a>,
        confirmation: Confirmation,
    ) -> Self {
        Self {
            tenant: judge.tenant.id,
            project: judge.project.index,
            question,
            purpose: Purpose::Confirmation(confirmation),
        }
    }
}

/// The answer that this client request has to a question already.
pub fn known_to_this_request(judge: &Judge<'_, '_>, question: &Question<'_>) -> Option<Verdict> {
    judge
        .client
        .answer(&judge.tenant.id, question.token, &question.cookie)
}

/// Answers a question by what is known, or says what it takes: it was answered for another request
/// with the same credentials, or is being asked, or is to be asked.
pub fn answer<'r>(judge: &Judge<'_, 'r>, question: Question<'r>) -> Step<'r> {
    if let Some(verdict) = known_to_this_request(judge, &question) {
        return step_of(verdict);
    }
    let (token, cookie) = (question.token, &question.cookie);
    if let Some(asked) = judge.client.pending(&judge.tenant.id, token, cookie) {
        return match judge.reach {
            Reach::Full => Step::Join(asked),
            Reach::AtHand => Step::Done(Outcome::Unknown),
        };
    }
    let Some(keep) = judge.project.resolve_cache else {
        return asked(judge, question, None);
    };
    let Some(key) = question.key(&judge.tenant.id) else {
        return Step::resolver_unavailable();
    };
    let found = worker::with_resolver_cache(|table, now| look_up(judge, table, key, keep, now));
    match found.unwrap_or(Found::Waits) {
        Found::Verdict(verdict) => {
            // The same for every location of this client request.
            if keep_for_request(judge, &question, verdict).is_err() {
                return Step::resolver_unavailable();
            }
            step_of(verdict)
        }
        Found::Turn(lease) => asked(judge, question, Some((key, lease))),
        Found::Waits if judge.reach == Reach::Full => Step::WaitForAnswer(key),
        Found::Waits => Step::Done(Outcome::Unknown),
        Found::Nothing => Step::Done(Outcome::Unknown),
    }
}

/// The table's entry of a question.
enum Found {
    /// The answer.
    Verdict(Verdict),
    /// None, and it is this request's turn to ask.
    Turn(Option<Lease>),
    /// None yet: another request asks.
    Waits,
    /// None, and this request may not ask.
    Nothing,
}

fn look_up(judge: &Judge<'_, '_>, table: &mut Table, key: Key, keep: u64, now: u64) -> Found {
    let since = judge.context.waiting_since.get();
    let known = table.look_up(&key, now).verdict;
    let is_younger = |at: u64, limit: u64| now.saturating_sub(at) < limit;
    match known {
        Some((resolver_cache::Verdict::Yes(fields), at)) if is_younger(at, keep) => {
            let session = Resolved::copy_to(judge.r.pool(), &fields);
            Found::Verdict(match session {
                Ok(session) => Verdict::Yes(Some(session), Provenance::Cache),
                Err(Failed) => Verdict::Failed,
            })
        }
        Some((resolver_cache::Verdict::No, at)) if is_younger(at, keep.min(KEEP_NO)) => {
            Found::Verdict(Verdict::No)
        }
        Some((resolver_cache::Verdict::Failed, at)) if since.is_some_and(|since| since <= at) => {
            Found::Verdict(Verdict::Failed)
        }
        _ if judge.reach == Reach::AtHand => Found::Nothing,
        // Nobody's answer is of use to others: all ask at the same time, not in turn.
        Some((resolver_cache::Verdict::TooLarge, at)) if is_younger(at, keep) => Found::Turn(None),
        _ => match Lease::take(table, key, now) {
            Turn::Mine(lease) => Found::Turn(lease),
            Turn::Busy => Found::Waits,
        },
    }
}

fn asked<'r>(
    judge: &Judge<'_, 'r>,
    question: Question<'r>,
    place: Option<(Key, Option<Lease>)>,
) -> Step<'r> {
    match judge.reach {
        Reach::AtHand => Step::Done(Outcome::Unknown),
        Reach::Full => Step::Ask(Box::new(Ask {
            tenant: judge.tenant.id,
            project: judge.project.index,
            question,
            purpose: Purpose::Judgement(place),
        })),
    }
}

fn step_of<'r>(verdict: Verdict) -> Step<'r> {
    match verdict {
        Verdict::Yes(Some(session), provenance) => {
            Step::Done(Outcome::Resolved(session, provenance))
        }
        Verdict::No => Step::refused(Reason::SessionInvalid),
        Verdict::Yes(None, _) | Verdict::Failed => Step::resolver_unavailable(),
    }
}

fn keep_for_request(
    judge: &Judge<'_, '_>,
    question: &Question<'_>,
    verdict: Verdict,
) -> Result<(), Failed> {
    let pool = judge.r.pool();
    let (token, cookie) = (pool.copy(question.token)?, pool.copy(&question.cookie)?);
    judge
        .client
        .keep_answer(judge.tenant.id, token, cookie, verdict);
    Ok(())
}

impl Purpose {
    /// Keeps an answer for other requests, and says what it means for the one that asked.
    fn settle(self, r: &Request, project: &Project, answer: &Answer, lifetime: u64) -> Verdict {
        let place = match self {
            Self::Confirmation(mut confirmation) => return confirmation.settle(r, answer),
            Self::Judgement(place) => place,
        };
        let verdict = match answer {
            Ok(Some(session)) => Verdict::Yes(Some(*session), Provenance::Request),
            Ok(None) => Verdict::No,
            Err(Failure::Outage(why) | Failure::Unclear(why)) => {
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (project.index, "resolver"),
                    format_args!("{why}"),
                );
                Verdict::Failed
            }
        };
        if let Some((key, lease)) = place {
            let stored = match answer {
                Ok(Some(session)) => resolver_cache::Verdict::Yes(*session.session().fields()),
                Ok(None) => resolver_cache::Verdict::No,
                Err(_) => resolver_cache::Verdict::Failed,
            };
            let number = lease.map(Lease::into_number);
            let keep = project.resolve_cache.unwrap_or(0);
            let keep = match stored {
                resolver_cache::Verdict::No => keep.min(KEEP_NO),
                _ => keep,
            };
            worker::with_resolver_cache(|table, now| {
                let answer = resolver_cache::Answer {
                    verdict: stored,
                    not_after: now.saturating_add(lifetime),
                    live_until: now.saturating_add(keep.min(lifetime)),
                };
                table.store(&key, number, &answer, now)
            });
            waiting::wake_waiters();
        }
        verdict
    }
}
