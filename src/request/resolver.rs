//! Questions to Authgear's resolver: what is left to judge, and what is known of it already.
//!
//! A question goes to an internal location, which proxies to the resolver. It carries what is left to
//! judge and nothing else of the client's credentials, and its answer is filed under exactly that.

use std::rc::Rc;

use authgear_core::recheck::{Unasked, FAILED_PAUSE};
use authgear_core::session::{Fields, Session};
use authgear_core::Reason;
use authgear_tables::judgements::{self, Key, Known, Text};

use crate::keys::Tenant;
use crate::nginx::{now, Failed, Request};
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance, Resolved};
use crate::request::question::{Ask, Lease, Purpose, Question, Turn, Verdict, NO_LIFETIME};
use crate::request::revoked;
use crate::request::step::Step;
use crate::worker::{self, Place};

use subrequest::is_suspended;

mod reply;
mod settle;
mod subrequest;

pub use subrequest::{admit, ask, ask_in_background, own_question, take_answer};

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
            Reach::Full | Reach::Early => Step::Join(asked),
            Reach::AtHand => Step::Done(Outcome::Unknown),
        };
    }
    let key = question.key(&judge.tenant.id);
    let Some(fresh) = judge.project.resolve_cache else {
        if !judge.may_ask() {
            return Step::Done(Outcome::Unknown);
        }
        return match admit(judge, key.as_ref().is_some_and(worker::had_yes)) {
            Ok(place) => asked(judge, question, None, place),
            Err(_) => Step::resolver_unavailable(),
        };
    };
    let Some(key) = key else {
        return Step::resolver_unavailable();
    };
    match look_up(judge, key, fresh) {
        Found::Verdict(verdict) => {
            // The same for every location of this client request.
            if add_to_request(judge, &question, verdict).is_err() {
                return Step::resolver_unavailable();
            }
            step_of(verdict)
        }
        Found::Turn(lease, place) => asked(judge, question, Some((key, lease)), place),
        Found::Unasked => Step::resolver_unavailable(),
        Found::Waits => Step::WaitForAnswer(key),
        Found::Nothing => Step::Done(Outcome::Unknown),
    }
}

/// The table's entry of a question.
enum Found {
    /// The answer.
    Verdict(Verdict),
    /// None, and it is this request's turn to ask.
    Turn(Option<Lease>, Place),
    /// None, and nobody is to ask now.
    Unasked,
    /// None yet: another request asks.
    Waits,
    /// None, and this request may not ask.
    Nothing,
}

/// Looks an answer up, without the table's lock unless the right to ask is to be taken.
fn look_up(judge: &Judge<'_, '_>, key: Key, fresh: u64) -> Found {
    let mut text = Text::new();
    let known = worker::judgement(&key, Some(&mut text));
    if let Some(verdict) = usable(judge, (&known, &text), fresh, now(), false) {
        return Found::Verdict(verdict);
    }
    if is_suspended(judge) {
        if let Some(verdict) = usable(judge, (&known, &text), fresh, now(), true) {
            return Found::Verdict(verdict);
        }
    }
    if !judge.may_ask() {
        return Found::Nothing;
    }
    let is_yes = matches!(known.verdict, Some((judgements::Verdict::Yes, _)));
    let place = match admit(judge, is_yes || worker::had_yes(&key)) {
        Ok(place) => place,
        Err(Unasked::Full) if known.is_asked => return Found::Waits,
        Err(_) => {
            let verdict = usable(judge, (&known, &text), fresh, now(), true);
            return verdict.map_or(Found::Unasked, Found::Verdict);
        }
    };
    let found = worker::change_judgements(|writer, now| {
        let known = writer.read(&key, now, Some(&mut text));
        if let Some(verdict) = usable(judge, (&known, &text), fresh, now, false) {
            return Found::Verdict(verdict);
        }
        let is_too_large = matches!(
            known.verdict,
            Some((judgements::Verdict::TooLarge, at)) if now.saturating_sub(at) < fresh
        );
        if is_too_large {
            // Nobody's answer is of use to others: all ask at the same time, not in turn.
            return Found::Turn(None, place);
        }
        match Lease::take(writer, key, now) {
            Turn::Mine(lease) => Found::Turn(lease, place),
            Turn::Busy => Found::Waits,
        }
    });
    found.unwrap_or(Found::Waits)
}

/// The verdict of an answer that was kept, if it may be used still.
///
/// A question that failed is the answer to all who have waited for it. Where the resolver cannot answer, an
/// older yes takes its place, and for a second nobody waits for another question. With `is_unasked` it does so
/// at once, as nobody is to ask.
fn usable(
    judge: &Judge<'_, '_>,
    (known, text): (&Known, &Text),
    fresh: u64,
    now: u64,
    is_unasked: bool,
) -> Option<Verdict> {
    let (verdict, at) = known.verdict?;
    let is_younger = |limit: u64| now.saturating_sub(at) < limit;
    let since = judge.context.waiting_since.get();
    match verdict {
        judgements::Verdict::Yes => {
            let yes = |provenance| kept_yes(judge.r, judge.tenant, (text, at), provenance);
            if is_younger(fresh) {
                if let Some(yes) = yes(Provenance::Cache) {
                    return Some(yes);
                }
            }
            let failure = known.failure.as_ref();
            let has_waited =
                failure.is_some_and(|failure| since.is_some_and(|since| since <= failure.at));
            let is_outage = failure.is_some_and(|failure| {
                let is_recent = now.saturating_sub(failure.at) < FAILED_PAUSE;
                failure.is_outage && (has_waited || is_recent)
            });
            let may_be_stale = is_younger(fresh.saturating_add(judge.project.resolve_stale));
            if (is_unasked || is_outage) && may_be_stale {
                if let Some(yes) = yes(Provenance::Stale) {
                    return Some(yes);
                }
            }
            has_waited.then_some(Verdict::Failed)
        }
        judgements::Verdict::No if is_younger(fresh.min(NO_LIFETIME)) => Some(Verdict::No),
        judgements::Verdict::Failed if since.is_some_and(|since| since <= at) => {
            Some(Verdict::Failed)
        }
        _ => None,
    }
}

/// A yes that was kept, unless its user was revoked since.
fn kept_yes(
    r: &Request,
    tenant: &Tenant,
    (text, at): (&Text, u64),
    provenance: Provenance,
) -> Option<Verdict> {
    let fields = Fields::from_record(text.bytes())?;
    if revoked::instead_of_yes(r, &tenant.names, &Session::resolved(fields), at).is_some() {
        return None;
    }
    let session = Resolved::copy_to(r.pool(), &fields);
    Some(session.map_or(Verdict::Failed, |session| {
        Verdict::Yes(Some(session), provenance)
    }))
}

fn asked<'r>(
    judge: &Judge<'_, 'r>,
    question: Question<'r>,
    entry: Option<(Key, Option<Lease>)>,
    place: Place,
) -> Step<'r> {
    Step::Ask(Box::new(Ask {
        tenant: Rc::clone(judge.tenant),
        project: judge.project.index,
        question,
        purpose: Purpose::Judgement(entry),
        place: Some(place),
    }))
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
