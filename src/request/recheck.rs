//! Confirmation of a verified token by the resolver (`recheck`).

use std::rc::Rc;

use authgear_core::recheck::{Next, Recheck, Said, FAILED_PAUSE};
use authgear_core::session::Field;
use authgear_core::token::VerifiedToken;
use authgear_core::Reason;
use nginx_sys::{NGX_LOG_ERR, NGX_LOG_NOTICE};
use ngx::ngx_log_error;

use crate::log::log_limited;
use crate::nginx::Request;
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Outcome, Provenance, Step};
use crate::request::resolver::{self, Answer, Ask, Failure, Lease, Question, Verdict};
use crate::worker;
use authgear_tables::resolver_cache::{self, Key, Known};

/// A question about one token, and where its answer is kept.
#[derive(Debug)]
pub struct Confirmation {
    /// The token that stands if the resolver confirms it.
    pub token: Rc<VerifiedToken>,
    /// The key under which the answer is kept, and the right to ask, if the table had room for it.
    pub place: Option<(Key, Option<Lease>)>,
    /// The project's number.
    pub project: usize,
    /// How long an answer counts, in milliseconds.
    pub interval: u64,
    /// For how many seconds after `exp` the token is accepted.
    pub leeway: f64,
}

/// Tells the tokens that are confirmed at all. A client's is not, and neither is one whose `aud` lacks the
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
        (Next::Ask, resolver::Turn::Busy) => return Step::WaitForAnswer(key),
        (_, resolver::Turn::Busy) => return stands(verified),
        (_, resolver::Turn::Mine(lease)) => lease,
    };
    let confirmation = Confirmation {
        token: Rc::clone(&verified),
        place: Some((key, lease)),
        project: judge.project.index,
        interval: recheck.interval,
        leeway: judge.project.rules.leeway,
    };
    let ask = Ask::confirmation(judge, question, confirmation);
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
        let said = match verdict {
            resolver_cache::Verdict::Confirmed => Said::Yes,
            resolver_cache::Verdict::Denied | resolver_cache::Verdict::No => Said::No,
            resolver_cache::Verdict::Failed => Said::Nothing,
            resolver_cache::Verdict::Unclear => Said::Unclear,
            resolver_cache::Verdict::Yes(_) | resolver_cache::Verdict::TooLarge => return None,
        };
        Some((said, now.saturating_sub(*at)))
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

impl Confirmation {
    /// Keeps the resolver's answer about the token, and says what becomes of the token.
    pub fn settle(&mut self, r: &Request, answer: &Answer) -> Verdict {
        let verdict = match answer {
            // A yes for somebody else is none for this token.
            Ok(Some(session)) if session.session().get(Field::UserId) == Some(self.token.sub()) => {
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(failure) => Err(failure),
        };
        let (key, lease) = match self.place.take() {
            Some((key, lease)) => (Some(key), lease),
            None => (None, None),
        };
        let number = lease.map(Lease::into_number);
        let kept = key.and_then(|key| {
            worker::with_resolver_cache(|table, now| {
                self.keep(r, table, &key, number, verdict, now)
            })
        });
        let (verdict, is_news) = kept.unwrap_or((
            match verdict {
                Ok(true) | Err(Failure::Outage(_)) => Verdict::yes(),
                Ok(false) => Verdict::No,
                Err(Failure::Unclear(_)) => Verdict::Failed,
            },
            false,
        ));
        match answer {
            Err(Failure::Outage(why)) if is_news => {
                ngx_log_error!(
                    NGX_LOG_ERR,
                    r.log(),
                    "authgear: tokens cannot be confirmed, they stand until they expire: {why}"
                );
            }
            Err(Failure::Unclear(why)) => {
                log_limited(
                    r,
                    NGX_LOG_ERR,
                    (self.project, "recheck"),
                    format_args!("a token waits until it can be confirmed: {why}"),
                );
            }
            Ok(_) if is_news => {
                ngx_log_error!(
                    NGX_LOG_NOTICE,
                    r.log(),
                    "authgear: tokens are confirmed again"
                );
            }
            _ => {}
        }
        verdict
    }

    /// Stores the answer; says what becomes of the token, and whether the resolver's health is news.
    fn keep(
        &self,
        r: &Request,
        table: &mut resolver_cache::Table,
        key: &Key,
        lease: Option<u64>,
        verdict: Result<bool, &Failure>,
        now: u64,
    ) -> (Verdict, bool) {
        // A second more than the token is accepted, since the clocks are read at different times.
        let left = (self.token.exp() + self.leeway - r.now()).max(0.0);
        let expiry = now.saturating_add((left * 1000.0) as u64 + 1000);
        let store = |table: &mut resolver_cache::Table, verdict| {
            let answer = resolver_cache::Answer {
                verdict,
                not_after: expiry,
                live_until: now
                    .saturating_add(self.interval.saturating_mul(2))
                    .min(expiry),
            };
            table.store(key, lease, &answer, now);
        };
        match verdict {
            Ok(true) => {
                store(table, resolver_cache::Verdict::Confirmed);
                (Verdict::yes(), table.set_failing(self.project, false))
            }
            Ok(false) => {
                store(table, resolver_cache::Verdict::Denied);
                (Verdict::No, table.set_failing(self.project, false))
            }
            Err(failure) => {
                let is_outage = matches!(failure, Failure::Outage(_));
                // A no stays a no; anything else stands while the resolver cannot answer.
                let known = table.look_up(key, now).verdict;
                let verdict = if matches!(known, Some((resolver_cache::Verdict::Denied, _))) {
                    table.postpone(key, lease, now + FAILED_PAUSE, now);
                    Verdict::No
                } else if is_outage {
                    store(table, resolver_cache::Verdict::Failed);
                    Verdict::yes()
                } else {
                    store(table, resolver_cache::Verdict::Unclear);
                    Verdict::Failed
                };
                (verdict, is_outage && table.set_failing(self.project, true))
            }
        }
    }
}
