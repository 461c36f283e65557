//! Confirmation of a verified token by the resolver (`recheck`).

use std::rc::Rc;

use authgear_core::recheck::{LastAnswer, Next, Recheck};
use authgear_core::token::VerifiedToken;
use authgear_core::Reason;
use authgear_tables::resolver_cache::{self, Key, Known};

use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance};
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
    verified: Rc<VerifiedToken>,
    provenance: Provenance,
) -> Step<'r> {
    let stands = |token| Step::Done(Outcome::Verified(token, provenance));
    let question = Question::about_token(token, verified.exp());
    if let Some(verdict) = resolver::known_to_this_request(judge, &question) {
        return match verdict {
            Verdict::Yes(..) => stands(verified),
            Verdict::No => Step::refused(Reason::SessionInvalid),
            Verdict::Failed => Step::resolver_unavailable(),
        };
    }
    let Some(key) = token_key(judge, &verified) else {
        return stands(verified);
    };
    let mut lease = None;
    let next = worker::with_resolver_cache(|table, now| {
        let known = table.look_up(&key, now);
        let next = next(recheck, &known, now);
        let asks = matches!(next, Next::Ask | Next::AskInBackground);
        if asks && judge.reach == Reach::Full {
            lease = Some(Lease::take(table, key, now));
        }
        (next, table.is_failing(judge.project.index))
    });
    let (next, is_failing) = next.unwrap_or((Next::Stands, false));
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
        token: Rc::clone(&verified),
        entry: Some((key, lease)),
        project: judge.project.index,
        interval: recheck.interval,
        leeway: judge.project.rules.leeway,
    };
    let ask = Ask {
        tenant: judge.tenant.id,
        names: Rc::clone(&judge.tenant.names),
        project: judge.project.index,
        question,
        purpose: Purpose::Confirmation(confirmation),
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

/// The next step, from the table's entry of a token.
fn next(recheck: Recheck, known: &Known<'_>, now: u64) -> Next {
    let last = known.verdict.as_ref().and_then(|(verdict, at)| {
        let answer = match verdict {
            resolver_cache::Verdict::Confirmed => LastAnswer::Yes,
            resolver_cache::Verdict::Denied | resolver_cache::Verdict::No => LastAnswer::No,
            resolver_cache::Verdict::Failed => LastAnswer::Nothing,
            resolver_cache::Verdict::Unclear => LastAnswer::Unclear,
            resolver_cache::Verdict::Yes(_) | resolver_cache::Verdict::TooLarge => return None,
        };
        Some((answer, now.saturating_sub(*at)))
    });
    recheck.next(last, known.is_asked, known.is_crowded)
}

/// The key of the resolver's answers about a token. It covers what the signature covers,
/// so that two spellings of one token are one; a token is remembered for one tenant alone, so its
/// digest is made once.
fn token_key(judge: &Judge<'_, '_>, token: &VerifiedToken) -> Option<Key> {
    let tenant = judge.tenant.id;
    let parts = |token: &VerifiedToken| {
        let claims = token.claims_json().as_bytes();
        let signer = token.signed_by().key_id().as_bytes();
        Some(worker::question_key(&tenant, &[b"token", signer, claims])?.digest)
    };
    let digest = token.recheck_digest(parts)?;
    Some(Key { tenant, digest })
}
