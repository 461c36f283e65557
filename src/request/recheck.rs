//! Confirmation of a verified token by the resolver (`recheck`).

use std::rc::Rc;

use authgear_core::recheck::{Instead, LastAnswer, Next, Recheck, Unasked};
use authgear_core::token::VerifiedToken;
use authgear_core::Reason;
use authgear_tables::judgements::{self, Known};

use crate::nginx::now;
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance, Verified};
use crate::request::question::{Ask, Confirmation, Lease, Purpose, Question, Turn, Verdict};
use crate::request::resolver;
use crate::request::step::Step;
use crate::worker;

/// Tells whether a token is confirmed at all. A client's is not, and neither is one whose `aud` lacks the
/// endpoint: the resolver calls it no session (authgear-server PRs 5750 and 5870).
pub fn applies(judge: &Judge<'_, '_>, token: &VerifiedToken) -> bool {
    !token.is_client() && token.is_meant_for(&judge.tenant.origin)
}

/// Lets a verified token stand, has it confirmed, or refuses it, by the resolver's last answer.
pub fn confirm<'r>(
    judge: &Judge<'_, 'r>,
    recheck: Recheck,
    token: &'r [u8],
    verified: Verified,
    provenance: Provenance,
) -> Step<'r> {
    let stands = |verified| Step::Done(Outcome::Verified(verified, provenance));
    let question = Question::about_token(token, verified.token.exp());
    if let Some(verdict) = resolver::known_to_this_request(judge, &question) {
        return match verdict {
            Verdict::Yes(..) => stands(verified),
            Verdict::No => Step::refused(Reason::SessionInvalid),
            Verdict::Failed => Step::resolver_unavailable(),
        };
    }
    // It covers what the signature covers, so that two spellings of one token are one.
    let Some(key) = verified.key else {
        return stands(verified);
    };
    let asks = |next| matches!(next, Next::Ask | Next::AskInBackground);
    let known = worker::judgement(&key, None);
    let mut next = next_for(recheck, &known, now());
    let (mut lease, mut is_failing, mut place) = (None, false, None);
    let may_ask = match next {
        Next::Ask => judge.may_ask(),
        // In the access phase is early enough.
        Next::AskInBackground => judge.reach == Reach::Full,
        Next::Stands | Next::Refused => false,
    };
    if may_ask {
        let had_yes = matches!(known.verdict, Some((judgements::Verdict::Confirmed, _)));
        match resolver::admit(judge, had_yes) {
            Ok(admitted) => place = Some(admitted),
            Err(why) => return unasked(why, next, &known, || stands(verified)),
        }
        // Under the lock, which tells what has changed meanwhile.
        worker::change_judgements(|writer, now| {
            next = next_for(recheck, &writer.read(&key, now, None), now);
            lease = asks(next).then(|| Lease::take(writer, key, now));
            is_failing = writer.is_failing(judge.project.index);
        });
    }
    let lease = match (next, lease) {
        (Next::Stands, _) => return stands(verified),
        (Next::Refused, _) => return Step::refused(Reason::SessionInvalid),
        (Next::AskInBackground, None) => return stands(verified),
        (Next::Ask, None) => return Step::Done(Outcome::Unknown),
        (_, Some(lease)) => lease,
    };
    let lease = match (next, lease) {
        (Next::Ask, Turn::Busy) => return Step::WaitForAnswer(key),
        (_, Turn::Busy) => return stands(verified),
        (_, Turn::Mine(lease)) => lease,
    };
    let confirmation = Confirmation {
        token: Rc::clone(&verified.token),
        entry: Some((key, lease)),
        project: judge.project.index,
        interval: recheck.interval,
        leeway: judge.project.rules.leeway,
    };
    let ask = Ask {
        tenant: Rc::clone(judge.tenant),
        project: judge.project.index,
        question,
        purpose: Purpose::Confirmation(confirmation),
        place,
    };
    if let Next::Ask = next {
        return Step::Ask(Box::new(ask));
    }
    // A question that cannot be sent gives its lease back, and the next request asks.
    let _ = resolver::ask_in_background(judge.r, judge.project, ask);
    if is_failing {
        // In HTTP/1.1 nginx takes the connection's next request when the subrequest has ended: the
        // client is told to send it on another connection.
        judge.r.close_connection();
    }
    stands(verified)
}

/// The next step for a token about which the resolver is not asked.
fn unasked<'r>(
    why: Unasked,
    next: Next,
    known: &Known,
    stands: impl FnOnce() -> Step<'r>,
) -> Step<'r> {
    match why.instead(next, last_answer(known).map(|(last, _)| last)) {
        Instead::Stands => stands(),
        Instead::Refused => Step::refused(Reason::SessionInvalid),
        Instead::Unavailable => Step::resolver_unavailable(),
    }
}

/// The next step, from the table's entry of a token.
fn next_for(recheck: Recheck, known: &Known, now: u64) -> Next {
    let last = last_answer(known).map(|(last, at)| (last, now.saturating_sub(at)));
    recheck.next(last, known.is_asked, known.is_crowded)
}

/// The last answer about a token, and its time.
fn last_answer(known: &Known) -> Option<(LastAnswer, u64)> {
    known.verdict.as_ref().and_then(|(verdict, at)| {
        let answer = match verdict {
            judgements::Verdict::Confirmed => LastAnswer::Yes,
            judgements::Verdict::Denied | judgements::Verdict::No => LastAnswer::No,
            judgements::Verdict::Failed => LastAnswer::Nothing,
            judgements::Verdict::Unclear => LastAnswer::Unclear,
            judgements::Verdict::Yes | judgements::Verdict::TooLarge => return None,
        };
        Some((answer, *at))
    })
}
