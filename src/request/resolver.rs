//! Questions to Authgear's resolver: what is left to judge, and what is known of it already.
//!
//! A question goes to an internal location, which proxies to the resolver. It carries what is left to
//! judge and nothing else of the client's credentials, and its answer is filed under exactly that.

use std::rc::Rc;

use authgear_core::session::Session;
use authgear_core::Reason;
use authgear_tables::resolver_cache::{self, Key, Table};

use crate::nginx::Failed;
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance, Resolved};
use crate::request::question::{Ask, Lease, Purpose, Question, Turn, Verdict, NO_LIFETIME};
use crate::request::revoked;
use crate::request::step::Step;
use crate::worker;

mod settle;
mod subrequest;

pub use subrequest::{ask, ask_in_background, own_question, take_answer};

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
    let Some(fresh) = judge.project.resolve_cache else {
        return asked(judge, question, None);
    };
    let Some(key) = question.key(&judge.tenant.id) else {
        return Step::resolver_unavailable();
    };
    let found = worker::with_resolver_cache(|table, now| look_up(judge, table, key, fresh, now));
    match found.unwrap_or(Found::Waits) {
        Found::Verdict(verdict) => {
            // The same for every location of this client request.
            if add_to_request(judge, &question, verdict).is_err() {
                return Step::resolver_unavailable();
            }
            step_of(verdict)
        }
        Found::Turn(lease) => asked(judge, question, Some((key, lease))),
        Found::Waits if judge.reach == Reach::Full => Step::WaitForAnswer(key),
        Found::Waits | Found::Nothing => Step::Done(Outcome::Unknown),
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

fn look_up(judge: &Judge<'_, '_>, table: &mut Table, key: Key, fresh: u64, now: u64) -> Found {
    let since = judge.context.waiting_since.get();
    let known = table.look_up(&key, now).verdict;
    let is_younger = |at: u64, limit: u64| now.saturating_sub(at) < limit;
    let stands = |fields, at| {
        let session = Session::resolved(fields);
        revoked::instead_of_yes(judge.r, &judge.tenant.names, &session, at).is_none()
    };
    match known {
        Some((resolver_cache::Verdict::Yes(fields), at))
            if is_younger(at, fresh) && stands(fields, at) =>
        {
            let session = Resolved::copy_to(judge.r.pool(), &fields);
            Found::Verdict(match session {
                Ok(session) => Verdict::Yes(Some(session), Provenance::Cache),
                Err(Failed) => Verdict::Failed,
            })
        }
        Some((resolver_cache::Verdict::No, at)) if is_younger(at, fresh.min(NO_LIFETIME)) => {
            Found::Verdict(Verdict::No)
        }
        Some((resolver_cache::Verdict::Failed, at)) if since.is_some_and(|since| since <= at) => {
            Found::Verdict(Verdict::Failed)
        }
        _ if judge.reach == Reach::AtHand => Found::Nothing,
        // Nobody's answer is of use to others: all ask at the same time, not in turn.
        Some((resolver_cache::Verdict::TooLarge, at)) if is_younger(at, fresh) => Found::Turn(None),
        _ => match Lease::take(table, key, now) {
            Turn::Mine(lease) => Found::Turn(lease),
            Turn::Busy => Found::Waits,
        },
    }
}

fn asked<'r>(
    judge: &Judge<'_, 'r>,
    question: Question<'r>,
    entry: Option<(Key, Option<Lease>)>,
) -> Step<'r> {
    match judge.reach {
        Reach::AtHand => Step::Done(Outcome::Unknown),
        Reach::Full => Step::Ask(Box::new(Ask {
            tenant: judge.tenant.id,
            names: Rc::clone(&judge.tenant.names),
            project: judge.project.index,
            question,
            purpose: Purpose::Judgement(entry),
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

fn add_to_request(
    judge: &Judge<'_, '_>,
    question: &Question<'_>,
    verdict: Verdict,
) -> Result<(), Failed> {
    let pool = judge.r.pool();
    let (token, cookie) = (pool.copy(question.token)?, pool.copy(&question.cookie)?);
    judge
        .client
        .add_answer(judge.tenant.id, token, cookie, verdict);
    Ok(())
}
